//! Reports become changes only where something differs, and events once.

use std::collections::BTreeMap;

use super::world::*;
use crate::model::instance::{Exit, Failure};
use crate::model::snapshot::Observed;
use crate::model::*;
use crate::plan::observe::{NodeReport, SeenInstance, SeenNote, plan_report};

fn one_instance() -> (World, InstanceId) {
    let mut world = World::new(&["a"]);
    world.declare("web", "1", spec("web:1"));
    world.plan();
    let id = *world.app("web").instances.keys().next().unwrap();
    (world, id)
}

fn running(id: InstanceId, ready_ms: Option<u64>) -> SeenInstance {
    SeenInstance {
        id,
        phase: InstancePhase::Running,
        ready_ms,
        running_ms: Some(ready_ms.unwrap_or(0) + 100),
        exits: 0,
        restarts: 0,
        container_id: Some("c".to_owned()),
        ports: BTreeMap::new(),
        last_exit: None,
        last_probe: None,
        failure: None,
        log_tail: Vec::new(),
    }
}

fn report(world: &mut World, seen: SeenInstance, notes: Vec<SeenNote>) -> Vec<Change> {
    let report = NodeReport {
        node: "a".parse().unwrap(),
        facts: world.snapshot.nodes[&"a".parse().unwrap()].facts.clone(),
        instances: vec![seen],
        images: BTreeMap::new(),
        notes,
    };
    let decision = plan_report(world.now, &world.snapshot, &report);
    world.log.extend(decision.events);
    world.apply(&decision.changes);
    decision.changes
}

#[test]
fn readiness_keeps_its_time_and_repeats_cost_nothing() {
    let (mut world, id) = one_instance();
    assert_eq!(report(&mut world, running(id, Some(500)), vec![]).len(), 1);
    let since = world.app("web").instances[&id]
        .status
        .as_ref()
        .unwrap()
        .ready_since;
    world.wait(7);
    assert!(report(&mut world, running(id, Some(7300)), vec![]).is_empty());
    assert_eq!(
        world.app("web").instances[&id]
            .status
            .as_ref()
            .unwrap()
            .ready_since,
        since
    );
    assert_eq!(world.told(EventKind::InstanceReady).len(), 1);
}

#[test]
fn a_restart_begins_a_new_readiness_but_not_a_new_first_start() {
    let (mut world, id) = one_instance();
    report(&mut world, running(id, Some(500)), vec![]);
    let first = world.app("web").instances[&id].status.clone().unwrap();
    world.wait(60);
    let mut again = running(id, Some(10));
    again.exits = 1;
    again.restarts = 1;
    again.last_exit = Some(Exit {
        code: Some(137),
        oom_killed: true,
        ran_for_ms: 59_000,
    });
    report(&mut world, again, vec![]);
    let status = world.app("web").instances[&id].status.clone().unwrap();
    assert!(status.ready_since > first.ready_since);
    assert_eq!(status.first_started_at, first.first_started_at);
    assert!(world.told(EventKind::InstanceExited)[0].contains("more memory than its limit"));
}

#[test]
fn an_agents_word_for_what_the_state_tells_is_not_repeated() {
    let (mut world, id) = one_instance();
    let note = |kind, message: &str| SeenNote {
        instance: Some(id),
        kind,
        message: message.to_owned(),
        age_ms: 5,
    };
    let notes = vec![
        note(EventKind::InstanceReady, "ready"),
        note(
            EventKind::InstanceRestarted,
            "its container was removed outside Evenkeel",
        ),
    ];
    report(&mut world, running(id, Some(5)), notes);
    assert_eq!(world.told(EventKind::InstanceReady).len(), 1);
    let put_back = world.told(EventKind::InstanceRestarted);
    assert!(
        put_back[0].contains("(slot 0) on a: its container was removed outside"),
        "{put_back:?}"
    );
}

#[test]
fn an_unknown_node_joins_by_its_first_report() {
    let (mut world, id) = one_instance();
    let report = NodeReport {
        node: "new".parse().unwrap(),
        facts: world.snapshot.nodes[&"a".parse().unwrap()].facts.clone(),
        instances: vec![running(id, None)],
        images: BTreeMap::new(),
        notes: vec![],
    };
    let decision = plan_report(world.now, &world.snapshot, &report);
    // It speaks of an instance that is another node's: passed over.
    assert_eq!(decision.changes.len(), 1);
    assert!(matches!(decision.changes[0], Change::PutNode(_)));
    world.apply(&decision.changes);
}

/// Its agent was started anew and its probes have not answered: what was said before stands, and
/// one that was not ready then is not taken for one that does not serve.
#[test]
fn what_no_probe_has_judged_yet_stays_as_it_was_said() {
    for ready_ms in [Some(500), None] {
        let (mut world, id) = one_instance();
        report(&mut world, running(id, ready_ms), vec![]);
        let before = world.app("web").instances[&id].status.clone().unwrap();
        let mut unjudged = running(id, None);
        unjudged.failure = Some(Failure::unjudged());
        report(&mut world, unjudged.clone(), vec![]);
        let app = world.app("web");
        let status = app.instances[&id].status.clone().unwrap();
        assert_eq!(
            (status.ready, status.ready_since),
            (before.ready, before.ready_since)
        );
        assert_eq!(
            world.snapshot.observe(&app.instances[&id]),
            Observed::Unknown
        );
        for kind in [EventKind::InstanceFailed, EventKind::InstanceUnready] {
            assert!(world.told(kind).is_empty());
        }
        // Of another run nothing was said.
        unjudged.restarts = 1;
        report(&mut world, unjudged, vec![]);
        assert!(!world.app("web").instances[&id].is_ready());
    }
}
