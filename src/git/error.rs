//! What can go wrong with a source, told so that a person knows what to do.

use std::time::Duration;

use crate::model::CommitId;

/// Texts hold the url without any user part, and never a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Worth trying again by itself.
    #[error(
        "cannot reach {url}: {why}; the last seen commit stays in force, trying again at the next poll"
    )]
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

    #[error("fetching {url} did not end within {}; trying again at the next poll", seconds(.after))]
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
        "not found: there is no such repository, or these credentials may not see it; check the url and the token's or key's scope"
    )]
    NotFound,

    #[error(
        "redirects to {to}, which is not the same host; credentials stay here: set the source's url to that address if it is right"
    )]
    Redirect { to: String },

    #[error(
        "the host key of {host} is not known (fingerprint {fingerprint}); compare it with the one the host's operator publishes, then add this line to {file}: {line}"
    )]
    HostKeyUnknown {
        host: String,
        /// `SHA256:…`, as ssh prints it.
        fingerprint: String,
        file: String,
        line: String,
    },

    #[error(
        "THE HOST KEY OF {host} HAS CHANGED (now {fingerprint}): somebody may be listening in, or the host was set up anew; only if its operator confirms the new fingerprint, replace the host's lines in {file} with: {line}"
    )]
    HostKeyChanged {
        host: String,
        fingerprint: String,
        file: String,
        line: String,
    },

    #[error(
        "the host key of {host} ({fingerprint}) is marked as revoked in {file}; do not use this host until its operator says why"
    )]
    HostKeyRevoked {
        host: String,
        fingerprint: String,
        file: String,
    },

    #[error("cannot use {file}: {why}")]
    File { file: String, why: String },
}

fn others(known: &[String]) -> String {
    if known.is_empty() {
        " (it has none at all)".to_owned()
    } else {
        format!(" (it has {})", known.join(", "))
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
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
