//! From the cluster's state to an app's status document. Pure.

use crate::model::instance::{Goal, InstancePhase};
use crate::model::release::{Rejection, Release};
use crate::model::rollout::{Rollout, RolloutKind};
use crate::model::snapshot::Observed;
use crate::model::{
    App, HealthState, Instance, ReleaseId, RolloutPhase, Scale, Snapshot, SyncState, Verdict,
};

use super::app::{
    AppStatus, InstanceView, ObservedWord, Rejected, Replicas, Revision, RolloutKindWord,
    RolloutView,
};

/// The document of `app`, which is one of `snapshot`'s; its version is for the caller to add.
pub fn app_status(snapshot: &Snapshot, app: &App) -> AppStatus {
    let held = is_held(snapshot, app);
    let replicas = replicas(snapshot, app);
    let sync = app.sync_state(held);
    let health = health(snapshot, app);
    let rollout = app.rollout.as_ref().map(|r| rollout_view(snapshot, app, r));
    let (active, last) = match rollout {
        Some(r) if !r.phase.is_terminal() => (Some(r), None),
        ended => (None, ended),
    };
    let mut status = AppStatus {
        project: app.key.project.clone(),
        name: app.key.name.clone(),
        version: 0,
        sync,
        health,
        messages: Vec::new(),
        source: app.source.clone(),
        path: app.path.clone(),
        git: git(app),
        running: running_release(app).map(revision),
        rejected: app.rejection_of_declared().map(rejected),
        replicas,
        rollout: active,
        last_rollout: last,
        suspended: app.suspended.clone(),
        scaled: app.scale.clone(),
        held,
        problems: app
            .invalid
            .as_ref()
            .map_or_else(Vec::new, |i| i.problems.clone()),
        instances: instances(snapshot, app),
    };
    status.messages = messages(snapshot, app, &status);
    status
}

/// Whether a brake of its source holds the app's deletion.
pub fn is_held(snapshot: &Snapshot, app: &App) -> bool {
    snapshot
        .sources
        .get(&app.source)
        .and_then(|s| s.held.as_ref())
        .is_some_and(|h| h.deletions.contains_key(&app.key))
}

/// The app's sync state, as its document says it.
pub fn sync(snapshot: &Snapshot, app: &App) -> SyncState {
    app.sync_state(is_held(snapshot, app))
}

/// The app's health, as its document says it.
pub fn health(snapshot: &Snapshot, app: &App) -> HealthState {
    let unknown = app
        .instances
        .values()
        .filter(|i| i.wants_run() && matches!(snapshot.observe(i), Observed::Unknown))
        .count();
    app.health_state(unknown)
}

/// The release that really serves; the rule is at the head of [`super::app`].
pub fn running_release(app: &App) -> Option<&Release> {
    let target = app.target_release()?;
    let from = app
        .active_rollout()
        .filter(|r| !r.is_rollback() && r.to == target.id)
        .and_then(|r| r.from)
        .and_then(|id| app.releases.get(&id))
        .filter(|from| from.workload_digest != target.workload_digest)
        .filter(|from| {
            app.instances
                .values()
                .any(|i| i.wants_run() && i.workload == from.workload_digest)
        });
    Some(from.unwrap_or(target))
}

fn revision(release: &Release) -> Revision {
    Revision {
        commit: release.commit.clone(),
        digest: Some(release.spec_digest.clone()),
    }
}

fn revision_of(app: &App, release: ReleaseId) -> Option<Revision> {
    app.releases.get(&release).map(|r| revision(r))
}

fn git(app: &App) -> Option<Revision> {
    if let Some(invalid) = &app.invalid {
        return Some(Revision {
            commit: invalid.commit.clone(),
            digest: None,
        });
    }
    app.declared.as_ref().map(|d| Revision {
        commit: d.commit.clone(),
        digest: Some(d.digest.clone()),
    })
}

/// A rejection as it crosses the wire.
pub fn rejected(rejection: &Rejection) -> Rejected {
    Rejected {
        commit: rejection.commit.clone(),
        digest: rejection.digest.clone(),
        at: rejection.at,
        verdict: rejection.verdict,
        reason: rejection.reason.clone(),
        evidence: rejection.evidence.clone(),
        release: rejection.release,
        rollout: rejection.rollout,
    }
}

