//! A whole tree at once: for `validate`, and for tests.

use super::{ChangedFile, Content, Defaults, Index, Lookup};
use crate::model::{Catalog, Problem};

/// What a tree declares and what is wrong with it.
#[derive(Debug)]
pub struct Checked {
    pub catalog: Catalog,
    /// Ordered by file, line and column.
    pub problems: Vec<Problem>,
}

/// Checks all given files; `lookup` answers for what specs name in `files`. Files that
/// are no specs may be among them.
pub fn validate_files(
    defaults: &Defaults,
    files: impl IntoIterator<Item = (String, Content)>,
    lookup: &mut dyn FnMut(&str) -> Lookup,
) -> Checked {
    let changed = files
        .into_iter()
        .map(|(path, content)| ChangedFile { path, content })
        .collect();
    let mut index = Index::new();
    index.update(defaults, changed, lookup);
    Checked {
        problems: index.catalog().problems.clone(),
        catalog: index.catalog().clone(),
    }
}
