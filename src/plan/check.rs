//! Whether a plan keeps the invariants of the design. Runs after every plan in
//! tests and debug builds; knows nothing of how the planner decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Plan;
use super::constraint::Compiled;
use crate::model::quantity::Resources;
use crate::model::snapshot::Observed;
use crate::model::spec::Strategy;
use crate::model::{
    App, AppKey, Change, Instance, InstanceId, RolloutPhase, Snapshot, WorkloadDigest,
};

/// A broken invariant: which, where, with the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn check(before: &Snapshot, plan: &Plan) -> Vec<Violation> {
    let mut after = before.clone();
    let mut found = Vec::new();
    if let Err(error) = after.apply_all(&plan.changes) {
        found.push(Violation(format!(
            "the plan does not fit its snapshot: {error}"
        )));
        return found;
    }
    let touched: BTreeSet<&AppKey> = plan.changes.iter().filter_map(Change::app).collect();
    for key in touched {
        if let (Some(old), Some(new)) = (before.apps.get(key), after.apps.get(key)) {
            let forward = plan
                .changes
                .iter()
                .any(|c| matches!(c, Change::PutRollout(r) if r.app == *key && !r.is_rollback()));
            check_app(before, old, new, &mut found);
            if !forward && rolls_back_a_rollback(old, new) {
                found.push(Violation(format!("{key}: a rollback would be rolled back")));
            }
        }
    }
    let mut added: Vec<&Instance> = Vec::new();
    for change in &plan.changes {
        match change {
            Change::AddInstance(instance) => added.push(instance),
            Change::Observe { .. } => found.push(Violation("the planner observes".to_owned())),
            _ => {}
        }
    }
    check_nodes(&after, &added, &mut found);
    found
}

/// What runs or may run.
fn running(app: &App) -> impl Iterator<Item = &Instance> {
    app.instances.values().filter(|i| !i.is_over())
}

fn serving(app: &App, snapshot: &Snapshot) -> usize {
    app.instances
        .values()
        .filter(|i| {
            i.wants_run() && i.is_ready() && !matches!(snapshot.observe(i), Observed::Unknown)
        })
        .count()
}

/// Versions that may be running where somebody can see them: what was given up
/// on a silent node does not hold an update up.
fn versions<'a>(app: &'a App, snapshot: &Snapshot) -> BTreeSet<&'a WorkloadDigest> {
    running(app)
        .filter(|i| i.wants_run() || snapshot.observe(i) != Observed::Unknown)
        .map(|i| &i.workload)
        .collect()
}

/// Whether every release of that workload is quarantined: nothing more of it may start.
fn is_rejected(app: &App, workload: &WorkloadDigest) -> bool {
    app.releases
        .values()
        .filter(|r| r.workload_digest == *workload)
        .all(|r| app.quarantine.contains_key(&r.spec_digest))
}

fn check_app(snapshot: &Snapshot, old: &App, new: &App, found: &mut Vec<Violation>) {
    let mut broken = |text: String| found.push(Violation(format!("{}: {text}", new.key)));
    let Some(release) = new.target_release() else {
        return;
    };
    if new.declared.is_none() {
        return;
    }
    let policy = &release.spec.rollout;
    let wanted = new.replicas_of(release);
    let replicas = wanted as usize;
    let surge = policy.max_surge.of_rounding_up(wanted) as usize;
    let unavailable = policy.max_unavailable.of_rounding_down(wanted) as usize;

    let (served, serves) = (serving(old, snapshot), serving(new, snapshot));
    let floor = replicas.saturating_sub(unavailable);
    if policy.strategy == Strategy::Rolling && serves < served && serves < floor {
        broken(format!(
            "{serves} would serve, {served} did, {floor} are promised ({replicas} - {unavailable})"
        ));
    }
    let (existed, exist) = (running(old).count(), running(new).count());
    let lost = running(new)
        .filter(|i| !i.wants_run() && snapshot.observe(i) == Observed::Unknown)
        .count();
    if exist > existed && exist - lost > replicas + surge {
        broken(format!(
            "{exist} instances would exist, {replicas} + {surge} are allowed"
        ));
    }
    let (lived, live) = (versions(old, snapshot).len(), versions(new, snapshot).len());
    let both_rejected = versions(new, snapshot)
        .into_iter()
        .filter(|v| **v != release.workload_digest)
        .all(|v| is_rejected(new, v));
    if live > lived && live > 2 && !(live == 3 && both_rejected) {
        broken(format!("{live} versions would live at once"));
    }
    let target_changed = old.target != new.target;
    if target_changed && old.quarantine.contains_key(&release.spec_digest) {
        broken(format!(
            "moves to {} which is quarantined",
            release.commit.short()
        ));
    }
    check_preparation(snapshot, old, new, found);
}