/// How many instances the app is to have, has, and which of them serve.
pub fn replicas(snapshot: &Snapshot, app: &App) -> Replicas {
    let target = app.target_release();
    let desired = match (target, &app.declared) {
        (Some(_), None) => 0,
        (Some(release), Some(_)) => app.replicas_of(release),
        (None, Some(declared)) => {
            (app.scale.as_ref()).map_or(declared.spec.replicas, |s| s.replicas)
        }
        (None, None) => 0,
    };
    let mut replicas = Replicas {
        desired,
        ready: 0,
        total: 0,
        updated: 0,
        unknown: 0,
    };
    for instance in app.instances.values() {
        match snapshot.observe(instance) {
            Observed::Absent => continue,
            // What is left of it is no instance any more.
            Observed::Known(_) if instance.is_over() => continue,
            Observed::Unknown => replicas.unknown += 1,
            Observed::Pending => {}
            Observed::Known(status) => {
                replicas.ready += u32::from(status.ready && instance.wants_run());
            }
        }
        replicas.total += 1;
        let current = target.is_some_and(|t| app.is_current(instance, t));
        replicas.updated += u32::from(current && instance.wants_run());
    }
    replicas
}

/// A rollout of `app` as it crosses the wire.
pub fn rollout_view(snapshot: &Snapshot, app: &App, rollout: &Rollout) -> RolloutView {
    RolloutView {
        id: rollout.id,
        kind: match rollout.kind {
            RolloutKind::Forward => RolloutKindWord::Forward,
            RolloutKind::Rollback { .. } => RolloutKindWord::Rollback,
            RolloutKind::Restart => RolloutKindWord::Restart,
        },
        strategy: rollout.strategy,
        order: rollout.order,
        phase: rollout.phase,
        step: step(snapshot, app, rollout),
        from: rollout.from.and_then(|id| revision_of(app, id)),
        to: revision_of(app, rollout.to),
        started_at: rollout.started_at,
        finished_at: rollout.finished_at,
        reason: rollout.reason.clone(),
        outcome: rollout.outcome.clone(),
        rejected: rollout.rejection.as_ref().map(rejected),
    }
}

fn step(snapshot: &Snapshot, app: &App, rollout: &Rollout) -> String {
    let replicas = replicas(snapshot, app);
    match rollout.phase {
        RolloutPhase::Preparing => match rollout.prepare.len() {
            1 => "bringing the image to 1 node".to_owned(),
            n => format!("bringing the image to {n} nodes"),
        },
        RolloutPhase::Progressing | RolloutPhase::Paused => {
            let updated_ready = app.target_release().map_or(0, |t| {
                app.instances
                    .values()
                    .filter(|i| i.wants_run() && app.is_current(i, t) && i.is_ready())
                    .count()
            });
            format!(
                "{} of {} instances updated, {updated_ready} ready",
                replicas.updated.min(replicas.desired),
                replicas.desired
            )
        }
        RolloutPhase::Baking => format!("all {} instances ready, baking", replicas.desired),
        RolloutPhase::Succeeded => "succeeded".to_owned(),
        RolloutPhase::RolledBack => "rolled back".to_owned(),
        RolloutPhase::Failed => "failed".to_owned(),
        RolloutPhase::Superseded => "superseded".to_owned(),
    }
}

/// All of them, by slot, older first.
pub fn instances(snapshot: &Snapshot, app: &App) -> Vec<InstanceView> {
    let mut list: Vec<&Instance> = app.instances.values().collect();
    list.sort_by_key(|i| (i.slot, i.created_at, i.id));
    list.into_iter()
        .map(|i| instance_view(snapshot, app, i))
        .collect()
}

fn instance_view(snapshot: &Snapshot, app: &App, instance: &Instance) -> InstanceView {
    let observed = match snapshot.observe(instance) {
        Observed::Unknown => ObservedWord::Unknown,
        Observed::Pending => ObservedWord::Pending,
        Observed::Absent => ObservedWord::Absent,
        Observed::Known(_) => ObservedWord::Known,
    };
    let status = instance.status.as_ref();
    let (stopping, reason) = match &instance.goal {
        Goal::Run => (false, instance.reason.clone()),
        Goal::Stop { reason, .. } => (true, reason.clone()),
    };
    let failed = status.is_some_and(|s| s.failure.is_some() || s.exits > 0);
    InstanceView {
        id: instance.id,
        slot: instance.slot,
        node: instance.node.clone(),
        release: instance.release,
        commit: app
            .releases
            .get(&instance.release)
            .map(|r| r.commit.clone()),
        phase: status.map_or(InstancePhase::Pending, |s| s.phase),
        observed,
        ready: observed == ObservedWord::Known && instance.is_ready(),
        stopping,
        ports: status.map(|s| s.ports.clone()).unwrap_or_default(),
        container_id: status.and_then(|s| s.container_id.clone()),
        reason,
        created_at: instance.created_at,
        started_at: status.and_then(|s| s.started_at),
        ready_since: status.filter(|s| s.ready).and_then(|s| s.ready_since),
        exits: status.map_or(0, |s| s.exits),
        restarts: status.map_or(0, |s| s.restarts),
        last_exit: status.and_then(|s| s.last_exit.clone()),
        last_probe: status.and_then(|s| s.last_probe.clone()),
        failure: status.and_then(|s| s.failure.clone()),
        log_tail: status
            .filter(|_| failed)
            .map(|s| s.log_tail.clone())
            .unwrap_or_default(),
    }
}

