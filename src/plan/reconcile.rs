//! One app's next changes: a round looks at the whole state, and rounds follow
//! until one changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bucket::{Bucket, sort};
use super::exchange::{Creating, Serving, plan_exchange, wanted_replicas};
use super::rollout;
use super::work::Work;
use crate::model::snapshot::Observed;
use crate::model::spec::NodeLossAction;
use crate::model::{
    Change, Declared, EventKind, Liveness, Release, ReleaseId, ReleaseState, Rollout, RolloutKind,
    RolloutPhase, Verdict,
};
use crate::mutant::{Mutant, mutant};

/// Rounds per run. A run needs a handful; the bound keeps a rule that feeds on
/// itself from hanging the planner.
const MAX_ROUNDS: usize = 32;

pub fn plan_app(work: &mut Work<'_>) {
    for _ in 0..MAX_ROUNDS {
        let before = work.emitted();
        work.start_round();
        forget_gone(work);
        if work.app.declared.is_none() {
            if take_down(work) {
                return;
            }
        } else {
            leave_lost_nodes(work);
            end_overrides(work);
            choose_target(work);
            rollout::advance(work);
            keep_count(work);
        }
        if work.emitted() == before {
            break;
        }
    }
    retain_releases(work);
}

fn forget_gone(work: &mut Work<'_>) {
    let gone: Vec<_> = work
        .app
        .instances
        .values()
        .filter(|i| work.observe(i) == Observed::Absent)
        .map(|i| (i.id, i.wants_run()))
        .collect();
    for (id, wanted) in gone {
        let reason = if wanted {
            "its node holds it no more"
        } else {
            "stopped and removed"
        };
        work.forget_instance(id, reason);
    }
}

/// Git has it no more. True when the last instance is gone and the record with it.
fn take_down(work: &mut Work<'_>) -> bool {
    if let Some(running) = work.app.active_rollout().cloned() {
        let mut next = running;
        next.phase = RolloutPhase::Superseded;
        next.finished_at = Some(work.now());
        next.outcome = Some("the app was removed from Git".to_owned());
        work.emit(Change::PutRollout(Box::new(next)));
    }
    let running: Vec<_> = work
        .app
        .instances
        .values()
        .filter(|i| i.wants_run())
        .map(|i| i.id)
        .collect();
    for id in running {
        work.stop_instance(id, "the app was removed from Git");
    }
    if work.app.instances.is_empty() {
        work.tell(
            EventKind::AppRemoved,
            format!("{} is taken down", work.app.key),
        );
        work.emit_removal();
        return true;
    }
    work.wait_for(
        format!("{} instance(s) to stop", work.app.instances.len()),
        None,
    );
    false
}

/// Instances of nodes that stay silent go elsewhere, where the spec allows it.
fn leave_lost_nodes(work: &mut Work<'_>) {
    if work.all_heard() {
        return;
    }
    let nodes = &work.input.snapshot.nodes;
    let silent = nodes
        .values()
        .filter(|n| n.liveness != Liveness::Ready)
        .count();
    if silent == 0 {
        return;
    }
    let policy = match (work.app.target_release(), &work.app.declared) {
        (Some(release), _) => release.spec.on_node_loss.clone(),
        (None, Some(declared)) => declared.spec.on_node_loss.clone(),
        (None, None) => return,
    };
    let waiting: Vec<_> = work
        .app
        .instances
        .values()
        .filter(|i| i.wants_run())
        .filter_map(|i| {
            Some((
                i.id,
                i.node.clone(),
                i.volumes.clone(),
                work.silence(&i.node)?,
            ))
        })
        .collect();
    let brake = work.input.settings.silent_nodes;
    let mut left = false;
    for (id, node, volumes, silence) in waiting {
        if policy.action == NodeLossAction::Hold {
            work.wait_for(format!("node {node} to return (onNodeLoss: hold)"), None);
        } else if !volumes.is_empty() {
            work.wait_for(
                format!(
                    "node {node} to return: it holds volume {}",
                    volumes.join(", ")
                ),
                None,
            );
        } else if brake.holds(silent, nodes.len()) && !mutant(Mutant::SilenceBrakeOff) {
            work.wait_for(
                format!(
                    "word of the nodes: {silent} of {} nodes are silent at once, so the fault is \
                     more likely here and nothing is moved",
                    nodes.len()
                ),
                None,
            );
        } else if silence >= policy.after || mutant(Mutant::RescheduleOnSuspect) {
            left = true;
            work.stop_instance(
                id,
                &format!("node {node} has been silent for {} s", silence.as_secs()),
            );
        } else {
            let at = work.now() + (policy.after - silence);
            work.wait_for(format!("node {node} to be heard again"), Some(at));
        }
    }
    if left
        && let Some(mut rollout) = work.app.active_rollout().cloned()
        && rollout.phase != RolloutPhase::Paused
        && !mutant(Mutant::SilenceCounts)
    {
        // It was held up until now: what comes in their place has all of its time.
        rollout.progress_at = work.now();
        work.emit(Change::PutRollout(Box::new(rollout)));
    }
}

