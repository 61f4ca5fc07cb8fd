//! Starting, advancing and ending rollouts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::diff::{Effect, diff_specs, summary};
use super::exchange::{Bounds, wanted_replicas};
use super::forward::{Forward, run_forward};
use super::place::{Overlay, can_grow};
use super::verdict::{Judgement, healthy_slots, is_complete, judge, unheard, unprepared};
use super::work::Work;
use crate::model::node::ImageState;
use crate::model::quantity::format_duration;
use crate::model::rollout::RolloutEvent;
use crate::model::snapshot::Observed;
use crate::model::spec::{OnFailure, Strategy};
use crate::model::{
    Change, EventKind, Evidence, Instance, NodeName, Order, Rejection, Release, ReleaseState,
    Rollout, RolloutId, RolloutKind, RolloutPhase, Timestamp, Verdict,
};
use crate::mutant::{Mutant, mutant};

/// Starts the move to `release`, which the app already has. Refuses a forward
/// one that can never come to its end, before anything is touched.
pub fn start(work: &mut Work<'_>, release: &Arc<Release>, kind: RolloutKind, reason: &str) {
    let seed = release.number ^ work.app.instances.len() as u64;
    let real = run_forward(work.input, &work.app, work.overlay(), release, seed);
    let nodes = if real.fits {
        real.nodes.clone()
    } else {
        let ideal = run_forward(
            work.input,
            &work.app,
            &Overlay::ideal(&work.app),
            release,
            seed,
        );
        let never = !ideal.fits && !work.input.snapshot.nodes.is_empty();
        // What runs already is where a refusal would leave the app: that it cannot be whole
        // now is no evidence against it.
        let target = work.app.target_release();
        let runs = target.is_some_and(|t| t.spec_digest == release.spec_digest)
            && !mutant(Mutant::RunningRefused);
        if never && !runs && kind == RolloutKind::Forward {
            refuse(work, release, kind, reason, &ideal);
            return;
        }
        real.nodes.clone()
    };
    supersede(work, release, kind, reason);
    let rollout = new_rollout(work, release, kind, reason, nodes);
    begin(work, release, rollout, reason);
}

/// Exchanges all instances for new ones of the release that the app is at. `Err`: that can
/// never come to its end, in words; then nothing may be taken from `work`.
pub fn restart(work: &mut Work<'_>, release: &Arc<Release>, reason: &str) -> Result<(), String> {
    let made = work.app.instances.values().map(|i| i.incarnation).max();
    let incarnation = made.unwrap_or(0).max(work.app.incarnation) + 1;
    work.emit(Change::SetIncarnation {
        app: work.app.key.clone(),
        incarnation,
    });
    let seed = release.number ^ work.app.instances.len() as u64;
    let real = run_forward(work.input, &work.app, work.overlay(), release, seed);
    if !real.fits {
        let overlay = Overlay::ideal(&work.app);
        let ideal = run_forward(work.input, &work.app, &overlay, release, seed);
        if !ideal.fits && !work.input.snapshot.nodes.is_empty() {
            return Err(infeasible(work, release, &ideal).0);
        }
    }
    let mut rollout = new_rollout(work, release, RolloutKind::Restart, reason, real.nodes);
    rollout.from = Some(release.id);
    begin(work, release, rollout, reason);
    Ok(())
}

fn begin(work: &mut Work<'_>, release: &Arc<Release>, rollout: Rollout, reason: &str) {
    let kind = rollout.kind;
    fresh_start(work, release);
    let message = match kind {
        RolloutKind::Forward => format!(
            "rollout to {} begins ({}): {reason}",
            release.commit.short(),
            describe(release, &rollout)
        ),
        RolloutKind::Rollback { .. } => {
            format!("rollback to {} begins", release.commit.short())
        }
        RolloutKind::Restart => format!(
            "restart of {} begins ({}): {reason}",
            release.commit.short(),
            describe(release, &rollout)
        ),
    };
    let (id, commit) = (rollout.id, release.commit.clone());
    work.emit(Change::SetTarget {
        app: work.app.key.clone(),
        release: release.id,
    });
    work.emit(Change::PutRollout(Box::new(rollout)));
    let event = work.tell(EventKind::RolloutStarted, message);
    event.rollout = Some(id);
    event.commit = Some(commit);
}

