//! What happens in virtual time, and where it is put until then.

use std::sync::Arc;

use super::agent::{Sent, View};
use super::controller::ControllerEvent;
use super::machine::Act;
use super::rng::Moment;
use crate::agent::found::Found;
use crate::agent::step::Op;
use crate::agent::step::absorb::Outcome;
use crate::agent::step::local::Look;
use crate::model::instance::ProbeKind;
use crate::model::{DesiredInstance, DesiredSet, Epoch, Generation, InstanceId};

#[derive(Debug)]
pub enum Event {
    /// Number of the script's happening.
    Happens(usize),
    /// What a happening began ends.
    Mends(Mend),
    /// To a node's agent of that life; a later one never hears of it.
    Agent(usize, u64, Box<AgentEvent>),
    Machine(usize, Box<MachineEvent>),
    /// To a controller process of that life.
    Controller(usize, u64, Box<ControllerEvent>),
    /// A request reaches the database.
    Store(Box<super::controller::Request>),
    /// Everything is mended.
    Calm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    Git,
    GitTree,
    Controller(usize),
    ControllerCut(usize),
    Database,
    DatabaseFlaky,
    Agent(usize),
    Disk(usize),
    Node(usize),
    Engine(usize),
    Starts(usize),
    Cut(usize),
    CutAgain(usize, u64, u64),
    Faint(usize),
    Storm,
    Registry,
}

#[derive(Debug)]
pub enum AgentEvent {
    Wake,
    Connect,
    Connected(u64),
    Disconnected(u64),
    Desired(Arc<DesiredSet>),
    /// A set that was heard comes once more, long after.
    Echo(Arc<DesiredSet>),
    Written(Arc<DesiredSet>),
    WriteAgain,
    Done {
        op: Op,
        outcome: Outcome,
        after: Option<Option<Found>>,
    },
    /// `None`: no answer.
    Listed(Look, Option<Vec<Found>>),
    Looked(Look, InstanceId, Option<Option<Found>>),
    Hint(InstanceId),
    EngineChanged {
        up: bool,
    },
    Probe {
        id: InstanceId,
        kind: ProbeKind,
        turn: u64,
    },
    /// What ran ended: probes of it that were left out are asked after all.
    Ended(InstanceId),
    ReportTaken {
        sequence: u64,
        view: Box<View>,
    },
    ReportFailed {
        sequence: u64,
    },
}

#[derive(Debug)]
pub enum MachineEvent {
    /// An operation that the agent of that life sent out comes true.
    Effect {
        life: u64,
        op: Op,
        instance: Option<Box<DesiredInstance>>,
    },
    /// A run ends by itself.
    Ends { id: InstanceId, run: u64, code: i32 },
    /// An operation that waits for the end of a run is over.
    Over { life: u64, op: Op, outcome: Outcome },
}

/// What follows from an event.
#[derive(Debug, Default)]
pub struct Out {
    pub now: Moment,
    pub events: Vec<(Moment, Event)>,
    pub reports: Vec<Sent>,
    pub acts: Vec<Act>,
    /// A node wrote down a set and obeys it.
    pub obeyed: Vec<(usize, Epoch, Generation)>,
    pub slow_registry: bool,
}

impl Out {
    pub fn at(&mut self, at: Moment, event: Event) {
        self.events.push((at, event));
    }
}
