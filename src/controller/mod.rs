//! The loops that keep a cluster equal to Git, and the [`Handle`] by which the
//! rest of the program reaches them.
//!
//! Every write goes through [`Handle::transact`]: decide on the image in memory,
//! commit to the store under the leader's epoch, apply the same changes in
//! memory, wake whoever looks at them. What is decided lives in `plan`; here is
//! only the doing of it.

mod error;
mod seam;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

pub use error::{BoxError, Error};
pub use seam::{AppReport, Decision, IdSource, Refusal};

use crate::api::agent::{Report, ToAgent};
use crate::model::{
    AppKey, Event, Generation, InstanceId, NodeName, Snapshot, SourceName, SyncOutcome, Timestamp,
};

/// Reaches the running controller; cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    cluster: String,
    events: broadcast::Sender<Arc<Event>>,
}

/// What this controller is at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub role: Role,
    /// URL of the leader, also when it is this one; `None`: nobody leads.
    pub leader: Option<String>,
    /// The last thing asked of the database was answered.
    pub database: bool,
    /// The image in memory is loaded: reads can be answered.
    pub loaded: bool,
    pub generation: Generation,
}

impl Status {
    /// Meaning of `/readyz`.
    pub fn is_ready(&self) -> bool {
        self.database && self.loaded
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
}

/// How a transaction ended that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub generation: Generation,
    /// With the ids that the store gave them.
    pub events: Vec<Event>,
}

/// Live state of a source's sync; newer than what the snapshot says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncStatus {
    /// A fetch or its evaluation is under way.
    pub running: bool,
    pub last_attempt_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
    /// Of the last attempt.
    pub outcome: SyncOutcome,
    /// Attempts finished since this controller leads.
    pub attempts: u64,
}

/// One line of an instance's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub instance: InstanceId,
    pub slot: u32,
    pub node: NodeName,
    pub line: String,
}

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Lines from the end of each instance's output.
    pub tail: usize,
    pub follow: bool,
}

impl Handle {
    /// Name of the cluster: labels, commit status context.
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    pub fn status(&self) -> Status {
        Status {
            role: Role::Follower,
            leader: None,
            database: false,
            loaded: false,
            generation: Generation(0),
        }
    }

    /// Looks at the image in memory, on leader and follower alike. `look` must be quick:
    /// writers wait for it.
    pub fn read<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Result<T, Error> {
        let _ = look;
        Err(Error::NotLoaded)
    }

    /// Decides on the image as it is and makes it so: all of it, or nothing and an error.
    /// `cause` is one line for the log of commits (`operator: rollback`, `sync: shop`).
    pub async fn transact(
        &self,
        cause: &str,
        decide: impl FnOnce(&Snapshot, Timestamp, &mut IdSource) -> Result<Decision, Refusal> + Send,
    ) -> Result<Committed, Error> {
        let _ = (cause, decide);
        Err(Error::NotLoaded)
    }

    /// Everything that is committed from now on. A slow reader loses the oldest and is told
    /// (`Lagged`): it then reads from the store.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.events.subscribe()
    }

    /// Asks for a sync at once; triggers coalesce. Leader only.
    pub fn trigger_sync(&self, source: &SourceName) -> Result<(), Error> {
        Err(Error::NoSource(source.clone()))
    }

    /// `None` on a follower, and until the source's task has started.
    pub fn sync_status(&self, source: &SourceName) -> Option<SyncStatus> {
        let _ = source;
        None
    }

    /// What the last planning run said of the app; `None` on a follower.
    pub fn app_report(&self, app: &AppKey) -> Option<Arc<AppReport>> {
        let _ = app;
        None
    }

    /// A node's agent opens its stream: its desired set at once, then whenever it changes,
    /// and a ping every heartbeat. A newer stream of the same node ends the older one.
    pub fn agent_connected(&self, node: NodeName) -> Result<BoxStream<'static, ToAgent>, Error> {
        Err(Error::NoAgent(node))
    }

    /// Takes in what a node says.
    pub async fn report(&self, report: Report) -> Result<(), Error> {
        let _ = report;
        Err(Error::NotLoaded)
    }

    /// Output of an app's instances, or of one of them, as their nodes send it.
    pub async fn logs(
        &self,
        app: &AppKey,
        instance: Option<InstanceId>,
        query: LogQuery,
    ) -> Result<BoxStream<'static, LogLine>, Error> {
        let _ = (app, instance, query);
        Err(Error::NotLoaded)
    }

    /// Where the body of `/agent/streams/{id}` goes, line by line (without line feeds);
    /// dropping the sender ends it, and a failed send means that the reader has left.
    pub fn log_sink(&self, id: Uuid) -> Result<mpsc::Sender<String>, Error> {
        let _ = id;
        Err(Error::NoStream)
    }
}
