//! Holding a rollout, letting it go on, and starting one without a commit: a restart.

use super::super::place::Overlay;
use super::super::work::Work;
use super::super::{IdSource, PlanInput, Scope, Settings, rollout};
use super::rollback::forget_failed_pulls;
use super::{Decision, Refusal, app_event, because, find};
use crate::model::{
    Actor, App, AppKey, Change, Event, EventKind, Goal, ReleaseState, Rollout, RolloutKind,
    RolloutPhase, Snapshot, Timestamp,
};
use crate::plan::NOBODY;

fn name_of(kind: RolloutKind) -> &'static str {
    match kind {
        RolloutKind::Forward => "rollout",
        RolloutKind::Rollback { .. } => "rollback",
        RolloutKind::Restart => "restart",
    }
}

fn no_rollout(app: &App) -> Refusal {
    Refusal::Conflict(format!(
        "no rollout of {0} is under way; `evenkeel status {0}` shows it",
        app.key
    ))
}

/// Holds the active rollout where it is, until somebody lets it go on, aborts
/// it, or a new commit takes it over.
pub fn plan_pause(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    why: Option<&str>,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let rollout = app.active_rollout().ok_or_else(|| no_rollout(app))?;
    let what = name_of(rollout.kind);
    if rollout.phase == RolloutPhase::Paused {
        return Err(Refusal::Conflict(format!(
            "the {what} of {key} is paused already, since {}: {}",
            rollout.progress_at,
            rollout.outcome.as_deref().unwrap_or("no reason was given")
        )));
    }
    let mut next = rollout.clone();
    next.phase = RolloutPhase::Paused;
    next.progress_at = now;
    next.baking_since = None;
    next.outcome = Some(format!("{by} paused it{}", because(why)));
    Ok(Decision {
        changes: vec![Change::PutRollout(Box::new(next))],
        events: vec![app_event(
            now,
            by,
            EventKind::RolloutPaused,
            app,
            format!("{by} paused the {what} of {key}{}", because(why)),
        )],
    })
}

pub fn plan_resume_rollout(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let rollout = app.active_rollout().ok_or_else(|| no_rollout(app))?;
    if rollout.phase != RolloutPhase::Paused {
        return Err(Refusal::Conflict(format!(
            "the {} of {key} is not paused; `evenkeel why {key}` tells what it waits for",
            name_of(rollout.kind)
        )));
    }
    Ok(go_on(now, snapshot, app, rollout, by))
}

/// Lets a paused rollout go on. What failed before is no evidence against it now.
pub(super) fn go_on(
    now: Timestamp,
    snapshot: &Snapshot,
    app: &App,
    rollout: &Rollout,
    by: &str,
) -> Decision {
    let mut next = rollout.clone();
    next.phase = RolloutPhase::Preparing;
    next.outcome = None;
    next.progress_at = now;
    let message = format!(
        "{by} let the paused {} of {} go on",
        name_of(rollout.kind),
        app.key
    );
    let mut decision = Decision {
        changes: vec![Change::PutRollout(Box::new(next))],
        events: vec![app_event(
            now,
            by,
            EventKind::RolloutResumed,
            app,
            message.clone(),
        )],
    };
    decision
        .changes
        .extend(forget_failed_pulls(snapshot, app, rollout.to));
    let release = app.releases.get(&rollout.to);
    let failed = app.instances.values().filter(|i| {
        let failed = i
            .status
            .as_ref()
            .is_some_and(|s| s.exits > 0 || s.failure.is_some());
        let its = release.is_some_and(|r| app.is_current(i, r));
        its && i.wants_run() && !i.is_ready() && failed
    });
    for instance in failed {
        let reason = format!("{message}: it gets a fresh start");
        let mut event = app_event(
            now,
            by,
            EventKind::InstanceStopping,
            app,
            format!(
                "slot {} on {} stops: {reason}",
                instance.slot, instance.node
            ),
        );
        event.instance = Some(instance.id);
        event.node = Some(instance.node.clone());
        decision.events.push(event);
        decision.changes.push(Change::SetGoal {
            app: app.key.clone(),
            instance: instance.id,
            goal: Goal::Stop { at: now, reason },
        });
    }
    decision
}

/// Exchanges all instances for new ones of the same release, with the promises of a rollout.
pub fn plan_restart(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    why: Option<&str>,
    settings: &Settings,
    ids: &mut IdSource,
) -> Result<Decision, Refusal> {
    let app = find(snapshot, key)?;
    let Some(release) = app.target_release() else {
        return Err(Refusal::Conflict(format!(
            "{key} has no release yet: nothing to restart"
        )));
    };
    if let Some(rollout) = app.active_rollout() {
        let what = name_of(rollout.kind);
        return Err(Refusal::Conflict(format!(
            "a {what} of {key} is under way since {} ({}), and what it starts is new anyway; \
             `evenkeel rollout watch {key}` follows it, restart when it has ended",
            rollout.started_at, rollout.reason
        )));
    }
    if let ReleaseState::Rejected { .. } = release.state {
        return Err(Refusal::Conflict(format!(
            "{} of {key} failed and is kept as it is: commit a fix, or run `evenkeel release \
             {key}` to try it again",
            release.commit.short()
        )));
    }
    if app.declared.is_none() {
        return Err(Refusal::Conflict(format!(
            "{key} was removed from Git and is being taken down"
        )));
    }
    let input = PlanInput {
        now,
        // Nothing is judged here, only started.
        since: now,
        heard: &NOBODY,
        snapshot,
        scope: Scope::All,
        settings,
    };
    let mut overlay = Overlay::default();
    let mut work = Work::new(&input, app, &mut overlay, ids);
    let reason = format!("{by} restarted {key}{}", because(why));
    rollout::restart(&mut work, release, &reason).map_err(Refusal::Conflict)?;
    let mut decision = work.into_decision();
    let asked = |event: &mut Event| event.actor = Actor::User(by.to_owned());
    decision.events.iter_mut().for_each(asked);
    Ok(decision)
}
