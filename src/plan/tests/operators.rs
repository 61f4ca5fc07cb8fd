//! Of two operators the second is told who was first, and undoes nothing by accident. What an
//! operator has moved keeps the promises of a rollout.

use std::time::Duration;

use super::world::*;
use crate::model::*;
use crate::plan::operate::{plan_restart, plan_rollback, plan_scale, plan_scheduling};
use crate::plan::{Decision, Refusal};

fn three_versions() -> World {
    let mut world = World::new(&["a", "b"]);
    for n in 1..=3 {
        let image = format!("web:{n}");
        world.declare("web", &format!("000{n}"), spec(&image).replicas(1));
        world.settle();
    }
    world
}

fn roll_back(world: &World, by: &str, to: Option<&str>) -> Result<Decision, Refusal> {
    plan_rollback(world.now, &world.snapshot, &key("web"), by, None, to)
}

fn told(result: Result<Decision, Refusal>) -> String {
    match result {
        Err(Refusal::Conflict(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_rollback_goes_no_further_back_unless_it_says_so() {
    let mut world = three_versions();
    let first = roll_back(&world, "ann", None).unwrap();
    world.apply(&first.changes);
    // Before the planner has begun it, and when it is done.
    let why = told(roll_back(&world, "ben", Some("0001")));
    assert!(why.contains("ann rolled shop/web back"), "{why}");
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x1");
    let why = told(roll_back(&world, "ben", None));
    assert!(
        why.contains("already, at ") && why.contains("ann rolled"),
        "{why}"
    );
    let further = roll_back(&world, "ben", Some("0001")).unwrap();
    world.apply(&further.changes);
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x1");
}

#[test]
fn what_another_operator_set_is_ended_before_it_is_set_anew() {
    let mut world = three_versions();
    let scale = |world: &World, by: &str, n: u32| {
        plan_scale(world.now, &world.snapshot, &key("web"), by, n, None, None)
    };
    let first = scale(&world, "ann", 3).unwrap();
    world.apply(&first.changes);
    let why = told(scale(&world, "ben", 2));
    assert!(why.starts_with("ann scaled shop/web to 3 at "), "{why}");
    scale(&world, "ann", 4).expect("it is her own");

    let node: NodeName = "a".parse().unwrap();
    let set = |world: &World, by: &str, to: Scheduling| {
        plan_scheduling(world.now, &world.snapshot, &node, to, by, None)
    };
    let drain = set(&world, "ann", Scheduling::Draining).unwrap();
    world.apply(&drain.changes);
    let why = told(set(&world, "ben", Scheduling::Cordoned));
    assert!(why.starts_with("ann drains node a since "), "{why}");
    set(&world, "ann", Scheduling::Cordoned).expect("it is her own");
}

/// Of two that serve one has come up only just now. Whatever makes both go, nothing stops for that
/// one before it was ready for `minHealthyTime`.
#[test]
fn one_that_came_up_just_now_is_not_counted_on_by_a_drain_or_a_restart() {
    let drain = |world: &mut World| {
        let (now, node) = (world.now, "a".parse().unwrap());
        plan_scheduling(
            now,
            &world.snapshot,
            &node,
            Scheduling::Draining,
            "ann",
            None,
        )
    };
    let restart = |world: &mut World| {
        let (now, settings) = (world.now, world.settings);
        let (snapshot, ids) = (&world.snapshot, &mut world.ids);
        plan_restart(now, snapshot, &key("web"), "ann", None, &settings, ids)
    };
    type Verb = fn(&mut World) -> Result<Decision, Refusal>;
    for verb in [drain as Verb, restart] {
        let mut world = World::new(&["a"]);
        let min_healthy = Duration::from_secs(60);
        let web = spec("web:1").replicas(2).surge(0, 1);
        let web = web.with(|s| s.rollout.min_healthy_time = min_healthy);
        world.declare("web", "0001", web);
        world.settle();
        world.add_node("b", 4000, 4096, &[]);
        let young = world.app("web").instances.values().next().unwrap();
        let (id, mut status) = (young.id, young.status.clone().unwrap());
        status.ready_since = Some(world.now);
        world.apply(&[Change::Observe {
            app: key("web"),
            instance: id,
            status: Box::new(status),
        }]);
        let decision = verb(&mut world).unwrap();
        world.apply(&decision.changes);
        world.watch();
        world.rounds(50);
        assert_eq!(world.low[&key("web")], 2);
        world.settle();
        assert_eq!(world.low[&key("web")], 1);
        assert_eq!(world.serving("web"), "web:1 x2");
    }
}
