//! The cluster in virtual time: nodes, controllers, the database, the repository and the network
//! between them, moved by one queue of events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use super::agent::{Agent, Sent};
use super::apps::{self, Doc, Tree};
use super::controller::{
    Answer, Ask, Controller, ControllerEvent, Fate, Head, Request, Why, Wishes,
};
use super::event::{AgentEvent, Event, MachineEvent, Mend, Out};
use super::log::Log;
use super::machine::{Act, ActKind, Machine};
use super::rng::{Moment, Rng};
use super::script::Script;
use super::store::Store;
use super::watch::Watch;
use crate::agent::step::Op;
use crate::agent::step::absorb::Outcome;
use crate::model::node::{NodeFacts, RUNTIME_DOCKER};
use crate::model::quantity::Resources;
use crate::model::source::Credentials;
use crate::model::{AppKey, Change, NodeName, Source, SourceName, SourceSpec};

/// Longest time in which a cluster whose faults have ended comes to rest.
pub const PATIENCE: u64 = 40 * 60_000;
/// For how long nothing may be done once it has.
pub const REST: u64 = 10 * 60_000;
/// Nothing done for so long counts as rest.
pub const STILL: u64 = 100_000;
const CLIENT_TIMEOUT: u64 = 10_000;
/// An agent notices by missing pings that its stream is dead.
const PINGS_MISSED: u64 = 9_000;

pub struct Place {
    pub machine: Machine,
    pub agent: Option<Agent>,
    life: u64,
    pub cut: bool,
}

pub struct Desk {
    pub controller: Option<Controller>,
    life: u64,
    frozen_until: Moment,
    cut: bool,
    skew_ms: i64,
}

impl Desk {
    pub fn set_clock(&mut self, by_ms: i64) {
        self.skew_ms += by_ms;
    }
}

#[derive(Default)]
struct Storm {
    loss: u64,
    twice: u64,
    late: u64,
}