/// `scaled to 5 by eva until …: reason (3 declared)`.
fn scaled(app: &App, scale: &Scale) -> String {
    let until = match scale.until {
        Some(at) => format!(" until {at}"),
        None => ", until a commit changes its replicas".to_owned(),
    };
    let why = (scale.reason.as_ref())
        .map(|r| format!(": {r}"))
        .unwrap_or_default();
    let declared = app.declared.as_ref().map_or(0, |d| d.spec.replicas);
    format!(
        "scaled to {} by {}{until}{why} ({declared} declared)",
        scale.replicas, scale.by
    )
}

/// Why the app is not simply synced and healthy.
fn messages(snapshot: &Snapshot, app: &App, status: &AppStatus) -> Vec<String> {
    let mut out = Vec::new();
    let running = status.running.as_ref().map(|r| r.commit.short());
    if let Some(rejected) = &status.rejected {
        out.push(match running {
            Some(running) if rejected.verdict == Verdict::Operator => format!(
                "running {running}, Git at {}: {}. It stays there until a new commit changes the \
                 app; evenkeel release {} ends that",
                rejected.commit.short(),
                rejected.reason,
                app.key
            ),
            Some(running) if *running != *rejected.commit.short() => format!(
                "running {running}, Git at {}, {} was rejected: {}",
                rejected.commit.short(),
                rejected.commit.short(),
                rejected.reason
            ),
            Some(_) | None => {
                format!(
                    "{} was rejected: {}",
                    rejected.commit.short(),
                    rejected.reason
                )
            }
        });
    }
    if let Some(invalid) = &app.invalid {
        let first = invalid
            .problems
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let more = match invalid.problems.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        out.push(format!(
            "its spec at {} is invalid: {first}{more}",
            invalid.commit.short()
        ));
    }
    if let Some(suspension) = &app.suspended {
        let why = suspension
            .reason
            .as_ref()
            .map(|r| format!(": {r}"))
            .unwrap_or_default();
        let until = (suspension.until)
            .map(|at| format!(" until {at}"))
            .unwrap_or_default();
        out.push(format!(
            "suspended by {}{until}{why}; new commits are not rolled out",
            suspension.by
        ));
    }
    if let Some(scale) = &app.scale {
        out.push(scaled(app, scale));
    }
    if status.held {
        let why = snapshot
            .sources
            .get(&app.source)
            .and_then(|s| s.held.as_ref())
            .map(|h| h.reason.as_str())
            .unwrap_or_default();
        out.push(format!(
            "its deletion is held until a person approves: {why}"
        ));
    }
    if app.declared.is_none() && app.invalid.is_none() {
        out.push("Git no longer declares it; it is being taken down".to_owned());
    }
    if let Some(rollout) = &status.rollout {
        let what = match (rollout.kind, rollout.phase) {
            (RolloutKindWord::Forward, RolloutPhase::Paused) => "rollout paused",
            (RolloutKindWord::Rollback, RolloutPhase::Paused) => "rollback paused",
            (RolloutKindWord::Restart, RolloutPhase::Paused) => "restart paused",
            (RolloutKindWord::Forward, _) => "rolling out",
            (RolloutKindWord::Rollback, _) => "rolling back",
            (RolloutKindWord::Restart, _) => "restarting",
        };
        let to = (rollout.to.as_ref())
            .filter(|_| rollout.kind != RolloutKindWord::Restart)
            .map(|r| format!(" to {}", r.commit.short()))
            .unwrap_or_default();
        let why = rollout
            .outcome
            .as_ref()
            .map(|o| format!(": {o}"))
            .unwrap_or_default();
        out.push(format!("{what}{to}: {}{why}", rollout.step));
    }
    if let Some(last) = &status.last_rollout
        && last.phase == RolloutPhase::Failed
        && status.rejected.is_none()
    {
        let why = last.outcome.as_deref().unwrap_or(&last.reason);
        out.push(format!("the last rollout failed: {why}"));
    }
    if status.replicas.unknown > 0 {
        out.push(format!(
            "{} of its instances are on nodes that are silent",
            status.replicas.unknown
        ));
    }
    if status.health == HealthState::Degraded && status.rollout.is_none() {
        out.push(format!(
            "{} of {} instances are ready",
            status.replicas.ready, status.replicas.desired
        ));
    }
    out
}
