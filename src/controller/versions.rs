//! Of which generation each document's content is: the `version` of what operators read.
//!
//! A version is the number of the last commit of the cluster state that changed anything the
//! document shows. So it only grows, also across restarts and controllers: what is read anew
//! counts as changed, unless it is the same as before. A waiter may thus be woken for nothing,
//! but never misses a change.
//!
//! Not counted is what is never committed: heartbeats, and what a source's task is just doing.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AppKey, Change, Generation, InstanceId, NodeName, Snapshot, SourceName};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Versions {
    /// Of what is not listed: nothing of it changed after this.
    since: Generation,
    apps: BTreeMap<AppKey, Generation>,
    sources: BTreeMap<SourceName, Generation>,
    nodes: BTreeMap<NodeName, Generation>,
}

fn number(generation: Generation) -> u64 {
    generation.0.unsigned_abs()
}

impl Versions {
    pub fn app(&self, app: &AppKey) -> u64 {
        number(*self.apps.get(app).unwrap_or(&self.since))
    }

    pub fn source(&self, source: &SourceName) -> u64 {
        number(*self.sources.get(source).unwrap_or(&self.since))
    }

    pub fn node(&self, node: &NodeName) -> u64 {
        number(*self.nodes.get(node).unwrap_or(&self.since))
    }

    /// Takes in a commit that makes `before` the state of generation `at`.
    pub(super) fn committed(&mut self, before: &Snapshot, changes: &[Change], at: Generation) {
        let mut last = None;
        for change in changes {
            let app = change.app();
            // Changes of one app mostly follow each other.
            if let Some(app) = app.filter(|_| app != last) {
                self.apps.insert(app.clone(), at);
            }
            self.one(before, change, at);
            last = match change {
                Change::RemoveApp { .. } => None,
                _ => app,
            };
        }
    }

    fn one(&mut self, before: &Snapshot, change: &Change, at: Generation) {
        match change {
            Change::PutSource(source) => {
                let name = &source.spec.name;
                self.sources.insert(name.clone(), at);
                let known = before.sources.get(name).and_then(|s| s.held.as_ref());
                if known != source.held.as_ref() {
                    let held = known.into_iter().chain(&source.held);
                    let apps: BTreeSet<&AppKey> = held.flat_map(|h| h.deletions.keys()).collect();
                    self.all_of(apps, at);
                }
            }
            Change::RemoveSource(name) => {
                self.sources.remove(name);
            }
            // A source tells how many apps it has.
            Change::Declare { app, source, .. } => {
                self.sources.insert(source.clone(), at);
                self.source_of(before, app, at);
            }
            Change::RemoveApp { app } => {
                self.source_of(before, app, at);
                let gone = before.apps.get(app).into_iter();
                let nodes = gone.flat_map(|app| app.instances.values().map(|i| &i.node));
                for node in nodes {
                    self.nodes.insert(node.clone(), at);
                }
                self.apps.remove(app);
            }
            Change::PutNode(node) => {
                let liveness = before.nodes.get(&node.name).map(|n| n.liveness);
                self.node_moved(before, &node.name, liveness != Some(node.liveness), at);
            }
            Change::SetLiveness { node, liveness, .. } => {
                let known = before.nodes.get(node).map(|n| n.liveness);
                self.node_moved(before, node, known != Some(*liveness), at);
            }
            Change::SetScheduling { node, .. } | Change::SetImage { node, .. } => {
                self.nodes.insert(node.clone(), at);
            }
            Change::RemoveNode { node } => {
                self.node_moved(before, node, true, at);
                self.nodes.remove(node);
            }
            Change::AddInstance(instance) => {
                self.nodes.insert(instance.node.clone(), at);
            }
            Change::SetGoal { app, instance, .. }
            | Change::SetRequests { app, instance, .. }
            | Change::ForgetInstance { app, instance } => self.node_of(before, app, *instance, at),
            Change::SetInvalid { .. }
            | Change::Undeclare { .. }
            | Change::SetSuspension { .. }
            | Change::SetScale { .. }
            | Change::SetIncarnation { .. }
            | Change::SetReleaseState { .. }
            | Change::PinImage { .. }
            | Change::ForgetRelease { .. }
            | Change::SetTarget { .. }
            | Change::Quarantine { .. }
            | Change::Unquarantine { .. }
            | Change::SetHome { .. }
            | Change::Observe { .. }
            | Change::AddRelease(_)
            | Change::PutRollout(_) => {}
        }
    }

    fn all_of<'a>(&mut self, apps: impl IntoIterator<Item = &'a AppKey>, at: Generation) {
        for app in apps {
            self.apps.insert(app.clone(), at);
        }
    }

    fn source_of(&mut self, before: &Snapshot, app: &AppKey, at: Generation) {
        if let Some(app) = before.apps.get(app) {
            self.sources.insert(app.source.clone(), at);
        }
    }

    fn node_of(&mut self, before: &Snapshot, app: &AppKey, instance: InstanceId, at: Generation) {
        let app = before.apps.get(app);
        if let Some(instance) = app.and_then(|a| a.instances.get(&instance)) {
            self.nodes.insert(instance.node.clone(), at);
        }
    }

    /// What is known of the instances on a node hangs on whether it can be heard.
    fn node_moved(&mut self, before: &Snapshot, node: &NodeName, heard: bool, at: Generation) {
        self.nodes.insert(node.clone(), at);
        if heard && let Some(usage) = before.usage(node) {
            self.all_of(usage.instances.values(), at);
        }
    }

    /// Takes in a state that was read anew, whatever happened in between.
    pub(super) fn replaced(&mut self, before: Option<&Snapshot>, after: &Snapshot) {
        let Some(before) = before else {
            *self = Versions {
                since: after.generation,
                ..Versions::default()
            };
            return;
        };
        let at = after.generation;
        self.apps.retain(|app, _| after.apps.contains_key(app));
        self.sources
            .retain(|name, _| after.sources.contains_key(name));
        self.nodes.retain(|name, _| after.nodes.contains_key(name));
        for (key, app) in &after.apps {
            if before.apps.get(key) != Some(app) {
                self.apps.insert(key.clone(), at);
            }
        }
        for (name, source) in &after.sources {
            let known = before.sources.get(name);
            if known == Some(source) && before.apps_of(name).eq(after.apps_of(name)) {
                continue;
            }
            self.sources.insert(name.clone(), at);
            let held = known.and_then(|s| s.held.as_ref()).into_iter();
            let held = held.chain(&source.held);
            let apps: BTreeSet<&AppKey> = held.flat_map(|h| h.deletions.keys()).collect();
            self.all_of(apps, at);
        }
        for (name, node) in &after.nodes {
            let known = before.nodes.get(name);
            if known == Some(node) && before.usage(name) == after.usage(name) {
                continue;
            }
            let heard = known.map(|n| n.liveness) != Some(node.liveness);
            self.node_moved(after, name, heard, at);
        }
        for name in before.nodes.keys() {
            if !after.nodes.contains_key(name) {
                self.node_moved(after, name, true, at);
                self.nodes.remove(name);
            }
        }
    }
}

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;
