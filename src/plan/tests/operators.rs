//! Of two operators the second is told who was first, and undoes nothing by accident.

use super::world::*;
use crate::model::*;
use crate::plan::operate::{plan_rollback, plan_scale, plan_scheduling};
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