struct Queued {
    at: Moment,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub struct World {
    pub script: Script,
    pub now: Moment,
    queue: BinaryHeap<Reverse<Queued>>,
    numbers: u64,
    pub store: Store,
    database_ms: i64,
    database_up: bool,
    flaky: u64,
    pub history: Vec<Arc<Tree>>,
    git_up: bool,
    git_empty: bool,
    pub places: Vec<Place>,
    pub desks: Vec<Desk>,
    storm: Storm,
    registry_up: bool,
    net: Rng,
    database: Rng,
    misc: Rng,
    connections: u64,
    pub calm: bool,
    /// Last time that something was decided or done.
    pub moved_at: Moment,
    /// When to look for rest again.
    pub look_at: Moment,
    pub watch: Watch,
    pub log: Log,
    pub events: u64,
}

fn name(n: usize) -> Option<NodeName> {
    format!("n{n}").parse().ok()
}

fn main_source() -> Option<SourceName> {
    "main".parse().ok()
}

impl World {
    pub fn new(script: Script, log: Log) -> World {
        let seed = script.seed;
        let mut world = World {
            now: Moment(0),
            queue: BinaryHeap::new(),
            numbers: 0,
            store: Store::default(),
            database_ms: 1_700_000_000_000,
            database_up: true,
            flaky: 0,
            history: Vec::new(),
            git_up: true,
            git_empty: false,
            places: Vec::new(),
            desks: Vec::new(),
            storm: Storm::default(),
            registry_up: true,
            net: Rng::new(seed, 11),
            database: Rng::new(seed, 12),
            misc: Rng::new(seed, 13),
            connections: 0,
            calm: false,
            moved_at: Moment(0),
            look_at: Moment(0),
            watch: Watch::default(),
            log,
            events: 0,
            script,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        let mut rng = Rng::new(self.script.seed, 2);
        let mut tree = Tree::new();
        for n in 0..self.script.apps {
            if let Ok(app) = format!("shop/app{n}").parse::<AppKey>() {
                let spec = apps::new_spec(&app, n, &mut rng);
                tree.insert(app, Doc::Valid(Arc::new(spec)));
            }
        }
        self.history.push(Arc::new(tree));
        if let Some(source) = main_source() {
            let spec = SourceSpec {
                name: source,
                url: "/srv/main".to_owned(),
                branch: "main".to_owned(),
                path: String::new(),
                project: self.project(),
                interval: std::time::Duration::from_secs(20),
                credentials: Credentials::default(),
                webhook_secret_file: None,
                forge: None,
                pull_requests: Default::default(),
            };
            let _ = self
                .store
                .snapshot
                .apply(&Change::PutSource(Box::new(Source::new(spec, None))));
        }
        for n in 0..self.script.nodes {
            self.add_node(n, &mut rng);
        }
        for which in 0..self.script.controllers {
            self.desks.push(Desk {
                controller: None,
                life: 0,
                frozen_until: Moment(0),
                cut: false,
                skew_ms: 0,
            });
            self.start_controller(which);
        }
        for (index, (at, _)) in self.script.happenings.clone().iter().enumerate() {
            self.put(*at, Event::Happens(index));
        }
        self.put(self.script.calm_at, Event::Calm);
    }

    fn project(&self) -> crate::model::ProjectName {
        self.history[0]
            .keys()
            .next()
            .map(|k| k.project.clone())
            .unwrap_or_else(|| unreachable!("a script has apps"))
    }

    fn add_node(&mut self, n: usize, rng: &mut Rng) {
        let Some(name) = name(n) else { return };
        let machine = Machine {
            name,
            facts: NodeFacts {
                address: format!("10.0.0.{n}"),
                capacity: Resources {
                    cpu_millis: rng.between(2_000, 8_000),
                    memory_bytes: rng.between(2_048, 8_192) << 20,
                },
                attributes: BTreeMap::from([(RUNTIME_DOCKER.to_owned(), "true".to_owned())]),
                agent_version: String::new(),
            },
            powered: true,
            engine_up: true,
            starts_fail: false,
            disk_full: false,
            containers: BTreeMap::new(),
            images: Default::default(),
            ledger: None,
            previous: None,
            ledger_damaged: false,
            kept: BTreeMap::new(),
            rng: Rng::new(self.script.seed, 500 + n as u64),
        };
        self.places.push(Place {
            machine,
            agent: None,
            life: 0,
            cut: false,
        });
        self.start_agent(n);
    }

    fn put(&mut self, at: Moment, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse(Queued {
            at: at.max(self.now),
            number: self.numbers,
            event,
        }));
    }

    fn out(&self) -> Out {
        Out {
            now: self.now,
            slow_registry: false,
            ..Out::default()
        }
    }

    fn start_agent(&mut self, n: usize) {
        let mut out = self.out();
        let place = &mut self.places[n];
        if !place.machine.powered || place.agent.is_some() {
            return;
        }
        place.life += 1;
        let agent = Agent::start(
            n,
            &mut place.machine,
            place.life,
            self.script.seed,
            &mut out,
        );
        place.agent = Some(agent);
        self.carry(out);
    }

    fn kill_agent(&mut self, n: usize) {
        self.places[n].agent = None;
        self.places[n].life += 1;
    }

    fn start_controller(&mut self, which: usize) {
        let desk = &mut self.desks[which];
        if desk.controller.is_some() {
            return;
        }
        desk.life += 1;
        let (life, seed) = (desk.life, self.script.seed);
        desk.controller = Some(Controller::start(which, life, seed, desk.skew_ms, self.now));
        self.tell_controller(which, ControllerEvent::Tick, 0);
    }

    fn kill_controller(&mut self, which: usize) {
        let desk = &mut self.desks[which];
        desk.life += 1;
        let Some(mut dead) = desk.controller.take() else {
            return;
        };
        for (node, connection) in dead.hang_up(self.now) {
            let ms = self.net.between(10, PINGS_MISSED);
            self.tell_agent(node, AgentEvent::Disconnected(connection), ms);
        }
    }

    fn tell_controller(&mut self, which: usize, event: ControllerEvent, ms: u64) {
        let life = self.desks[which].life;
        self.put(
            self.now.plus(ms),
            Event::Controller(which, life, Box::new(event)),
        );
    }

