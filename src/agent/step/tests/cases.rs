use std::time::Duration;

use super::world::{World, found};
use crate::agent::found::FoundState;
use crate::agent::step::{DOCKER, Op, OpKind, PROCESS, instance_view, probing};
use crate::agent::testing::{Tweak as _, id, instance, set, tcp_probe};
use crate::model::instance::{Failure, FailureKind, ProbeKind};
use crate::model::spec::{Limits, PullPolicy, Task};
use crate::model::{DesiredInstance, EventKind, InstancePhase};

fn running(instances: impl IntoIterator<Item = DesiredInstance>) -> World {
    let mut world = World::new(set(1, instances));
    world.settle();
    world.forget_log();
    world
}

#[test]
fn from_nothing_to_ready() {
    let mut world = World::new(set(1, [instance(1)]));
    world.settle();
    assert_eq!(world.log(), ["0 pull", "0 create", "0 start"]);
    let view = world.view(id(1));
    assert_eq!(view.phase, InstancePhase::Running);
    assert!(
        view.ready_since.is_some(),
        "no probe: ready as soon as it runs"
    );
    assert_eq!((view.exits, view.restarts), (0, 0));
    assert_eq!(world.step().ops, [], "and then it is idle");
}

#[test]
fn an_image_is_pulled_once_for_all_and_ahead_of_need() {
    let mut desired = set(1, [instance(1), instance(2)]);
    desired.images.insert("later:2".into(), PullPolicy::Missing);
    let mut world = World::new(desired);
    world.begin();
    let pulls = world
        .in_flight
        .iter()
        .filter(|op| op.kind() == OpKind::Pull);
    assert_eq!((pulls.count(), world.in_flight.len()), (2, 2));
    world.begin();
    assert_eq!(
        world.in_flight.len(),
        2,
        "what is under way is not asked for again"
    );
    assert_eq!(world.view(id(1)).phase, InstancePhase::Preparing);
}

#[test]
fn exits_wait_ever_longer_and_a_stable_run_forgives_them() {
    let mut world = running([instance(1)]);
    for (exits, wait) in [(1, 1000), (2, 2000), (3, 4000), (4, 8000)] {
        world.crash(id(1), 1);
        world.look();
        world.settle();
        let view = world.view(id(1));
        assert_eq!((view.phase, view.exits), (InstancePhase::BackOff, exits));
        world.forget_log();
        let at = world.now;
        world.pass(at + wait - 1);
        assert!(world.log().is_empty(), "exit {exits}: {:?}", world.log());
        world.pass(at + wait);
        assert_eq!(world.log(), [format!("{} start", at + wait)]);
        assert_eq!(world.view(id(1)).restarts, exits);
    }
    world.exit(id(1), 1, false, 60_000);
    world.look();
    let at = world.now;
    world.forget_log();
    world.pass(at + 1000);
    assert_eq!(world.log(), [format!("{} start", at + 1000)]);
}

#[test]
fn looking_twice_counts_an_exit_once() {
    let mut world = running([instance(1)]);
    world.crash(id(1), 7);
    for _ in 0..3 {
        world.look();
    }
    let view = world.view(id(1));
    assert_eq!(view.exits, 1);
    assert_eq!(view.last_exit.unwrap().code, Some(7));
    assert!(world.has_note("exited with code 7 after 0.1s; starting it again in 1s"));
}

#[test]
fn a_runtime_that_took_them_along_costs_no_exit_and_no_wait() {
    let mut world = running([instance(1)]);
    world.up = false;
    world.look();
    world.exit(id(1), 255, true, 5);
    world.settle();
    let view = world.view(id(1));
    assert_eq!(view.phase, InstancePhase::Running, "nothing is concluded");
    assert_eq!(view.failure.unwrap().kind, FailureKind::RuntimeUnavailable);
    world.up = true;
    world.look();
    world.settle();
    assert_eq!(world.log(), ["0 start"]);
    let view = world.view(id(1));
    assert_eq!((view.exits, view.restarts, view.failure), (0, 1, None));
}

