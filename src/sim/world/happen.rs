//! How happenings come to pass, and how they end.

use super::{PINGS_MISSED, Storm, World};
use crate::model::{AppKey, InstanceId};
use crate::sim::apps::{self, Tree};
use crate::sim::controller::Controller;
use crate::sim::controller::ControllerEvent;
use crate::sim::event::Event;
use crate::sim::event::{AgentEvent, Mend};
use crate::sim::rng::Rng;
use crate::sim::script::Happening;
use crate::sim::verbs::Verb;

impl World {
    pub(super) fn happen(&mut self, happening: Happening) {
        let nodes = self.places.len();
        let desks = self.desks.len();
        match happening {
            Happening::Commit { seed } => self.commit_tree(seed),
            Happening::Revert { back } => {
                let at = self.history.len().saturating_sub(1 + back);
                let tree = Tree::clone(&self.history[at]);
                self.pushed(tree);
            }
            Happening::GoodVersion { app, seed } => {
                self.commit_version(app, |app, old, version| {
                    apps::good_version(app, old, version, &mut Rng::new(seed, 7))
                });
            }
            Happening::BadVersion { app } => {
                self.commit_version(app, |app, old, version| {
                    apps::refused_version(app, old, version)
                });
            }
            Happening::TakenBack { app } => {
                if let Some(app) = self.first_app(app) {
                    for which in 0..desks {
                        let verb = Verb::TakeBack(app.clone());
                        self.tell_controller(which, ControllerEvent::Verb(verb), 1);
                    }
                }
            }
            Happening::MassDeletion { seed } => {
                let mut rng = Rng::new(seed, 4);
                let mut tree = Tree::clone(&self.history[self.history.len() - 1]);
                let keep = rng.between(300, 900);
                tree.retain(|_, _| rng.chance(1000 - keep));
                self.pushed(tree);
            }
            Happening::GitDown { ms } => {
                self.git_up = false;
                self.mend_in(ms, Mend::Git);
            }
            Happening::GitEmpty { ms } => {
                self.git_empty = true;
                self.mend_in(ms, Mend::GitTree);
            }
            Happening::Verb { seed } => {
                for which in 0..desks {
                    self.tell_controller(which, ControllerEvent::Verb(Verb::Any(seed)), 1);
                }
            }
            Happening::ControllerDies { which, ms } => {
                self.kill_controller(which % desks);
                self.mend_in(ms, Mend::Controller(which % desks));
            }
            Happening::ControllerFreezes { which, ms } => {
                self.freeze(which % desks, ms);
            }
            Happening::ControllerCut { which, ms } => {
                self.desks[which % desks].cut = true;
                self.mend_in(ms, Mend::ControllerCut(which % desks));
            }
            Happening::DatabaseDown { ms } => {
                self.database_up = false;
                self.mend_in(ms, Mend::Database);
            }
            Happening::DatabaseFlaky { ms, permille } => {
                self.flaky = permille;
                self.mend_in(ms, Mend::DatabaseFlaky);
            }
            Happening::DatabaseClock { by_ms } => {
                self.database_ms += by_ms;
                self.watch.database_stepped(self.now);
            }
            Happening::AgentDies { which, ms } => {
                self.kill_agent(which % nodes);
                self.mend_in(ms, Mend::Agent(which % nodes));
            }
            Happening::LedgerDamaged { which, ms } => {
                let n = which % nodes;
                self.kill_agent(n);
                let machine = &mut self.places[n].machine;
                machine.ledger_damaged = machine.ledger.is_some();
                let previous = machine.previous.as_ref().map(|s| (s.epoch, s.generation));
                if machine.ledger_damaged {
                    self.watch.ledger_lost(n, previous);
                }
                self.mend_in(ms, Mend::Agent(n));
            }
            Happening::DiskFull { which, ms } => {
                self.places[which % nodes].machine.disk_full = true;
                self.mend_in(ms, Mend::Disk(which % nodes));
            }
            Happening::NodeDies { which, ms } => {
                let n = which % nodes;
                self.kill_agent(n);
                self.all_end(n);
                self.places[n].machine.powered = false;
                self.mend_in(ms, Mend::Node(n));
            }
            Happening::EngineDown {
                which,
                ms,
                took_along,
            } => {
                let n = which % nodes;
                if took_along {
                    self.all_end(n);
                }
                self.places[n].machine.engine_up = false;
                self.tell_agent(n, AgentEvent::EngineChanged { up: false }, 5);
                self.mend_in(ms, Mend::Engine(n));
            }
            Happening::StartsFail { which, ms } => {
                self.places[which % nodes].machine.starts_fail = true;
                self.mend_in(ms, Mend::Starts(which % nodes));
            }
            Happening::NothingStarts { ms } => {
                for n in 0..nodes {
                    self.places[n].machine.starts_fail = true;
                    self.mend_in(ms, Mend::Starts(n));
                }
            }
            Happening::NodeCut { which, ms } => self.cut(which % nodes, ms),
            Happening::ManyCut { permille, ms } => {
                for n in 0..nodes {
                    if self.misc.chance(permille) {
                        self.cut(n, ms);
                    }
                }
            }
            Happening::NodeFlaps { which, times, ms } => {
                self.cut(which % nodes, ms);
                self.mend_in(ms * 2, Mend::CutAgain(which % nodes, times, ms));
            }
            Happening::NodeFaint { which, ms, loss } => {
                self.places[which % nodes].faint = Some(loss);
                self.mend_in(ms, Mend::Faint(which % nodes));
            }
            Happening::NodeJoins => {
                let mut rng = Rng::new(self.script.seed, 600 + nodes as u64);
                self.add_node(nodes, &mut rng);
            }
            Happening::Storm {
                ms,
                loss,
                twice,
                late,
            } => {
                self.storm = Storm { loss, twice, late };
                self.watch.storm_until(self.now.plus(ms + 20_000));
                self.mend_in(ms, Mend::Storm);
            }
            Happening::RegistryDown { ms } => {
                self.registry_up = false;
                self.mend_in(ms, Mend::Registry);
            }
            Happening::ContainerEnds { seed } => {
                if let Some((n, id)) = self.a_container(seed) {
                    let machine = &self.places[n].machine;
                    if let Some((run, app)) = machine
                        .containers
                        .get(&id)
                        .map(|c| (c.starts, c.app.clone()))
                    {
                        self.watch.hurt(&app);
                        self.container_ends(n, id, run, 137);
                    }
                }
            }
            Happening::ContainerRemoved { seed } => {
                if let Some((n, id)) = self.a_container(seed) {
                    let gone = self.places[n].machine.containers.remove(&id);
                    if let Some(gone) = gone {
                        self.watch.hurt(&gone.app);
                        self.watch.lost(self.now, &gone.app);
                    }
                    self.tell_agent(n, AgentEvent::Ended(id), 0);
                    self.tell_agent(n, AgentEvent::Hint(id), 5);
                }
            }
        }
    }

