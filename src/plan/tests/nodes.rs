//! Silent nodes, brakes, and what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::*;
use crate::model::spec::NodeLossAction;
use crate::model::*;
use crate::plan::observe::plan_liveness;

fn silence(world: &mut World, nodes: &[&str], seconds: u64) {
    let heard: BTreeMap<NodeName, Timestamp> = world
        .snapshot
        .nodes
        .keys()
        .map(|n| {
            let silent = nodes.contains(&n.as_str());
            let at = if silent {
                world.now
            } else {
                world.now + Duration::from_secs(seconds)
            };
            (n.clone(), at)
        })
        .collect();
    world.wait(seconds);
    let decision = plan_liveness(
        world.now,
        &world.snapshot,
        &heard,
        world.now,
        &world.settings,
    );
    world.apply(&decision.changes);
    world.log.extend(decision.events);
}

fn three_on_three() -> World {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("web", "1", spec("web:1").replicas(3));
    world.settle();
    world.watch();
    world
}

#[test]
fn a_suspect_node_changes_nothing() {
    let mut world = three_on_three();
    silence(&mut world, &["a"], 20);
    let plan = world.plan();
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
    assert_eq!(world.told(EventKind::NodeSuspect).len(), 1);
}

#[test]
fn a_lost_nodes_instances_move_after_the_time_the_app_allows() {
    let mut world = three_on_three();
    silence(&mut world, &["a"], 61);
    world.rounds(3);
    let app = world.app("web");
    let served = app
        .instances
        .values()
        .filter(|i| i.wants_run() && i.is_ready())
        .count();
    assert_eq!(served, 3);
    assert!(
        app.instances
            .values()
            .filter(|i| i.wants_run())
            .all(|i| i.node.as_str() != "a")
    );
    // When it returns it drops what was placed elsewhere.
    world.apply(&[Change::SetLiveness {
        node: "a".parse().unwrap(),
        liveness: Liveness::Ready,
        last_heard: world.now,
    }]);
    world.settle();
    assert_eq!(world.app("web").instances.len(), 3);
}

/// Its report could not be written yet, so it is stored as silent.
#[test]
fn a_node_that_has_spoken_is_not_given_up_before_its_word_is_written() {
    let mut world = three_on_three();
    silence(&mut world, &["a"], 61);
    let spoke = world.now - Duration::from_secs(1);
    world.heard.insert("a".parse().unwrap(), spoke);
    let plan = world.plan();
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
    // From there on its silence counts anew, and is looked at in time.
    assert_eq!(plan.wake_at[&key("web")], spoke + Duration::from_secs(60));
    world.now = spoke + Duration::from_secs(60);
    let stops = |c: &Change| matches!(c, Change::SetGoal { .. });
    assert!(world.plan().changes.iter().any(stops));
}

#[test]
fn hold_means_hold() {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare(
        "web",
        "1",
        spec("web:1")
            .replicas(3)
            .with(|s| s.on_node_loss.action = NodeLossAction::Hold),
    );
    world.settle();
    silence(&mut world, &["a"], 600);
    assert!(world.plan().changes.is_empty());
}

#[test]
fn when_most_nodes_fall_silent_nothing_moves() {
    let mut world = three_on_three();
    silence(&mut world, &["a", "b"], 600);
    let plan = world.plan();
    assert!(plan.changes.is_empty());
    let why = &plan.report.apps[&key("web")].waiting;
    assert!(
        why.iter()
            .any(|w| w.what.contains("2 of 3 nodes are silent at once")),
        "{why:?}"
    );
}

#[test]
fn an_instance_that_its_node_lost_is_put_back() {
    let mut world = three_on_three();
    let gone = *world.app("web").instances.keys().next().unwrap();
    let mut status = world.app("web").instances[&gone].status.clone().unwrap();
    status.phase = InstancePhase::Gone;
    status.ready = false;
    world.apply(&[Change::Observe {
        app: key("web"),
        instance: gone,
        status: Box::new(status),
    }]);
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x3");
    assert!(!world.app("web").instances.contains_key(&gone));
}

#[test]
fn a_node_lost_while_rolling_does_not_condemn_the_release() {
    let mut world = three_on_three();
    world.declare("web", "2", spec("web:2").replicas(3));
    world.rounds(3);
    silence(&mut world, &["b"], 20);
    world.rounds(30);
    assert!(world.app("web").quarantine.is_empty());
    silence(&mut world, &["b"], 61);
    world.rounds(40);
    assert_eq!(world.serving("web"), "web:2 x3");
}

/// A new leader has not heard its silence: it listens for as long as the app allows, first.
#[test]
fn silence_before_a_leadership_moves_nothing() {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("web", "1", spec("web:1"));
    world.settle();
    let node = world
        .app("web")
        .instances
        .values()
        .next()
        .unwrap()
        .node
        .clone();
    world.apply(&[Change::SetLiveness {
        node,
        liveness: Liveness::Lost,
        last_heard: world.now,
    }]);
    world.now = world.now + Duration::from_secs(3600);
    world.since = world.now;
    world.plan();
    assert_eq!(world.app("web").instances.len(), 1);
    world.wait(60);
    world.plan();
    assert_eq!(world.app("web").instances.len(), 2);
}
