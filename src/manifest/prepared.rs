//! A file parsed ahead of its turn. What a file says depends on that file alone, so whoever
//! has many of them may parse them side by side and hand them to the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Declares, Parsed, parse_source};
use super::{Content, Defaults, Lookup, files};
use crate::model::Declaration;

/// A parsed file, with the declarations that name no other files, by place.
#[derive(Debug)]
pub struct Prepared {
    pub(super) parsed: Parsed,
    pub(super) complete: BTreeMap<usize, Box<Declaration>>,
}

/// Parses a spec file.
pub fn prepare(path: &str, content: &Content, defaults: &Defaults) -> Prepared {
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