fn describe(release: &Release, rollout: &Rollout) -> String {
    let policy = &release.spec.rollout;
    match policy.strategy {
        Strategy::Recreate => "recreate".to_owned(),
        Strategy::Rolling => format!(
            "rolling, {}, maxSurge {}, maxUnavailable {}",
            match rollout.order {
                Order::StartFirst => "start first",
                Order::StopFirst => "stop first",
            },
            policy.max_surge,
            policy.max_unavailable
        ),
    }
}

fn new_rollout(
    work: &mut Work<'_>,
    release: &Release,
    kind: RolloutKind,
    reason: &str,
    nodes: BTreeSet<NodeName>,
) -> Rollout {
    Rollout {
        id: RolloutId(work.next_uuid()),
        app: work.app.key.clone(),
        kind,
        from: work.app.target.filter(|t| *t != release.id),
        to: release.id,
        strategy: release.spec.rollout.strategy,
        order: order_of(work, release),
        phase: RolloutPhase::Preparing,
        started_at: work.now(),
        progress_at: work.now(),
        best_healthy: 0,
        baking_since: None,
        finished_at: None,
        prepare: if release.image().is_some() {
            nodes
        } else {
            BTreeSet::new()
        },
        reason: reason.to_owned(),
        outcome: None,
        rejection: None,
    }
}

/// Volumes and, where no other node is free, fixed ports let only one of the two live.
fn order_of(work: &Work<'_>, release: &Release) -> Order {
    let workload = &release.spec.workload;
    let bounds = Bounds::of(&work.app, release);
    let exclusive = workload.exclusive_volumes().next().is_some()
        || workload.fixed_host_ports().next().is_some()
            && work.input.snapshot.nodes.len() <= bounds.replicas;
    if exclusive || bounds.surge == 0 || release.spec.rollout.strategy == Strategy::Recreate {
        Order::StopFirst
    } else {
        Order::StartFirst
    }
}

/// Instances of an earlier try that never came up are no evidence against this one.
fn fresh_start(work: &mut Work<'_>, release: &Release) {
    let tainted: Vec<_> = work
        .app
        .instances
        .values()
        .filter(|i| {
            i.wants_run()
                && i.workload == release.workload_digest
                && !i.is_ready()
                && i.status
                    .as_ref()
                    .is_some_and(|s| s.exits > 0 || s.failure.is_some())
        })
        .map(|i| i.id)
        .collect();
    for id in tainted {
        work.stop_instance(id, "the release gets a fresh start");
    }
}

fn supersede(work: &mut Work<'_>, release: &Release, kind: RolloutKind, reason: &str) {
    let Some(running) = work.app.active_rollout().cloned() else {
        return;
    };
    let (event, told, words) = match kind {
        RolloutKind::Forward => (
            RolloutEvent::Supersede,
            EventKind::RolloutSuperseded,
            format!("{} took over", release.commit.short()),
        ),
        // A restart says nothing of the release: only the rollback's own goal ends it.
        RolloutKind::Rollback { .. } if running.kind == RolloutKind::Restart => (
            RolloutEvent::Supersede,
            EventKind::RolloutSuperseded,
            format!("the rollback to {} took over", release.commit.short()),
        ),
        RolloutKind::Rollback { .. } => (
            RolloutEvent::RollBack,
            EventKind::RolloutRolledBack,
            format!("rolled back to {}: {reason}", release.commit.short()),
        ),
        RolloutKind::Restart => (
            RolloutEvent::Supersede,
            EventKind::RolloutSuperseded,
            "a restart took over".to_owned(),
        ),
    };
    end(work, running, event, told, words, None);
}