#[test]
fn what_vanished_is_put_back_with_a_note() {
    let mut world = running([instance(1)]);
    world.real.clear();
    world.look();
    world.settle();
    assert_eq!(world.log(), ["0 create", "0 start"]);
    assert!(
        world
            .notes
            .iter()
            .any(|n| n.kind == EventKind::InstanceRestarted
                && n.message.contains("removed by somebody else"))
    );
    let view = world.view(id(1));
    assert_eq!((view.exits, view.restarts), (0, 1));
}

#[test]
fn the_end_is_stop_remove_gone() {
    let mut world = running([instance(1)]);
    world.desire(set(2, [instance(1).stopping()]));
    world.begin();
    assert!(matches!(
        world.in_flight[..],
        [Op::Stop { grace, .. }] if grace == Duration::from_secs(7)
    ));
    assert_eq!(world.view(id(1)).phase, InstancePhase::Stopping);
    assert_eq!(world.view(id(1)).ready_since, None);
    world.end_one();
    world.settle();
    assert_eq!(world.log(), ["0 stop", "0 remove"]);
    let view = world.view(id(1));
    assert_eq!((view.phase, view.exits), (InstancePhase::Gone, 0));
    world.desire(set(3, []));
    assert!(world.local.instances.is_empty());
}

#[test]
fn what_never_was_is_gone_at_once_but_not_while_the_runtime_is_silent() {
    let mut world = World::new(set(1, [instance(1).stopping()]));
    assert_eq!(world.view(id(1)).phase, InstancePhase::Gone);
    world.local = crate::agent::step::Local::new([DOCKER]);
    world.up = false;
    let stopped = world.desired.instances[&id(1)].clone();
    assert_eq!(instance_view(&stopped, &world.local, world.at()), None);
    world.look();
    assert_eq!(world.view(id(1)).phase, InstancePhase::Stopping);
}

#[test]
fn a_stop_does_not_wait_for_the_back_off_of_a_start() {
    let mut world = running([instance(1)]);
    world.crash(id(1), 1);
    world.look();
    world.desire(set(2, [instance(1).stopping()]));
    world.settle();
    assert_eq!(world.log(), ["0 remove"]);
}

#[test]
fn unlisted_ones_of_ours_are_stopped_and_removed() {
    let mut world = running([instance(1), instance(2)]);
    world.desire(set(2, [instance(1)]));
    world.settle();
    assert_eq!(world.log(), ["0 stop", "0 remove"]);
    assert!(world.has_note("generation 2 of this node's desired set does not list it"));
    assert!(
        world.has_note("with 7s of grace"),
        "its own, as long as it is remembered"
    );
    assert_eq!(world.real.keys().copied().collect::<Vec<_>>(), [id(1)]);
}

#[test]
fn under_a_hold_nothing_is_touched() {
    let mut world = running([instance(1)]);
    world.local.hold = Some("damaged".into());
    world.desire(set(2, [instance(2)]));
    world.crash(id(1), 1);
    world.look();
    assert_eq!(world.step(), Default::default());
}

#[test]
fn at_most_one_operation_per_instance_and_none_waits_for_another() {
    let mut world = World::new(set(1, [instance(1), instance(2)]));
    world.begin();
    world.end_one(); // the pull
    world.begin();
    let kinds: Vec<OpKind> = world.in_flight.iter().map(Op::kind).collect();
    assert_eq!(kinds, [OpKind::Create, OpKind::Create]);
    // The first one hangs; the second goes its way.
    let hanging = world.in_flight.remove(0);
    world.settle();
    assert_eq!(world.view(id(2)).phase, InstancePhase::Running);
    world.desire(set(2, [instance(1).stopping(), instance(2)]));
    assert_eq!(world.step().ops, [], "not even a stop beside it");
    world.in_flight.push(hanging);
    world.end_one();
    world.settle();
    assert_eq!(world.view(id(1)).phase, InstancePhase::Gone);
}

#[test]
fn a_look_from_before_an_operation_does_not_undo_it() {
    let mut world = World::new(set(1, [instance(1)]));
    let old = world.local.begin_look();
    world.settle();
    let now = world.at();
    let desired = world.desired.clone();
    world.local.listed(DOCKER, old, vec![], Some(&desired), now);
    assert_eq!(world.view(id(1)).phase, InstancePhase::Running);
    assert_eq!(world.step().ops, []);
}

