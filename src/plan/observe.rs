//! What a node's report changes: only real differences, each with its event.
//!
//! Readiness and start times arrive as ages. They become times of the
//! controller's clock once per start and then stay, so that a report's travel
//! time does not make them wander.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Decision, Settings};
use crate::model::instance::{Exit, Failure, InstancePhase, InstanceStatus, ProbeAnswer};
use crate::model::node::{ImageState, NodeFacts};
use crate::model::quantity::{format_cpu, format_memory};
use crate::model::{
    Actor, AppKey, Change, Event, EventKind, Instance, InstanceId, Liveness, Node, NodeName,
    Scheduling, Snapshot, Timestamp,
};
use crate::mutant::{Mutant, mutant};

/// A look at who is silent that comes this late means that this process stood still: it was
/// deaf, the nodes were not silent.
pub const STOOD_STILL: Duration = Duration::from_secs(5);

/// Apps of one report that are planned together with it; with more of them the report
/// would wait for long plans.
const FOLLOW_AT_ONCE: usize = 16;

/// The apps that are planned in the same commit as a report's news: none where other things
/// than instances changed, or too many. The reconciler plans those a moment later.
pub fn apps_to_follow(news: &Decision) -> BTreeSet<AppKey> {
    let instances_only = |c: &Change| matches!(c, Change::Observe { .. });
    let apps: BTreeSet<AppKey> = news
        .changes
        .iter()
        .filter_map(Change::app)
        .cloned()
        .collect();
    if apps.len() > FOLLOW_AT_ONCE || !news.changes.iter().all(instances_only) {
        return BTreeSet::new();
    }
    apps
}

/// A report of one node, free of the wire's form.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    pub node: NodeName,
    pub facts: NodeFacts,
    pub instances: Vec<SeenInstance>,
    pub images: BTreeMap<String, ImageState>,
    pub notes: Vec<SeenNote>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeenInstance {
    pub id: InstanceId,
    pub phase: InstancePhase,
    /// Milliseconds it has been ready without a break; `None`: not ready.
    pub ready_ms: Option<u64>,
    /// Milliseconds since its present process was started.
    pub running_ms: Option<u64>,
    pub exits: u32,
    pub restarts: u32,
    pub container_id: Option<String>,
    pub ports: BTreeMap<String, String>,
    pub last_exit: Option<Exit>,
    pub last_probe: Option<ProbeAnswer>,
    pub failure: Option<Failure>,
    pub log_tail: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeenNote {
    pub instance: Option<InstanceId>,
    pub kind: EventKind,
    pub message: String,
    pub age_ms: u64,
}

/// What `report` changes. Instances that the snapshot does not have on that
/// node are passed over: the node will drop them by its next desired set.
pub fn plan_report(now: Timestamp, snapshot: &Snapshot, report: &NodeReport) -> Decision {
    let mut decision = Decision::default();
    plan_node(now, snapshot, report, &mut decision);
    let on_node = snapshot.usage(&report.node);
    for seen in &report.instances {
        let instance = on_node
            .and_then(|usage| usage.instances.get(&seen.id))
            .and_then(|key| snapshot.apps.get(key))
            .and_then(|app| app.instances.get(&seen.id));
        if let Some(instance) = instance {
            plan_instance(now, instance, seen, &report.node, &mut decision);
        }
    }
    for note in &report.notes {
        if is_derived(note.kind) {
            continue;
        }
        let instance = note
            .instance
            .and_then(|id| Some((id, on_node?.instances.get(&id)?)))
            .and_then(|(id, key)| snapshot.apps.get(key)?.instances.get(&id));
        let message = match instance {
            Some(i) => format!("{} on {}: {}", name_of(i), report.node, note.message),
            None => note.message.clone(),
        };
        let mut event = Event::new(
            ago(now, note.age_ms),
            Actor::Agent(report.node.clone()),
            note.kind,
            message,
        );
        event.node = Some(report.node.clone());
        event.instance = note.instance;
        event.app = instance.map(|i| i.app.clone());
        decision.events.push(event);
    }
    decision
}

/// Told once, from the state itself, with the evidence: an agent's own word for
/// it would be a second line.
fn is_derived(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::InstanceReady
            | EventKind::InstanceUnready
            | EventKind::InstanceExited
            | EventKind::InstanceFailed
            | EventKind::InstanceStopping
            | EventKind::InstanceGone
    )
}

fn name_of(instance: &Instance) -> String {
    format!("instance {} (slot {})", instance.id.short(), instance.slot)
}

