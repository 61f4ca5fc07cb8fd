//! Rolling updates, rollbacks and what follows from them.

use super::world::*;
use crate::model::*;

fn deployed(replicas: u32) -> World {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("web", "1", spec("web:1").replicas(replicas));
    world.settle();
    assert_eq!(world.serving("web"), format!("web:1 x{replicas}"));
    world.watch();
    world
}

#[test]
fn first_deploy_starts_all_at_once_and_is_proven() {
    let world = deployed(3);
    let app = world.app("web");
    assert!(app.target_release().unwrap().is_stable());
    assert_eq!(app.sync_state(false), SyncState::Synced);
    assert_eq!(app.health_state(0), HealthState::Healthy);
}

#[test]
fn update_keeps_all_serving_and_surges_by_one() {
    let mut world = deployed(3);
    world.declare("web", "2", spec("web:2").replicas(3));
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
    assert_eq!(world.low[&key("web")], 3);
    assert_eq!(world.high[&key("web")], 4);
    assert_eq!(world.told(EventKind::RolloutSucceeded).len(), 1);
}

#[test]
fn crash_loop_rolls_back_with_evidence_and_stays_quarantined() {
    let mut world = deployed(3);
    world.behave("web:2", Behaviour::CrashLoop);
    world.declare("web", "2", spec("web:2").replicas(3));
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x3");
    assert_eq!(world.low[&key("web")], 3);
    let app = world.app("web");
    assert_eq!(app.sync_state(false), SyncState::Quarantined);
    assert_eq!(app.health_state(0), HealthState::Healthy);
    let rejection = app.rejection_of_declared().unwrap();
    assert_eq!(rejection.verdict, Verdict::CrashLoop);
    assert_eq!(rejection.evidence.last_exit.as_ref().unwrap().code, Some(1));
    assert_eq!(rejection.evidence.log_tail, ["cannot open database"]);
    assert_eq!(world.told(EventKind::RolloutRolledBack).len(), 1);
    for _ in 0..10 {
        assert!(world.plan().changes.is_empty());
        world.wait(60);
    }
}

#[test]
fn second_replica_failing_restores_the_first() {
    let mut world = deployed(3);
    world.declare("web", "2", spec("web:2").replicas(3));
    while !world.serving("web").contains("web:2") {
        world.rounds(1);
    }
    world.rounds(2);
    world.behave("web:2", Behaviour::CrashLoop);
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x3");
}

#[test]
fn a_fix_after_a_rollback_goes_forward() {
    let mut world = deployed(2);
    world.behave("web:2", Behaviour::CrashLoop);
    world.declare("web", "2", spec("web:2").replicas(2));
    world.settle();
    world.declare("web", "3", spec("web:3").replicas(2));
    world.settle();
    assert_eq!(world.serving("web"), "web:3 x2");
    assert_eq!(world.app("web").sync_state(false), SyncState::Synced);
}

#[test]
fn a_revert_after_a_rollback_is_synced_without_touching_anything() {
    let mut world = deployed(2);
    world.behave("web:2", Behaviour::CrashLoop);
    world.declare("web", "2", spec("web:2").replicas(2));
    world.settle();
    let before: Vec<_> = world.app("web").instances.keys().copied().collect();
    world.declare("web", "3", spec("web:1").replicas(2));
    world.settle();
    let app = world.app("web");
    assert_eq!(before, app.instances.keys().copied().collect::<Vec<_>>());
    assert_eq!(app.sync_state(false), SyncState::Synced);
    assert_eq!(app.target_release().unwrap().commit, commit("3"));
}
