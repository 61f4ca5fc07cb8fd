//! What controllers, the database and the world tell each other.

use crate::model::{Change, DesiredSet, Epoch, Generation, NodeName, Snapshot, SourceName};
use crate::sim::agent::Sent;
use crate::sim::apps::Tree;
use crate::sim::rng::Moment;
use crate::sim::store::{Lease, Refused};
use crate::sim::verbs::Verb;
use std::sync::Arc;

#[derive(Debug)]
pub enum ControllerEvent {
    Tick,
    Answer(Answer),
    Report(Box<Sent>),
    Connect {
        node: usize,
        life: u64,
        name: NodeName,
        connection: u64,
    },
    Fetched {
        source: SourceName,
        head: Option<Head>,
    },
    /// Git tells that somebody pushed.
    Pushed,
    Verb(Verb),
}

/// What a fetch found.
#[derive(Clone, Debug)]
pub struct Head {
    pub number: usize,
    pub tree: Arc<Tree>,
}

/// To the database.
#[derive(Debug)]
pub struct Request {
    pub from: usize,
    pub life: u64,
    pub ask: Ask,
    /// When it was decided.
    pub asked: Moment,
    pub fate: Fate,
}

#[derive(Debug)]
pub enum Ask {
    Acquire {
        asked: Moment,
    },
    Renew {
        epoch: Epoch,
        asked: Moment,
    },
    Load,
    Commit {
        epoch: Epoch,
        base: Generation,
        changes: Arc<Vec<Change>>,
        why: Why,
    },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// It comes true and its answer says that nobody knows.
    AnswerLost,
    /// The same, and it comes true only after the asker has gone on.
    Late,
    /// It never arrives, and nobody knows.
    Lost,
    /// It never arrives, and the asker is told.
    Unavailable,
}

#[derive(Debug)]
pub enum Answer {
    Acquired(Option<Lease>, Moment),
    Renewed(Result<Lease, Refused>, Moment),
    Loaded(Box<Snapshot>),
    Committed(Result<Generation, Refused>),
    Unknown,
    Unavailable,
    /// A renewal or an acquisition that failed.
    NoLease,
}

/// What a commit is for: the watch asks whether it may do what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Report,
    Plan,
    Sync { head: usize },
    Failed,
    Liveness,
    Verb,
}

/// What a controller wants done.
#[derive(Default)]
pub struct Wishes {
    pub asks: Vec<Ask>,
    pub fetches: Vec<SourceName>,
    pub sets: Vec<(usize, u64, Arc<DesiredSet>)>,
    pub hangups: Vec<(usize, u64)>,
    /// Nodes of which it takes a sign of life in now: what their reports say may be written down
    /// later, or never.
    pub heard: Vec<NodeName>,
    pub taken: Vec<(Box<Sent>, bool)>,
    /// It looked who is silent and who is not, and found nothing to write down.
    pub looked: bool,
    pub connected: Vec<(usize, u64, u64)>,
    pub tick: Option<Moment>,
    pub broken: Vec<String>,
}