/// Why the move to `release` can never come to its end, and the run that shows it.
fn infeasible(work: &Work<'_>, release: &Arc<Release>, ideal: &Forward) -> (String, Forward) {
    let bounds = Bounds::of(&work.app, release);
    // Whether it would fit if nothing of the app ran yet: then its own instances
    // are in the way, else no strategy helps.
    let mut bare = work.app.clone();
    bare.instances.clear();
    let empty = Overlay::ideal(&bare);
    let alone = run_forward(work.input, &bare, &empty, release, release.number);
    let ideal = if alone.fits {
        ideal.clone()
    } else {
        alone.clone()
    };
    let funnel = ideal
        .funnel
        .as_ref()
        .map_or_else(|| ideal.waits_for.clone(), ToString::to_string);
    let words = if alone.fits && release.spec.rollout.strategy == Strategy::Rolling {
        format!(
            "the rollout cannot come to its end: {} of {} replicas must keep serving \
             (replicas {} - maxUnavailable {}), so a new instance must start before an old one \
             stops, but {funnel}. Set rollout.maxUnavailable to 1 or more, or use strategy \
             recreate{}",
            bounds.replicas.saturating_sub(bounds.unavailable),
            bounds.replicas,
            bounds.replicas,
            release.spec.rollout.max_unavailable,
            if release.spec.workload.exclusive_volumes().next().is_some() {
                ""
            } else {
                ", or add a node"
            },
        )
    } else if ideal.served > 0 {
        format!(
            "only {} of {} replicas find a node: {funnel}",
            ideal.served, bounds.replicas
        )
    } else {
        format!("it can run nowhere: {funnel}")
    };
    (words, ideal)
}

fn refuse(
    work: &mut Work<'_>,
    release: &Arc<Release>,
    kind: RolloutKind,
    reason: &str,
    ideal: &Forward,
) {
    let (words, ideal) = infeasible(work, release, ideal);
    let judgement = Judgement {
        verdict: Verdict::Infeasible,
        reason: words.clone(),
        evidence: Evidence {
            error: Some(words.clone()),
            ..Evidence::default()
        },
    };
    let mut rollout = new_rollout(work, release, kind, reason, BTreeSet::new());
    supersede(work, release, kind, reason);
    let rejection = reject(work, release, &judgement, Some(rollout.id));
    rollout.phase = RolloutPhase::Failed;
    rollout.finished_at = Some(work.now());
    rollout.outcome = Some(words.clone());
    rollout.rejection = Some(rejection);
    let id = rollout.id;
    work.emit(Change::PutRollout(Box::new(rollout)));
    if let Some(funnel) = &ideal.funnel {
        work.set_funnel(funnel.clone());
    }
    let event = work.tell(
        EventKind::RolloutFailed,
        format!("{} is not rolled out: {words}", release.commit.short()),
    );
    event.rollout = Some(id);
    event.commit = Some(release.commit.clone());
}

/// Puts the release's digest into quarantine.
fn reject(
    work: &mut Work<'_>,
    release: &Release,
    judgement: &Judgement,
    rollout: Option<RolloutId>,
) -> Rejection {
    let rejection = Rejection {
        digest: release.spec_digest.clone(),
        commit: release.commit.clone(),
        release: release.id,
        rollout,
        at: work.now(),
        verdict: judgement.verdict,
        reason: judgement.reason.clone(),
        evidence: judgement.evidence.clone(),
        back_to: None,
    };
    let app = work.app.key.clone();
    work.emit(Change::SetReleaseState {
        app: app.clone(),
        release: release.id,
        state: ReleaseState::Rejected { at: work.now() },
    });
    work.emit(Change::Quarantine {
        app,
        rejection: Box::new(rejection.clone()),
    });
    let event = work.tell(
        EventKind::ReleaseQuarantined,
        format!(
            "{} is quarantined until its spec changes or an operator releases it",
            release.commit.short(),
        ),
    );
    event.commit = Some(release.commit.clone());
    event.detail = json!({ "verdict": judgement.verdict, "evidence": judgement.evidence });
    rejection
}

fn end(
    work: &mut Work<'_>,
    rollout: Rollout,
    event: RolloutEvent,
    kind: EventKind,
    outcome: String,
    rejection: Option<Rejection>,
) {
    let Ok(phase) = rollout.phase.after(event) else {
        return;
    };
    let mut next = rollout;
    next.phase = phase;
    next.outcome = Some(outcome.clone());
    next.rejection = rejection;
    if phase.is_terminal() {
        next.finished_at = Some(work.now());
    }
    let (id, to, next_kind) = (next.id, next.to, next.kind);
    let commit = work.app.releases.get(&to).map(|r| r.commit.clone());
    let what = match next.kind {
        RolloutKind::Forward => "rollout",
        RolloutKind::Rollback { .. } => "rollback",
        RolloutKind::Restart => "restart",
    };
    let name = commit.as_ref().map_or("?", |c| c.short()).to_owned();
    work.emit(Change::PutRollout(Box::new(next)));
    let to = match next_kind {
        RolloutKind::Forward | RolloutKind::Rollback { .. } => "to",
        RolloutKind::Restart => "of",
    };
    let told = work.tell(kind, format!("{what} {to} {name}: {outcome}"));
    told.rollout = Some(id);
    told.commit = commit;
}

