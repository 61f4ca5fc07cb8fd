//! The shell around the real `step`, as the worker, the stream and the reporter are: it wakes,
//! decides, sends out, and takes back what came of it. A crash loses it; what it wrote down stays
//! with the [`Machine`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::event::{AgentEvent, Event, MachineEvent, Out};
use super::machine::Machine;
use super::rng::{Moment, Rng};
use crate::agent::admission::{Admission, Known, admit};
use crate::agent::step::absorb::{LookAgain, Outcome};
use crate::agent::step::hysteresis::Pace;
use crate::agent::step::{
    DOCKER, InstanceView, Local, Millis, Note, Probing, image_views, instance_view, probing, step,
};
use crate::model::instance::{ProbeAnswer, ProbeKind};
use crate::model::node::ImageState;
use crate::model::{DesiredSet, Epoch, FailureKind, Generation, InstanceId};
use crate::plan::observe::{NodeReport, SeenInstance, SeenNote};

/// Between two full reports.
const HEARTBEAT: u64 = 3_000;
/// While all is quiet in the end the same silence is kept with fewer of them.
const QUIET_HEARTBEAT: u64 = 9_000;
const LIST_PERIOD: u64 = 15_000;
const SAVE_PAUSE: u64 = 1_000;
const WRITE_RETRY: u64 = 1_000;

/// What is told to a controller.
#[derive(Clone, Debug)]
pub struct Report {
    pub body: NodeReport,
    pub session: Uuid,
    pub sequence: u64,
    pub applied: Option<(Epoch, Generation)>,
}

/// A report on its way, and what it shows, for when it was taken.
#[derive(Clone, Debug)]
pub struct Sent {
    pub node: usize,
    pub life: u64,
    pub report: Report,
    pub view: View,
}

/// The node as it is shown.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct View {
    applied: Option<(Epoch, Generation)>,
    instances: BTreeMap<InstanceId, InstanceView>,
    images: BTreeMap<String, ImageState>,
}

struct Asking {
    probing: Probing,
    pace: Pace,
    began: Moment,
    /// Of the answer that is awaited; an older one is not asked again.
    turn: u64,
}

pub struct Agent {
    pub life: u64,
    node: usize,
    born: Moment,
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
    notes: Vec<Note>,
    awake_at: Option<Moment>,
    pub rng: Rng,
    pub quiet: bool,
}

