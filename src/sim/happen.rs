//! How happenings come to pass, and how they end.

use std::sync::Arc;

use super::apps::{self, Doc, Tree};
use super::controller::ControllerEvent;
use super::event::{AgentEvent, Mend};
use super::rng::{Moment, Rng};
use super::script::Happening;
use super::world::World;
use crate::model::{AppKey, InstanceId};

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
            Happening::MassDeletion { seed } => {
                let mut rng = Rng::new(seed, 4);
                let mut tree = Tree::clone(&self.history[self.history.len() - 1]);
                let keep = rng.between(300, 900);
                tree.retain(|_, _| rng.chance(1000 - keep));
                self.pushed(tree);
            }
            Happening::GitDown { ms } => {
                self.set_git(false);
                self.mend_in(ms, Mend::Git);
            }
            Happening::GitEmpty { ms } => {
                self.set_git_empty(true);
                self.mend_in(ms, Mend::GitTree);
            }
            Happening::Verb { seed } => {
                for which in 0..desks {
                    self.tell(which, ControllerEvent::Verb(seed));
                }
            }
            Happening::ControllerDies { which, ms } => {
                self.controller_dies(which % desks);
                self.mend_in(ms, Mend::Controller(which % desks));
            }
            Happening::ControllerFreezes { which, ms } => {
                self.freeze(which % desks, ms);
            }
            Happening::ControllerClock { which, by_ms } => {
                let desk = &mut self.desks[which % desks];
                desk.set_clock(by_ms);
            }
            Happening::ControllerCut { which, ms } => {
                self.cut_controller(which % desks, true);
                self.mend_in(ms, Mend::ControllerCut(which % desks));
            }
            Happening::DatabaseDown { ms } => {
                self.set_database(false);
                self.mend_in(ms, Mend::Database);
            }
            Happening::DatabaseFlaky { ms, permille } => {
                self.set_flaky(permille);
                self.mend_in(ms, Mend::DatabaseFlaky);
            }
            Happening::DatabaseClock { by_ms } => {
                self.step_database(by_ms);
            }
            Happening::AgentDies { which, ms } => {
                self.agent_dies(which % nodes);
                self.mend_in(ms, Mend::Agent(which % nodes));
            }
            Happening::LedgerDamaged { which, ms } => {
                let n = which % nodes;
                self.agent_dies(n);
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
                self.agent_dies(n);
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
                self.tell_node(n, AgentEvent::EngineChanged { up: false });
                self.mend_in(ms, Mend::Engine(n));
            }
            Happening::StartsFail { which, ms } => {
                self.places[which % nodes].machine.starts_fail = true;
                self.mend_in(ms, Mend::Starts(which % nodes));
            }
            Happening::NodeCut { which, ms } => self.cut_node(which % nodes, ms),
            Happening::ManyCut { permille, ms } => {
                for n in 0..nodes {
                    if self.chance(permille) {
                        self.cut_node(n, ms);
                    }
                }
            }
            Happening::NodeFlaps { which, times, ms } => {
                self.cut_node(which % nodes, ms);
                self.mend_in(ms * 2, Mend::CutAgain(which % nodes, times, ms));
            }
            Happening::NodeJoins => {
                let mut rng = Rng::new(self.script.seed, 600 + nodes as u64);
                self.join(nodes, &mut rng);
            }
            Happening::Storm {
                ms,
                loss,
                twice,
                late,
            } => {
                self.set_storm(loss, twice, late);
                self.watch.storm_until(self.now.plus(ms + 20_000));
                self.mend_in(ms, Mend::Storm);
            }
            Happening::RegistryDown { ms } => {
                self.set_registry(false);
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
                    self.tell_node(n, AgentEvent::Hint(id));
                }
            }
        }
    }

    fn commit_tree(&mut self, seed: u64) {
        let mut rng = Rng::new(seed, 5);
        let version = self.history.len() as u64 + 1;
        let mut tree = Tree::clone(&self.history[self.history.len() - 1]);
        for _ in 0..rng.between(1, 3) {
            let keys: Vec<AppKey> = tree.keys().cloned().collect();
            let Some(key) = rng.pick(&keys).cloned() else {
                continue;
            };
            match rng.below(16) {
                0 => {
                    tree.remove(&key);
                }
                1 => {
                    tree.insert(key, Doc::Invalid);
                }
                2 => {
                    tree.insert(key, Doc::Unreadable);
                }
                3 => {
                    let n = 100 + rng.below(20);
                    if let Ok(app) = format!("shop/app{n}").parse::<AppKey>() {
                        let spec = apps::new_spec(&app, n, &mut rng);
                        tree.insert(app, Doc::Valid(Arc::new(spec)));
                    }
                }
                _ => {
                    let old = match &tree[&key] {
                        Doc::Valid(spec) => Arc::clone(spec),
                        // Mended: as it was before it broke.
                        Doc::Invalid | Doc::Unreadable => match self.last_valid(&key) {
                            Some(spec) => spec,
                            None => continue,
                        },
                    };
                    let next = apps::next_spec(&key, &old, version, &mut rng);
                    tree.insert(key, Doc::Valid(Arc::new(next)));
                }
            }
        }
        self.pushed(tree);
    }

    fn last_valid(&self, key: &AppKey) -> Option<Arc<crate::model::AppSpec>> {
        self.history
            .iter()
            .rev()
            .find_map(|tree| match tree.get(key) {
                Some(Doc::Valid(spec)) => Some(Arc::clone(spec)),
                Some(Doc::Invalid | Doc::Unreadable) | None => None,
            })
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
            Mend::Git => self.set_git(true),
            Mend::GitTree => self.set_git_empty(false),
            Mend::Controller(which) => self.controller_starts(which),
            Mend::ControllerCut(which) => self.cut_controller(which, false),
            Mend::Database => self.set_database(true),
            Mend::DatabaseFlaky => self.set_flaky(0),
            Mend::Agent(n) => self.agent_starts(n),
            Mend::Disk(n) => self.places[n].machine.disk_full = false,
            Mend::Node(n) => {
                self.places[n].machine.powered = true;
                self.agent_starts(n);
            }
            Mend::Engine(n) => {
                self.places[n].machine.engine_up = true;
                self.tell_node(n, AgentEvent::EngineChanged { up: true });
            }
            Mend::Starts(n) => self.places[n].machine.starts_fail = false,
            Mend::Cut(n) => self.places[n].cut = false,
            Mend::CutAgain(n, times, ms) => {
                if times > 0 && !self.calm {
                    self.cut_node(n, ms);
                    self.mend_in(ms * 2, Mend::CutAgain(n, times - 1, ms));
                }
            }
            Mend::Storm => self.set_storm(0, 0, 0),
            Mend::Registry => self.set_registry(true),
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
            self.thaw(which);
        }
        for n in 0..self.places.len() {
            for mend in [
                Mend::Disk(n),
                Mend::Engine(n),
                Mend::Starts(n),
                Mend::Cut(n),
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
            self.controller_dies(which);
            self.controller_starts(which);
        }
        for n in 0..self.places.len() {
            self.agent_dies(n);
            self.agent_starts(n);
        }
    }

    fn all_end(&mut self, n: usize) {
        let now = self.now;
        let machine = &mut self.places[n].machine;
        let served: Vec<AppKey> = machine
            .containers
            .values()
            .filter(|c| c.serving_since(now).is_some())
            .map(|c| c.app.clone())
            .collect();
        machine.end_all(now);
        for app in served {
            self.watch.lost(now, &app);
        }
    }

    /// Whether a moment lies in the calm.
    pub fn is_calm_at(&self, at: Moment) -> bool {
        at >= self.script.calm_at
    }
}

