//! Back to a proven release, and letting a rejected one be tried again.

use super::rollouts::go_on;
use super::{Decision, Refusal, app_event, because, find};
use crate::model::node::ImageState;
use crate::model::release::{Evidence, Rejection, Verdict};
use crate::model::{
    App, AppKey, Change, EventKind, Release, ReleaseId, ReleaseState, Rollout, RolloutKind,
    RolloutPhase, Snapshot, Timestamp,
};

/// Back to the latest stable release with another digest, or to the one of commit `to` (its
/// first digits do). Holds until a new commit changes the app or an operator releases it.
pub fn plan_rollback(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    why: Option<&str>,
    to: Option<&str>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let target = app.target_release().ok_or_else(|| {
        Refusal::Conflict(format!("{key} has no release yet: nothing to roll back"))
    })?;
    if let Some(rollout) = app.active_rollout()
        && rollout.is_rollback()
    {
        return Err(Refusal::Conflict(format!(
            "{key} is being rolled back already since {} ({}); `evenkeel why {key}` tells what it \
             waits for",
            rollout.started_at, rollout.reason
        )));
    }
    second(app, target, to)?;
    let back = match to {
        Some(commit) => chosen(app, target, commit)?,
        None => app
            .latest_stable_except(&target.spec_digest)
            .ok_or_else(|| {
                Refusal::Conflict(format!(
                    "{key} has no earlier release that was ever fully healthy: nothing to go back \
                     to. Commit a fix instead"
                ))
            })?,
    };
    let reason = format!(
        "{by} rolled {key} back from {} to {}{}",
        target.commit.short(),
        back.commit.short(),
        because(why)
    );
    Ok(Decision {
        changes: condemn(now, app, target, Some(back), &reason),
        events: vec![app_event(
            now,
            by,
            EventKind::ReleaseQuarantined,
            app,
            format!("{reason}. It stays there until a new commit changes the app"),
        )],
    })
}

