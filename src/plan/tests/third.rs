//! A third version arrives while two others live.

use std::collections::BTreeSet;

use super::world::*;
use crate::model::*;
use crate::plan::operate::plan_rollback;

/// Five of the second version, after the first was proven.
fn two_versions() -> World {
    let mut world = World::new(&["a", "b", "c"]);
    for n in 1..=2 {
        declare(&mut world, n);
        world.settle();
    }
    world.watch();
    world
}

fn instances_of(world: &World, images: &[&str]) -> BTreeSet<InstanceId> {
    let app = world.app("web");
    let of = |i: &&Instance| {
        let image = app.releases[&i.release].image();
        images.iter().any(|wanted| image == Some(*wanted))
    };
    app.instances.values().filter(of).map(|i| i.id).collect()
}

fn declare(world: &mut World, n: u32) {
    let image = format!("web:{n}");
    world.declare("web", &format!("000{n}"), spec(&image).replicas(5));
}

fn take_back(world: &mut World, to: u32) {
    let to = format!("000{to}");
    let back = plan_rollback(
        world.now,
        &world.snapshot,
        &key("web"),
        "eva",
        None,
        Some(&to),
    )
    .unwrap();
    world.apply(&back.changes);
}

/// Until all serve `image`, nothing more of the `rejected` images starts.
fn ends_at(world: &mut World, image: &str, rejected: &[&str]) {
    let old = instances_of(world, rejected);
    while world.serving("web") != format!("{image} x5") {
        world.rounds(1);
        let now = instances_of(world, rejected);
        assert!(now.is_subset(&old), "a rejected release was started again");
    }
    assert!(world.low[&key("web")] >= 5);
}

#[test]
fn a_rejected_version_is_not_the_one_that_stays() {
    let mut world = two_versions();
    take_back(&mut world, 1);
    while !world.serving("web").contains("web:2 x4") {
        world.rounds(1);
    }
    declare(&mut world, 3);
    ends_at(&mut world, "web:3", &["web:2"]);
}

#[test]
fn where_both_others_are_rejected_the_third_comes_at_once() {
    let mut world = two_versions();
    declare(&mut world, 3);
    while !world.serving("web").contains("web:3 x2") {
        world.rounds(1);
    }
    take_back(&mut world, 2);
    world.rounds(1);
    world.declare("web", "0004", spec("web:2").replicas(5));
    world.rounds(1);
    take_back(&mut world, 1);
    assert_eq!(world.app("web").quarantine.len(), 2);
    ends_at(&mut world, "web:1", &["web:2", "web:3"]);
}

/// The one of two versions that stays was declared with `recreate`: what comes in the end
/// promises that all serve, and that holds on the way, too.
#[test]
fn on_the_way_to_a_third_version_its_own_policy_holds() {
    let mut world = two_versions();
    let recreate = |s: &mut AppSpec| s.rollout.strategy = crate::model::spec::Strategy::Recreate;
    world.declare("web", "0002", spec("web:2").replicas(5).with(recreate));
    world.settle();
    world.declare("web", "0003", spec("web:3").replicas(5));
    while !world.serving("web").contains("web:3 x2") {
        world.rounds(1);
    }
    world.watch();
    world.declare("web", "0004", spec("web:4").replicas(5));
    while world.serving("web") != "web:4 x5" {
        world.rounds(1);
    }
    assert!(world.low[&key("web")] >= 5);
}

/// What instances of that image say, changed.
fn tell(world: &mut World, image: &str, change: impl Fn(&mut InstanceStatus)) {
    let app = world.app("web");
    let of = instances_of(world, &[image]);
    let told = of.into_iter().map(|id| {
        let mut status = app.instances[&id].status.clone().unwrap();
        change(&mut status);
        Change::Observe {
            app: key("web"),
            instance: id,
            status: Box::new(status),
        }
    });
    let told: Vec<Change> = told.collect();
    world.apply(&told);
}

/// Nothing served when the third came, so it did not wait for its images; the one that stays
/// comes up while they are still under way.
#[test]
fn what_comes_up_again_serves_until_the_images_are_there() {
    let mut world = World::new(&["a"]);
    world.declare("web", "0001", spec("web:1"));
    world.settle();
    world.behave("web:2", Behaviour::NeverReady);
    world.declare("web", "0002", spec("web:2"));
    world.rounds(3);
    tell(&mut world, "web:1", |status| status.ready = false);
    world.declare("web", "0003", spec("web:3").surge(1, 1));
    world.plan();
    tell(&mut world, "web:2", |status| {
        status.phase = InstancePhase::Gone
    });
    tell(&mut world, "web:1", |status| status.ready = true);
    world.plan();
    assert_eq!(world.serving("web"), "web:1 x1", "the image is not there");
    world.settle();
    assert_eq!(world.serving("web"), "web:3 x1");
}

/// Given up on a silent node, where a new leader counts the silence anew: as long as that lasts
/// it may run still, but nobody counts on it.
#[test]
fn what_was_given_up_on_a_silent_node_is_no_version_to_start_more_of() {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("web", "0001", spec("web:1"));
    world.settle();
    let silent = node_of(&world, "web:1");
    world.apply(&[Change::SetLiveness {
        node: silent,
        liveness: Liveness::Suspect,
        last_heard: world.now,
    }]);
    world.behave("web:2", Behaviour::NeverReady);
    world.declare("web", "0002", spec("web:2").surge(1, 1));
    world.rounds(3);
    world.wait(60);
    world.rounds(1);
    let given_up = instances_of(&world, &["web:1"]);
    assert!(
        given_up
            .iter()
            .all(|id| !world.app("web").instances[id].wants_run())
    );
    world.since = world.now;
    world.declare("web", "0003", spec("web:3").surge(2, 1));
    world.rounds(5);
    assert_eq!(instances_of(&world, &["web:1"]), given_up);
    assert_eq!(world.serving("web"), "web:3 x1");
}

fn node_of(world: &World, image: &str) -> NodeName {
    let id = instances_of(world, &[image]).pop_first().unwrap();
    world.app("web").instances[&id].node.clone()
}
