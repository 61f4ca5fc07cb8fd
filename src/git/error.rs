//! What can go wrong with a source, told so that a person knows what to do.

use std::time::Duration;

use crate::model::CommitId;

/// Texts hold the url without any user part, and never a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Worth trying again by itself.
    #[error("cannot reach {url}: {why}; what runs stays as it is, and the next poll tries again")]
    Unreachable { url: String, why: String },

    #[error("{url} has no branch \"{branch}\"{}; nothing is removed: push the branch again or change the source's branch", others(.known))]
    BranchMissing {
        url: String,
        branch: String,
        /// Some of the branches that exist.
        known: Vec<String>,
    },

    #[error("commit {} has no folder \"{path}\"; nothing is removed: restore it or change the source's path", .commit.short())]
    PathMissing { commit: CommitId, path: String },

    /// The mirror does not hold it (any more): compare with nothing instead.
    #[error("commit {} is not in the mirror of {url}; it is read anew as a whole", .commit.short())]
    CommitMissing { url: String, commit: CommitId },

    /// A person must act.
    #[error("{url}: {why}")]
    Refused { url: String, why: Refusal },

    /// The repository's content is not fit to be read.
    #[error("commit {} is refused: {path}: {why}; nothing is changed until a commit without it arrives", .commit.short())]
    Hostile {
        commit: CommitId,
        path: String,
        why: String,
    },

    #[error("fetching {url} did not end within {} s; what runs stays as it is, and the next poll tries again", .after.as_secs_f64())]
    Timeout { url: String, after: Duration },

    /// Disk, or a broken mirror.
    #[error("{what}: {why}; check the controller's data folder (space, permissions)")]
    Local { what: String, why: String },
}

/// Why a remote or a setting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the url cannot be used: {why}")]
    Url { why: String },

    #[error("{answer}: {todo}")]
    Credentials { answer: String, todo: String },

    #[error(
        "not found: there is no such repository, or these credentials may not see it; check the url and the token's scope"
    )]
    NotFound,

    #[error(
        "redirects to {to}, which is not the same host, and credentials stay here: set the source's url to that address if it is right"
    )]
    Redirect { to: String },

    #[error("the host key of {} is not known (fingerprint {}); compare it with the one the host's operator publishes, then add this line to {}: {}", .0.host, .0.fingerprint, .0.file, .0.line)]
    HostKeyUnknown(Box<HostKey>),

    #[error("THE HOST KEY OF {} HAS CHANGED (now {}): somebody may be listening in, or the host was set up anew; only if its operator confirms the new fingerprint, replace the host's lines in {} with: {}", .0.host, .0.fingerprint, .0.file, .0.line)]
    HostKeyChanged(Box<HostKey>),

    #[error("the host key of {} ({}) is marked as revoked in {}; do not use this host until its operator says why", .0.host, .0.fingerprint, .0.file)]
    HostKeyRevoked(Box<HostKey>),

    #[error("cannot use {file}: {why}")]
    File { file: String, why: String },
}

/// The key that an ssh host showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    pub host: String,
    /// `SHA256:…`, as ssh prints it.
    pub fingerprint: String,
    /// Where known keys are kept.
    pub file: String,
    /// What to put there, were the key the right one.
    pub line: String,
}

fn others(known: &[String]) -> String {
    if known.is_empty() {
        " (it has none at all)".to_owned()
    } else {
        format!(" (it has {})", known.join(", "))
    }
}

impl Error {
    /// A failure of this host's own storage.
    pub(super) fn local(what: impl Into<String>, why: impl ToString) -> Error {
        Error::Local {
            what: what.into(),
            why: why.to_string(),
        }
    }
}
