//! Recreate, stop-first, infeasible strategies, scaling, in-place changes.

use std::time::Duration;

use super::world::*;
use crate::model::quantity::CountOrPercent;
use crate::model::spec::{Constraint, Strategy};
use crate::model::*;

#[test]
fn recreate_stops_all_and_then_starts_all() {
    let mut world = World::new(&["a", "b"]);
    let recreate = |image| {
        spec(image)
            .replicas(3)
            .with(|s| s.rollout.strategy = Strategy::Recreate)
    };
    world.declare("web", "1", recreate("web:1"));
    world.settle();
    world.watch();
    world.declare("web", "2", recreate("web:2"));
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
    assert_eq!(world.low[&key("web")], 0);
    assert_eq!(world.high[&key("web")], 3);
}

#[test]
fn a_volume_makes_it_stop_first_on_the_same_node() {
    let mut world = World::new(&["a", "b", "c"]);
    let stateful = |image| spec(image).replicas(2).volume("data").surge(0, 1);
    world.declare("db", "1", stateful("db:1"));
    world.settle();
    let homes = world.app("db").homes.clone();
    world.watch();
    world.declare("db", "2", stateful("db:2"));
    world.settle();
    assert_eq!(world.serving("db"), "db:2 x2");
    assert_eq!(world.low[&key("db")], 1);
    assert_eq!(
        world.app("db").rollout.as_ref().unwrap().order,
        Order::StopFirst
    );
    for i in world.app("db").instances.values() {
        assert_eq!(homes[&i.slot], i.node);
    }
}

#[test]
fn what_cannot_come_to_its_end_is_refused_with_the_arithmetic() {
    let mut world = World::new(&["a"]);
    world.declare("web", "1", spec("web:1").host_port(80));
    world.settle();
    world.watch();
    world.declare("web", "2", spec("web:2").host_port(80));
    world.settle();
    let app = world.app("web");
    let rejection = app.rejection_of_declared().unwrap();
    assert_eq!(rejection.verdict, Verdict::Infeasible);
    assert!(
        rejection
            .reason
            .contains("1 of 1 replicas must keep serving"),
        "{}",
        rejection.reason
    );
    assert!(
        rejection
            .reason
            .contains("host port 80 is held by another instance of it"),
        "{}",
        rejection.reason
    );
    assert!(
        rejection.reason.contains("maxUnavailable"),
        "{}",
        rejection.reason
    );
    assert_eq!(world.serving("web"), "web:1 x1");
    assert_eq!(world.low[&key("web")], 1);
}

#[test]
fn the_same_with_one_unavailable_stops_first() {
    let mut world = World::new(&["a"]);
    world.declare("web", "1", spec("web:1").host_port(80).surge(1, 1));
    world.settle();
    world.declare("web", "2", spec("web:2").host_port(80).surge(1, 1));
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x1");
}

#[test]
fn memory_that_fits_nowhere_is_refused_at_once() {
    let mut world = World::new(&["a", "b"]);
    world.declare(
        "web",
        "1",
        spec("web:1").with(|s| s.requests.memory_bytes = 1 << 40),
    );
    world.settle();
    let app = world.app("web");
    assert_eq!(
        app.rejection_of_declared().unwrap().verdict,
        Verdict::Infeasible
    );
    assert!(app.instances.is_empty());
    assert_eq!(app.health_state(0), HealthState::Failed);
}

#[test]
fn without_a_node_it_waits_and_starts_when_one_joins() {
    let mut world = World::new(&[]);
    world.declare("web", "1", spec("web:1"));
    world.rounds(3);
    assert!(
        world.last.report.apps[&key("web")]
            .waiting
            .iter()
            .any(|w| w.what.contains("no node has joined"))
    );
    world.add_node("a", 4000, 4096, &[]);
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x1");
}

#[test]
fn all_at_once_with_full_surge() {
    let mut world = World::new(&["a", "b", "c"]);
    let all = |image| {
        spec(image)
            .replicas(4)
            .with(|s| s.rollout.max_surge = CountOrPercent::Percent(100))
    };
    world.declare("web", "1", all("web:1"));
    world.settle();
    world.watch();
    world.declare("web", "2", all("web:2"));
    world.settle();
    assert_eq!(world.low[&key("web")], 4);
    assert_eq!(world.high[&key("web")], 8);
}

