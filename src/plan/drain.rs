//! Instances on nodes that are being drained: which ones go, and why others stay.
//!
//! One goes like an old instance in a rollout: another starts elsewhere first,
//! and it stops for that one. Where `maxSurge` leaves no room for that it stops
//! first, but only once a place for its successor is known. What holds a volume
//! stays: its data is there and nowhere else.

use super::exchange::Bounds;
use super::place::{Funnel, Overlay, Request, Siblings, scan};
use super::work::Work;
use super::{IdSource, Settings};
use crate::model::snapshot::Observed;
use crate::model::spec::Strategy;
use crate::model::{
    App, Instance, Node, Release, ReleaseState, RolloutPhase, Scheduling, Snapshot, Timestamp,
};

pub(super) fn is_draining(node: &Node) -> bool {
    match node.scheduling {
        Scheduling::Draining => true,
        Scheduling::Active | Scheduling::Cordoned => false,
    }
}

/// Whether `instance` would go only because of its node.
pub fn is_leaving(work: &Work<'_>, instance: &Instance) -> bool {
    let draining = |n: &Node| is_draining(n);
    work.any_drained()
        && instance.volumes.is_empty()
        && work
            .input
            .snapshot
            .nodes
            .get(&instance.node)
            .is_some_and(draining)
}

/// Whether one instance must stop before its successor can start.
pub fn stops_first(app: &App, release: &Release) -> bool {
    let recreate = match release.spec.rollout.strategy {
        Strategy::Recreate => true,
        Strategy::Rolling => false,
    };
    recreate || Bounds::of(app, release).surge == 0
}

/// Whether a place elsewhere is free for the successor of `instance`.
pub fn place_elsewhere(
    snapshot: &Snapshot,
    overlay: &Overlay,
    app: &App,
    release: &Release,
    instance: &Instance,
) -> Result<(), Funnel> {
    let mut without = None;
    if stops_first(app, release) {
        let mut copy = app.clone();
        copy.instances.remove(&instance.id);
        without = Some(copy);
    }
    let siblings = Siblings::of(0, without.as_ref().unwrap_or(app), &release.workload_digest);
    let request = Request {
        app: &app.key,
        spec: &release.spec,
        siblings: &siblings,
        home: None,
    };
    // Looks at every node: what it counts is for this question only.
    scan(snapshot, overlay, &request, &mut IdSource::new(0)).map(|_| ())
}

/// Why an instance on a draining node stays there; `None`: it goes, or is about to.
pub fn why_it_stays(
    now: Timestamp,
    snapshot: &Snapshot,
    settings: &Settings,
    app: &App,
    instance: &Instance,
) -> Option<String> {
    if !instance.wants_run() {
        return None;
    }
    let key = &app.key;
    if !instance.volumes.is_empty() {
        return Some(format!(
            "volume {} has its data on this node; remove the volume from the spec, or take {key} \
             down",
            instance.volumes.join(", ")
        ));
    }
    if snapshot.observe(instance) == Observed::Unknown {
        if snapshot.hears(&instance.node) {
            return Some("its runtime does not answer: nobody knows whether it runs".to_owned());
        }
        let after = settings.suspect_after.as_secs();
        return Some(format!(
            "the node has been silent for more than {after} s: nobody knows whether it runs"
        ));
    }
    let release = app.target_release()?;
    if let Some(rollout) = app.active_rollout() {
        if rollout.phase == RolloutPhase::Paused {
            return Some(format!(
                "its rollout is paused; `evenkeel rollout resume {key}` lets it go on"
            ));
        }
        if app.suspended.is_some() && !rollout.is_rollback() {
            return Some(format!(
                "it is suspended in the middle of a rollout; `evenkeel resume {key}` lets it go on"
            ));
        }
    }
    if let ReleaseState::Rejected { .. } = release.state {
        return Some(format!(
            "{} failed and is kept as it is: commit a fix",
            release.commit.short()
        ));
    }
    // What is ready elsewhere in its slot is what it waits for.
    let replaced = app.instances.values().any(|i| {
        i.id != instance.id && i.slot == instance.slot && i.wants_run() && i.created_at <= now
    });
    if replaced {
        return None;
    }
    place_elsewhere(snapshot, &Overlay::default(), app, release, instance)
        .err()
        .map(|funnel| format!("no other node can take it: {funnel}"))
}
