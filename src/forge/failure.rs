//! Why something was not done at a forge, and what is to be done about it.

use std::time::Duration;

/// Not done, and told so that a person knows what to repair.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    pub kind: FailureKind,
    pub again: Again,
    /// Never holds credentials.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// The token or key is missing, wrong, expired or revoked.
    Credentials,
    /// They are good, but not for this.
    Forbidden,
    /// No such repository, commit or pull request, or not for these credentials.
    NotFound,
    RateLimited,
    /// No answer, or half of one.
    Unreachable,
    /// The forge has a fault of its own.
    Faulty,
    /// It does not take what was said.
    Refused,
    Redirected,
    /// The source's settings cannot work.
    Settings,
}

impl FailureKind {
    pub const ALL: [FailureKind; 9] = [
        FailureKind::Credentials,
        FailureKind::Forbidden,
        FailureKind::NotFound,
        FailureKind::RateLimited,
        FailureKind::Unreachable,
        FailureKind::Faulty,
        FailureKind::Refused,
        FailureKind::Redirected,
        FailureKind::Settings,
    ];

    /// The word of metrics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Credentials => "credentials",
            FailureKind::Forbidden => "forbidden",
            FailureKind::NotFound => "notFound",
            FailureKind::RateLimited => "rateLimited",
            FailureKind::Unreachable => "unreachable",
            FailureKind::Faulty => "faulty",
            FailureKind::Refused => "refused",
            FailureKind::Redirected => "redirected",
            FailureKind::Settings => "settings",
        }
    }
}

/// Whether it may go through later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At the sender's own pace.
    Soon,
    After(Duration),
    /// Trying again can only give the same answer.
    Never,
}

impl Failure {
    pub fn new(kind: FailureKind, again: Again, reason: impl Into<String>) -> Failure {
        Failure {
            kind,
            again,
            reason: reason.into(),
        }
    }

    pub(super) fn settings(reason: String) -> Failure {
        Failure::new(FailureKind::Settings, Again::Never, reason)
    }
}