#[test]
fn failures_are_retried_for_ever_and_conclusive_ones_slowly() {
    let cases = [
        (OpKind::Create, FailureKind::StartFailed, 1000),
        (OpKind::Start, FailureKind::StartFailed, 1000),
        (OpKind::Start, FailureKind::Rejected, 30_000),
        (OpKind::Create, FailureKind::RuntimeUnavailable, 1000),
        (OpKind::Pull, FailureKind::PullFailed, 1000),
        (OpKind::Pull, FailureKind::ImageNotFound, 30_000),
    ];
    for (op, kind, wait) in cases {
        let mut world = World::new(set(1, [instance(1)]));
        world.faults.push((op, kind));
        world.settle();
        let view = world.view(id(1));
        assert_eq!(view.failure.map(|f| f.kind), Some(kind), "{op:?}");
        assert_eq!(view.phase, InstancePhase::BackOff, "{op:?}");
        assert_eq!(view.exits, 0);
        assert_eq!(world.step().wake_at.unwrap().0, wait, "{op:?} {kind:?}");
        world.pass(wait);
        let view = world.view(id(1));
        assert_eq!((view.phase, view.failure), (InstancePhase::Running, None));
    }
}

#[test]
fn an_image_that_vanished_is_pulled_again() {
    let mut world = running([instance(1)]);
    world.real.clear();
    world
        .faults
        .push((OpKind::Create, FailureKind::ImageNotFound));
    world.look();
    world.settle();
    world.pass(30_000);
    assert_eq!(
        world.log(),
        ["0 create", "0 pull", "30000 create", "30000 start"]
    );
}

#[test]
fn an_operation_without_effect_is_no_busy_loop() {
    let mut world = running([instance(1)]);
    world.desire(set(2, [instance(1).stopping()]));
    world.begin();
    let op = world.in_flight.remove(0);
    let (now, still) = (world.at(), world.real.get(&id(1)).cloned());
    let desired = world.desired.clone();
    let outcome = crate::agent::step::absorb::Outcome::Done;
    world
        .local
        .op_finished(&op, DOCKER, outcome, Some(still), Some(&desired), now);
    assert_eq!(world.step().ops, []);
    assert_eq!(world.step().wake_at.unwrap().0, 1000);
}

#[test]
fn limits_change_live_and_a_rounding_runtime_is_not_pestered() {
    let mut world = running([instance(1)]);
    let limits = Limits {
        cpu_millis: Some(1234),
        memory_bytes: None,
    };
    world.desire(set(2, [instance(1).with(|r| r.limits = limits)]));
    world.settle();
    assert_eq!(world.log(), ["0 setlimits"]);
    world.real.get_mut(&id(1)).unwrap().limits.cpu_millis = Some(1200);
    world.look();
    world.settle();
    world.pass(59_000);
    assert_eq!(world.log(), ["0 setlimits"]);
    world.pass(60_000);
    assert_eq!(world.log(), ["0 setlimits", "60000 setlimits"]);
}

#[test]
fn the_startup_probe_gates_the_others_and_condemns() {
    let it = instance(1).with(|run| {
        run.health.startup = Some(tcp_probe());
        run.health.readiness = Some(tcp_probe());
        run.health.liveness = Some(tcp_probe());
    });
    let mut world = running([it]);
    let kinds = |world: &World| {
        let all = probing(&world.desired, &world.local);
        all.into_keys().map(|(_, kind)| kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&world), [ProbeKind::Startup]);
    world.now = 500;
    world.probe(id(1), ProbeKind::Startup, true);
    assert_eq!(kinds(&world), [ProbeKind::Readiness, ProbeKind::Liveness]);
    assert_eq!(world.view(id(1)).ready_since, None);
    world.probe(id(1), ProbeKind::Readiness, true);
    assert_eq!(world.view(id(1)).ready_since.unwrap().0, 500);

    world.crash(id(1), 1);
    world.look();
    world.pass(2000);
    assert_eq!(kinds(&world), [ProbeKind::Startup], "a new run begins anew");
    world.forget_log();
    for at in [3000, 4000, 5000] {
        world.pass(at);
        world.probe(id(1), ProbeKind::Startup, false);
    }
    world.settle();
    assert_eq!(world.log(), ["5000 stop"]);
    assert!(world.has_note("its startup probe failed 3 times in a row: broken"));
    assert_eq!(world.view(id(1)).exits, 2);
    world.pass(7000);
    assert_eq!(world.view(id(1)).phase, InstancePhase::Running);
}