fn plan_node(now: Timestamp, snapshot: &Snapshot, report: &NodeReport, decision: &mut Decision) {
    let node_event = |kind, message: String| {
        let mut event = Event::new(now, Actor::Agent(report.node.clone()), kind, message);
        event.node = Some(report.node.clone());
        event
    };
    let known = snapshot.nodes.get(&report.node);
    match known {
        None => {
            decision.changes.push(Change::PutNode(Box::new(Node {
                name: report.node.clone(),
                facts: report.facts.clone(),
                scheduling: Scheduling::Active,
                scheduling_note: None,
                liveness: Liveness::Ready,
                last_heard: now,
                registered_at: now,
                images: BTreeMap::new(),
            })));
            decision.events.push(node_event(
                EventKind::NodeRegistered,
                format!(
                    "node {} joined with {} cpu and {} memory",
                    report.node,
                    format_cpu(report.facts.capacity.cpu_millis),
                    // Whole mebibytes: no host has a round number of bytes.
                    format_memory(report.facts.capacity.memory_bytes >> 20 << 20)
                ),
            ));
        }
        Some(node) => {
            if node.facts != report.facts {
                decision.changes.push(Change::PutNode(Box::new(Node {
                    facts: report.facts.clone(),
                    ..node.clone()
                })));
            }
            if node.liveness != Liveness::Ready {
                returned(now, node, now, decision);
            }
        }
    }
    // Only images that a rollout asks for are remembered: a failure of an
    // earlier try must not condemn a later one.
    let wanted: BTreeSet<&str> = snapshot
        .preparing_on(&report.node)
        .filter_map(|key| snapshot.apps.get(key))
        .filter_map(|app| app.releases.get(&app.active_rollout()?.to))
        .filter_map(|release| release.image())
        .collect();
    for image in known.into_iter().flat_map(|n| n.images.keys()) {
        if !wanted.contains(image.as_str()) {
            decision.changes.push(Change::SetImage {
                node: report.node.clone(),
                image: image.clone(),
                state: None,
            });
        }
    }
    for (image, state) in &report.images {
        if wanted.contains(image.as_str()) && known.and_then(|n| n.images.get(image)) != Some(state)
        {
            decision.changes.push(Change::SetImage {
                node: report.node.clone(),
                image: image.clone(),
                state: Some(state.clone()),
            });
        }
    }
}

/// `at`: when it was heard again.
fn returned(now: Timestamp, node: &Node, at: Timestamp, decision: &mut Decision) {
    decision.changes.push(Change::SetLiveness {
        node: node.name.clone(),
        liveness: Liveness::Ready,
        last_heard: at,
    });
    let mut event = Event::new(
        now,
        Actor::Agent(node.name.clone()),
        EventKind::NodeReturned,
        format!(
            "node {} is heard again after {} s",
            node.name,
            at.since(node.last_heard).as_secs()
        ),
    );
    event.node = Some(node.name.clone());
    decision.events.push(event);
}

fn plan_instance(
    now: Timestamp,
    instance: &Instance,
    seen: &SeenInstance,
    node: &NodeName,
    decision: &mut Decision,
) {
    let old = instance.status.as_ref();
    let status = next_status(now, old, seen);
    if old == Some(&status) {
        return;
    }
    let mut tell = |kind, message: String, detail: Value| {
        let mut event = Event::new(now, Actor::Agent(node.clone()), kind, message);
        event.app = Some(instance.app.clone());
        event.instance = Some(instance.id);
        event.node = Some(node.clone());
        event.detail = detail;
        decision.events.push(event);
    };
    let was_ready = old.is_some_and(|s| s.ready);
    let name = name_of(instance);
    if status.exits > old.map_or(0, |s| s.exits) {
        let how = status
            .last_exit
            .as_ref()
            .map_or_else(|| "exited".to_owned(), describe_exit);
        tell(
            EventKind::InstanceExited,
            format!("{name} on {node} {how}"),
            json!({ "exit": status.last_exit, "logTail": status.log_tail }),
        );
    }
    if status.ready && !was_ready {
        tell(
            EventKind::InstanceReady,
            format!("{name} on {node} is ready"),
            Value::Null,
        );
    } else if was_ready && !status.ready && instance.wants_run() {
        let why = status
            .last_probe
            .as_ref()
            .filter(|p| !p.passed)
            .map(|p| p.answer.clone())
            .or_else(|| status.failure.as_ref().map(|f| f.message.clone()))
            .unwrap_or_else(|| "it does not run".to_owned());
        tell(
            EventKind::InstanceUnready,
            format!("{name} on {node} is no longer ready: {why}"),
            Value::Null,
        );
    }
    if let Some(failure) = status
        .failure
        .as_ref()
        .filter(|f| **f != Failure::unjudged())
        && old.and_then(|s| s.failure.as_ref()) != Some(failure)
    {
        tell(
            EventKind::InstanceFailed,
            format!("{name} on {node}: {}", failure.message),
            json!({ "kind": failure.kind }),
        );
    }
    decision.changes.push(Change::Observe {
        app: instance.app.clone(),
        instance: instance.id,
        status: Box::new(status),
    });
}