impl Agent {
    pub fn start(node: usize, machine: &mut Machine, life: u64, seed: u64, out: &mut Out) -> Agent {
        let mut rng = Rng::new(seed, 7_000 + node as u64 * 1_000 + life);
        let session = Uuid::from_u64_pair(rng.next(), rng.next());
        let born = out.now;
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
            local.admit(set);
        }
        let mut agent = Agent {
            life,
            node,
            born,
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
            notes: Vec::new(),
            awake_at: None,
            rng,
            quiet: false,
        };
        agent.connect_soon(out);
        agent.turn(machine, out);
        agent
    }

    fn millis(&self, now: Moment) -> Millis {
        Millis(now.0 as i64 - self.born.0 as i64)
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
        self.local.admit(&set);
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

    /// A probe is answered. True: something is different.
    fn probe(
        &mut self,
        id: InstanceId,
        kind: ProbeKind,
        turn: u64,
        machine: &Machine,
        out: &mut Out,
    ) -> bool {
        let now = self.millis(out.now);
        let Some(asking) = self.asking.get_mut(&(id, kind)).filter(|a| a.turn == turn) else {
            return false;
        };
        let Some(instance) = self.desired.as_ref().and_then(|d| d.instances.get(&id)) else {
            return false;
        };
        let container = machine.containers.get(&id);
        let serves = container.and_then(|c| c.serves().filter(|(from, _)| *from <= out.now));
        let passed = serves.is_some_and(|(_, until)| out.now < until);
        let answer = ProbeAnswer {
            probe: kind,
            passed,
            answer: if passed { "connected" } else { "refused" }.to_owned(),
        };
        let told = self.local.probed(instance, asking.probing.run, answer, now);
        self.notes.extend(told.notes);
        let mut pause = asking.pace.next(passed, out.now.since(asking.began));
        if passed && !told.changed {
            // The same answers change nothing: some of them are left out.
            let left = serves.map_or(0, |(_, until)| until.0 - out.now.0);
            let least = asking.probing.probe.interval;
            pause = (least * 8).min(Duration::from_millis(left)).max(least);
        }
        let at = out.now + pause;
        out.at(
            at,
            Event::Agent(
                self.node,
                self.life,
                Box::new(AgentEvent::Probe { id, kind, turn }),
            ),
        );
        told.changed
    }

    fn keep_probes(&mut self, desired: &DesiredSet, out: &mut Out) {
        let wanted = probing(desired, &self.local);
        self.asking
            .retain(|key, asking| wanted.get(key) == Some(&asking.probing));
        for ((id, kind), probing) in wanted {
            if self.asking.contains_key(&(id, kind)) {
                continue;
            }
            self.turns += 1;
            let turn = self.turns;
            let quickest = probing.quick.then_some(Duration::from_millis(50));
            let pace = Pace::new(probing.probe.interval, quickest);
            self.asking.insert(
                (id, kind),
                Asking {
                    probing,
                    pace,
                    began: out.now,
                    turn,
                },
            );
            let ms = self.rng.between(1, 60);
            self.later(ms, AgentEvent::Probe { id, kind, turn }, out);
        }
    }

    /// Decides and sends out.
    pub fn turn(&mut self, machine: &mut Machine, out: &mut Out) {
        let now = self.millis(out.now);
        let mut wake: Option<Moment> = None;
        let mut wake_at = |at: Moment| wake = Some(wake.map_or(at, |w: Moment| w.min(at)));
        if let Some(desired) = self.desired.clone() {
            let decided = step(&desired, &self.local, now);
            if let Some(at) = decided.wake_at {
                wake_at(Moment((self.born.0 as i64 + at.0).max(0) as u64));
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
            for memory in self.local.instances.values_mut() {
                memory.wants_logs = false;
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

    fn view(&self) -> View {
        let mut view = View::default();
        if let Some(desired) = &self.desired {
            view.applied = Some((desired.epoch, desired.generation));
            view.images = image_views(desired, &self.local);
            for instance in desired.instances.values() {
                let shown = instance_view(instance, &self.local);
                view.instances.extend(shown.map(|v| (instance.id, v)));
            }
        }
        view
    }

    /// Tells what is new, and everything every heartbeat. Returns when to look again.
    fn report(&mut self, machine: &Machine, out: &mut Out) -> Option<Moment> {
        if !self.listed_once || self.reporting.is_some() {
            return None;
        }
        if out.now < self.report_not_before {
            return Some(self.report_not_before);
        }
        let full = self.full || self.next_full <= out.now || self.taken.is_none();
        let view = self.view();
        let base = self.taken.as_ref().filter(|_| !full);
        if base == Some(&view) && self.notes.is_empty() {
            return Some(self.next_full);
        }
        let now = self.millis(out.now);
        let instances = view
            .instances
            .values()
            .filter(|i| base.is_none_or(|v| v.instances.get(&i.id) != Some(i)))
            .map(|i| seen(i, now))
            .collect();
        let base_images = base.filter(|v| v.applied == view.applied);
        let images = view
            .images
            .iter()
            .filter(|(name, state)| base_images.is_none_or(|v| v.images.get(*name) != Some(state)))
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect();
        let notes = std::mem::take(&mut self.notes)
            .into_iter()
            .map(|n| SeenNote {
                instance: n.instance,
                kind: n.kind,
                age_ms: now.since(n.at),
                message: n.message,
            })
            .collect();
        self.sequence += 1;
        self.reporting = Some(self.sequence);
        if full {
            let pause = if self.quiet {
                QUIET_HEARTBEAT
            } else {
                HEARTBEAT
            };
            self.next_full = out.now.plus(pause);
            self.full = false;
        }
        let report = Report {
            body: NodeReport {
                node: machine.name.clone(),
                facts: machine.facts.clone(),
                instances,
                images,
                notes,
            },
            session: self.session,
            sequence: self.sequence,
            applied: view.applied,
        };
        out.reports.push(Sent {
            node: self.node,
            life: self.life,
            report,
            view,
        });
        Some(self.next_full)
    }
}

fn seen(view: &InstanceView, now: Millis) -> SeenInstance {
    SeenInstance {
        id: view.id,
        phase: view.phase,
        ready_ms: view.ready_since.map(|since| now.since(since)),
        running_ms: view.running_since.map(|since| now.since(since)),
        exits: view.exits,
        restarts: view.restarts,
        container_id: view.container_id.clone(),
        ports: BTreeMap::new(),
        last_exit: view.last_exit.clone(),
        last_probe: view.last_probe.clone(),
        failure: view.failure.clone(),
        log_tail: view.log_tail.clone(),
    }
}
