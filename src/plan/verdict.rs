//! Whether a rollout has failed: at the first conclusive evidence, and only
//! on evidence. Silence of a node or a runtime says nothing about a release.

use std::sync::Arc;

use super::bucket::{Bucket, healthy_at, sort};
use super::exchange::Bounds;
use super::forward::run_forward;
use super::observe::describe_exit;
use super::work::Work;
use crate::model::instance::FailureKind;
use crate::model::node::ImageState;
use crate::model::quantity::format_duration;
use crate::model::snapshot::Observed;
use crate::model::{Evidence, Verdict};
use crate::model::{
    Instance, InstancePhase, InstanceStatus, Liveness, Node, NodeName, Release, Rollout,
    RolloutPhase, Timestamp,
};
use crate::mutant::{Mutant, mutant};

/// A failed rollout: the rule, a sentence, and what was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reason: String,
    pub evidence: Evidence,
}

/// `Err`: not failed so far; the time of the next deadline, if one runs.
pub fn judge(
    work: &Work<'_>,
    rollout: &Rollout,
    release: &Arc<Release>,
) -> Result<Judgement, Option<Timestamp>> {
    let policy = &release.spec.rollout;
    let now = work.now();
    let mut next: Option<Timestamp> = None;
    let mut at = |deadline: Timestamp| next = Some(next.map_or(deadline, |n| n.min(deadline)));

    if let Some(judgement) = judge_images(work, rollout, release) {
        return Ok(judgement);
    }
    let mut worst: Option<(&Instance, &InstanceStatus)> = None;
    for instance in work.app.instances.values() {
        if !work.app.is_current(instance, release) || !instance.wants_run() {
            continue;
        }
        let Observed::Known(status) = work.observe(instance) else {
            continue;
        };
        let healthy = healthy_at(instance, release).is_some_and(|t| t <= now);
        if healthy {
            continue;
        }
        if let Some(failure) = &status.failure {
            match failure.kind {
                FailureKind::RuntimeUnavailable => continue,
                FailureKind::ImageNotFound | FailureKind::Rejected => {
                    let verdict = if failure.kind == FailureKind::ImageNotFound {
                        Verdict::ImageMissing
                    } else {
                        Verdict::CannotStart
                    };
                    return Ok(judgement(instance, verdict, failure.message.clone()));
                }
                FailureKind::PullFailed | FailureKind::StartFailed => {}
            }
        }
        if status.exits >= policy.start_attempts {
            let how = status.last_exit.as_ref().map_or_else(
                || "it exited".to_owned(),
                |e| format!("it {}", describe_exit(e)),
            );
            return Ok(judgement(
                instance,
                Verdict::CrashLoop,
                format!("{how}, {} times in all", status.exits),
            ));
        }
        if rollout.phase == RolloutPhase::Baking && gave_way(status) {
            return Ok(judgement(
                instance,
                Verdict::FailedBake,
                format!("it stopped being ready while baking: {}", last_word(status)),
            ));
        }
        let started = match status.phase {
            InstancePhase::Pending
            | InstancePhase::Preparing
            | InstancePhase::Stopped
            | InstancePhase::Gone => None,
            InstancePhase::Starting
            | InstancePhase::Running
            | InstancePhase::BackOff
            | InstancePhase::Stopping => began(status),
        };
        if let Some(started) = started.filter(|_| !status.ready) {
            let deadline = work.watched_on(&instance.node, started) + policy.healthy_deadline;
            if deadline <= now {
                return Ok(judgement(
                    instance,
                    Verdict::NotReady,
                    format!(
                        "it was not ready within healthyDeadline {}: {}",
                        format_duration(policy.healthy_deadline),
                        last_word(status)
                    ),
                ));
            }
            at(deadline);
        }
        if worst.is_none_or(|(_, w)| (w.exits, w.phase) < (status.exits, status.phase)) {
            worst = Some((instance, status));
        }
    }
    if rollout.phase != RolloutPhase::Baking
        && !waits_for_silent(work, release)
        && any_node_heard(work)
    {
        // Before the first node joined there was nothing to make progress on.
        let registered = work.input.snapshot.nodes.values().map(|n| n.registered_at);
        // A time to come was written down before the clock was put back.
        let before = |at: Timestamp| at <= rollout.progress_at || at > now;
        let since = match registered.clone().any(before) {
            true => rollout.progress_at,
            false => registered.clone().min().unwrap_or(rollout.progress_at),
        };
        let mut watched = work.watched(since);
        for instance in work.app.instances.values() {
            if instance.wants_run() && work.app.is_current(instance, release) {
                watched = watched.max(work.watched_on(&instance.node, since));
            }
        }
        let deadline = watched + policy.progress_deadline;
        if deadline <= now {
            let limit = format_duration(policy.progress_deadline);
            return Ok(match worst {
                Some((instance, status)) => judgement(
                    instance,
                    Verdict::NoProgress,
                    format!(
                        "no progress within progressDeadline {limit}: {}",
                        last_word(status)
                    ),
                ),
                None => {
                    let seed = release.number;
                    let ahead = run_forward(work.input, &work.app, work.overlay(), release, seed);
                    Judgement {
                        verdict: Verdict::NoProgress,
                        reason: if ahead.fits {
                            format!("no progress within progressDeadline {limit}")
                        } else {
                            format!(
                                "no progress within progressDeadline {limit}: {}",
                                ahead.waits_for
                            )
                        },
                        evidence: Evidence::default(),
                    }
                }
            });
        }
        at(deadline);
    }
    Err(next)
}

