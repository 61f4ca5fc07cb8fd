//! What can go wrong between the two ends.

use crate::api::ProblemDetails;
use crate::api::event::Gap;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer: nothing listens there, or the network is down.
    #[error("cannot reach {url}")]
    Unreachable {
        url: String,
        #[source]
        cause: reqwest::Error,
    },
    #[error("{url} did not answer in time")]
    Timeout { url: String },
    /// The server said no; its words.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemDetails>),
    /// The answer is not what version 1 of the API would say.
    #[error("{url} gave an answer that is not Evenkeel's: {what}")]
    Protocol { url: String, what: String },
    /// A live stream left events out, and goes on after them.
    #[error("events were missed: {}", .0.why)]
    Missed(Box<Gap>),
    /// The address cannot be used.
    #[error("\"{url}\" is not an address: {why}")]
    Address { url: String, why: String },
}

impl Error {
    /// HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Problem(p) => Some(p.status),
            Error::Unreachable { .. }
            | Error::Timeout { .. }
            | Error::Protocol { .. }
            | Error::Missed(_)
            | Error::Address { .. } => None,
        }
    }
}
