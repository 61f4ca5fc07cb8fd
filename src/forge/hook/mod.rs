//! What forges deliver to a webhook: whose it is, whether it is authentic, what it says.
//!
//! Pure: takes headers, body, secret and time. The order is the caller's to keep:
//! [`Envelope::of`] looks at headers alone, [`Envelope::verify`] proves the raw body, and
//! only then does [`Envelope::open`] parse it. Nothing here panics, whatever was sent;
//! texts that come out are bounded and hold no control characters. The list of commits in
//! a push is never looked at: every forge cuts it. Deliberately absent: replays, what is
//! done about an event (`http::hooks`).

mod envelope;
mod parse;
mod text;
mod verify;

pub use envelope::{Envelope, Headers};
pub use verify::Forged;

use crate::model::CommitId;
pub use crate::model::Vendor;

/// What one authentic delivery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub vendor: Vendor,
    /// The vendor's word for it; empty where it has none.
    pub event: String,
    /// The vendor's number of it; the same when it is delivered again.
    pub id: Option<String>,
    /// At least one; Bitbucket tells several of a push at once.
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Push {
        branch: String,
        /// The branch's new head, where it is told.
        after: Option<CommitId>,
    },
    BranchCreated {
        branch: String,
        after: Option<CommitId>,
    },
    BranchDeleted {
        branch: String,
    },
    Tag {
        name: String,
        /// The commit, not the tag's own object; `None` where only that is told.
        commit: Option<CommitId>,
    },
    TagDeleted {
        name: String,
    },
    PullRequest(PullRequestEvent),
    /// Something changed; a generic sender need not say what.
    Changed,
    /// The forge asks whether anybody is there.
    Ping,
    Ignored {
        /// The vendor's word for it.
        event: String,
        why: String,
    },
}

/// A pull request, or a merge request. What it was when the forge sent this: it may have
/// moved on since, so whoever acts on it asks the forge or Git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequestEvent {
    pub number: u64,
    pub action: PullRequestAction,
    /// Name of the branch that it is to be merged into.
    pub base: String,
    /// Name of the branch that it comes from, in its own repository.
    pub head_ref: String,
    /// Commit that is to be merged; Bitbucket Cloud gives its first twelve digits only.
    pub head: CommitId,
    /// The forge's trial merge, or the real one once it is merged; where it is told.
    pub merge: Option<CommitId>,
    /// Its branch is in another repository than its base.
    pub from_fork: bool,
    pub title: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullRequestAction {
    Opened,
    /// New commits.
    Updated,
    Reopened,
    Closed {
        merged: bool,
    },
    /// Title, description or base.
    Edited,
    /// What concerns people only: labels, reviews, assignees.
    Other,
}

/// Why an authentic body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

#[cfg(test)]
mod tests;