    fn a_container(&self, seed: u64) -> Option<(usize, InstanceId)> {
        let mut rng = Rng::new(seed, 6);
        let all: Vec<(usize, InstanceId)> = self
            .places
            .iter()
            .enumerate()
            .flat_map(|(n, p)| {
                let running = p.machine.containers.iter().filter(|(_, c)| c.is_running());
                running.map(move |(id, _)| (n, *id))
            })
            .collect();
        rng.pick(&all).copied()
    }

    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Git => self.git_up = true,
            Mend::GitTree => self.git_empty = false,
            Mend::Controller(which) => self.start_controller(which),
            Mend::ControllerCut(which) => self.desks[which].cut = false,
            Mend::Database => self.database_up = true,
            Mend::DatabaseFlaky => self.flaky = 0,
            Mend::Agent(n) => self.start_agent(n),
            Mend::Disk(n) => self.places[n].machine.disk_full = false,
            Mend::Node(n) => {
                self.places[n].machine.powered = true;
                self.start_agent(n);
            }
            Mend::Engine(n) => {
                self.places[n].machine.engine_up = true;
                self.tell_agent(n, AgentEvent::EngineChanged { up: true }, 5);
            }
            Mend::Starts(n) => self.places[n].machine.starts_fail = false,
            Mend::Cut(n) => self.places[n].cut = false,
            Mend::Faint(n) => self.places[n].faint = None,
            Mend::CutAgain(n, times, ms) => {
                if times > 0 && !self.calm {
                    self.cut(n, ms);
                    self.mend_in(ms * 2, Mend::CutAgain(n, times - 1, ms));
                }
            }
            Mend::Storm => self.storm = Storm::default(),
            Mend::Registry => self.registry_up = true,
        }
    }

    /// Everything is mended, and nothing breaks any more.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.log.line(self.now, || "! calm".to_owned());
        for mend in [
            Mend::Git,
            Mend::GitTree,
            Mend::Database,
            Mend::DatabaseFlaky,
            Mend::Storm,
            Mend::Registry,
        ] {
            self.mend(mend);
        }
        for which in 0..self.desks.len() {
            self.mend(Mend::ControllerCut(which));
            self.mend(Mend::Controller(which));
            self.desks[which].frozen_until = self.now;
        }
        for n in 0..self.places.len() {
            for mend in [
                Mend::Disk(n),
                Mend::Engine(n),
                Mend::Starts(n),
                Mend::Cut(n),
                Mend::Faint(n),
                Mend::Node(n),
                Mend::Agent(n),
            ] {
                self.mend(mend);
            }
        }
        self.moved_at = self.now;
    }

    /// Everything that is in memory only is lost, and nothing else: nothing may come of it.
    pub fn restart_everybody(&mut self) {
        self.log
            .line(self.now, || "! all processes start anew".to_owned());
        for which in 0..self.desks.len() {
            self.kill_controller(which);
            self.start_controller(which);
        }
        for n in 0..self.places.len() {
            self.kill_agent(n);
            self.start_agent(n);
        }
    }

    fn all_end(&mut self, n: usize) {
        let now = self.now;
        let machine = &mut self.places[n].machine;
        let served: Vec<(InstanceId, AppKey)> = machine
            .containers
            .iter()
            .filter(|(_, c)| c.serving_since(now).is_some())
            .map(|(id, c)| (*id, c.app.clone()))
            .collect();
        machine.end_all(now);
        for (id, app) in served {
            self.watch.lost(now, &app);
            self.tell_agent(n, AgentEvent::Ended(id), 0);
        }
    }

    pub(super) fn cut(&mut self, n: usize, ms: u64) {
        self.places[n].cut = true;
        if ms >= PINGS_MISSED
            && let Some(connection) = self.places[n].agent.as_ref().and_then(|a| a.connection)
        {
            let after = self.net.between(PINGS_MISSED, PINGS_MISSED + 3_000);
            self.tell_agent(n, AgentEvent::Disconnected(connection), after);
        }
        self.put(self.now.plus(ms), Event::Mends(Mend::Cut(n)));
    }

    pub(in crate::sim) fn freeze(&mut self, which: usize, ms: u64) {
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

    pub(in crate::sim) fn mend_in(&mut self, ms: u64, mend: Mend) {
        self.put(self.now.plus(ms), Event::Mends(mend));
    }
}
