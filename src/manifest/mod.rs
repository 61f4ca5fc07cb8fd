//! Specs: the text in a repository → validated [`crate::model::AppSpec`]s and problems.
//!
//! The way of one file: bytes → [`tree`] (every node with its place) → [`raw`] (the
//! grammar: one struct per mapping of a spec, the source of the JSON Schema too) →
//! [`validate`] (every rule that one document alone can break, defaults filled in) →
//! a draft whose `files` the [`Index`] then reads from the tree.
//!
//! Invariants:
//! - Every problem names the exact node; a document yields all its problems at once.
//! - Time and memory are bounded for any input ([`limits`]); nothing here panics on input.
//! - What could not be read is reported as such ([`crate::model::Catalog::unreadable`],
//!   `invalid`), so that nobody takes it for a deletion.
//! - An update of the [`Index`] costs in proportion to the files that changed.
//!
//! Deliberately not here: reading Git or disks (callers hand in bytes and a lookup),
//! comparing with what runs, and rules that need the cluster (does it fit, is the name
//! taken by another source).

mod de;
mod document;
mod field;
mod files;
mod index;
pub mod limits;
mod prepared;
pub mod problems;
mod raw;
mod render;
mod schema;
mod tree;
mod validate;
mod whole;

#[cfg(test)]
mod tests;

pub use index::Index;
pub use prepared::{Prepared, prepare};
pub use render::render_problem;
pub use schema::json_schema;
pub use whole::{Checked, validate_files};

use crate::model::ProjectName;

/// What a source and the controller's policy add to its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Of apps that name none.
    pub project: ProjectName,
    /// The source's folder below the repository's root, without slashes at the ends; empty:
    /// the root. `files` of a spec stay inside.
    pub root: String,
    /// Folders of nodes that `hostPath` volumes may lie in; empty: such volumes are refused.
    pub allowed_host_paths: Vec<String>,
}

impl Defaults {
    /// No host paths.
    pub fn new(project: ProjectName, root: impl Into<String>) -> Defaults {
        Defaults {
            project,
            root: root.into().trim_matches('/').to_owned(),
            allowed_host_paths: Vec::new(),
        }
    }
}

/// A path below the repository's root, and what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    pub path: String,
    pub content: Content,
}

/// What a changed path holds. Content is only looked at where [`is_spec_path`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Removed,
    Bytes(Vec<u8>),
    /// Above [`limits::SPEC_FILE_BYTES`], and so not read.
    TooLarge {
        size: u64,
    },
    /// A symlink, a submodule, …: `what` is a noun with its article.
    NotAFile {
        what: String,
    },
}

/// The answer for a path that a spec names in `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(Vec<u8>),
    Missing,
    /// Above [`limits::REFERENCED_FILE_BYTES`], and so not read.
    TooLarge {
        size: u64,
    },
    /// A folder, a symlink, a submodule, …: `what` is a noun with its article.
    NotAFile {
        what: String,
    },
}

/// Whether a file of this name is read for specs: `*.yaml`, `*.yml`, `*.json`. The schema
/// that editors use (`.evenkeel/`) is not a spec.
pub fn is_spec_path(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let known = [".yaml", ".yml", ".json"]
        .iter()
        .any(|end| name.len() > end.len() && name.ends_with(end));
    known && !folder.split('/').any(|part| part == ".evenkeel")
}