/// From when on it has to become ready: its first start, or the present one where all before it
/// ended without its doing (its node was started anew, its runtime went down).
fn began(status: &InstanceStatus) -> Option<Timestamp> {
    match status.exits {
        0 if !mutant(Mutant::RebootCondemns) => status.started_at,
        _ => status.first_started_at,
    }
}

/// Whether it stopped being ready by itself while the release was watched: in the very run that
/// was ready. One that its runtime took along, and that is coming up again, did not; when that
/// run began says nothing, since word of it may have come later than the decision to bake.
fn gave_way(status: &InstanceStatus) -> bool {
    let was_ready = status.ready_since.is_some();
    !status.ready && (status.exits > 0 || was_ready || mutant(Mutant::RebootCondemns))
}

/// With no node to run on, nothing can make progress; that is not the release's fault.
fn any_node_heard(work: &Work<'_>) -> bool {
    let nodes = &work.input.snapshot.nodes;
    nodes.values().any(|n| n.liveness == Liveness::Ready)
}

/// A node that is silent holds the rollout up; that is not the release's fault.
fn waits_for_silent(work: &Work<'_>, release: &Release) -> bool {
    sort(work, release)
        .iter()
        .any(|s| s.bucket == Bucket::Unknown)
}

fn judge_images(work: &Work<'_>, rollout: &Rollout, release: &Arc<Release>) -> Option<Judgement> {
    let image = release.image()?;
    rollout.prepare.iter().find_map(|name| {
        let node = work.input.snapshot.nodes.get(name)?;
        match node.images.get(image)? {
            ImageState::Failed { failure } if failure.kind.is_conclusive() => Some(Judgement {
                verdict: Verdict::ImageMissing,
                reason: format!("image {image} cannot be had on {name}: {}", failure.message),
                evidence: Evidence {
                    node: Some(name.clone()),
                    error: Some(failure.message.clone()),
                    ..Evidence::default()
                },
            }),
            ImageState::Failed { .. } | ImageState::Pulling | ImageState::Present { .. } => None,
        }
    })
}

/// Nodes that are still to bring the image in; lost ones are not waited for.
pub fn unprepared(work: &Work<'_>, rollout: &Rollout, release: &Release) -> Vec<NodeName> {
    nodes_whose_image(work, rollout, release, |state| match state {
        Some(ImageState::Present { .. }) => false,
        Some(ImageState::Pulling | ImageState::Failed { .. }) | None => true,
    })
}

/// Nodes that have not said yet what they hold: until then a registry's digest
/// may be missed, and later instances could run other bytes under the same tag.
pub fn unheard(work: &Work<'_>, rollout: &Rollout, release: &Release) -> Vec<NodeName> {
    nodes_whose_image(work, rollout, release, |state| match state {
        Some(ImageState::Present { .. } | ImageState::Failed { .. }) => false,
        Some(ImageState::Pulling) | None => true,
    })
}