    fn tell_agent(&mut self, n: usize, event: AgentEvent, ms: u64) {
        let life = self.places[n].life;
        self.put(self.now.plus(ms), Event::Agent(n, life, Box::new(event)));
    }

    /// Milliseconds a message takes between a node and the controllers; `None`: it is lost.
    fn travel(&mut self, n: usize) -> Option<u64> {
        if self.places[n].cut || self.net.chance(self.storm.loss) {
            self.log.reach("message lost");
            return None;
        }
        if self.net.chance(self.storm.late) {
            self.log.reach("message late");
            return Some(self.net.between(1_000, 20_000));
        }
        Some(self.net.between(1, 30))
    }

    /// Plays the next event. False: there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse(next)) = self.queue.pop() else {
            return false;
        };
        self.now = next.at;
        self.events += 1;
        match next.event {
            Event::Happens(index) => {
                let (_, happening) = self.script.happenings[index];
                self.log.line(self.now, || format!("! {happening:?}"));
                self.log.reach(happening.word());
                self.happen(happening);
            }
            Event::Mends(mend) => self.mend(mend),
            Event::Calm => self.calm_down(),
            Event::Agent(n, life, event) => self.agent_event(n, life, *event),
            Event::Machine(n, event) => self.machine_event(n, *event),
            Event::Controller(which, life, event) => self.controller_event(which, life, event),
            Event::Store(request) => self.store_event(*request),
        }
        true
    }

    fn agent_event(&mut self, n: usize, life: u64, event: AgentEvent) {
        let mut out = self.out();
        out.slow_registry = !self.registry_up;
        if self.places[n].life != life || self.places[n].agent.is_none() {
            return;
        }
        if matches!(event, AgentEvent::Connect) {
            self.connect(n, life);
            return;
        }
        let place = &mut self.places[n];
        if let Some(agent) = &mut place.agent {
            agent.absorb(event, &mut place.machine, &mut out);
        }
        self.carry(out);
    }

    fn connect(&mut self, n: usize, life: u64) {
        if self.places[n]
            .agent
            .as_ref()
            .is_some_and(|a| a.connection.is_some())
        {
            return;
        }
        let leader = self.a_leader();
        match (leader, self.travel(n)) {
            (Some(which), Some(ms)) => {
                self.connections += 1;
                let event = ControllerEvent::Connect {
                    node: n,
                    life,
                    name: self.places[n].machine.name.clone(),
                    connection: self.connections,
                };
                self.tell_controller(which, event, ms);
                // Should nobody answer.
                self.tell_agent(n, AgentEvent::Disconnected(u64::MAX), CLIENT_TIMEOUT);
            }
            _ => {
                let ms = self.net.between(500, 3_000);
                self.tell_agent(n, AgentEvent::Connect, ms);
            }
        }
    }

    /// One that says that it leads: agents are sent to it.
    fn a_leader(&mut self) -> Option<usize> {
        let now = self.now;
        let leaders: Vec<usize> = self
            .desks
            .iter()
            .enumerate()
            .filter(|(_, d)| d.frozen_until <= now)
            .filter(|(_, d)| d.controller.as_ref().is_some_and(|c| c.acts(now)))
            .map(|(n, _)| n)
            .collect();
        self.net.pick(&leaders).copied()
    }

    /// Carries on what followed from an event of a node.
    fn carry(&mut self, out: Out) {
        for (at, event) in out.events {
            self.put(at, event);
        }
        for (node, epoch, generation) in out.obeyed {
            self.log.line(self.now, || {
                format!("n{node} obeys {} {}", epoch.0, generation.0)
            });
            self.watch.obeyed(self.now, node, epoch, generation);
        }
        for sent in out.reports {
            self.send_report(sent);
        }
        for act in out.acts {
            self.acted(act);
        }
    }

    fn send_report(&mut self, sent: Sent) {
        let (node, sequence) = (sent.node, sent.report.sequence);
        let Some(which) = self.a_leader() else {
            self.tell_agent(node, AgentEvent::ReportFailed { sequence }, 300);
            return;
        };
        self.tell_agent(node, AgentEvent::ReportFailed { sequence }, CLIENT_TIMEOUT);
        if let Some(ms) = self.travel(node) {
            if self.net.chance(self.storm.twice) {
                self.log.reach("report twice");
                let again = self.net.between(1, 15_000);
                let copy = ControllerEvent::Report(Box::new(sent.clone()));
                self.tell_controller(which, copy, ms + again);
            }
            self.tell_controller(which, ControllerEvent::Report(Box::new(sent)), ms);
        }
    }

    fn acted(&mut self, act: Act) {
        let now = self.now;
        self.log.line(now, || {
            format!("n{} {:?} {}", act.node, act.kind, act.id.short())
        });
        let restart = matches!(act.kind, ActKind::Start { again: true });
        if !restart {
            self.moved_at = now;
        }
        self.watch
            .acted(now, &act, &self.store.snapshot, &self.places);
    }

    fn machine_event(&mut self, n: usize, event: MachineEvent) {
        let now = self.now;
        match event {
            MachineEvent::Effect { life, op, instance } => {
                if !self.places[n].machine.powered {
                    return;
                }
                let registry_up = self.registry_up;
                let machine = &mut self.places[n].machine;
                let effect = machine.carry_out(&op, instance.as_deref(), registry_up, now);
                let run = op
                    .instance()
                    .and_then(|id| machine.containers.get(&id))
                    .map(|c| c.starts);
                if let Outcome::Failed(failure) = &effect.outcome {
                    let failure = failure.message.clone();
                    self.log
                        .line(now, || format!("n{n} {:?} fails: {failure}", op.kind()));
                    self.watch.op_failed(now, n, &op, &failure);
                }
                if let (Some(kind), Some(id)) = (effect.act, op.instance()) {
                    self.acted(Act { node: n, id, kind });
                }
                let is_stop = matches!(op, Op::Stop { .. });
                match (effect.ends, op.instance(), run) {
                    (Some((ms, code)), Some(id), Some(run)) => {
                        self.put(
                            now.plus(ms),
                            Event::Machine(n, Box::new(MachineEvent::Ends { id, run, code })),
                        );
                        if is_stop {
                            let over = MachineEvent::Over {
                                life,
                                op,
                                outcome: effect.outcome,
                            };
                            self.put(now.plus(ms + 5), Event::Machine(n, Box::new(over)));
                            return;
                        }
                    }
                    _ => {}
                }
                self.answer_op(n, life, op, effect.outcome);
            }
            MachineEvent::Over { life, op, outcome } => self.answer_op(n, life, op, outcome),
            MachineEvent::Ends { id, run, code } => self.container_ends(n, id, run, code),
        }
    }

    fn answer_op(&mut self, n: usize, life: u64, op: Op, outcome: Outcome) {
        let machine = &mut self.places[n].machine;
        let after = op
            .instance()
            .filter(|_| machine.reachable())
            .map(|id| machine.found(id, self.now));
        let ms = machine.rng.between(1, 40);
        let event = AgentEvent::Done { op, outcome, after };
        self.put(self.now.plus(ms), Event::Agent(n, life, Box::new(event)));
    }

    pub(super) fn container_ends(
        &mut self,
        n: usize,
        id: crate::model::InstanceId,
        run: u64,
        code: i32,
    ) {
        let now = self.now;
        let machine = &mut self.places[n].machine;
        let served = machine
            .containers
            .get(&id)
            .filter(|c| c.starts == run && c.serving_since(now).is_some())
            .map(|c| c.app.clone());
        if !machine.end(id, run, code, false, now) {
            return;
        }
        if let Some(app) = served {
            self.watch.lost(now, &app);
        }
        // A hint may be lost: the lists see it in the end.
        if self.net.chance(900) && self.places[n].machine.reachable() {
            let ms = self.net.between(2, 200);
            self.tell_agent(n, AgentEvent::Hint(id), ms);
        }
    }

    fn controller_event(&mut self, which: usize, life: u64, event: Box<ControllerEvent>) {
        let desk = &mut self.desks[which];
        if desk.life != life {
            return;
        }
        if desk.frozen_until > self.now {
            let at = desk.frozen_until;
            self.put(at, Event::Controller(which, life, event));
            return;
        }
        let Some(controller) = &mut desk.controller else {
            return;
        };
        let wishes = controller.absorb(*event, self.now);
        self.grant(which, life, wishes);
        self.one_leader();
    }

    fn one_leader(&mut self) {
        let acting = self
            .desks
            .iter()
            .filter(|d| d.controller.as_ref().is_some_and(|c| c.acts(self.now)))
            .count();
        if acting > 1 {
            self.watch.two_leaders(self.now);
        }
    }

    fn grant(&mut self, which: usize, life: u64, wishes: Wishes) {
        for broken in wishes.broken {
            self.watch.break_rule(self.now, "plan", broken);
        }
        if let Some(at) = wishes.tick {
            self.put(
                at,
                Event::Controller(which, life, Box::new(ControllerEvent::Tick)),
            );
        }
        for source in wishes.fetches {
            let head = self.git_up.then(|| self.head());
            let ms = self.misc.between(20, 1_500);
            let event = ControllerEvent::Fetched { source, head };
            self.tell_controller(which, event, ms);
        }
        for (node, connection) in wishes.hangups {
            let ms = self.net.between(1, 500);
            self.tell_agent(node, AgentEvent::Disconnected(connection), ms);
        }
        for (node, life, connection) in wishes.connected {
            if self.places[node].life == life {
                self.tell_agent(node, AgentEvent::Connected(connection), 1);
            }
        }
        for (node, connection, set) in wishes.sets {
            match self.travel(node) {
                Some(ms) => {
                    if self.net.chance(self.storm.twice) {
                        self.log.reach("set twice");
                        let again = self.net.between(1, 15_000);
                        self.tell_agent(node, AgentEvent::Desired(Arc::clone(&set)), ms + again);
                    }
                    self.tell_agent(node, AgentEvent::Desired(set), ms);
                }
                None => {
                    let ms = self.net.between(10, PINGS_MISSED);
                    self.tell_agent(node, AgentEvent::Disconnected(connection), ms);
                }
            }
        }
        for (sent, ok) in wishes.taken {
            let sequence = sent.report.sequence;
            if ok {
                self.watch.heard(self.now, &sent.report.body.node);
            }
            let event = if ok {
                AgentEvent::ReportTaken {
                    sequence,
                    view: Box::new(sent.view),
                }
            } else {
                AgentEvent::ReportFailed { sequence }
            };
            if let Some(ms) = self.travel(sent.node) {
                let at = self.now.plus(ms);
                self.put(at, Event::Agent(sent.node, sent.life, Box::new(event)));
            }
        }
        for ask in wishes.asks {
            self.ask(which, life, ask);
        }
    }

    fn head(&self) -> Head {
        let number = self.history.len() - 1;
        if self.git_empty {
            // Another commit, with nothing in it.
            return Head {
                number: number + 1_000_000,
                tree: Arc::default(),
            };
        }
        Head {
            number,
            tree: Arc::clone(&self.history[number]),
        }
    }

    pub fn pushed(&mut self, tree: Tree) {
        self.history.push(Arc::new(tree));
        for which in 0..self.desks.len() {
            // Hooks get lost: then a poll finds it.
            if self.misc.chance(700) {
                let ms = self.misc.between(20, 2_000);
                self.tell_controller(which, ControllerEvent::Pushed, ms);
            }
        }
    }

    fn ask(&mut self, which: usize, life: u64, ask: Ask) {
        let is_commit = matches!(ask, Ask::Commit { .. });
        let fate = if !self.database_up || self.desks[which].cut {
            Fate::Unavailable
        } else if self.database.chance(self.flaky) {
            match self.database.below(4) {
                0 if is_commit => Fate::AnswerLost,
                1 if is_commit => Fate::Late,
                2 if is_commit => Fate::Lost,
                _ => Fate::Unavailable,
            }
        } else {
            Fate::Fine
        };
        let (ms, told) = match fate {
            Fate::Fine => (self.database.between(1, 25), None),
            Fate::AnswerLost => (
                self.database.between(1, 25),
                Some((Answer::Unknown, self.database.between(26, 3_000))),
            ),
            Fate::Late => (
                self.database.between(200, 4_000),
                Some((Answer::Unknown, self.database.between(26, 1_000))),
            ),
            Fate::Lost => (0, Some((Answer::Unknown, self.database.between(26, 3_000)))),
            Fate::Unavailable => {
                let answer = match ask {
                    Ask::Acquire { .. } | Ask::Renew { .. } => Answer::NoLease,
                    Ask::Load | Ask::Commit { .. } => Answer::Unavailable,
                };
                (0, Some((answer, self.database.between(1, 1_500))))
            }
        };
        if fate != Fate::Fine {
            self.log.reach(match fate {
                Fate::AnswerLost => "commit done, answer lost",
                Fate::Late => "commit done late, answer lost",
                Fate::Lost => "commit lost, nobody knows",
                Fate::Fine | Fate::Unavailable => "database unavailable",
            });
        }
        if let Some((answer, ms)) = told {
            self.put(
                self.now.plus(ms),
                Event::Controller(which, life, Box::new(ControllerEvent::Answer(answer))),
            );
        }
        if matches!(fate, Fate::Fine | Fate::AnswerLost | Fate::Late) {
            let request = Request {
                from: which,
                life,
                ask,
                fate,
            };
            self.put(self.now.plus(ms), Event::Store(Box::new(request)));
        }
    }

    pub fn database_now(&self) -> Moment {
        Moment((self.now.0 as i64 + self.database_ms).max(0) as u64)
    }

    fn store_event(&mut self, request: Request) {
        let db = self.database_now();
        let ttl = std::time::Duration::from_secs(10);
        let holder = (request.from as u64) << 32 | request.life;
        let answer = match request.ask {
            Ask::Acquire { asked } => {
                let lease = self.store.acquire(holder, ttl, db);
                if let Some(lease) = lease {
                    let (from, epoch) = (request.from, lease.epoch.0);
                    self.log
                        .line(self.now, || format!("c{from} leads, epoch {epoch}"));
                    self.log.reach("leadership");
                }
                Answer::Acquired(lease, asked)
            }
            Ask::Renew { epoch, asked } => Answer::Renewed(self.store.renew(epoch, ttl, db), asked),
            Ask::Load => Answer::Loaded(Box::new(self.store.snapshot.clone())),
            Ask::Commit {
                epoch,
                base,
                changes,
                why,
            } => {
                let result = self.commit(request.from, epoch, base, &changes, why);
                Answer::Committed(result)
            }
        };
        if request.fate == Fate::Fine {
            let ms = self.database.between(1, 25);
            self.put(
                self.now.plus(ms),
                Event::Controller(
                    request.from,
                    request.life,
                    Box::new(ControllerEvent::Answer(answer)),
                ),
            );
        }
    }

    fn commit(
        &mut self,
        from: usize,
        epoch: crate::model::Epoch,
        base: crate::model::Generation,
        changes: &[Change],
        why: Why,
    ) -> Result<crate::model::Generation, super::store::Refused> {
        let now = self.now;
        let led = self.store.holder.is_some().then_some(self.store.epoch);
        let current = self.store.snapshot.generation;
        let seen = self.watch.look(&self.store.snapshot, changes);
        let result = self.store.commit(epoch, base, changes);
        if result.is_err() {
            self.log.reach("commit refused by its guards");
        }
        if result.is_ok() {
            if led != Some(epoch) || base != current {
                self.watch.break_rule(
                    now,
                    "fencing",
                    format!("the store took a commit of epoch {epoch:?} on {base:?}"),
                );
            }
            let since = self.desks[from]
                .controller
                .as_ref()
                .and_then(|c| c.lead())
                .map_or(Moment(0), |l| l.since);
            let moves = changes.iter().filter(|c| is_move(c)).count();
            self.log.line(now, || {
                let counts = super::log::count_changes(changes);
                format!("c{from} commits {} {why:?}: {counts}", current.0 + 1)
            });
            if moves > 0 {
                self.moved_at = now;
            }
            let truth = super::watch::Truth {
                places: &self.places,
                history: &self.history,
                since,
            };
            self.watch
                .committed(now, seen, &self.store.snapshot, changes, why, &truth);
            self.log.state(&self.store.snapshot, changes);
        }
        result
    }

    fn cut(&mut self, n: usize, ms: u64) {
        self.places[n].cut = true;
        if ms >= PINGS_MISSED
            && let Some(connection) = self.places[n].agent.as_ref().and_then(|a| a.connection)
        {
            let after = self.net.between(PINGS_MISSED, PINGS_MISSED + 3_000);
            self.tell_agent(n, AgentEvent::Disconnected(connection), after);
        }
        self.put(self.now.plus(ms), Event::Mends(Mend::Cut(n)));
    }

    pub(super) fn set_git(&mut self, up: bool) {
        self.git_up = up;
    }
    pub(super) fn set_git_empty(&mut self, empty: bool) {
        self.git_empty = empty;
    }
    pub(super) fn set_database(&mut self, up: bool) {
        self.database_up = up;
    }
    pub(super) fn set_flaky(&mut self, permille: u64) {
        self.flaky = permille;
    }
    pub(super) fn step_database(&mut self, by_ms: i64) {
        self.database_ms += by_ms;
        self.watch.database_stepped(self.now);
    }
    pub(super) fn set_registry(&mut self, up: bool) {
        self.registry_up = up;
    }
    pub(super) fn set_storm(&mut self, loss: u64, twice: u64, late: u64) {
        self.storm = Storm { loss, twice, late };
    }
    pub(super) fn chance(&mut self, permille: u64) -> bool {
        self.misc.chance(permille)
    }
    pub(super) fn tell(&mut self, which: usize, event: ControllerEvent) {
        self.tell_controller(which, event, 1);
    }
    pub(super) fn tell_node(&mut self, n: usize, event: AgentEvent) {
        self.tell_agent(n, event, 5);
    }
    pub(super) fn agent_dies(&mut self, n: usize) {
        self.kill_agent(n);
    }
    pub(super) fn agent_starts(&mut self, n: usize) {
        self.start_agent(n);
    }
    pub(super) fn controller_dies(&mut self, which: usize) {
        self.kill_controller(which);
    }
    pub(super) fn controller_starts(&mut self, which: usize) {
        self.start_controller(which);
    }
    pub(super) fn cut_controller(&mut self, which: usize, cut: bool) {
        self.desks[which].cut = cut;
    }
    pub(super) fn cut_node(&mut self, n: usize, ms: u64) {
        self.cut(n, ms);
    }
    pub(super) fn join(&mut self, n: usize, rng: &mut Rng) {
        self.add_node(n, rng);
    }

    pub(super) fn freeze(&mut self, which: usize, ms: u64) {
        let until = self.now.plus(ms);
        let desk = &mut self.desks[which];
        desk.frozen_until = desk.frozen_until.max(until);
        let streams = desk
            .controller
            .as_ref()
            .map(Controller::streams)
            .unwrap_or_default();
        if ms > PINGS_MISSED {
            for (node, connection) in streams {
                self.tell_agent(node, AgentEvent::Disconnected(connection), PINGS_MISSED);
            }
        }
    }

    pub(super) fn thaw(&mut self, which: usize) {
        self.desks[which].frozen_until = self.now;
    }

    pub(super) fn mend_in(&mut self, ms: u64, mend: Mend) {
        self.put(self.now.plus(ms), Event::Mends(mend));
    }
}

/// Whether a change decides or does something, and is not only news.
fn is_move(change: &Change) -> bool {
    !matches!(
        change,
        Change::Observe { .. }
            | Change::PutSource(_)
            | Change::SetImage { .. }
            | Change::SetLiveness { .. }
            | Change::PutNode(_)
    )
}