/// `exited with code 1 after 0.3 s`.
pub fn describe_exit(exit: &Exit) -> String {
    let after = format!("after {:.1} s", exit.ran_for_ms as f64 / 1000.0);
    match (exit.oom_killed, exit.code) {
        (true, _) => format!("was killed for using more memory than its limit {after}"),
        (false, Some(code)) => format!("exited with code {code} {after}"),
        (false, None) => format!("ended {after}, its exit code was lost"),
    }
}

/// No age that a node tells is beyond this: such a time can be neither stored nor shown.
const OLDEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

fn ago(now: Timestamp, age_ms: u64) -> Timestamp {
    now - Duration::from_millis(age_ms).min(OLDEST)
}

fn next_status(
    now: Timestamp,
    old: Option<&InstanceStatus>,
    seen: &SeenInstance,
) -> InstanceStatus {
    let same_start = old.is_some_and(|s| s.restarts == seen.restarts && s.exits == seen.exits);
    let keep = |old: Option<Timestamp>, age_ms: Option<u64>| match (old, age_ms) {
        (_, None) => None,
        // A time to come: the clock was put back since.
        (Some(at), Some(_)) if same_start && at <= now => Some(at),
        (Some(_) | None, Some(age)) => Some(ago(now, age)),
    };
    let started_at = keep(old.and_then(|s| s.started_at), seen.running_ms);
    let stands = same_start && seen.failure.as_ref() == Some(&Failure::unjudged());
    let was_ready = old.is_some_and(|s| s.ready);
    InstanceStatus {
        phase: seen.phase,
        ready: seen.ready_ms.is_some() || stands && was_ready,
        ready_since: match seen.ready_ms {
            Some(_) => keep(
                old.filter(|s| s.ready).and_then(|s| s.ready_since),
                seen.ready_ms,
            ),
            // It says what became of this run.
            None if started_at.is_some() && same_start => old.and_then(|s| s.ready_since),
            None => None,
        },
        first_started_at: old
            .and_then(|s| s.first_started_at)
            .filter(|at| *at <= now)
            .or(started_at),
        started_at,
        exits: seen.exits,
        restarts: seen.restarts,
        container_id: seen.container_id.clone(),
        ports: seen.ports.clone(),
        last_exit: seen.last_exit.clone(),
        last_probe: seen.last_probe.clone(),
        failure: seen.failure.clone(),
        log_tail: seen.log_tail.clone(),
    }
}

/// Which nodes changed between heard and silent. `heard`: last sign of life
/// of each node, by the controller's clock; a node that is missing there
/// counts from `since`, when this controller began to listen.
pub fn plan_liveness(
    now: Timestamp,
    snapshot: &Snapshot,
    heard: &BTreeMap<NodeName, Timestamp>,
    since: Timestamp,
    settings: &Settings,
) -> Decision {
    let mut decision = Decision::default();
    for node in snapshot.nodes.values() {
        let last = heard.get(&node.name).copied().unwrap_or(since);
        let silent = now.since(last);
        let next = if silent >= settings.lost_after {
            Liveness::Lost
        } else if silent >= settings.suspect_after {
            Liveness::Suspect
        } else {
            node.liveness
        };
        // Heard while its silence was being written down: its report had nothing new to say. When
        // it was heard before says nothing: the clock may have been put back since.
        let heard_since = heard.get(&node.name).is_some_and(|at| *at > since);
        if node.liveness != Liveness::Ready
            && heard_since
            && silent < settings.suspect_after
            && !mutant(Mutant::HeardTooLate)
        {
            returned(now, node, last, &mut decision);
            continue;
        }
        let worse = match (node.liveness, next) {
            (Liveness::Ready, Liveness::Suspect | Liveness::Lost)
            | (Liveness::Suspect, Liveness::Lost) => true,
            (Liveness::Ready, Liveness::Ready)
            | (Liveness::Suspect, Liveness::Ready | Liveness::Suspect)
            | (Liveness::Lost, Liveness::Ready | Liveness::Suspect | Liveness::Lost) => false,
        };
        if !worse {
            continue;
        }
        let lost = next == Liveness::Lost;
        decision.changes.push(Change::SetLiveness {
            node: node.name.clone(),
            liveness: next,
            last_heard: last,
        });
        let mut event = Event::new(
            now,
            Actor::Controller,
            if lost {
                EventKind::NodeLost
            } else {
                EventKind::NodeSuspect
            },
            format!(
                "node {} has been silent for {} s{}",
                node.name,
                silent.as_secs(),
                if lost {
                    ""
                } else {
                    ": nothing is assumed of its instances"
                }
            ),
        );
        event.node = Some(node.name.clone());
        decision.events.push(event);
    }
    decision
}
