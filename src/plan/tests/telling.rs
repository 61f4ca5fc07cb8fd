//! Nodes are told what concerns them, and only that.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{SpecExt, World, spec};
use crate::model::*;
use crate::plan::dispatch::{RunSpecs, desired_set, sharing_set};
use crate::plan::touched::touched;

/// What the nodes were told, as the controller does it: only those that a change concerns
/// are told again.
#[derive(Default)]
pub struct Told {
    specs: RunSpecs,
    sets: BTreeMap<NodeName, DesiredSet>,
    /// Nodes that the last changes woke.
    pub woken: BTreeSet<NodeName>,
}

impl Told {
    pub fn wake(&mut self, before: &Snapshot, changes: &[Change]) {
        self.woken = touched(before, changes).dispatch;
    }

    /// Panics where a node's set differs and it was not woken.
    pub fn tell(&mut self, after: &Snapshot) {
        for name in &self.woken {
            let set = sharing_set(after, "test", Epoch(1), name, &mut self.specs);
            self.sets.insert(name.clone(), set);
        }
        for name in after.nodes.keys() {
            let wanted = desired_set(after, "test", Epoch(1), name);
            let (instances, images) = match self.sets.get(name) {
                Some(set) => (set.instances.clone(), set.images.clone()),
                None => Default::default(),
            };
            assert_eq!(instances, wanted.instances, "{name} was not told");
            assert_eq!(images, wanted.images, "{name} was not told");
        }
    }

    fn run_of(&self, node: &str) -> Vec<&std::sync::Arc<RunSpec>> {
        let set = &self.sets[&node.parse::<NodeName>().unwrap()];
        set.instances.values().map(|i| &i.run).collect()
    }
}

#[test]
fn how_far_a_rollout_is_wakes_no_node() {
    let mut world = World::new(&["a", "b"]);
    world.declare("web", "1", spec("web:1").replicas(4));
    world.plan();
    world.nodes_act();
    let rollout = world.app("web").active_rollout().unwrap().clone();
    let mut next = rollout.clone();
    next.best_healthy += 1;
    world.apply(&[Change::PutRollout(Box::new(next))]);
    assert_eq!(world.told.woken, BTreeSet::new());
    let mut over = rollout;
    over.phase = RolloutPhase::Superseded;
    let prepared = over.prepare.clone();
    world.apply(&[Change::PutRollout(Box::new(over))]);
    assert!(!prepared.is_empty() && world.told.woken == prepared);
}

#[test]
fn the_sets_of_all_nodes_share_what_is_the_same() {
    let mut world = World::new(&["a", "b"]);
    world.declare("web", "1", spec("web:1").replicas(4));
    world.settle();
    let runs = [world.told.run_of("a"), world.told.run_of("b")].concat();
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|run| std::sync::Arc::ptr_eq(run, runs[0])));
}

#[test]
fn run_specs_in_no_set_any_more_are_let_go() {
    let mut world = World::new(&["a"]);
    world.declare("web", "1", spec("web:1"));
    world.settle();
    let (snapshot, node) = (world.snapshot.clone(), "a".parse().unwrap());
    let mut specs = RunSpecs::default();
    for turn in 0..1000 {
        // Another copy of the release each time.
        let mut snapshot = snapshot.clone();
        let release = world.app("web").target.unwrap();
        let pin = Change::PinImage {
            app: world.app("web").key.clone(),
            release,
            image: format!("web@{turn}"),
        };
        snapshot.apply(&pin).unwrap();
        let set = sharing_set(&snapshot, "test", Epoch(1), &node, &mut specs);
        let run = &set.instances.values().next().unwrap().run;
        assert_eq!(run.image, Some(format!("web@{turn}")));
        assert!(specs.len() <= RunSpecs::LEAST_ROOM, "{turn}");
    }
}
