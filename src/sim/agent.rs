//! The shell around the real `step`, as the worker, the stream and the reporter are: it wakes,
//! decides, sends out, and takes back what came of it. A crash loses it; what it wrote down stays
//! with the [`Machine`].

mod probes;
mod report;

use probes::Asking;
pub use report::{Report, Sent, View};

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::event::{AgentEvent, Event, MachineEvent, Out};
use super::machine::Machine;
use super::rng::{Moment, Rate, Rng};
use crate::agent::admission::{Admission, Known, admit};
use crate::agent::step::absorb::{Explained, LookAgain, Outcome};
use crate::agent::step::{DOCKER, Local, Memory, Millis, Note, step};
use crate::model::instance::ProbeKind;
use crate::model::{DesiredSet, FailureKind, InstanceId};

const LIST_PERIOD: u64 = 15_000;
const SAVE_PAUSE: u64 = 1_000;
const EVIDENCE_WAIT: u64 = 500;
const WRITE_RETRY: u64 = 1_000;

pub struct Agent {
    pub life: u64,
    node: usize,
    born: Moment,
    rate: Rate,
    local: Local,
    pub desired: Option<Arc<DesiredSet>>,
    session: Uuid,
    sequence: u64,
    /// The stream it listens to.
    pub connection: Option<u64>,
    newest: Option<Arc<DesiredSet>>,
    writing: bool,
    asking: BTreeMap<(InstanceId, ProbeKind), Asking>,
    turns: u64,
    list_due: Moment,
    listing: bool,
    list_again: bool,
    list_retry: u64,
    listed_once: bool,
    saved_at: Moment,
    taken: Option<View>,
    reporting: Option<u64>,
    full: bool,
    report_pause: u64,
    report_not_before: Moment,
    next_full: Moment,
    /// Until when what an instance says is held back, since its log cannot be read.
    evidence: BTreeMap<InstanceId, Moment>,
    notes: Vec<Note>,
    awake_at: Option<Moment>,
    pub rng: Rng,
    pub quiet: bool,
}

impl Agent {
    pub fn start(node: usize, machine: &mut Machine, life: u64, seed: u64, out: &mut Out) -> Agent {
        let mut rng = Rng::new(seed, 7_000 + node as u64 * 1_000 + life);
        let session = Uuid::from_u64_pair(rng.draw(), rng.draw());
        let born = out.now;
        let rate = Rate::draw(&mut rng);
        let mut local = Local::new([DOCKER]);
        let (set, hold) = if machine.ledger_damaged {
            let why = "the ledger cannot be read; waiting for a new desired set";
            (machine.previous.clone(), Some(why.to_owned()))
        } else {
            (machine.ledger.clone(), None)
        };
        local.restore(machine.kept.clone(), Millis(0));
        local.hold = hold;
        if let Some(set) = &set {
            local.admit(set, Millis(0));
        }
        let mut agent = Agent {
            life,
            node,
            born,
            rate,
            local,
            desired: set,
            session,
            sequence: 0,
            connection: None,
            newest: None,
            writing: false,
            asking: BTreeMap::new(),
            turns: 0,
            list_due: born,
            listing: false,
            list_again: false,
            list_retry: 100,
            listed_once: false,
            saved_at: born,
            taken: None,
            reporting: None,
            full: true,
            report_pause: 200,
            report_not_before: born,
            next_full: born,
            evidence: BTreeMap::new(),
            notes: Vec::new(),
            awake_at: None,
            rng,
            quiet: false,
        };
        agent.connect_soon(out);
        agent.turn(machine, out);
        agent
    }

    /// By its own clock, since its start.
    fn millis(&self, now: Moment) -> Millis {
        Millis(self.rate.counted(now.0 - self.born.0) as i64)
    }

    fn later(&mut self, ms: u64, event: AgentEvent, out: &mut Out) {
        out.at(
            out.now.plus(ms),
            Event::Agent(self.node, self.life, Box::new(event)),
        );
    }

    fn connect_soon(&mut self, out: &mut Out) {
        let pause = self.rng.between(100, 2_000);
        self.later(pause, AgentEvent::Connect, out);
    }