/// Judges the active rollout and moves it through its phases.
pub fn advance(work: &mut Work<'_>) {
    let Some(rollout) = work.app.active_rollout().cloned() else {
        return;
    };
    let Some(release) = work.app.releases.get(&rollout.to).cloned() else {
        return;
    };
    pin_image(work, &rollout, &release);
    if work.app.suspended.is_some() && rollout.kind == RolloutKind::Forward {
        return;
    }
    if rollout.phase == RolloutPhase::Paused {
        advance_paused(work, rollout, &release);
        return;
    }
    match judge(work, &rollout, &release) {
        Ok(judgement) => {
            fail(work, rollout, &release, &judgement);
            return;
        }
        Err(Some(deadline)) => work.wake(deadline),
        Err(None) => {}
    }
    let healthy = healthy_slots(work, &release);
    let healthy_u32 = u32::try_from(healthy).unwrap_or(u32::MAX);
    let mut next = rollout.clone();
    // Times to come: the clock was put back since. What is waited for counts anew.
    next.progress_at = next.progress_at.min(work.now());
    next.baking_since = next.baking_since.map(|at| at.min(work.now()));
    // A first start on nodes that joined since: they too are asked which bytes the tag brought.
    if next.from.is_none() && release.image().is_some() && release.pinned_image.is_none() {
        let instances = work.app.instances.values();
        let placed = instances.filter(|i| i.release == release.id && i.wants_run());
        next.prepare.extend(placed.map(|i| i.node.clone()));
    }
    if healthy_u32 > next.best_healthy {
        next.best_healthy = healthy_u32;
        next.progress_at = work.now();
    }
    match next.phase {
        RolloutPhase::Preparing => {
            let waiting = unprepared(work, &next, &release);
            let serving = others_serve(work, &release);
            if waiting.is_empty() || !serving || mutant(Mutant::ImagesNotAwaited) {
                next.phase = RolloutPhase::Progressing;
                next.progress_at = work.now();
            } else {
                let names: Vec<String> = waiting.iter().take(5).map(ToString::to_string).collect();
                let image = release.image().unwrap_or_default();
                let failed = waiting.iter().find_map(|name| {
                    match work.input.snapshot.nodes.get(name)?.images.get(image)? {
                        ImageState::Failed { failure } => {
                            Some(format!(" ({name}: {})", failure.message))
                        }
                        ImageState::Pulling | ImageState::Present { .. } => None,
                    }
                });
                work.wait_for(
                    format!(
                        "image {image} on {} node(s): {}{}",
                        waiting.len(),
                        names.join(", "),
                        failed.unwrap_or_default()
                    ),
                    None,
                );
            }
        }
        // It did not wait for the images because nothing served, or nothing was heard of it. What
        // was there before it came up since, and nothing serves in its place.
        RolloutPhase::Progressing
            if others_serve(work, &release)
                && next.best_healthy == 0
                && !unprepared(work, &next, &release).is_empty()
                && !mutant(Mutant::ImagesNotAwaited) =>
        {
            next.phase = RolloutPhase::Preparing;
        }
        RolloutPhase::Progressing if is_complete(work, &release) => {
            let waiting = unheard(work, &next, &release);
            if !waiting.is_empty() {
                work.wait_for(
                    format!("word of the image on {} node(s)", waiting.len()),
                    None,
                );
                return;
            }
            next.phase = RolloutPhase::Baking;
            next.baking_since = Some(work.now());
        }
        RolloutPhase::Baking if !is_complete(work, &release) => {
            next.phase = RolloutPhase::Progressing;
            next.baking_since = None;
        }
        RolloutPhase::Baking => {
            let bake = bake_time(&release);
            let until = next.baking_since.unwrap_or(work.now()) + bake;
            if until <= work.now() {
                succeed(work, next, &release);
                return;
            }
            work.wait_for(format!("bakeTime {}", format_duration(bake)), Some(until));
        }
        RolloutPhase::Progressing
        | RolloutPhase::Paused
        | RolloutPhase::Succeeded
        | RolloutPhase::RolledBack
        | RolloutPhase::Failed
        | RolloutPhase::Superseded => {}
    }
    if next != rollout {
        let told = next.best_healthy != rollout.best_healthy;
        work.emit(Change::PutRollout(Box::new(next)));
        if told {
            work.tell(
                EventKind::RolloutProgress,
                format!(
                    "{healthy} of {} instances of {} are healthy",
                    work.app.replicas_of(&release),
                    release.commit.short()
                ),
            );
        }
    }
}

