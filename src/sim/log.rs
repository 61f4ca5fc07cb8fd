//! What a run did: a hash of every line, the lines themselves where wanted, and what it reached.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::rng::Moment;
use crate::model::{App, Change, Snapshot};

#[derive(Default)]
pub struct Log {
    hasher: DefaultHasher,
    /// Kept where somebody wants to read them.
    pub lines: Option<Vec<String>>,
    pub reached: BTreeMap<&'static str, u64>,
    /// Hashes of the shapes that apps were in.
    pub states: HashSet<u64>,
}

impl Log {
    pub fn with_lines() -> Log {
        Log {
            lines: Some(Vec::new()),
            ..Log::default()
        }
    }

    pub fn line(&mut self, now: Moment, text: impl FnOnce() -> String) {
        let text = text();
        (now.0, &text).hash(&mut self.hasher);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3}s {text}", now.0 as f64 / 1000.0));
        }
    }

    pub fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Remembers the shapes of the apps that a commit touched.
    pub fn state(&mut self, after: &Snapshot, changes: &[Change]) {
        let apps: BTreeSet<_> = changes.iter().filter_map(Change::app).collect();
        for app in apps.into_iter().filter_map(|key| after.apps.get(key)) {
            let shape = shape(after, app);
            self.states.insert(shape);
        }
    }
}

/// What tells two situations of an app apart, without names, times and versions.
fn shape(snapshot: &Snapshot, app: &App) -> u64 {
    let mut hasher = DefaultHasher::new();
    let target = app.target_release();
    let rollout = app.rollout.as_ref();
    rollout
        .map(|r| (r.phase, r.is_rollback()))
        .hash(&mut hasher);
    (
        app.suspended.is_some(),
        app.declared.is_some(),
        app.invalid.is_some(),
    )
        .hash(&mut hasher);
    app.rejection_of_declared()
        .map(|r| r.verdict as u8)
        .hash(&mut hasher);
    target.map(|t| t.spec.replicas).hash(&mut hasher);
    let mut kinds: BTreeMap<(bool, bool, bool, u8, u8), u8> = BTreeMap::new();
    for i in app.instances.values() {
        let new = target.is_some_and(|t| t.workload_digest == i.workload);
        let phase = i.status.as_ref().map_or(99, |s| s.phase as u8);
        let node = snapshot.nodes.get(&i.node).map_or(9, |n| n.liveness as u8);
        *kinds
            .entry((new, i.wants_run(), i.is_ready(), phase, node))
            .or_default() += 1;
    }
    kinds.hash(&mut hasher);
    hasher.finish()
}

/// `2 AddInstance, 1 PutRollout`.
pub fn count_changes(changes: &[Change]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for change in changes {
        *counts.entry(describe(change)).or_default() += 1;
    }
    let words: Vec<String> = counts.iter().map(|(c, n)| format!("{n} {c}")).collect();
    words.join(", ")
}

fn describe(change: &Change) -> String {
    match change {
        Change::Observe {
            app,
            instance,
            status,
        } => format!(
            "{} {} {:?}{}",
            app.name,
            instance.short(),
            status.phase,
            if status.ready { " ready" } else { "" }
        ),
        Change::AddInstance(i) => format!(
            "{} +{} slot {} on {} ({})",
            i.app.name,
            i.id.short(),
            i.slot,
            i.node,
            i.reason
        ),
        Change::SetGoal {
            app,
            instance,
            goal,
        } => match goal {
            crate::model::Goal::Run => format!("{} {} run", app.name, instance.short()),
            crate::model::Goal::Stop { reason, .. } => {
                format!("{} -{} ({reason})", app.name, instance.short())
            }
        },
        Change::PutRollout(r) => format!(
            "{} {:?} {:?} best {}{}",
            r.app.name,
            r.kind,
            r.phase,
            r.best_healthy,
            r.outcome
                .as_ref()
                .map_or(String::new(), |o| format!(" ({o})"))
        ),
        Change::Quarantine { app, rejection } => {
            format!(
                "{} quarantine {:?}: {}",
                app.name, rejection.verdict, rejection.reason
            )
        }
        Change::SetLiveness { node, liveness, .. } => format!("{node} {liveness:?}"),
        Change::ForgetInstance { app, instance } => {
            format!("{} forget {}", app.name, instance.short())
        }
        Change::Declare { app, .. } => format!("declare {}", app.name),
        Change::Undeclare { app } => format!("undeclare {}", app.name),
        Change::RemoveApp { app } => format!("remove {}", app.name),
        Change::SetScheduling {
            node, scheduling, ..
        } => format!("{node} {scheduling:?}"),
        Change::SetSuspension { app, suspension } => {
            format!("{} suspended {}", app.name, suspension.is_some())
        }
        Change::SetScale { app, .. } => format!("{} scaled", app.name),
        Change::SetIncarnation { app, .. } => format!("{} anew", app.name),
        Change::PutSource(_) => "source".to_owned(),
        Change::RemoveSource(_) => "source gone".to_owned(),
        Change::SetInvalid { app, .. } => format!("invalid {}", app.name),
        Change::AddRelease(r) => format!("{} release {}", r.app.name, r.number),
        Change::SetReleaseState { app, state, .. } => format!("{} {state:?}", app.name),
        Change::PinImage { app, .. } => format!("{} pinned", app.name),
        Change::ForgetRelease { app, .. } => format!("{} release forgotten", app.name),
        Change::SetTarget { app, .. } => format!("{} target", app.name),
        Change::Unquarantine { app, .. } => format!("{} unquarantined", app.name),
        Change::SetRequests { app, .. } => format!("{} requests", app.name),
        Change::SetHome { app, .. } => format!("{} home", app.name),
        Change::PutNode(node) => format!("node {}", node.name),
        Change::SetImage { node, .. } => format!("{node} image"),
        Change::RemoveNode { node } => format!("{node} gone"),
    }
}