fn nodes_whose_image(
    work: &Work<'_>,
    rollout: &Rollout,
    release: &Release,
    counts: impl Fn(Option<&ImageState>) -> bool,
) -> Vec<NodeName> {
    let (Some(image), Some(declared)) = (release.image(), release.spec.workload.image()) else {
        return Vec::new();
    };
    let lacks = |node: &Node| {
        // Pinned since: what the tag brought in is the same bytes.
        let same = match node.images.get(declared) {
            Some(ImageState::Present { digest }) => digest.as_deref() == Some(image),
            Some(ImageState::Pulling | ImageState::Failed { .. }) | None => false,
        };
        // One that is silent for a moment comes back, and would then have to pull while the old
        // ones are gone already.
        let expected = match node.liveness {
            Liveness::Ready => true,
            Liveness::Suspect => !mutant(Mutant::SilentNodesImageNotAwaited),
            Liveness::Lost => false,
        };
        expected && !same && counts(node.images.get(image))
    };
    let nodes = &work.input.snapshot.nodes;
    rollout
        .prepare
        .iter()
        .filter(|name| nodes.get(*name).is_some_and(&lacks))
        .cloned()
        .collect()
}

/// The last that was said of an instance that does not serve.
pub fn last_word(status: &InstanceStatus) -> String {
    if let Some(failure) = &status.failure {
        return failure.message.clone();
    }
    match (&status.last_probe, &status.last_exit) {
        (Some(probe), _) if !probe.passed => probe.answer.clone(),
        (_, Some(exit)) => format!("it {}", describe_exit(exit)),
        (Some(_) | None, None) => match status.phase {
            InstancePhase::Pending => "it has not begun",
            InstancePhase::Preparing => "its image is still being pulled",
            InstancePhase::Starting => "it is being started",
            InstancePhase::Running => "it runs, no probe has answered yet",
            InstancePhase::BackOff => "it waits to be started again",
            InstancePhase::Stopping => "it is being stopped",
            InstancePhase::Stopped => "it is stopped",
            InstancePhase::Gone => "it is gone",
        }
        .to_owned(),
    }
}

fn judgement(instance: &Instance, verdict: Verdict, what: String) -> Judgement {
    let status = instance.status.as_ref();
    Judgement {
        verdict,
        reason: format!("slot {} on {}: {what}", instance.slot, instance.node),
        evidence: Evidence {
            instance: Some(instance.id),
            slot: Some(instance.slot),
            node: Some(instance.node.clone()),
            exits: status.map_or(0, |s| s.exits),
            last_exit: status.and_then(|s| s.last_exit.clone()),
            last_probe: status.and_then(|s| s.last_probe.clone()),
            error: status
                .and_then(|s| s.failure.as_ref())
                .map(|f| f.message.clone()),
            log_tail: status.map(|s| s.log_tail.clone()).unwrap_or_default(),
        },
    }
}

/// Whether every slot is served healthily by `release` and nothing else is left.
pub fn is_complete(work: &Work<'_>, release: &Release) -> bool {
    let sorted = sort(work, release);
    let bounds = Bounds::of(&work.app, release);
    let healthy = healthy_slots(work, release);
    healthy == bounds.replicas
        && sorted.iter().all(|s| match s.bucket {
            Bucket::NewHealthy | Bucket::Gone | Bucket::Lost => true,
            // Leaving its node is no part of the rollout.
            Bucket::OldReady => s.leaving,
            Bucket::Stopping
            | Bucket::Stopped
            | Bucket::Unknown
            | Bucket::NewReady
            | Bucket::NewStarting
            | Bucket::OldUnready => false,
        })
}

/// Slots below `replicas` with a healthy instance of `release`.
pub fn healthy_slots(work: &Work<'_>, release: &Release) -> usize {
    let replicas = work.app.replicas_of(release);
    let slots: std::collections::BTreeSet<u32> = sort(work, release)
        .iter()
        .filter(|s| s.slot < replicas && (s.bucket == Bucket::NewHealthy || s.serves_in_place()))
        .map(|s| s.slot)
        .collect();
    slots.len()
}