    pub fn absorb(&mut self, event: AgentEvent, machine: &mut Machine, out: &mut Out) {
        let now = self.millis(out.now);
        let desired = self.desired.clone();
        let desired = desired.as_deref();
        match event {
            AgentEvent::Wake => {
                if self.awake_at.is_some_and(|at| at <= out.now) {
                    self.awake_at = None;
                }
            }
            // The world finds a controller and answers.
            AgentEvent::Connect => return,
            AgentEvent::Connected(connection) => {
                self.connection = Some(connection);
                self.full = true;
                self.report_not_before = out.now;
            }
            AgentEvent::Disconnected(connection) => {
                if self.connection.is_none() || self.connection == Some(connection) {
                    self.connection = None;
                    self.connect_soon(out);
                }
            }
            AgentEvent::Desired(set) => {
                self.newest = Some(set);
                self.take(machine, out);
            }
            AgentEvent::Echo(set) => {
                self.echo(set, machine, out);
                return;
            }
            AgentEvent::Written(set) => {
                self.writing = false;
                self.written(set, machine, out);
                self.take(machine, out);
            }
            AgentEvent::WriteAgain => self.take(machine, out),
            AgentEvent::Done { op, outcome, after } => {
                if let Outcome::Failed(failure) = &outcome
                    && failure.kind == FailureKind::RuntimeUnavailable
                {
                    self.list_now(out.now);
                }
                let (notes, again) = self
                    .local
                    .op_finished(&op, DOCKER, outcome, after, desired, now);
                self.notes.extend(notes);
                if let (LookAgain::Yes, Some(id)) = (again, op.instance()) {
                    self.look(id, machine, out);
                }
            }
            AgentEvent::Listed(look, found) => {
                self.listing = false;
                self.listed_once = true;
                match found {
                    Some(all) => {
                        self.list_retry = 100;
                        self.list_due = if self.list_again {
                            out.now
                        } else {
                            out.now.plus(LIST_PERIOD)
                        };
                        let notes = self.local.listed(DOCKER, look, all, desired, now);
                        self.notes.extend(notes);
                    }
                    None => {
                        self.list_due = out.now.plus(self.list_retry);
                        self.list_retry = (self.list_retry * 2).min(2_000);
                        self.local.unreachable(DOCKER, "it stopped answering");
                    }
                }
                self.list_again = false;
            }
            AgentEvent::Looked(look, id, found) => match found {
                Some(found) => {
                    let notes = self.local.looked(DOCKER, look, id, found, desired, now);
                    self.notes.extend(notes);
                }
                None => self.list_now(out.now),
            },
            AgentEvent::Hint(id) => self.look(id, machine, out),
            AgentEvent::EngineChanged { up } => {
                if !up {
                    self.local.unreachable(DOCKER, "it stopped answering");
                }
                self.list_now(out.now);
            }
            AgentEvent::Probe { id, kind, turn } => {
                if !self.probe(id, kind, turn, machine, out) {
                    return;
                }
            }
            AgentEvent::Ended(id) => {
                self.ask_after_all(id, out);
                return;
            }
            AgentEvent::ReportTaken { sequence, view } => {
                if self.reporting == Some(sequence) {
                    self.reporting = None;
                    self.report_pause = 200;
                    self.taken = Some(*view);
                }
            }
            AgentEvent::ReportFailed { sequence } => {
                if self.reporting == Some(sequence) {
                    self.reporting = None;
                    self.full = true;
                    self.report_not_before = out.now.plus(self.report_pause);
                    self.report_pause = (self.report_pause * 2).min(5_000);
                }
            }
        }
        self.turn(machine, out);
    }

    /// What has been heard before is nothing new, and stands in the way of nothing new.
    fn echo(&mut self, set: Arc<DesiredSet>, machine: &mut Machine, out: &mut Out) {
        if self.newest.is_none() {
            self.newest = Some(set);
            self.take(machine, out);
        }
    }

    /// Begins to write the newest set down.
    fn take(&mut self, machine: &mut Machine, out: &mut Out) {
        if self.writing {
            return;
        }
        let Some(set) = self.newest.take() else {
            return;
        };
        let known = match &self.local.hold {
            Some(_) => Known::Held,
            None => Known::InForce,
        };
        match admit(&machine.name, self.desired.as_deref(), known, &set) {
            Ok(Admission::New) if machine.disk_full => {
                self.newest = Some(set);
                self.later(WRITE_RETRY, AgentEvent::WriteAgain, out);
            }
            Ok(Admission::New) => {
                self.writing = true;
                let ms = self.rng.between(1, 30);
                self.later(ms, AgentEvent::Written(set), out);
            }
            Ok(Admission::Known) | Err(_) => {}
        }
    }