#[test]
fn liveness_restarts_count_as_exits_and_back_off() {
    let mut world = running([instance(1).with(|r| r.health.liveness = Some(tcp_probe()))]);
    for at in [1000, 2000, 3000] {
        world.pass(at);
        world.probe(id(1), ProbeKind::Liveness, false);
    }
    world.settle();
    assert_eq!(world.log(), ["3000 stop"]);
    let view = world.view(id(1));
    assert_eq!((view.exits, view.phase), (1, InstancePhase::BackOff));
    assert!(!view.last_probe.unwrap().passed);
    world.pass(4000);
    assert_eq!(world.log(), ["3000 stop", "4000 start"]);
}

#[test]
fn an_answer_of_an_earlier_run_is_ignored() {
    let mut world = running([instance(1).with(|r| r.health.readiness = Some(tcp_probe()))]);
    let run = world.real[&id(1)].starts;
    let answer = crate::model::ProbeAnswer {
        probe: ProbeKind::Readiness,
        passed: true,
        answer: "fine".into(),
    };
    let it = world.desired.instances[&id(1)].clone();
    world.local.probed(&it, run + 1, answer.clone(), world.at());
    assert_eq!(world.view(id(1)).ready_since, None);
    world.local.probed(&it, run, answer, world.at());
    assert!(world.view(id(1)).ready_since.is_some());
}

#[test]
fn a_restarted_agent_takes_over_what_runs() {
    let it = instance(1).with(|r| r.health.readiness = Some(tcp_probe()));
    let mut world = running([it]);
    world.probe(id(1), ProbeKind::Readiness, true);
    let kept = world.local.kept();
    world.local = crate::agent::step::Local::new([DOCKER]);
    world.local.restore(kept, world.at());
    world.local.admit(&world.desired.clone(), world.at());
    world.forget_log();
    world.look();
    world.settle();
    assert_eq!(world.log(), ["0 pull"], "only the image is looked after");
    assert!(
        world.view(id(1)).ready_since.is_some(),
        "no dip in readiness"
    );
    assert!(!world.has_note("ready"), "and it is not told again");
}

/// Its readiness was told and not yet written down. The next process says that it cannot say,
/// until a probe has judged, and not for ever.
#[test]
fn a_restarted_agent_calls_nothing_unready_that_no_probe_has_judged() {
    let it = instance(1).with(|r| r.health.readiness = Some(tcp_probe()));
    let told = |world: &World| {
        let view = world.view(id(1));
        let judged = view.failure != Some(Failure::unjudged());
        judged.then_some(view.ready_since.is_some())
    };
    let mut world = running([it]);
    assert_eq!(told(&world), Some(false), "it was started here");
    let kept = world.local.kept();
    world.probe(id(1), ProbeKind::Readiness, true);
    assert_eq!(told(&world), Some(true));
    for outcome in [Some(true), Some(false), None] {
        world.local = crate::agent::step::Local::new([DOCKER]);
        world.local.restore(kept.clone(), world.at());
        world.local.admit(&world.desired.clone(), world.at());
        world.look();
        assert_eq!(told(&world), None);
        for _ in 0..30 {
            world.now += 1000;
            outcome
                .iter()
                .for_each(|passed| world.probe(id(1), ProbeKind::Readiness, *passed));
        }
        assert_eq!(told(&world), Some(outcome == Some(true)));
    }
}

/// The node was started anew and its runtime is not up: what was said before must not stand.
#[test]
fn a_restarted_agent_whose_runtime_is_silent_says_so_of_each_instance() {
    let mut world = running([instance(1)]);
    assert!(world.view(id(1)).ready_since.is_some());
    let kept = world.local.kept();
    world.local = crate::agent::step::Local::new([DOCKER]);
    world.local.restore(kept, world.at());
    world.local.admit(&world.desired.clone(), world.at());
    world.up = false;
    world.look();
    let view = world.view(id(1));
    let failure = view.failure.map(|failure| failure.kind);
    assert_eq!(failure, Some(FailureKind::RuntimeUnavailable));
    assert_eq!((view.ready_since, view.exits), (None, 0));
    world.up = true;
    world.look();
    assert!(world.view(id(1)).ready_since.is_some());
}