/// Who comes second, and means the release that is gone already, must not go one further back.
fn second(app: &App, target: &Release, to: Option<&str>) -> Result<(), Refusal> {
    let key = &app.key;
    if let Some(rejection) = app.quarantine.get(&target.spec_digest)
        && rejection.verdict == Verdict::Operator
    {
        return Err(Refusal::Conflict(format!(
            "{key} is being rolled back already since {}: {}; `evenkeel rollout watch {key}` \
             follows it",
            rejection.at, rejection.reason
        )));
    }
    match (to, app.rejection_of_declared()) {
        (None, Some(rejection)) if rejection.digest != target.spec_digest => {
            Err(Refusal::Conflict(format!(
                "{key} was rolled back to {} already, at {}: {}; `evenkeel rollback {key} --to \
                 COMMIT` goes further back, to: {}",
                target.commit.short(),
                rejection.at,
                rejection.reason,
                proven(app, target)
            )))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// The proven release of the commit that starts with `commit`.
fn chosen<'a>(app: &'a App, target: &Release, commit: &str) -> Result<&'a Release, Refusal> {
    let key = &app.key;
    let wanted = commit.trim().to_ascii_lowercase();
    if wanted.len() < 4 && !wanted.is_empty() || wanted.is_empty() {
        return Err(Refusal::Invalid(
            "give at least the first 4 digits of the commit".to_owned(),
        ));
    }
    let mut matching: Vec<&Release> = app
        .releases
        .values()
        .filter(|r| r.commit.0.starts_with(&wanted))
        .map(|r| &**r)
        .collect();
    matching.sort_by_key(|r| r.number);
    let Some(release) = matching.pop() else {
        return Err(Refusal::NotFound(format!(
            "{key} has no release of commit {wanted}; it can go back to: {}",
            proven(app, target)
        )));
    };
    if matching.iter().any(|r| r.commit != release.commit) {
        return Err(Refusal::Invalid(format!(
            "several commits start with {wanted}; give more digits"
        )));
    }
    if release.spec_digest == target.spec_digest {
        return Err(Refusal::Conflict(format!(
            "{key} is at what commit {} declares already",
            release.commit.short()
        )));
    }
    if !release.is_stable() {
        return Err(Refusal::Conflict(format!(
            "{} of {key} was never fully healthy; it can go back to: {}",
            release.commit.short(),
            proven(app, target)
        )));
    }
    if app.quarantine.contains_key(&release.spec_digest) {
        return Err(Refusal::Conflict(format!(
            "{} of {key} is quarantined; `evenkeel release {key}` lets it be tried again where it \
             is what Git declares",
            release.commit.short()
        )));
    }
    Ok(release)
}

/// Commits that a rollback from `target` may go to, newest first.
fn proven(app: &App, target: &Release) -> String {
    let mut releases: Vec<&Release> = app
        .releases
        .values()
        .filter(|r| r.is_stable() && r.spec_digest != target.spec_digest)
        .filter(|r| !app.quarantine.contains_key(&r.spec_digest))
        .map(|r| &**r)
        .collect();
    releases.sort_by_key(|r| std::cmp::Reverse(r.number));
    if releases.is_empty() {
        return "none, no other was ever fully healthy".to_owned();
    }
    let names: Vec<&str> = releases.iter().map(|r| r.commit.short()).collect();
    names.join(", ")
}

/// Quarantines what `target` is of, and what Git declares if that is something else.
fn condemn(
    now: Timestamp,
    app: &App,
    target: &Release,
    back: Option<&Release>,
    reason: &str,
) -> Vec<Change> {
    let reject = |release: &Release, digest, commit| Change::Quarantine {
        app: app.key.clone(),
        rejection: Box::new(Rejection {
            digest,
            commit,
            release: release.id,
            rollout: app.active_rollout().map(|r| r.id),
            at: now,
            verdict: Verdict::Operator,
            reason: reason.to_owned(),
            evidence: Evidence::default(),
            back_to: back.map(|r| r.id),
        }),
    };
    let mut changes = vec![reject(
        target,
        target.spec_digest.clone(),
        target.commit.clone(),
    )];
    if let Some(declared) = &app.declared
        && declared.digest != target.spec_digest
        && back.is_none_or(|b| b.spec_digest != declared.digest)
    {
        changes.push(reject(
            target,
            declared.digest.clone(),
            declared.commit.clone(),
        ));
    }
    changes
}

/// Ends the active rollout: back to the proven release. A restart just ends, what is not yet
/// exchanged stays as it is.
pub fn plan_abort(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    why: Option<&str>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let Some(rollout) = app.active_rollout() else {
        let last = app.rollout.as_ref().and_then(|r| {
            let outcome = r.outcome.as_deref()?;
            Some(format!(
                " (the last one ended at {}: {outcome})",
                r.finished_at?
            ))
        });
        return Err(Refusal::Conflict(format!(
            "no rollout of {key} is under way{}; `evenkeel rollback {key}` goes back to the \
             release before",
            last.unwrap_or_default()
        )));
    };
    let target = app
        .target_release()
        .ok_or_else(|| Refusal::Conflict(format!("{key} has no release yet: nothing to abort")))?;
    match rollout.kind {
        RolloutKind::Rollback { .. } => Err(Refusal::Conflict(format!(
            "{key} is being rolled back since {} ({}), which is not aborted; `evenkeel rollout \
             pause {key}` holds it, a new commit takes it over",
            rollout.started_at, rollout.reason
        ))),
        RolloutKind::Restart => Ok(end_restart(now, app, rollout, by, why)),
        RolloutKind::Forward => Ok(abort_forward(now, app, rollout, target, by, why)),
    }
}

fn end_restart(
    now: Timestamp,
    app: &App,
    rollout: &Rollout,
    by: &str,
    why: Option<&str>,
) -> Decision {
    let words = format!("{by} aborted it{}", because(why));
    let event = app_event(
        now,
        by,
        EventKind::RolloutSuperseded,
        app,
        format!("restart of {}: {words}", app.key),
    );
    Decision {
        changes: vec![
            Change::SetIncarnation {
                app: app.key.clone(),
                incarnation: app.incarnation.saturating_sub(1),
            },
            ended(now, rollout, RolloutPhase::Superseded, words),
        ],
        events: vec![event],
    }
}

fn ended(now: Timestamp, rollout: &Rollout, phase: RolloutPhase, outcome: String) -> Change {
    let mut next = rollout.clone();
    next.phase = phase;
    next.finished_at = Some(now);
    next.outcome = Some(outcome);
    Change::PutRollout(Box::new(next))
}

fn abort_forward(
    now: Timestamp,
    app: &App,
    rollout: &Rollout,
    target: &Release,
    by: &str,
    why: Option<&str>,
) -> Decision {
    let back = app.latest_stable_except(&target.spec_digest).map(|r| &**r);
    let to = target.commit.short();
    let reason = match back {
        Some(back) => format!(
            "{by} aborted the rollout of {} to {to} and goes back to {}{}",
            app.key,
            back.commit.short(),
            because(why)
        ),
        None => format!(
            "{by} aborted the first rollout of {}, to {to}: there is no release to go back to{}",
            app.key,
            because(why)
        ),
    };
    let mut changes = condemn(now, app, target, back, &reason);
    let kind = if back.is_none() {
        changes.push(Change::SetReleaseState {
            app: app.key.clone(),
            release: target.id,
            state: ReleaseState::Rejected { at: now },
        });
        changes.push(ended(now, rollout, RolloutPhase::Failed, reason.clone()));
        EventKind::RolloutFailed
    } else {
        EventKind::ReleaseQuarantined
    };
    Decision {
        changes,
        events: vec![app_event(now, by, kind, app, reason)],
    }
}

/// A pull that failed is no evidence against a new try.
pub(super) fn forget_failed_pulls(
    snapshot: &Snapshot,
    app: &App,
    release: ReleaseId,
) -> Vec<Change> {
    let Some(image) = app.releases.get(&release).and_then(|r| r.image()) else {
        return Vec::new();
    };
    snapshot
        .nodes
        .values()
        .filter(|node| matches!(node.images.get(image), Some(ImageState::Failed { .. })))
        .map(|node| Change::SetImage {
            node: node.name.clone(),
            image: image.to_owned(),
            state: None,
        })
        .collect()
}

/// Lets a paused rollout go on, else a quarantined digest be tried again. In
/// this order: who releases an app whose rollback stands still wants the
/// rollback, not the release that was rejected before it.
pub fn plan_release(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    if let Some(rollout) = app.active_rollout()
        && rollout.phase == RolloutPhase::Paused
    {
        return Ok(go_on(now, snapshot, app, rollout, by));
    }
    if let Some(rejection) = app.rejection_of_declared() {
        let message = format!(
            "{by} released {key} at {} from quarantine ({})",
            rejection.commit.short(),
            rejection.reason
        );
        let mut changes = vec![Change::Unquarantine {
            app: key.clone(),
            digest: rejection.digest.clone(),
        }];
        changes.extend(forget_failed_pulls(snapshot, app, rejection.release));
        return Ok(Decision {
            changes,
            events: vec![app_event(now, by, EventKind::ReleaseReleased, app, message)],
        });
    }
    Err(Refusal::Conflict(format!(
        "{key} is neither quarantined nor paused: nothing to release; `evenkeel why {key}` tells \
         what it waits for"
    )))
}
