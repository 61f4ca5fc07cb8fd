//! Many files of a commit parsed on all cores.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::thread;

use crate::manifest::{self, ChangedFile, Content, Defaults, Prepared, limits};

/// Fewer files are parsed sooner than threads are started for them.
const MANY_FILES: usize = 64;

/// More threads than this would wait for memory.
const MOST_THREADS: usize = 16;

/// Parses many spec files side by side; of few none, they are parsed when their turn comes.
pub(super) fn prepare_all(
    changed: &[ChangedFile],
    defaults: &Defaults,
) -> BTreeMap<String, Prepared> {
    let specs: Vec<&ChangedFile> = changed
        .iter()
        .filter(|file| manifest::is_spec_path(&file.path) && file.content != Content::Removed)
        .take(limits::SPEC_FILES)
        .collect();
    if specs.len() < MANY_FILES {
        return BTreeMap::new();
    }
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = specs.len().div_ceil(threads.min(MOST_THREADS));
    let parse = |part: &[&ChangedFile]| -> Vec<(String, Prepared)> {
        let one = |file: &&ChangedFile| {
            let prepared = manifest::prepare(&file.path, &file.content, defaults);
            (file.path.clone(), prepared)
        };
        part.iter().map(one).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = specs
            .chunks(share)
            .map(|part| scope.spawn(move || parse(part)))
            .collect();
        // What a failed thread leaves out is parsed again in its turn, and fails there.
        let done = parts.into_iter().filter_map(|part| part.join().ok());
        done.flatten().collect()
    })
}
