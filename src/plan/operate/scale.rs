//! Another number of replicas than Git declares, for a while.

use super::{Decision, Refusal, app_event, because, ends, find};
use crate::model::{AppKey, Change, EventKind, Scale, Snapshot, Timestamp};

/// As many as a spec may declare (`manifest::limits::REPLICAS`).
pub const MAX_REPLICAS: u32 = 10_000;

/// Holds until a commit changes the declared number, until `until`, or until it is reset.
pub fn plan_scale(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    replicas: u32,
    reason: Option<&str>,
    until: Option<Timestamp>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let Some(declared) = app.declared.as_ref().map(|d| d.spec.replicas) else {
        return Err(Refusal::Conflict(format!(
            "{key} was removed from Git and is being taken down"
        )));
    };
    if replicas > MAX_REPLICAS {
        return Err(Refusal::Invalid(format!(
            "{replicas} replicas are more than the {MAX_REPLICAS} that one app may have"
        )));
    }
    if let Some(s) = &app.scale
        && s.replicas == replicas
        && s.until == until
    {
        return Err(Refusal::Conflict(format!(
            "{} scaled {key} to {replicas} already, at {}",
            s.by, s.at
        )));
    }
    if let Some(s) = &app.scale
        && s.by != by
    {
        return Err(Refusal::Conflict(format!(
            "{} scaled {key} to {} at {}{}{}; `evenkeel scale {key} --reset` ends that first",
            s.by,
            s.replicas,
            s.at,
            ends(s.until),
            because(s.reason.as_deref())
        )));
    }
    if app.scale.is_none() && replicas == declared {
        return Err(Refusal::Conflict(format!(
            "Git declares {replicas} replicas of {key} already: there is nothing to override"
        )));
    }
    Ok(Decision {
        changes: vec![Change::SetScale {
            app: key.clone(),
            scale: Some(Scale {
                replicas,
                by: by.to_owned(),
                at: now,
                reason: reason.map(str::to_owned),
                until,
            }),
        }],
        events: vec![app_event(
            now,
            by,
            EventKind::AppScaled,
            app,
            format!(
                "{by} scaled {key} to {replicas}{} ({declared} declared){}",
                ends(until),
                because(reason)
            ),
        )],
    })
}

/// Back to what Git declares.
pub fn plan_reset_scale(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let (Some(scale), declared) = (&app.scale, app.declared.as_ref()) else {
        return Err(Refusal::Conflict(format!(
            "{key} is not scaled by an operator: it runs as many as Git declares"
        )));
    };
    let declared = declared.map_or(0, |d| d.spec.replicas);
    Ok(Decision {
        changes: vec![Change::SetScale {
            app: key.clone(),
            scale: None,
        }],
        events: vec![app_event(
            now,
            by,
            EventKind::AppScaled,
            app,
            format!(
                "{by} ended the override of {} ({} replicas): {declared} are declared",
                scale.by, scale.replicas
            ),
        )],
    })
}