/// Whether an instance of another version serves, or may: nobody can see it.
fn others_serve(work: &Work<'_>, release: &Release) -> bool {
    let may = |i: &Instance| i.is_ready() || work.observe(i) == Observed::Unknown;
    let mut instances = work.app.instances.values();
    instances.any(|i| i.wants_run() && may(i) && !work.app.is_current(i, release))
}

/// A release that is proven already does not prove itself again.
fn bake_time(release: &Release) -> Duration {
    if release.is_stable() {
        Duration::ZERO
    } else {
        release.spec.rollout.bake_time
    }
}

/// From when on no instance of `release` that used up its start attempts is in a crash loop any
/// more: one whose runs last about as long as `minHealthyTime` looks healthy at the end of each.
fn settled_at(work: &Work<'_>, release: &Release) -> Option<Timestamp> {
    let spec = &release.spec;
    let current = |i: &&Instance| i.wants_run() && work.app.is_current(i, release);
    let statuses = work.app.instances.values().filter(current);
    let statuses = statuses.filter_map(|i| i.status.as_ref());
    let looped = statuses.filter(|s| s.exits >= spec.rollout.start_attempts);
    let ready = looped.filter_map(|s| s.ready_since.filter(|_| s.ready));
    ready.map(|since| since + spec.restart.stable_after()).max()
}

/// A paused rollback that came good by itself goes on; everything else waits.
fn advance_paused(work: &mut Work<'_>, rollout: Rollout, release: &Release) {
    let words = rollout.outcome.clone().unwrap_or_default();
    if rollout.is_rollback() && is_complete(work, release) {
        match settled_at(work, release).filter(|at| *at > work.now()) {
            Some(later) => work.wait_for(
                "its crash loop to be over: all are healthy, and the rollback goes on by itself \
                 if they stay so",
                Some(later),
            ),
            None => {
                let mut next = rollout;
                next.phase = RolloutPhase::Preparing;
                next.outcome = None;
                // What condemned it is over: neither the time it stood still nor an image that
                // no instance waits for any more says anything now.
                if !mutant(Mutant::PausedTimeCounts) {
                    next.progress_at = work.now();
                }
                next.prepare.clear();
                work.emit(Change::PutRollout(Box::new(next)));
                return;
            }
        }
    }
    let what = match rollout.kind {
        RolloutKind::Forward => "rollout",
        RolloutKind::Rollback { .. } => "rollback",
        RolloutKind::Restart => "restart",
    };
    work.wait_for(
        format!(
            "a person: the {what} is paused ({words}). Commit a fix, or run `evenkeel rollout \
             resume {}` to let it go on",
            work.app.key
        ),
        None,
    );
}

/// The first digest that a registry told a node is the one that all others run.
fn pin_image(work: &mut Work<'_>, rollout: &Rollout, release: &Release) {
    if release.pinned_image.is_some() {
        return;
    }
    let Some(image) = release.image() else {
        return;
    };
    let digest = rollout.prepare.iter().find_map(|name| {
        match work.input.snapshot.nodes.get(name)?.images.get(image)? {
            ImageState::Present { digest } => digest.clone(),
            ImageState::Pulling | ImageState::Failed { .. } => None,
        }
    });
    if let Some(image) = digest {
        work.emit(Change::PinImage {
            app: work.app.key.clone(),
            release: release.id,
            image,
        });
    }
}

fn succeed(work: &mut Work<'_>, rollout: Rollout, release: &Arc<Release>) {
    let took = work.now().since(rollout.started_at);
    if !release.is_stable() {
        work.emit(Change::SetReleaseState {
            app: work.app.key.clone(),
            release: release.id,
            state: ReleaseState::Stable { at: work.now() },
        });
        let commit = release.commit.clone();
        let event = work.tell(
            EventKind::ReleaseStable,
            format!("{} is proven: a rollback may return to it", commit.short()),
        );
        event.commit = Some(commit);
    }
    let all = match work.app.replicas_of(release) {
        0 => format!("all is stopped, {},", wanted_replicas(work, 0)),
        1 => "its instance is healthy".to_owned(),
        n => format!("all {n} instances are healthy"),
    };
    let words = format!("{all} after {:.1} s", took.as_secs_f64());
    end(
        work,
        rollout,
        RolloutEvent::BakeDone,
        EventKind::RolloutSucceeded,
        words,
        None,
    );
}

