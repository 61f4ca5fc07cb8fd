//! The silence of a node, and clocks that are set back, are never evidence against a release.

use std::time::Duration;

use super::world::*;
use crate::model::*;
use crate::plan::observe::plan_liveness;

const DEADLINE: u64 = 30;
const PROGRESS: u64 = 60;

/// A first release whose only instance runs and is not ready.
fn starting() -> World {
    let mut world = World::new(&["a", "b"]);
    world.behave("web:1", Behaviour::NeverReady);
    let spec = spec("web:1").replicas(1).with(|s| {
        s.rollout.healthy_deadline = Duration::from_secs(DEADLINE);
        s.rollout.progress_deadline = Duration::from_secs(PROGRESS);
    });
    world.declare("web", "1", spec);
    world.rounds(5);
    world
}

/// Its node is silent for so long, and then heard again with nothing new.
fn silent_for(world: &mut World, seconds: u64) {
    let node = world.app("web").instances.values().next().unwrap();
    let node = node.node.clone();
    for (liveness, wait) in [(Liveness::Suspect, seconds), (Liveness::Ready, 0)] {
        let last_heard = world.now;
        world.apply(&[Change::SetLiveness {
            node: node.clone(),
            liveness,
            last_heard,
        }]);
        world.wait(wait);
    }
}

fn condemned(world: &World) -> bool {
    !world.app("web").quarantine.is_empty()
}

#[test]
fn the_time_in_which_its_node_is_silent_does_not_count_for_an_instance() {
    for silent in [DEADLINE + 1, PROGRESS + 1] {
        let mut world = starting();
        silent_for(&mut world, silent);
        world.plan();
        assert!(!condemned(&world), "after {silent} s of silence");
        world.wait(DEADLINE - 1);
        world.plan();
        assert!(!condemned(&world), "it has all of its time again");
        world.wait(2);
        world.plan();
        assert!(condemned(&world), "and no more than that");
    }
}

/// What it waits for, a port that another app holds, may become free: only its deadline ends it.
#[test]
fn nodes_that_joined_by_a_clock_to_come_hold_no_deadline_up() {
    let mut world = World::new(&["a", "b"]);
    let with_port = |image: &str| spec(image).surge(0, 1).host_port(8000);
    world.declare("other", "1", with_port("other:1").replicas(2));
    world.settle();
    let hour = Duration::from_secs(3600);
    for node in world.snapshot.nodes.values_mut() {
        node.registered_at = world.now + hour;
        node.last_heard = node.registered_at;
    }
    world.since = world.now;
    let deadline = Duration::from_secs(PROGRESS);
    let web = with_port("web:1").with(|s| s.rollout.progress_deadline = deadline);
    world.declare("web", "1", web.replicas(1));
    world.rounds(3);
    assert!(!condemned(&world));
    world.wait(PROGRESS);
    world.plan();
    assert!(condemned(&world));
}

/// Its report arrived when its silence was decided and not yet written down.
#[test]
fn a_node_that_was_heard_meanwhile_returns_without_another_report() {
    let mut world = starting();
    let settings = world.settings;
    let (since, name) = (world.now, "a".parse::<NodeName>().unwrap());
    world.wait(1);
    let last_heard = world.now;
    world.wait(20);
    world.apply(&[Change::SetLiveness {
        node: name.clone(),
        liveness: Liveness::Suspect,
        last_heard,
    }]);
    for (heard, returns) in [(last_heard, 0), (world.now, 1)] {
        world.wait(1);
        let heard = [(name.clone(), heard), ("b".parse().unwrap(), world.now)].into();
        let decision = plan_liveness(world.now, &world.snapshot, &heard, since, &settings);
        let returned = |c: &&Change| matches!(c, Change::SetLiveness { node, liveness: Liveness::Ready, .. } if *node == name);
        assert_eq!(decision.changes.iter().filter(returned).count(), returns);
    }
}

/// An operator wants more of it than find a node; its own spec comes once more from Git.
#[test]
fn what_runs_is_not_rejected_for_what_it_lacks() {
    let mut world = World::new(&["a", "b"]);
    let web = || spec("web:1").replicas(2).surge(0, 1).host_port(8000);
    world.declare("web", "1", web());
    world.settle();
    world.apply(&[Change::SetScale {
        app: key("web"),
        scale: Some(Scale {
            replicas: 3,
            by: "eva".to_owned(),
            at: world.now,
            reason: None,
            until: None,
        }),
    }]);
    world.rounds(2);
    world.declare("web", "2", web());
    world.rounds(2);
    let app = world.app("web");
    assert!(app.quarantine.is_empty(), "{:?}", app.quarantine);
    assert_eq!(app.target_release().unwrap().commit, commit("2"));
    assert_eq!(world.serving("web"), "web:1 x2");
}