#[test]
fn scaling_touches_only_the_difference() {
    let mut world = World::new(&["a", "b"]);
    world.declare("web", "1", spec("web:1").replicas(2));
    world.settle();
    let first: Vec<_> = world.app("web").instances.keys().copied().collect();
    world.declare("web", "2", spec("web:1").replicas(5));
    world.settle();
    let app = world.app("web");
    assert_eq!(app.instances.len(), 5);
    assert!(first.iter().all(|id| app.instances.contains_key(id)));
    world.watch();
    world.declare("web", "3", spec("web:1").replicas(1));
    world.settle();
    let app = world.app("web");
    assert_eq!(app.instances.len(), 1);
    assert_eq!(app.instances.values().next().unwrap().slot, 0);
    assert_eq!(world.low[&key("web")], 1);
}

#[test]
fn limits_and_requests_change_in_place() {
    let mut world = World::new(&["a"]);
    world.declare("web", "1", spec("web:1"));
    world.settle();
    let ids: Vec<_> = world.app("web").instances.keys().copied().collect();
    world.declare(
        "web",
        "2",
        spec("web:1").with(|s| {
            s.limits.memory_bytes = Some(256 * MI);
            s.requests.memory_bytes = 128 * MI;
        }),
    );
    world.settle();
    let app = world.app("web");
    assert_eq!(ids, app.instances.keys().copied().collect::<Vec<_>>());
    let used = world
        .snapshot
        .usage(&"a".parse().unwrap())
        .unwrap()
        .requests;
    assert_eq!(used.memory_bytes, 128 * MI);
    let set =
        crate::plan::dispatch::desired_set(&world.snapshot, "c", Epoch(1), &"a".parse().unwrap());
    let run = &set.instances[&ids[0]].run;
    assert_eq!(run.limits.memory_bytes, Some(256 * MI));
}

#[test]
fn min_healthy_time_is_waited_for_and_the_wake_up_is_told() {
    let mut world = World::new(&["a"]);
    let slow = |image| spec(image).with(|s| s.rollout.min_healthy_time = Duration::from_secs(10));
    world.declare("web", "1", slow("web:1"));
    world.plan();
    world.nodes_act();
    let plan = world.plan();
    assert!(
        plan.changes
            .iter()
            .all(|c| !matches!(c, Change::SetGoal { .. }))
    );
    assert_eq!(
        plan.wake_at[&key("web")],
        world.now + Duration::from_secs(10)
    );
    world.settle();
    assert!(world.app("web").target_release().unwrap().is_stable());
}

#[test]
fn unique_per_node_is_kept_while_rolling() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    let unique = |image| {
        spec(image).replicas(3).constraint(Constraint::Unique {
            attribute: "node".to_owned(),
        })
    };
    world.declare("web", "1", unique("web:1"));
    world.settle();
    world.declare("web", "2", unique("web:2"));
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
}

#[test]
fn an_app_removed_from_git_is_taken_down() {
    let mut world = World::new(&["a"]);
    world.declare("web", "1", spec("web:1").replicas(2));
    world.settle();
    world.apply(&[Change::Undeclare { app: key("web") }]);
    world.settle();
    assert!(world.snapshot.apps.is_empty());
    let used = world.snapshot.usage(&"a".parse().unwrap()).unwrap();
    assert_eq!(used.requests.cpu_millis, 0);
}

#[test]
fn many_releases_are_forgotten_but_not_what_rollback_needs() {
    let mut world = World::new(&["a", "b"]);
    world.settings.keep_releases = 3;
    world.declare("web", "aa", spec("web:0"));
    world.settle();
    for n in 1..9 {
        world.behave(&format!("web:{n}"), Behaviour::CrashLoop);
        world.declare("web", &format!("b{n}"), spec(&format!("web:{n}")));
        world.settle();
    }
    let app = world.app("web");
    assert!(app.releases.len() <= 5, "{}", app.releases.len());
    assert_eq!(world.serving("web"), "web:0 x1");
    assert_eq!(app.quarantine.len(), 8);
}
