//! Suspending an app: new commits wait.

use super::{Decision, Refusal, app_event, because, ends, find};
use crate::model::{AppKey, Change, EventKind, Snapshot, Suspension, Timestamp};

/// New commits are no longer rolled out, a running rollout stands still;
/// instance counts of what runs are still kept. `until`: it ends by itself.
pub fn plan_suspend(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    reason: Option<&str>,
    until: Option<Timestamp>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    if let Some(s) = &app.suspended {
        return Err(Refusal::Conflict(format!(
            "{key} was already suspended by {} at {}{}; `evenkeel resume {key}` ends that",
            s.by,
            s.at,
            ends(s.until)
        )));
    }
    Ok(Decision {
        changes: vec![Change::SetSuspension {
            app: key.clone(),
            suspension: Some(Suspension {
                by: by.to_owned(),
                at: now,
                reason: reason.map(str::to_owned),
                until,
            }),
        }],
        events: vec![app_event(
            now,
            by,
            EventKind::AppSuspended,
            app,
            format!("{by} suspended {key}{}{}", ends(until), because(reason)),
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
        return Err(Refusal::Conflict(format!(
            "{key} is not suspended; `evenkeel why {key}` tells what it waits for"
        )));
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
