//! What condemns a rollout, when, and what happens then.

use std::time::Duration;

use super::world::*;
use crate::model::spec::OnFailure;
use crate::model::*;

fn update_to(behaviour: Behaviour, change: impl Fn(AppSpec) -> AppSpec) -> World {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("web", "1", change(spec("web:1").replicas(3)));
    world.settle();
    world.watch();
    world.behave("web:2", behaviour);
    world.declare("web", "2", change(spec("web:2").replicas(3)));
    world
}

fn verdict(world: &World) -> Verdict {
    world.app("web").rejection_of_declared().unwrap().verdict
}

#[test]
fn never_ready_is_condemned_at_its_deadline() {
    let mut world = update_to(Behaviour::NeverReady, |s| {
        s.with(|s| s.rollout.healthy_deadline = Duration::from_secs(30))
    });
    let start = world.now;
    world.settle();
    assert_eq!(verdict(&world), Verdict::NotReady);
    assert_eq!(world.serving("web"), "web:1 x3");
    let at = world.app("web").rejection_of_declared().unwrap().at;
    assert!(
        at.since(start) <= Duration::from_secs(33),
        "{:?}",
        at.since(start)
    );
}

#[test]
fn a_missing_image_is_found_before_anything_old_stops() {
    let mut world = update_to(Behaviour::ImageMissing, |s| s);
    world.settle();
    assert_eq!(verdict(&world), Verdict::ImageMissing);
    assert_eq!(world.serving("web"), "web:1 x3");
    assert_eq!(world.low[&key("web")], 3);
    assert!(
        world
            .told(EventKind::InstanceStopping)
            .iter()
            .all(|m| !m.contains("web:1"))
    );
}

#[test]
fn baking_fails_at_the_first_lost_readiness() {
    let mut world = update_to(Behaviour::Healthy, |s| {
        s.with(|s| s.rollout.bake_time = Duration::from_secs(120))
    });
    while world.app("web").rollout.as_ref().unwrap().phase != RolloutPhase::Baking {
        world.rounds(1);
    }
    assert!(!world.app("web").target_release().unwrap().is_stable());
    world.behave("web:2", Behaviour::Sick);
    world.settle();
    assert_eq!(verdict(&world), Verdict::FailedBake);
    assert_eq!(world.serving("web"), "web:1 x3");
}

#[test]
fn on_failure_pause_waits_for_a_person() {
    let mut world = update_to(Behaviour::CrashLoop, |s| {
        s.with(|s| s.rollout.on_failure = OnFailure::Pause)
    });
    world.rounds(20);
    let app = world.app("web");
    assert_eq!(app.rollout.as_ref().unwrap().phase, RolloutPhase::Paused);
    assert_eq!(app.health_state(0), HealthState::Degraded);
    assert!(app.quarantine.is_empty());
    world.behave("web:2", Behaviour::Healthy);
    let go_on = crate::plan::operate::plan_release(world.now, &world.snapshot, &key("web"), "eva");
    world.apply(&go_on.unwrap().changes);
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
}

#[test]
fn first_release_failing_is_failed_not_rolled_back() {
    let mut world = World::new(&["a"]);
    world.behave("web:1", Behaviour::CrashLoop);
    world.declare("web", "1", spec("web:1").replicas(2));
    world.rounds(20);
    let app = world.app("web");
    assert_eq!(app.rollout.as_ref().unwrap().phase, RolloutPhase::Failed);
    assert_eq!(app.health_state(0), HealthState::Failed);
    assert_eq!(app.sync_state(false), SyncState::Quarantined);
    assert!(world.plan().changes.is_empty());
    // The fix takes over and leaves nothing of it.
    world.declare("web", "2", spec("web:2").replicas(2));
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x2");
    assert_eq!(world.app("web").instances.len(), 2);
}

#[test]
fn a_first_release_that_failed_is_tried_again_when_an_operator_releases_it() {
    let mut world = World::new(&["a"]);
    world.behave("web:1", Behaviour::CrashLoop);
    world.declare("web", "1", spec("web:1").replicas(2));
    world.rounds(20);
    world.behave("web:1", Behaviour::Healthy);
    let release =
        crate::plan::operate::plan_release(world.now, &world.snapshot, &key("web"), "eva");
    world.apply(&release.unwrap().changes);
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x2");
    let rollout = world.app("web").rollout.clone().unwrap();
    assert_eq!(rollout.phase, RolloutPhase::Succeeded);
}