fn rolls_back_a_rollback(old: &App, new: &App) -> bool {
    match (old.active_rollout(), &new.rollout) {
        (Some(was), Some(is)) => was.id != is.id && was.is_rollback() && is.is_rollback(),
        (None, _) | (_, None) => false,
    }
}

/// No serving instance of another version stops while images are under way.
fn check_preparation(snapshot: &Snapshot, old: &App, new: &App, found: &mut Vec<Violation>) {
    let Some(rollout) = new
        .active_rollout()
        .filter(|r| r.phase == RolloutPhase::Preparing)
    else {
        return;
    };
    let Some(release) = new.releases.get(&rollout.to) else {
        return;
    };
    for instance in old.instances.values() {
        let stops = instance.wants_run()
            && new
                .instances
                .get(&instance.id)
                .is_some_and(|i| !i.wants_run());
        let heard = !matches!(snapshot.observe(instance), Observed::Unknown);
        if stops && heard && instance.is_ready() && !new.is_current(instance, release) {
            found.push(Violation(format!(
                "{}: slot {} would stop before the images are in place",
                new.key, instance.slot
            )));
        }
    }
}

fn check_nodes(after: &Snapshot, added: &[&Instance], found: &mut Vec<Violation>) {
    let nodes: BTreeSet<_> = added.iter().map(|i| &i.node).collect();
    for name in nodes {
        let Some(node) = after.nodes.get(name) else {
            found.push(Violation(format!("node {name} does not exist")));
            continue;
        };
        let mut used = Resources::default();
        let mut ports: BTreeMap<_, InstanceId> = BTreeMap::new();
        let mut volumes: BTreeMap<_, InstanceId> = BTreeMap::new();
        let on_node = after
            .apps
            .values()
            .flat_map(|a| a.instances.values())
            .filter(|i| i.node == *name);
        for instance in on_node {
            used = used.plus(instance.requests);
            for port in &instance.host_ports {
                if ports.insert(*port, instance.id).is_some() {
                    found.push(Violation(format!("{name}: port {} is held twice", port.0)));
                }
            }
            for volume in &instance.volumes {
                let key = (&instance.app, volume);
                if volumes.insert(key, instance.id).is_some() {
                    found.push(Violation(format!("{name}: volume {volume} is held twice")));
                }
            }
        }
        if !used.fits(node.facts.capacity) {
            found.push(Violation(format!(
                "{name}: {used:?} of {:?} would be taken",
                node.facts.capacity
            )));
        }
        if after.usage(name).map(|u| u.requests) != Some(used) {
            found.push(Violation(format!("{name}: the usage index is wrong")));
        }
    }
    for instance in added {
        check_constraints(after, instance, found);
    }
}

fn check_constraints(after: &Snapshot, instance: &Instance, found: &mut Vec<Violation>) {
    let Some(app) = after.apps.get(&instance.app) else {
        return;
    };
    let Some(release) = app.releases.get(&instance.release) else {
        found.push(Violation(format!(
            "{}: an instance without release",
            app.key
        )));
        return;
    };
    let Some(node) = after.nodes.get(&instance.node) else {
        return;
    };
    for constraint in &release.spec.placement.constraints {
        let compiled = Compiled::new(constraint);
        let ok = match compiled.group() {
            None => compiled.matches(node),
            Some((attribute, max)) => node.attribute(attribute).is_some_and(|value| {
                let sharing = running(app)
                    .filter(|i| {
                        after
                            .nodes
                            .get(&i.node)
                            .and_then(|n| n.attribute(attribute))
                            == Some(value)
                    })
                    .count();
                sharing <= max as usize
            }),
        };
        if !ok {
            found.push(Violation(format!(
                "{}: slot {} on {} breaks {compiled}",
                app.key, instance.slot, instance.node
            )));
        }
    }
}
