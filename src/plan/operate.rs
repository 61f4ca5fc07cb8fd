//! What operators ask for, as decisions or kind refusals.
//!
//! `by` is the operator's name as the token tells it; it is in every event.

use super::{Decision, Refusal};
use crate::model::node::ImageState;
use crate::model::release::{Evidence, Rejection, Verdict};
use crate::model::{
    Actor, App, AppKey, Change, Event, EventKind, Goal, ReleaseId, RolloutPhase, Snapshot, Source,
    SourceName, SourceSpec, Suspension, Timestamp,
};

fn find<'a>(snapshot: &'a Snapshot, key: &AppKey) -> Result<&'a App, Refusal> {
    snapshot.apps.get(key).ok_or_else(|| {
        Refusal::NotFound(format!(
            "there is no app {key}; `evenkeel status` lists all"
        ))
    })
}

fn find_source<'a>(snapshot: &'a Snapshot, name: &SourceName) -> Result<&'a Source, Refusal> {
    snapshot.sources.get(name).ok_or_else(|| {
        Refusal::NotFound(format!(
            "there is no source {name}; `evenkeel source list` lists all"
        ))
    })
}

fn app_event(now: Timestamp, by: &str, kind: EventKind, app: &App, message: String) -> Event {
    let mut event = Event::new(now, Actor::User(by.to_owned()), kind, message);
    event.app = Some(app.key.clone());
    event.source = Some(app.source.clone());
    event
}

fn source_event(
    now: Timestamp,
    by: &str,
    kind: EventKind,
    source: &SourceName,
    message: String,
) -> Event {
    let mut event = Event::new(now, Actor::User(by.to_owned()), kind, message);
    event.source = Some(source.clone());
    event
}

/// Back to the latest stable release with another digest; holds until a new
/// commit changes the app or an operator releases it.
pub fn plan_rollback(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    why: Option<&str>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let target = app.target_release().ok_or_else(|| {
        Refusal::Conflict(format!("{key} has no release yet: nothing to roll back"))
    })?;
    if let Some(rollout) = app.active_rollout()
        && rollout.is_rollback()
    {
        return Err(Refusal::Conflict(format!(
            "{key} is being rolled back already; `evenkeel why {key}` tells what it waits for"
        )));
    }
    let Some(to) = app.latest_stable_except(&target.spec_digest) else {
        return Err(Refusal::Conflict(format!(
            "{key} has no earlier release that was ever fully healthy: nothing to go back to. \
             Commit a fix instead"
        )));
    };
    let reason = format!(
        "{by} rolled {key} back from {} to {}{}",
        target.commit.short(),
        to.commit.short(),
        why.map(|w| format!(": {w}")).unwrap_or_default()
    );
    let reject =
        |digest: &crate::model::SpecDigest, commit: &crate::model::CommitId| Change::Quarantine {
            app: key.clone(),
            rejection: Box::new(Rejection {
                digest: digest.clone(),
                commit: commit.clone(),
                release: target.id,
                rollout: app.active_rollout().map(|r| r.id),
                at: now,
                verdict: Verdict::Operator,
                reason: reason.clone(),
                evidence: Evidence::default(),
            }),
        };
    let mut changes = vec![reject(&target.spec_digest, &target.commit)];
    if let Some(declared) = &app.declared
        && declared.digest != target.spec_digest
        && declared.digest != to.spec_digest
    {
        changes.push(reject(&declared.digest, &declared.commit));
    }
    Ok(Decision {
        events: vec![app_event(
            now,
            by,
            EventKind::ReleaseQuarantined,
            app,
            reason.clone(),
        )],
        changes,
    })
}

/// A pull that failed is no evidence against a new try.
fn forget_failed_pulls(snapshot: &Snapshot, app: &App, release: ReleaseId) -> Vec<Change> {
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
        let mut next = rollout.clone();
        next.phase = RolloutPhase::Preparing;
        next.outcome = None;
        next.progress_at = now;
        let what = if rollout.is_rollback() {
            "rollback"
        } else {
            "rollout"
        };
        let message = format!("{by} let the paused {what} of {key} go on");
        let mut changes = vec![Change::PutRollout(Box::new(next))];
        changes.extend(forget_failed_pulls(snapshot, app, rollout.to));
        // What failed is no evidence against the new try.
        let failed = app
            .instances
            .values()
            .filter(|i| i.release == rollout.to && i.wants_run() && !i.is_ready());
        changes.extend(failed.map(|i| Change::SetGoal {
            app: key.clone(),
            instance: i.id,
            goal: Goal::Stop {
                at: now,
                reason: message.clone(),
            },
        }));
        return Ok(Decision {
            changes,
            events: vec![app_event(now, by, EventKind::ReleaseReleased, app, message)],
        });
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
        "{key} is neither quarantined nor paused: nothing to release"
    )))
}

/// New commits are no longer rolled out, a running rollout stands still;
/// instance counts of what runs are still kept.
pub fn plan_suspend(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    reason: Option<&str>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    if let Some(s) = &app.suspended {
        return Err(Refusal::Conflict(format!(
            "{key} was already suspended by {} at {}",
            s.by, s.at
        )));
    }
    Ok(Decision {
        changes: vec![Change::SetSuspension {
            app: key.clone(),
            suspension: Some(Suspension {
                by: by.to_owned(),
                at: now,
                reason: reason.map(str::to_owned),
            }),
        }],
        events: vec![app_event(
            now,
            by,
            EventKind::AppSuspended,
            app,
            format!(
                "{by} suspended {key}{}",
                reason.map(|r| format!(": {r}")).unwrap_or_default()
            ),
        )],
    })
}

