//! What can go wrong between a wish and its being done.

use super::Refusal;
use crate::model::{Event, NodeName, SourceName};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another controller leads; `leader` is its URL where it is known.
    #[error("this controller does not lead{}", leader.as_ref().map(|l| format!("; {l} does")).unwrap_or_default())]
    NotLeader { leader: Option<String> },
    /// Nothing was read from the database yet: starting up, or it cannot be reached.
    #[error("the cluster state is not loaded yet; try again in a moment")]
    NotLoaded,
    /// The wish cannot be granted as the cluster is; the message says what to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody acted on it after the caller had looked: what they did.
    #[error("it was changed in between: {}", .0.message)]
    Overtaken(Box<Event>),
    /// The database did not take it: nothing was changed, and nothing will be until it is back.
    #[error("the database does not answer, nothing was changed; try again when it is back")]
    Unavailable(#[source] BoxError),
    /// The answer to a commit was lost: it may have been done. Look before trying again.
    #[error(
        "the database's answer was lost: the change may have been made; look before trying again"
    )]
    OutcomeUnknown(#[source] BoxError),
    /// A bug: what was decided does not fit the state.
    #[error("the change was not made, it does not fit the cluster state")]
    Internal(#[source] BoxError),
    #[error("there is no source {0}")]
    NoSource(SourceName),
    /// The node's agent is not connected to this controller.
    #[error("the agent of node {0} is not connected")]
    NoAgent(NodeName),
    /// The stream was never asked for, is already being written, or nobody reads it any more.
    #[error("nobody waits for this stream")]
    NoStream,
    #[error("the controller is stopping")]
    Stopping,
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
