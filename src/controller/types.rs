//! What the controller is told and tells.

use std::time::Duration;

use crate::model::{Event, Generation, InstanceId, NodeName, SyncOutcome, Timestamp};
use crate::plan::Settings;
use crate::store::{Retention, Subject};

/// How a controller works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the cluster: in every container's labels.
    pub cluster: String,
    /// Unique per process: who holds the lease.
    pub holder: String,
    /// URL by which agents and other controllers reach this one.
    pub address: String,
    /// URL by which people and forges reach the API; `None`: `address`.
    pub external_url: Option<String>,
    pub settings: Settings,
    pub retention: Retention,
    /// For how long a leadership lasts without a renewal, by the database's clock.
    pub lease_ttl: Duration,
    /// Between two looks of a follower at the lease and at the state.
    pub follow_interval: Duration,
    /// For one fetch of a source.
    pub fetch_deadline: Duration,
    /// Folders of nodes that `hostPath` volumes may lie in.
    pub allowed_host_paths: Vec<String>,
}

impl Options {
    pub fn new(
        cluster: impl Into<String>,
        holder: impl Into<String>,
        address: impl Into<String>,
    ) -> Options {
        Options {
            cluster: cluster.into(),
            holder: holder.into(),
            address: address.into(),
            external_url: None,
            settings: Settings::default(),
            retention: Retention::default(),
            lease_ttl: Duration::from_secs(10),
            follow_interval: Duration::from_secs(1),
            fetch_deadline: Duration::from_secs(120),
            allowed_host_paths: Vec::new(),
        }
    }

    /// URL by which people and forges reach the API, without a slash at its end.
    pub fn reached_at(&self) -> &str {
        let url = self.external_url.as_deref().unwrap_or(&self.address);
        url.trim_end_matches('/')
    }
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
    /// Meaning of `/readyz`: this process answers reads, and writes reach a leader.
    pub fn is_ready(&self) -> bool {
        self.database && self.loaded && self.leader.is_some()
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
    /// When a forge first said that there is what the last attempt looked for; `None`: the
    /// attempt was nobody's word.
    pub hinted_at: Option<Timestamp>,
    pub last_attempt_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
    /// Of the last attempt.
    pub outcome: SyncOutcome,
    /// Attempts finished since this controller leads.
    pub attempts: u64,
    /// What works but should not stay so, each a sentence.
    pub warnings: Vec<String>,
}

/// As of when a caller knows what a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    pub subject: Subject,
    /// Of the document (see [`super::Versions`]).
    pub version: u64,
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