    fn written(&mut self, set: Arc<DesiredSet>, machine: &mut Machine, out: &mut Out) {
        if machine.disk_full {
            self.newest.get_or_insert(set);
            self.later(WRITE_RETRY, AgentEvent::WriteAgain, out);
            return;
        }
        if self.local.hold.is_none() {
            machine.previous = machine.ledger.clone();
        }
        machine.ledger = Some(Arc::clone(&set));
        machine.ledger_damaged = false;
        out.obeyed.push((self.node, set.epoch, set.generation));
        self.local.hold = None;
        let now = self.millis(out.now);
        self.local.admit(&set, now);
        self.desired = Some(set);
    }

    fn list_now(&mut self, now: Moment) {
        if self.list_retry == 100 {
            self.list_due = now;
        }
        self.list_again = self.listing;
    }

    fn look(&mut self, id: InstanceId, machine: &mut Machine, out: &mut Out) {
        if let Some(memory) = self.local.instances.get_mut(&id)
            && memory.in_flight.is_some()
        {
            memory.look_again = true;
            return;
        }
        let look = self.local.begin_look();
        let found = machine.reachable().then(|| machine.found(id, out.now));
        let ms = self.rng.between(1, 150);
        self.later(ms, AgentEvent::Looked(look, id, found), out);
    }

    /// Decides and sends out.
    pub fn turn(&mut self, machine: &mut Machine, out: &mut Out) {
        let now = self.millis(out.now);
        let mut wake: Option<Moment> = None;
        let mut wake_at = |at: Moment| wake = Some(wake.map_or(at, |w: Moment| w.min(at)));
        if let Some(desired) = self.desired.clone() {
            let decided = step(&desired, &self.local, now);
            if let Some(at) = decided.wake_at {
                wake_at(self.born.plus(self.rate.truly(at.0.max(0) as u64)));
            }
            self.notes.extend(decided.notes);
            for op in decided.ops {
                self.local.op_started(&op, now);
                let instance = op.instance().and_then(|id| desired.instances.get(&id));
                let ms = machine.takes(&op, out.slow_registry);
                let event = MachineEvent::Effect {
                    life: self.life,
                    instance: instance.cloned().map(Box::new),
                    op,
                };
                out.at(out.now.plus(ms), Event::Machine(self.node, Box::new(event)));
            }
            self.keep_probes(&desired, out);
            let explain = |(id, memory): (&InstanceId, &mut Memory)| {
                std::mem::take(&mut memory.wants_logs).then_some(*id)
            };
            let instances = self.local.instances.iter_mut();
            for id in instances.filter_map(explain).collect::<Vec<_>>() {
                let lines = machine.reachable().then(Vec::new);
                if self.local.logged(id, lines) == Explained::Perhaps {
                    self.evidence.insert(id, out.now.plus(EVIDENCE_WAIT));
                }
            }
        }
        if !self.listing {
            if self.list_due <= out.now {
                self.listing = true;
                let look = self.local.begin_look();
                let found = machine.reachable().then(|| machine.list(out.now));
                let ms = self.rng.between(1, 300);
                self.later(ms, AgentEvent::Listed(look, found), out);
            } else {
                wake_at(self.list_due);
            }
        }
        let kept = self.local.kept();
        if kept != machine.kept {
            let due = self.saved_at.plus(SAVE_PAUSE);
            if due <= out.now {
                self.saved_at = out.now;
                machine.kept = kept;
            } else {
                wake_at(due);
            }
        }
        if let Some(at) = self.report(machine, out) {
            wake_at(at);
        }
        let Some(at) = wake else { return };
        let at = at.max(out.now.plus(1));
        if self.awake_at.is_none_or(|awake| at < awake) {
            self.awake_at = Some(at);
            out.at(
                at,
                Event::Agent(self.node, self.life, Box::new(AgentEvent::Wake)),
            );
        }
    }
}