impl Happening {
    /// Its name in the list of what was reached.
    pub fn word(self) -> &'static str {
        match self {
            Happening::Commit { .. } => "commit",
            Happening::Revert { .. } => "revert",
            Happening::MassDeletion { .. } => "mass deletion",
            Happening::GitDown { .. } => "git down",
            Happening::GitEmpty { .. } => "git empty",
            Happening::Verb { .. } => "operator's verb",
            Happening::ControllerDies { .. } => "controller dies",
            Happening::ControllerFreezes { .. } => "controller freezes",
            Happening::ControllerClock { .. } => "controller's clock set",
            Happening::ControllerCut { .. } => "controller cut from database",
            Happening::DatabaseDown { .. } => "database down",
            Happening::DatabaseFlaky { .. } => "database flaky",
            Happening::DatabaseClock { .. } => "database's clock set",
            Happening::AgentDies { .. } => "agent dies",
            Happening::LedgerDamaged { .. } => "ledger damaged",
            Happening::DiskFull { .. } => "disk full",
            Happening::NodeDies { .. } => "node reboots",
            Happening::EngineDown { .. } => "engine down",
            Happening::StartsFail { .. } => "starts fail",
            Happening::NodeCut { .. } => "node cut off",
            Happening::ManyCut { .. } => "many nodes cut off",
            Happening::NodeFlaps { .. } => "node flaps",
            Happening::NodeJoins => "node joins",
            Happening::Storm { .. } => "storm of messages",
            Happening::RegistryDown { .. } => "registry down",
            Happening::ContainerEnds { .. } => "container ends",
            Happening::ContainerRemoved { .. } => "container removed by hand",
        }
    }
}