#[test]
fn a_rollback_is_never_rolled_back() {
    let mut world = paused_rollback();
    let rollout = world.app("web").rollout.clone().unwrap();
    assert!(rollout.is_rollback());
    assert_eq!(
        world
            .told(EventKind::RolloutStarted)
            .iter()
            .filter(|m| m.starts_with("rollback"))
            .count(),
        1
    );
    assert_eq!(world.app("web").health_state(0), HealthState::Degraded);
    // It comes good by itself once the cause is gone.
    world.behave("web:2", Behaviour::Healthy);
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
    assert_eq!(phase(&world), RolloutPhase::Succeeded);
}

/// A rollback to a release that crashes in each run by now, three times so far: it is paused.
fn paused_rollback() -> World {
    let mut world = update_to(Behaviour::Healthy, |s| s);
    world.settle();
    world.behave("web:3", Behaviour::CrashLoop);
    world.behave("web:2", Behaviour::CrashLoop);
    world.declare("web", "3", spec("web:3").replicas(3).surge(3, 3));
    world.rounds(30);
    assert_eq!(phase(&world), RolloutPhase::Paused);
    world
}

fn phase(world: &World) -> RolloutPhase {
    world.app("web").rollout.as_ref().unwrap().phase
}

/// It stood still for longer than its progressDeadline.
#[test]
fn the_time_in_which_a_rollback_is_paused_does_not_count_against_it() {
    let mut world = paused_rollback();
    world.watch();
    world.wait(3600);
    world.behave("web:2", Behaviour::Healthy);
    world.nodes_act();
    world.wait(60);
    let plan = world.plan();
    assert_eq!(phase(&world), RolloutPhase::Succeeded);
    let told = |c: &&Change| matches!(c, Change::PutRollout(_));
    let steps = plan.changes.iter().filter(told).count();
    assert!(steps <= 4, "each phase once, and not {steps}");
    assert!(world.told(EventKind::RolloutPaused).is_empty());
}

/// Where it is not needed any more.
#[test]
fn an_image_that_a_node_cannot_get_holds_no_complete_rollback_up() {
    let mut world = paused_rollback();
    world.watch();
    world.behave("web:2", Behaviour::Healthy);
    world.nodes_act();
    world.wait(60);
    let rollout = world.app("web").rollout.clone().unwrap();
    world.apply(&[Change::SetImage {
        node: rollout.prepare.first().unwrap().clone(),
        image: "web:2".to_owned(),
        state: Some(node::ImageState::Failed {
            failure: missing_image(),
        }),
    }]);
    world.plan();
    assert_eq!(phase(&world), RolloutPhase::Succeeded);
}

/// At the end of a run that lasts as long as minHealthyTime a crash loop looks healthy.
#[test]
fn a_paused_rollback_goes_on_only_when_its_crash_loop_is_over() {
    let mut world = paused_rollback();
    world.watch();
    world.behave("web:2", Behaviour::Healthy);
    world.nodes_act();
    let (healthy, settles) = (world.now, spec("web:2").restart.stable_after());
    for (after, ends) in [
        (Duration::ZERO, false),
        (settles - Duration::from_secs(1), false),
        (settles, true),
    ] {
        world.now = healthy + after;
        let plan = world.plan();
        assert_eq!(phase(&world) == RolloutPhase::Succeeded, ends, "{after:?}");
        assert_eq!(plan.wake_at.is_empty(), ends);
    }
}

#[test]
fn an_operator_releases_from_quarantine_and_it_is_tried_again() {
    let mut world = update_to(Behaviour::CrashLoop, |s| s);
    world.settle();
    world.behave("web:2", Behaviour::Healthy);
    let release =
        crate::plan::operate::plan_release(world.now, &world.snapshot, &key("web"), "eva");
    world.apply(&release.unwrap().changes);
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
    assert_eq!(world.app("web").sync_state(false), SyncState::Synced);
}

#[test]
fn an_operators_rollback_holds_until_a_new_commit() {
    let mut world = update_to(Behaviour::Healthy, |s| s);
    world.settle();
    let back = crate::plan::operate::plan_rollback(
        world.now,
        &world.snapshot,
        &key("web"),
        "eva",
        None,
        None,
    );
    world.apply(&back.unwrap().changes);
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x3");
    assert_eq!(world.app("web").sync_state(false), SyncState::Quarantined);
    world.declare("web", "3", spec("web:3").replicas(3));
    world.settle();
    assert_eq!(world.serving("web"), "web:3 x3");
}

