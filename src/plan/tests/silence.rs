//! The silence of a node, and clocks that are set back, are never evidence against a release.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::world::*;
use crate::model::instance::{Failure, FailureKind};
use crate::model::spec::{Check, Probe};
use crate::model::*;
use crate::plan::hearing::{Hearing, Unheard};
use crate::plan::observe::{NodeReport, SeenInstance, plan_liveness, plan_report};

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

/// Until a node is given up its silence holds the rollout up; what is started elsewhere then has
/// all of its time.
#[test]
fn a_rollout_is_not_condemned_for_the_node_that_it_leaves() {
    let mut world = starting();
    let node = world.app("web").instances.values().next().unwrap();
    world.apply(&[Change::SetLiveness {
        node: node.node.clone(),
        liveness: Liveness::Suspect,
        last_heard: world.now,
    }]);
    for (wait, condemns) in [(PROGRESS, false), (PROGRESS - 1, false), (1, true)] {
        world.wait(wait);
        world.plan();
        assert_eq!(condemned(&world), condemns);
        let wanted = world.app("web").instances.values();
        let moved = wanted.filter(|i| i.wants_run() && i.status.is_none());
        assert_eq!(
            moved.count(),
            1,
            "it was given up, and is started elsewhere"
        );
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

/// Its report arrived when its silence was decided and not yet written down; in the second case
/// by a clock that was put back since.
#[test]
fn a_node_that_was_heard_meanwhile_returns_without_another_report() {
    for ahead in [0, 3600] {
        let mut world = starting();
        let settings = world.settings;
        let (since, name) = (world.now, "a".parse::<NodeName>().unwrap());
        world.wait(1);
        let last_heard = world.now;
        world.wait(20);
        world.apply(&[Change::SetLiveness {
            node: name.clone(),
            liveness: Liveness::Suspect,
            last_heard: last_heard + Duration::from_secs(ahead),
        }]);
        for (heard, returns) in [(last_heard, 0), (world.now, 1)] {
            world.wait(1);
            let heard = [(name.clone(), heard), ("b".parse().unwrap(), world.now)].into();
            let decision = plan_liveness(world.now, &world.snapshot, &heard, since, &settings);
            let returned = |c: &&Change| matches!(c, Change::SetLiveness { node, liveness: Liveness::Ready, .. } if *node == name);
            let returned = decision.changes.iter().filter(returned).count();
            assert_eq!(returned, returns, "{ahead} s ahead");
        }
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

/// What the node of its instance in that slot said last, changed.
fn tell(world: &mut World, slot: u32, change: impl FnOnce(&mut InstanceStatus)) {
    let mut instances = world.app("web").instances.values();
    let instance = instances.find(|i| i.slot == slot && i.wants_run()).unwrap();
    let (id, mut status) = (instance.id, instance.status.clone().unwrap());
    change(&mut status);
    world.apply(&[Change::Observe {
        app: key("web"),
        instance: id,
        status: Box::new(status),
    }]);
}

fn no_answer(status: &mut InstanceStatus) {
    status.failure = Some(Failure {
        kind: FailureKind::RuntimeUnavailable,
        message: "it stopped answering".to_owned(),
    });
}

fn probed(check: Check) -> impl FnOnce(&mut AppSpec) {
    let second = Duration::from_secs(1);
    move |spec| {
        spec.health.readiness = Some(Probe {
            check,
            interval: second,
            timeout: second,
            success_threshold: 1,
            failure_threshold: 3,
            grace_period: Duration::ZERO,
        });
    }
}

/// Of two one has to serve. The runtime of the first does not answer: it may be down with all
/// that it ran. Only a probe over the network sees past it.
#[test]
fn an_instance_whose_runtime_does_not_answer_is_counted_on_only_if_a_probe_reaches_it() {
    let command = Check::Exec {
        command: vec!["/bin/check".to_owned()],
    };
    let port = Check::Tcp {
        port: "http".to_owned(),
    };
    for (check, goes_on) in [(None, false), (Some(command), false), (Some(port), true)] {
        let web = |image: &str| {
            let web = spec(image).replicas(2).surge(0, 1);
            match check.clone() {
                Some(check) => web.with(probed(check)),
                None => web,
            }
        };
        let mut world = World::new(&["a", "b"]);
        world.declare("web", "1", web("web:1"));
        world.settle();
        tell(&mut world, 0, no_answer);
        world.declare("web", "2", web("web:2"));
        world.rounds(20);
        assert_eq!(world.serving("web") != "web:1 x2", goes_on, "{check:?}");
        if !goes_on {
            let waiting = &world.last.report.apps[&key("web")].waiting;
            let words = "word of 1 instance(s) on nodes whose runtime does not answer";
            assert!(waiting.iter().any(|w| w.what == words), "{waiting:?}");
            tell(&mut world, 0, |status| status.failure = None);
            world.settle();
            assert_eq!(world.serving("web"), "web:2 x2");
        }
    }
}

/// Its runtime went down with it and is back: the release cannot be blamed for that, although
/// word of it came only after the bake began.
#[test]
fn a_run_that_was_not_seen_ready_is_no_evidence_while_baking() {
    for (restarts, same_run) in [(0, true), (1, false)] {
        let mut world = World::new(&["a"]);
        let web = |image: &str| spec(image).with(|s| s.rollout.bake_time = Duration::from_secs(60));
        world.declare("web", "1", web("web:1"));
        let bakes = |r: &Rollout| r.phase == RolloutPhase::Baking;
        while !world.app("web").rollout.as_ref().is_some_and(bakes) {
            world.rounds(1);
        }
        world.wait(5);
        let instance = world.app("web").instances.values().next().unwrap();
        let seen = SeenInstance {
            id: instance.id,
            phase: InstancePhase::Running,
            ready_ms: None,
            // Before the bake began.
            running_ms: Some(6_000),
            exits: 0,
            restarts,
            container_id: None,
            ports: BTreeMap::new(),
            last_exit: None,
            last_probe: None,
            failure: None,
            log_tail: Vec::new(),
        };
        let report = NodeReport {
            node: instance.node.clone(),
            facts: world.snapshot.nodes[&instance.node].facts.clone(),
            instances: vec![seen],
            images: BTreeMap::new(),
            notes: Vec::new(),
        };
        let news = plan_report(world.now, &world.snapshot, &report);
        world.apply(&news.changes);
        world.plan();
        assert_eq!(condemned(&world), same_run, "restarts {restarts}");
    }
}

/// What the database says of instances is as old as the last leadership: an app waits until each
/// of its nodes has told all it knows, or counts as silent.
#[test]
fn a_new_leader_decides_nothing_about_an_app_before_its_nodes_have_spoken() {
    let mut world = World::new(&["a", "b"]);
    for app in ["web", "gone"] {
        world.declare(app, "1", spec("web:1").replicas(2));
    }
    world.settle();
    world.apply(&[Change::Undeclare { app: key("gone") }]);
    world.declare("new", "1", spec("web:1"));
    let (epoch, session) = (Epoch(2), Uuid::from_u128(1));
    let mut hearing: Hearing<u64> = Hearing::default();
    let mut unheard = Unheard::default();
    let mut hold_back = |hearing: &Hearing<u64>, world: &World| {
        let mut apps: BTreeSet<AppKey> = world.snapshot.apps.keys().cloned().collect();
        let held = unheard.hold_back(hearing, epoch, &world.snapshot, &mut apps);
        assert_eq!(apps.len() + held.len(), 3);
        let again = held.first().map(|(_, node)| unheard.told(node));
        assert!(again.is_none_or(|apps| apps == BTreeSet::from([key("web")])));
        held
    };
    let (_, a) = hold_back(&hearing, &world).remove(0);
    let mut nodes = world.snapshot.nodes.keys();
    let b = nodes.find(|node| **node != a).unwrap().clone();
    hearing.heard(epoch, &a, session, 7, 0);
    assert_eq!(
        hold_back(&hearing, &world).len(),
        1,
        "not all, or not written down"
    );
    assert!(hearing.told(epoch, &a, session, 7) && !hearing.told(epoch, &a, session, 7));
    assert_eq!(hold_back(&hearing, &world), [(key("web"), b.clone())]);
    let last_heard = world.now;
    world.apply(&[Change::SetLiveness {
        node: b,
        liveness: Liveness::Suspect,
        last_heard,
    }]);
    assert_eq!(hold_back(&hearing, &world), []);
    assert!(
        hearing
            .lacks(Epoch(3), &world.snapshot, world.app("web"))
            .is_some()
    );
}
