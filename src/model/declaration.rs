//! What one commit of a source declares, as read: the input of a sync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::id::{AppKey, SourceName, SpecDigest};
use super::problem::Problem;
use super::source::SourceSpec;
use super::spec::AppSpec;

/// One valid app document.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    pub app: AppKey,
    /// File below the repository's root, and the document's first line in it.
    pub path: String,
    pub line: u32,
    pub spec: Arc<AppSpec>,
    pub digest: SpecDigest,
}

/// Everything a source's tree declares. Kept up to date by `manifest::Index`
/// at the cost of the files that changed.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Catalog {
    pub apps: BTreeMap<AppKey, Declaration>,
    /// Documents whose app is known but whose spec is invalid: app → (file, problems).
    pub invalid: BTreeMap<AppKey, (String, Vec<Problem>)>,
    /// Files of which it is unknown what they declare. Nothing declared there earlier is deleted.
    pub unreadable: BTreeSet<String>,
    /// `kind: Source` documents, with their file.
    pub sources: BTreeMap<SourceName, (SourceSpec, String)>,
    /// Every problem of the tree, ordered by file and line.
    pub problems: Vec<Problem>,
    pub ignored_documents: u32,
    /// Spec files in the tree; zero means an empty tree or a lost path.
    pub spec_files: usize,
}
