//! Git: brings commits of sources to this host and says what changed in them.
//!
//! Owns the bare mirrors (one per source and url), the transports that fill
//! them, the comparison of trees by object id, and the watch on local
//! repositories. The only module that knows libgit2 and ssh.
//!
//! Invariants:
//! - A failed fetch changes nothing: the mirror keeps the last head it saw.
//! - One fetch per mirror at a time; each ends at its deadline, and at once
//!   when the caller drops its future.
//! - Credentials go to the url's own host over the url's own scheme and
//!   nowhere else, and appear in no error, log or `Debug` text.
//! - Repositories are hostile: nothing in them is executed, followed or
//!   resolved; what is not a regular file is reported as such; names Git
//!   itself would refuse condemn the commit; everything read has a bound.
//! - The host's own Git configuration is not read.
//!
//! Deliberately absent: parsing of what the files say (`manifest`), the
//! decision what a lost branch or path means (`plan`), intervals and retries
//! (`controller`), submodules, hooks, LFS, tags.

mod attempt;
mod error;
mod fetch;
mod libgit2;
pub mod limits;
mod location;
mod mirror;
mod pulls;
mod secret;
mod tidy;
mod transport;
mod tree;
mod watch;

use std::fmt;

use crate::model::{CommitId, Timestamp};

pub use error::{Error, HostKey, Refusal};
pub use mirror::Mirrors;
pub use pulls::{FetchedPull, Merged, WantedPull};
pub use tree::Reader;
pub use watch::{LocalWatch, watch_local};

/// What a fetch found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Head of the branch now.
    pub head: CommitId,
    /// Head at the last successful fetch into this mirror; `None` at the first.
    pub previous: Option<CommitId>,
    pub info: CommitInfo,
    /// A force push: `previous` is not among the ancestors of `head`.
    pub rewritten: bool,
    /// What works but should not stay so, each a sentence: a token file that others can read, a token sent in clear text.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Author's name, without control characters, at most [`limits::INFO_CHARS`].
    pub author: String,
    /// First line of the message, likewise.
    pub subject: String,
    pub committed_at: Timestamp,
}

/// Object id of a file's content, in hex: equal ids are equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub String);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One path below the source's folder that differs between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntryChange {
    /// Below the repository's root, `/` between the parts.
    pub path: String,
    pub entry: Entry,
}

/// What a path is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Removed,
    File {
        blob: BlobId,
        /// Bytes.
        size: u64,
        executable: bool,
    },
    /// Something that is never followed: a symbolic link, a submodule.
    NotAFile {
        what: String,
    },
}

/// Answer for one path or blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Found(Vec<u8>),
    Missing,
    /// Bytes; more than was asked for. Not loaded.
    TooLarge {
        size: u64,
    },
    NotAFile {
        what: String,
    },
}