/// Suspensions and scales that were set for a time end by themselves.
fn end_overrides(work: &mut Work<'_>) {
    let app = work.app.key.clone();
    if let Some(suspension) = work.app.suspended.clone()
        && let Some(until) = suspension.until
    {
        if until <= work.now() {
            work.emit(Change::SetSuspension {
                app: app.clone(),
                suspension: None,
            });
            if let Some(mut rollout) = work.app.active_rollout().cloned() {
                // The time it stood still does not count against its deadline.
                rollout.progress_at = work.now();
                work.emit(Change::PutRollout(Box::new(rollout)));
            }
            let words = format!("the suspension of {app} by {} has ended", suspension.by);
            work.tell(EventKind::AppResumed, words);
        } else {
            work.wake(until);
        }
    }
    if let Some(scale) = work.app.scale.clone()
        && let Some(until) = scale.until
    {
        if until <= work.now() {
            work.emit(Change::SetScale { app, scale: None });
            let declared = work.app.declared.as_ref().map_or(0, |d| d.spec.replicas);
            let words = format!(
                "the override of {} ({} replicas) has ended: {}",
                scale.by,
                scale.replicas,
                wanted_replicas(work, declared as usize)
            );
            work.tell(EventKind::AppScaled, words);
        } else {
            work.wake(until);
        }
    }
}

/// Picks the release to be at, and starts a rollout when it is another one.
fn choose_target(work: &mut Work<'_>) {
    let Some(declared) = work.app.declared.clone() else {
        return;
    };
    let target = work.app.target_release().cloned();
    let condemned = target
        .as_ref()
        .filter(|t| work.app.quarantine.contains_key(&t.spec_digest))
        .cloned();
    if let Some(condemned) = condemned {
        leave_condemned(work, &condemned);
        // A fix that is not condemned itself goes on below.
    }
    if let Some(s) = &work.app.suspended {
        let words = match s.until {
            None => format!("{} to resume it (suspended at {})", s.by, s.at),
            Some(_) => format!(
                "the end of its suspension ({} suspended it at {})",
                s.by, s.at
            ),
        };
        let until = s.until;
        work.wait_for(words, until);
        return;
    }
    if let Some(rejection) = work.app.rejection_of_declared()
        && !mutant(Mutant::QuarantineForgotten)
    {
        let mut words = format!(
            "a new commit: {} is quarantined ({})",
            rejection.commit.short(),
            rejection.reason,
        );
        // While a rollback is paused, a release lets that one go on.
        let rollout = work.app.active_rollout();
        if rollout.is_none_or(|r| r.phase != RolloutPhase::Paused) {
            words += &format!(". `evenkeel release {}` tries it again", work.app.key);
        }
        work.wait_for(words, None);
        return;
    }
    // One that failed with none to go back to, and that an operator let out of its quarantine, is
    // tried again though the app is at it.
    let again = |t: &Release| matches!(t.state, ReleaseState::Rejected { .. });
    let is_at = |t: &Arc<Release>| t.spec_digest == declared.digest && t.commit == declared.commit;
    let at = work.app.target_release();
    if at.is_some_and(|t| is_at(t) && !again(t)) {
        return;
    }
    let reason_release = release_for(work, &declared);
    let reason = rollout::reason_for(work, &reason_release);
    rollout::start(work, &reason_release, RolloutKind::Forward, &reason);
}

/// The target was quarantined (by an operator): back to the latest proven one,
/// unless Git already declares something else that may run.
fn leave_condemned(work: &mut Work<'_>, condemned: &Release) {
    let rejection = work.app.quarantine.get(&condemned.spec_digest).cloned();
    let free = work.app.rejection_of_declared().is_none();
    let (Some(rejection), false) = (rejection, free) else {
        return;
    };
    let chosen = rejection.back_to.and_then(|id| work.app.releases.get(&id));
    let back = chosen.or_else(|| work.app.latest_stable_except(&condemned.spec_digest));
    let Some(back) = back.cloned() else {
        return;
    };
    let of = rejection.rollout;
    if rejection.verdict == Verdict::Operator && condemned.is_stable() {
        work.emit(Change::SetReleaseState {
            app: work.app.key.clone(),
            release: condemned.id,
            state: ReleaseState::Rejected { at: work.now() },
        });
    }
    rollout::start(work, &back, RolloutKind::Rollback { of }, &rejection.reason);
}