pub fn plan_resume(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    if app.suspended.is_none() {
        return Err(Refusal::Conflict(format!("{key} is not suspended")));
    }
    let mut changes = vec![Change::SetSuspension {
        app: key.clone(),
        suspension: None,
    }];
    // The time it stood still does not count against its deadline.
    changes.extend(app.active_rollout().map(|rollout| {
        let mut next = rollout.clone();
        next.progress_at = now;
        Change::PutRollout(Box::new(next))
    }));
    Ok(Decision {
        changes,
        events: vec![app_event(
            now,
            by,
            EventKind::AppResumed,
            app,
            format!("{by} resumed {key}"),
        )],
    })
}

pub fn plan_add_source(
    now: Timestamp,
    snapshot: &Snapshot,
    spec: SourceSpec,
    by: &str,
) -> Result<Decision, Refusal> {
    if snapshot.sources.contains_key(&spec.name) {
        return Err(Refusal::Conflict(format!(
            "source {0} exists already; change it with `evenkeel source add {0} --replace`",
            spec.name
        )));
    }
    let event = source_event(
        now,
        by,
        EventKind::SourceAdded,
        &spec.name,
        format!(
            "{by} added source {} ({} branch {})",
            spec.name, spec.url, spec.branch
        ),
    );
    Ok(Decision {
        changes: vec![Change::PutSource(Box::new(Source::new(spec, None)))],
        events: vec![event],
    })
}

/// Replaces the settings. Credentials belong to a host: with a new host they must be given anew.
pub fn plan_change_source(
    now: Timestamp,
    snapshot: &Snapshot,
    spec: SourceSpec,
    by: &str,
) -> Result<Decision, Refusal> {
    let source = find_source(snapshot, &spec.name)?;
    if let Some(parent) = &source.declared_by {
        return Err(Refusal::Conflict(format!(
            "source {} is declared by source {parent}: change it in Git",
            spec.name
        )));
    }
    let event = source_event(
        now,
        by,
        EventKind::SourceChanged,
        &spec.name,
        format!("{by} changed source {}", spec.name),
    );
    let mut next = source.clone();
    next.spec = spec;
    Ok(Decision {
        changes: vec![Change::PutSource(Box::new(next))],
        events: vec![event],
    })
}

/// What becomes of a removed source's apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Refuse as long as there are any.
    Refuse,
    /// Take them down first; the source goes with the last one.
    TakeDown,
}

pub fn plan_remove_source(
    now: Timestamp,
    snapshot: &Snapshot,
    name: &SourceName,
    prune: Prune,
    by: &str,
) -> Result<Decision, Refusal> {
    let source = find_source(snapshot, name)?;
    let apps: Vec<&AppKey> = snapshot.apps_of(name).collect();
    if apps.is_empty() {
        return Ok(Decision {
            changes: vec![Change::RemoveSource(name.clone())],
            events: vec![source_event(
                now,
                by,
                EventKind::SourceRemoved,
                name,
                format!("{by} removed source {name}"),
            )],
        });
    }
    match prune {
        Prune::Refuse => Err(Refusal::Conflict(format!(
            "source {name} still declares {} app(s), {} first; add --prune to take them down too",
            apps.len(),
            apps[0]
        ))),
        Prune::TakeDown => {
            let mut decision = Decision::default();
            let mut next = source.clone();
            next.suspended = true;
            next.held = None;
            decision.changes.push(Change::PutSource(Box::new(next)));
            for key in apps {
                decision
                    .changes
                    .push(Change::Undeclare { app: key.clone() });
                let mut event = source_event(
                    now,
                    by,
                    EventKind::AppUndeclared,
                    name,
                    format!("{by} removes source {name} with {key}"),
                );
                event.app = Some(key.clone());
                decision.events.push(event);
            }
            Ok(decision)
        }
    }
}

/// Lets through the deletions that a brake holds.
pub fn plan_approve_held(
    now: Timestamp,
    snapshot: &Snapshot,
    name: &SourceName,
    by: &str,
) -> Result<Decision, Refusal> {
    let source = find_source(snapshot, name)?;
    let Some(held) = &source.held else {
        return Err(Refusal::Conflict(format!(
            "no deletions of source {name} are held"
        )));
    };
    let mut decision = Decision::default();
    for key in held.deletions.keys() {
        if snapshot.apps.get(key).is_some_and(|a| a.declared.is_some()) {
            decision
                .changes
                .push(Change::Undeclare { app: key.clone() });
            let mut event = source_event(
                now,
                by,
                EventKind::AppUndeclared,
                name,
                format!(
                    "{by} approved the deletion of {key} by commit {}",
                    held.commit.short()
                ),
            );
            event.app = Some(key.clone());
            decision.events.push(event);
        }
    }
    let mut next = source.clone();
    next.held = None;
    decision.changes.push(Change::PutSource(Box::new(next)));
    decision.events.push(source_event(
        now,
        by,
        EventKind::SyncReleased,
        name,
        format!("{by} approved {} held deletions", held.deletions.len()),
    ));
    Ok(decision)
}