/// Its ledger was lost: it looks before it is told what is wanted.
#[test]
fn what_was_ready_is_ready_for_an_agent_that_is_told_of_it_late() {
    let it = instance(1).with(|r| r.health.readiness = Some(tcp_probe()));
    let mut world = running([it]);
    world.probe(id(1), ProbeKind::Readiness, true);
    let (kept, desired) = (world.local.kept(), world.desired.clone());
    world.local = crate::agent::step::Local::new([DOCKER]);
    world.local.restore(kept, world.at());
    world.desired.instances.clear();
    world.look();
    world.desire(desired);
    assert!(world.view(id(1)).ready_since.is_some());
}

/// It was lost before anything of the instance was written down.
#[test]
fn what_needs_no_probe_is_ready_for_an_agent_that_is_told_of_it_late() {
    let mut world = running([instance(1)]);
    let desired = world.desired.clone();
    world.local = crate::agent::step::Local::new([DOCKER]);
    world.desired.instances.clear();
    world.look();
    world.desire(desired);
    assert!(world.view(id(1)).ready_since.is_some());
}

#[test]
fn a_crash_while_no_agent_looked_is_counted_by_the_next() {
    let mut world = running([instance(1)]);
    let kept = world.local.kept();
    world.crash(id(1), 9);
    world.local = crate::agent::step::Local::new([DOCKER]);
    world.local.restore(kept, world.at());
    world.look();
    let view = world.view(id(1));
    assert_eq!((view.exits, view.restarts), (1, 0));
    assert_eq!(view.phase, InstancePhase::BackOff);
}

#[test]
fn a_restart_by_somebody_else_is_seen() {
    let mut world = running([instance(1).with(|r| r.health.readiness = Some(tcp_probe()))]);
    world.probe(id(1), ProbeKind::Readiness, true);
    world.real.get_mut(&id(1)).unwrap().starts += 1;
    world.look();
    let view = world.view(id(1));
    assert_eq!((view.restarts, view.exits), (1, 0));
    assert_eq!(
        view.ready_since, None,
        "the new run has to show itself ready"
    );
}

#[test]
fn a_node_without_the_runtime_says_so() {
    let process = instance(1).with(|run| {
        run.image = None;
        run.workload.task = Task::Process {
            command: vec!["x".into()],
            working_dir: None,
        };
    });
    let mut world = World::new(set(1, [process]));
    world.settle();
    assert!(world.log().is_empty());
    let failure = world.view(id(1)).failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert!(failure.message.contains(PROCESS), "{}", failure.message);
    world.desire(set(2, [world.desired.instances[&id(1)].clone().stopping()]));
    assert_eq!(world.view(id(1)).phase, InstancePhase::Gone);
}

#[test]
fn a_created_but_never_started_one_is_completed_and_started_or_removed() {
    let mut world = World::new(set(1, [instance(1)]));
    world.real.insert(id(1), found(id(1), Limits::default()));
    world.real.insert(id(2), found(id(2), Limits::default()));
    world.look();
    world.settle();
    assert!(matches!(world.real[&id(1)].state, FoundState::Running));
    assert!(!world.real.contains_key(&id(2)));
    let log = world.log();
    let place = |what: &str| log.iter().position(|op| op.contains(what)).unwrap();
    assert!(place("create") < place("start"), "{log:?}");
}

#[test]
fn what_answers_after_the_exit_does_not_hide_what_was_said_before() {
    let mut world = running([instance(1).with(|r| r.health.readiness = Some(tcp_probe()))]);
    world.now += 500;
    world.probe(id(1), ProbeKind::Readiness, false);
    world.exit(id(1), 3, false, 1000);
    world.now += 700;
    world.probe(id(1), ProbeKind::Readiness, true);
    world.look();
    assert_eq!(world.view(id(1)).last_probe.unwrap().answer, "broken");
}
