//! The cluster in virtual time: nodes, controllers, the database, the repository and the network
//! between them, moved by one queue of events.

mod database;
mod happen;
mod network;
mod nodes;
mod repository;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use super::agent::Agent;
use super::apps::{self, Doc, Tree};
use super::controller::{Controller, ControllerEvent};
use super::event::{AgentEvent, Event, Out};
use super::log::Log;
use super::machine::Machine;
use super::rng::{Moment, Rng};
use super::script::Script;
use super::store::Store;
use super::watch::Watch;
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
    /// Of 1,000 messages, those that are lost on a bad link.
    faint: Option<u64>,
}

pub struct Desk {
    pub controller: Option<Controller>,
    life: u64,
    frozen_until: Moment,
    cut: bool,
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
    echoes: Rng,
    faints: Rng,
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
            echoes: Rng::new(seed, 14),
            faints: Rng::new(seed, 17),
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
            faint: None,
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
        desk.controller = Some(Controller::start(
            which,
            life,
            seed,
            self.script.checked,
            self.now,
        ));
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
}