/// The release of this commit and digest: the one there is (tried again after
/// an operator released it), else a new one.
fn release_for(work: &mut Work<'_>, declared: &Declared) -> Arc<Release> {
    let existing = work
        .app
        .releases
        .values()
        .find(|r| r.commit == declared.commit && r.spec_digest == declared.digest)
        .cloned();
    if let Some(release) = existing {
        if let ReleaseState::Rejected { .. } = release.state {
            work.emit(Change::SetReleaseState {
                app: work.app.key.clone(),
                release: release.id,
                state: ReleaseState::New,
            });
        }
        return release;
    }
    let workload_digest = declared.spec.workload_digest();
    // The same workload runs the same bytes, wherever its tag points by now.
    let pinned_image = work
        .app
        .releases
        .values()
        .filter(|r| r.workload_digest == workload_digest)
        .max_by_key(|r| r.number)
        .and_then(|r| r.pinned_image.clone());
    let release = Arc::new(Release {
        id: ReleaseId(work.next_uuid()),
        app: work.app.key.clone(),
        number: work
            .app
            .releases
            .values()
            .map(|r| r.number)
            .max()
            .unwrap_or(0)
            + 1,
        commit: declared.commit.clone(),
        spec_digest: declared.digest.clone(),
        workload_digest,
        spec: Arc::clone(&declared.spec),
        created_at: work.now(),
        state: ReleaseState::New,
        pinned_image,
    });
    work.emit(Change::AddRelease(Arc::clone(&release)));
    release
}

/// Brings the instances to the target.
fn keep_count(work: &mut Work<'_>) {
    let Some(release) = work.app.target_release().cloned() else {
        return;
    };
    let rollout = work.app.active_rollout();
    let why = match rollout {
        Some(r) => match r.kind {
            RolloutKind::Forward => format!("rollout to {}", release.commit.short()),
            RolloutKind::Rollback { .. } => format!("rollback to {}", release.commit.short()),
            RolloutKind::Restart => format!("restart of {}", release.commit.short()),
        },
        None => wanted_replicas(work, work.app.replicas_of(&release) as usize),
    };
    let rejected = matches!(release.state, ReleaseState::Rejected { .. });
    // Only a rollout to an unproven release is held back by its pause, or a suspension.
    let proven = |r: &Rollout| match r.kind {
        RolloutKind::Forward => false,
        RolloutKind::Rollback { .. } | RolloutKind::Restart => true,
    };
    let restart = rollout.is_some_and(|r| r.kind == RolloutKind::Restart);
    let (serving, creating) = match rollout.map(|r| (r.phase, proven(r))) {
        _ if rejected => (Serving::Keep, Creating::Forbidden),
        Some((RolloutPhase::Paused, true)) if restart => (Serving::Keep, Creating::Refill),
        Some((RolloutPhase::Paused, true)) => (Serving::Keep, Creating::Allowed),
        Some((RolloutPhase::Paused, false)) => (Serving::Keep, Creating::Forbidden),
        Some((_, false)) if work.app.suspended.is_some() => (Serving::Keep, Creating::Forbidden),
        Some((RolloutPhase::Preparing, _)) => (Serving::Keep, Creating::Allowed),
        Some((
            RolloutPhase::Progressing
            | RolloutPhase::Baking
            | RolloutPhase::Succeeded
            | RolloutPhase::RolledBack
            | RolloutPhase::Failed
            | RolloutPhase::Superseded,
            _,
        ))
        | None => (Serving::Exchange, Creating::Allowed),
    };
    plan_exchange(work, &release, serving, creating, &why);
    let sorted = sort(work, &release);
    let steady = sorted.iter().all(|s| s.bucket == Bucket::NewHealthy);
    if steady && rejected {
        work.wait_for(
            format!(
                "a fix: {} failed and is kept as it is",
                release.commit.short()
            ),
            None,
        );
    }
}

/// Forgets releases that nothing needs: not the target, not run by an instance,
/// not among the latest, not among the proven ones a rollback may return to.
fn retain_releases(work: &mut Work<'_>) {
    let keep = work.input.settings.keep_releases;
    if work.app.releases.len() <= keep {
        return;
    }
    let mut needed: BTreeSet<ReleaseId> = work
        .app
        .instances
        .values()
        .map(|i| i.release)
        .chain(work.app.target)
        .collect();
    if let Some(rollout) = &work.app.rollout {
        needed.extend(rollout.from);
        needed.insert(rollout.to);
    }
    let mut by_number: Vec<_> = work.app.releases.values().collect();
    by_number.sort_by_key(|r| std::cmp::Reverse(r.number));
    needed.extend(by_number.iter().take(keep).map(|r| r.id));
    needed.extend(
        by_number
            .iter()
            .filter(|r| r.is_stable())
            .take(keep)
            .map(|r| r.id),
    );
    let forget: Vec<ReleaseId> = work
        .app
        .releases
        .keys()
        .filter(|id| !needed.contains(id))
        .copied()
        .collect();
    for release in forget {
        work.emit(Change::ForgetRelease {
            app: work.app.key.clone(),
            release,
        });
    }
}
