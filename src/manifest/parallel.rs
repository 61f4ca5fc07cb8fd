//! Parses many files side by side. A file's result depends on that file alone, so the
//! order in which they are parsed is nobody's business.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use super::document::{Declares, Parsed, parse_source};
use super::{Content, Defaults, Lookup, files};
use crate::model::Declaration;

/// Fewer are parsed sooner than threads are started for them.
const MANY: usize = 64;

/// More threads than this would wait for memory.
const MOST_THREADS: usize = 16;

/// A parsed file, with the declarations that name no other files, by place.
pub(super) struct Prepared {
    pub parsed: Parsed,
    pub complete: BTreeMap<usize, Box<Declaration>>,
}

/// Parses what is many; of few it returns none, and they are parsed when their turn comes.
pub(super) fn prepare(
    files: &[(&String, &Content)],
    defaults: &Defaults,
) -> BTreeMap<String, Prepared> {
    if files.len() < MANY {
        return BTreeMap::new();
    }
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = files.len().div_ceil(threads.min(MOST_THREADS));
    let parse = |part: &[(&String, &Content)]| -> Vec<(String, Prepared)> {
        let one = |(path, content): &(&String, &Content)| {
            ((*path).clone(), prepare_one(path, content, defaults))
        };
        part.iter().map(one).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks(share)
            .map(|part| scope.spawn(move || parse(part)))
            .collect();
        // A part whose thread failed is parsed again in turn, and fails there for all to see.
        let done = parts.into_iter().filter_map(|part| part.join().ok());
        done.flatten().collect()
    })
}

pub(super) fn prepare_one(path: &str, content: &Content, defaults: &Defaults) -> Prepared {
    let parsed = parse_source(path, content, defaults);
    let mut complete = BTreeMap::new();
    for (place, document) in parsed.documents.iter().enumerate() {
        if let Declares::App(key, Some(draft)) = &document.declares
            && draft.files.is_empty()
            && let Ok(spec) = files::load(draft, &mut |_| Lookup::Missing)
        {
            let declaration = Declaration {
                app: key.clone(),
                path: path.to_owned(),
                line: document.line,
                digest: spec.digest(),
                spec: Arc::new(spec),
            };
            complete.insert(place, Box::new(declaration));
        }
    }
    Prepared { parsed, complete }
}