fn fail(work: &mut Work<'_>, rollout: Rollout, release: &Arc<Release>, judgement: &Judgement) {
    let pause = |work: &mut Work<'_>, rollout: Rollout, words: String| {
        end(
            work,
            rollout,
            RolloutEvent::Pause,
            EventKind::RolloutPaused,
            words,
            None,
        );
    };
    if rollout.is_rollback() && !mutant(Mutant::RollbackRolledBack) {
        // A rollback is never rolled back again: it stands still, degraded and loud.
        let words = format!(
            "the rollback itself fails and is not rolled back again: {}",
            judgement.reason
        );
        pause(work, rollout, words);
        return;
    }
    if rollout.kind == RolloutKind::Restart {
        // The release is proven: what fails now says more about the surroundings.
        let words = format!(
            "the restart fails, what is not yet exchanged is kept: {}",
            judgement.reason
        );
        pause(work, rollout, words);
        return;
    }
    if release.spec.rollout.on_failure == OnFailure::Pause {
        let words = format!("failed, onFailure is pause: {}", judgement.reason);
        pause(work, rollout, words);
        return;
    }
    let rejection = reject(work, release, judgement, Some(rollout.id));
    let mut back = work.app.latest_stable_except(&release.spec_digest).cloned();
    if mutant(Mutant::RollbackToUnproven) {
        let others = work.app.releases.values().filter(|r| r.id != release.id);
        back = others.max_by_key(|r| r.number).cloned();
    }
    let (event, kind, words) = match &back {
        Some(to) => (
            RolloutEvent::RollBack,
            EventKind::RolloutRolledBack,
            format!("rolled back to {}: {}", to.commit.short(), judgement.reason),
        ),
        None => (
            RolloutEvent::Fail,
            EventKind::RolloutFailed,
            format!(
                "failed, and no release was ever fully healthy to go back to: {}",
                judgement.reason
            ),
        ),
    };
    let of = rollout.id;
    end(work, rollout, event, kind, words, Some(rejection));
    if let Some(to) = back {
        let reason = format!("{} failed", release.commit.short());
        start(work, &to, RolloutKind::Rollback { of: Some(of) }, &reason);
    }
}

/// What the move from the release the app is at means for its instances.
pub fn reason_for(work: &Work<'_>, release: &Release) -> String {
    let Some(from) = work.app.target_release() else {
        return format!("first release, commit {}", release.commit.short());
    };
    let fields = diff_specs(&from.spec, &release.spec);
    if fields.is_empty() {
        return format!(
            "commit {} declares what commit {} did",
            release.commit.short(),
            from.commit.short()
        );
    }
    let in_place = fields.iter().all(|f| f.effect == Effect::InPlace);
    let how = match (in_place, moving(work, release)) {
        (false, _) => String::new(),
        (true, 0) => " (in place)".to_owned(),
        (true, 1) => " (in place, but for 1 instance whose node has no room)".to_owned(),
        (true, n) => format!(" (in place, but for {n} instances whose nodes have no room)"),
    };
    format!(
        "commit {} changes {}{how}",
        release.commit.short(),
        summary(&fields),
    )
}

/// How many instances the requests of `release` make go elsewhere.
fn moving(work: &Work<'_>, release: &Release) -> usize {
    let snapshot = work.input.snapshot;
    let requests = release.spec.requests;
    let differing = || {
        let instances = work.app.instances.values();
        instances.filter(|i| i.wants_run() && i.requests != requests)
    };
    if differing().next().is_none() {
        return 0;
    }
    work.overlay().try_out(snapshot, |overlay| {
        let mut moving = 0;
        for old in differing() {
            if can_grow(snapshot, overlay, &old.node, old.requests, requests) {
                let mut new = old.clone();
                new.requests = requests;
                overlay.release(snapshot, old);
                overlay.take(snapshot, &new);
            } else {
                moving += 1;
            }
        }
        moving
    })
}
