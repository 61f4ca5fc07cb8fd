//! Whom a list of changes concerns: who is planned again, who is told, and
//! which nodes' desired sets may differ.

use std::collections::BTreeSet;

use crate::model::{App, AppKey, Change, InstanceId, NodeName, Rollout, Snapshot};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touched {
    /// To be planned again.
    pub apps: BTreeSet<AppKey>,
    /// Changed as hosts: the apps on them, and those that look for a place, are planned again.
    pub nodes: BTreeSet<NodeName>,
    /// Whose desired set may differ.
    pub dispatch: BTreeSet<NodeName>,
    /// Something was given back: those that look for a place may find one.
    pub frees: bool,
    pub sources: bool,
}

/// `before`: the state that the changes are about to be applied to.
pub fn touched(before: &Snapshot, changes: &[Change]) -> Touched {
    let mut touched = Touched::default();
    // Changes of one app mostly follow each other.
    let mut last = None;
    for change in changes {
        if let Some(app) = change.app()
            && last != Some(app)
        {
            touched.apps.insert(app.clone());
            last = Some(app);
        }
        touched.one(before, change);
    }
    touched
}

impl Touched {
    fn one(&mut self, before: &Snapshot, change: &Change) {
        match change {
            // The desired sets know nothing of declarations and observations.
            Change::Declare { .. }
            | Change::SetInvalid { .. }
            | Change::Undeclare { .. }
            | Change::SetSuspension { .. }
            | Change::SetScale { .. }
            | Change::SetIncarnation { .. }
            | Change::SetReleaseState { .. }
            | Change::Quarantine { .. }
            | Change::Unquarantine { .. }
            | Change::SetHome { .. }
            | Change::Observe { .. } => {}

            Change::AddRelease(release) => {
                let known = before.apps.get(&release.app);
                // A new one runs nowhere yet.
                if known.is_some_and(|app| app.releases.contains_key(&release.id)) {
                    self.nodes_of(before, &release.app);
                }
            }
            Change::PinImage { app, .. }
            | Change::ForgetRelease { app, .. }
            | Change::SetTarget { app, .. } => self.nodes_of(before, app),
            Change::PutRollout(rollout) => self.images_of(before, rollout),
            Change::RemoveApp { app } => {
                self.nodes_of(before, app);
                self.frees = true;
                // A source that is being taken down goes with its last app.
                self.sources = true;
            }
            Change::AddInstance(instance) => {
                self.dispatch.insert(instance.node.clone());
            }
            Change::SetGoal { app, instance, .. } => self.node_of(before, app, instance),
            Change::SetRequests { app, instance, .. } => {
                self.node_of(before, app, instance);
                self.frees = true;
            }
            Change::ForgetInstance { app, instance } => {
                self.node_of(before, app, instance);
                self.frees = true;
            }

            Change::PutNode(node) => {
                self.nodes.insert(node.name.clone());
            }
            Change::SetLiveness { node, .. }
            | Change::SetScheduling { node, .. }
            | Change::SetImage { node, .. } => {
                self.nodes.insert(node.clone());
            }
            Change::RemoveNode { node } => {
                self.nodes.insert(node.clone());
                self.dispatch.insert(node.clone());
            }
            Change::PutSource(_) | Change::RemoveSource(_) => self.sources = true,
        }
    }

    fn nodes_of(&mut self, before: &Snapshot, app: &AppKey) {
        if let Some(app) = before.apps.get(app) {
            self.dispatch.extend(nodes(app).cloned());
        }
    }

    /// Of a rollout the sets know which image it brings where: not how far it is.
    fn images_of(&mut self, before: &Snapshot, rollout: &Rollout) {
        let old = before.apps.get(&rollout.app);
        let old = old.and_then(|app| app.active_rollout());
        let new = Some(rollout).filter(|r| r.is_active());
        if let (Some(old), Some(new)) = (old, new)
            && (old.to, &old.prepare) == (new.to, &new.prepare)
        {
            return;
        }
        let nodes = old.into_iter().chain(new).flat_map(|r| &r.prepare);
        self.dispatch.extend(nodes.cloned());
    }

    fn node_of(&mut self, before: &Snapshot, app: &AppKey, instance: &InstanceId) {
        // An instance that the same list adds brings its node itself.
        if let Some(instance) = before.apps.get(app).and_then(|a| a.instances.get(instance)) {
            self.dispatch.insert(instance.node.clone());
        }
    }
}

/// Nodes that hold instances of the app, or its images.
fn nodes(app: &App) -> impl Iterator<Item = &NodeName> {
    app.instances
        .values()
        .map(|i| &i.node)
        .chain(app.rollout.iter().flat_map(|r| &r.prepare))
}

/// What the planner has not looked at since it changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    pub all: bool,
    pub apps: BTreeSet<AppKey>,
    pub nodes: BTreeSet<NodeName>,
    /// They spoke for the first time in this leadership; for who held apps back until then.
    pub told: BTreeSet<NodeName>,
    pub frees: bool,
}

impl Marks {
    pub fn add(&mut self, touched: &Touched) {
        self.apps.extend(touched.apps.iter().cloned());
        self.nodes.extend(touched.nodes.iter().cloned());
        self.frees |= touched.frees;
    }

    pub fn is_empty(&self) -> bool {
        !self.all
            && !self.frees
            && self.apps.is_empty()
            && self.nodes.is_empty()
            && self.told.is_empty()
    }

    /// The apps to plan; `blocked` are those that look for a place.
    pub fn resolve(self, snapshot: &Snapshot, blocked: &BTreeSet<AppKey>) -> BTreeSet<AppKey> {
        if self.all {
            return snapshot.apps.keys().cloned().collect();
        }
        let mut apps = self.apps;
        for node in &self.nodes {
            let on_node = snapshot
                .usage(node)
                .into_iter()
                .flat_map(|u| u.instances.values());
            apps.extend(on_node.chain(snapshot.preparing_on(node)).cloned());
        }
        if self.frees || !self.nodes.is_empty() {
            apps.extend(blocked.iter().cloned());
        }
        apps.retain(|app| snapshot.apps.contains_key(app));
        apps
    }
}