#[test]
fn a_newer_commit_preempts_a_failing_rollout() {
    let mut world = update_to(Behaviour::NeverReady, |s| s);
    world.rounds(5);
    world.declare("web", "3", spec("web:3").replicas(3));
    world.settle();
    assert_eq!(world.serving("web"), "web:3 x3");
    assert_eq!(world.low[&key("web")], 3);
    assert_eq!(world.told(EventKind::RolloutSuperseded).len(), 1);
}

#[test]
fn a_suspended_app_stands_still_and_then_goes_on() {
    let mut world = update_to(Behaviour::Healthy, |s| s);
    world.rounds(3);
    let op = crate::plan::operate::plan_suspend(
        world.now,
        &world.snapshot,
        &key("web"),
        "eva",
        None,
        None,
    );
    world.apply(&op.unwrap().changes);
    world.rounds(2);
    let frozen = world.serving("web");
    world.wait(3600);
    world.rounds(10);
    assert_eq!(world.serving("web"), frozen);
    let op = crate::plan::operate::plan_resume(world.now, &world.snapshot, &key("web"), "eva");
    world.apply(&op.unwrap().changes);
    world.settle();
    assert_eq!(world.serving("web"), "web:2 x3");
}

#[test]
fn no_progress_is_condemned_with_what_it_waited_for() {
    let mut world = World::new(&["a"]);
    world.declare(
        "big",
        "1",
        spec("big:1").with(|s| s.requests.memory_bytes = 3000 * MI),
    );
    world.settle();
    world.declare(
        "web",
        "1",
        spec("web:1").with(|s| s.requests.memory_bytes = 2000 * MI),
    );
    world.rounds(3);
    assert!(world.app("web").active_rollout().is_some());
    world.wait(601);
    world.rounds(2);
    let rejection = world.app("web").rejection_of_declared().unwrap();
    assert_eq!(rejection.verdict, Verdict::NoProgress);
    assert!(
        rejection
            .reason
            .contains("not enough memory (needs 2000Mi, at most 1096Mi is free)"),
        "{}",
        rejection.reason
    );
}

/// While nobody led nobody could see how it went: its deadlines begin anew with the next leader.
#[test]
fn a_deadline_that_nobody_watched_condemns_nothing() {
    let mut world = World::new(&["a", "b"]);
    world.behave("web:2", Behaviour::NeverReady);
    world.declare("web", "1", spec("web:1").replicas(2));
    world.settle();
    world.declare("web", "2", spec("web:2").replicas(2));
    world.rounds(3);
    world.now = world.now + Duration::from_secs(3600);
    world.since = world.now;
    world.rounds(3);
    assert!(world.app("web").quarantine.is_empty());
    world.wait(300);
    world.rounds(1);
    let rejection = world.app("web").quarantine.values().next().unwrap();
    assert_eq!(rejection.verdict, Verdict::NotReady);
}

/// What a node's reboot or its runtime's end does to an instance says nothing of the release.
#[test]
fn an_instance_that_its_runtime_took_along_condemns_nothing() {
    for phase in [RolloutPhase::Baking, RolloutPhase::Progressing] {
        let bake = Duration::from_secs(600);
        let mut world = update_to(Behaviour::Healthy, |s| {
            s.with(|s| s.rollout.bake_time = bake)
        });
        world.rounds(20);
        assert_eq!(
            world.app("web").rollout.as_ref().unwrap().phase,
            RolloutPhase::Baking
        );
        world.wait(400);
        let (key, now) = (key("web"), world.now);
        let app = world.app("web");
        let mut changes = Vec::new();
        if phase == RolloutPhase::Progressing {
            let mut rollout = app.rollout.clone().unwrap();
            rollout.phase = phase;
            rollout.progress_at = now;
            changes.push(Change::PutRollout(Box::new(rollout)));
        }
        let instance = app.instances.values().next().unwrap();
        let mut status = instance.status.clone().unwrap();
        status.ready = false;
        status.ready_since = None;
        status.restarts += 1;
        status.started_at = Some(now);
        changes.push(Change::Observe {
            app: key,
            instance: instance.id,
            status: Box::new(status),
        });
        world.apply(&changes);
        world.plan();
        assert!(world.app("web").quarantine.is_empty(), "{phase:?}");
    }
}
