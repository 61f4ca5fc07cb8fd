//! The whole cluster state as one value, and the one function that moves it.

use std::collections::{BTreeMap, BTreeSet};

use super::action::{ApplyError, Change};
use super::app::App;
use super::fit::check_fit;
use super::id::{AppKey, Generation, InstanceId, NodeName, SourceName};
use super::instance::{Instance, InstanceStatus};
use super::node::{Liveness, Node};
use super::quantity::Resources;
use super::rollout::Rollout;
use super::source::Source;
use super::spec::Protocol;

/// Cloning is cheap enough for tests and forward planning, not for hot paths.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Snapshot {
    /// Grows by one per committed batch of changes.
    pub generation: Generation,
    pub sources: BTreeMap<SourceName, Source>,
    pub apps: BTreeMap<AppKey, App>,
    pub nodes: BTreeMap<NodeName, Node>,
    usage: BTreeMap<NodeName, Usage>,
    by_source: BTreeMap<SourceName, BTreeSet<AppKey>>,
    /// Apps whose active rollout wants an image on the node.
    preparing: BTreeMap<NodeName, BTreeSet<AppKey>>,
}

/// What the instances on a node hold, stopping ones included.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Usage {
    pub requests: Resources,
    /// Holder of each fixed host port and of each exclusive volume.
    pub host_ports: BTreeMap<(u16, Protocol), InstanceId>,
    pub volumes: BTreeMap<(AppKey, String), InstanceId>,
    pub instances: BTreeMap<InstanceId, AppKey>,
}

/// What is known of an instance right now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed<'a> {
    /// Its node or its runtime is silent: neither running nor gone can be assumed.
    Unknown,
    /// The node has it on its list but has not said anything yet.
    Pending,
    /// The node says nothing of it is left.
    Absent,
    Known(&'a InstanceStatus),
}

impl Snapshot {
    pub fn usage(&self, node: &NodeName) -> Option<&Usage> {
        self.usage.get(node)
    }

    pub fn apps_of(&self, source: &SourceName) -> impl ExactSizeIterator<Item = &AppKey> + '_ {
        static NONE: BTreeSet<AppKey> = BTreeSet::new();
        self.by_source.get(source).unwrap_or(&NONE).iter()
    }

    /// Apps whose active rollout wants its image on `node`.
    pub fn preparing_on(&self, node: &NodeName) -> impl Iterator<Item = &AppKey> + '_ {
        self.preparing.get(node).into_iter().flatten()
    }

    /// A copy with all nodes, what is taken on them, and the sources, but only these apps:
    /// for looking ahead without copying a whole cluster.
    pub fn excerpt<'a>(&self, apps: impl IntoIterator<Item = &'a AppKey>) -> Snapshot {
        let mut copy = Snapshot {
            generation: self.generation,
            sources: self.sources.clone(),
            nodes: self.nodes.clone(),
            usage: self.usage.clone(),
            preparing: self.preparing.clone(),
            ..Snapshot::default()
        };
        for app in apps.into_iter().filter_map(|key| self.apps.get(key)) {
            let of_source = copy.by_source.entry(app.source.clone()).or_default();
            of_source.insert(app.key.clone());
            copy.apps.insert(app.key.clone(), app.clone());
        }
        copy
    }

    pub fn observe<'a>(&self, instance: &'a Instance) -> Observed<'a> {
        match (&instance.status, self.nodes.get(&instance.node)) {
            (Some(_), _) if instance.is_gone() => Observed::Absent,
            (_, None) => Observed::Unknown,
            (status, Some(node)) => match (node.liveness, status) {
                (Liveness::Suspect | Liveness::Lost, _) => Observed::Unknown,
                (Liveness::Ready, None) => Observed::Pending,
                (Liveness::Ready, Some(status)) => {
                    let app = self.apps.get(&instance.app);
                    if app.is_some_and(|app| app.is_unseen(instance, status)) {
                        return Observed::Unknown;
                    }
                    Observed::Known(status)
                }
            },
        }
    }

    /// Whether the node is there and not silent.
    pub fn hears(&self, node: &NodeName) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|n| n.liveness == Liveness::Ready)
    }

    fn app_mut(&mut self, key: &AppKey) -> Result<&mut App, ApplyError> {
        self.apps
            .get_mut(key)
            .ok_or_else(|| ApplyError::NoApp(key.clone()))
    }

    fn node_mut(&mut self, name: &NodeName) -> Result<&mut Node, ApplyError> {
        self.nodes
            .get_mut(name)
            .ok_or_else(|| ApplyError::NoNode(name.clone()))
    }

    /// Puts an app back as it was stored, with all that belongs to it and every index.
    /// Its key must be new: this is for building a snapshot, not for moving one.
    pub fn restore_app(&mut self, app: App) {
        self.by_source
            .entry(app.source.clone())
            .or_default()
            .insert(app.key.clone());
        for instance in app.instances.values() {
            self.usage
                .entry(instance.node.clone())
                .or_default()
                .take(instance);
        }
        if let Some(rollout) = app.rollout.as_ref().filter(|r| r.is_active()) {
            for node in &rollout.prepare {
                self.preparing
                    .entry(node.clone())
                    .or_default()
                    .insert(app.key.clone());
            }
        }
        self.apps.insert(app.key.clone(), app);
    }

    /// Whether a list could be applied in order; else what is wrong with the first change that
    /// does not fit.
    pub fn check_fit<'a>(
        &self,
        changes: impl IntoIterator<Item = &'a Change>,
    ) -> Result<(), ApplyError> {
        check_fit(self, changes)
    }

    /// Applies a list in order: all of it, or on an error nothing.
    pub fn apply_all<'a, I>(&mut self, changes: I) -> Result<(), ApplyError>
    where
        I: IntoIterator<Item = &'a Change> + Clone,
    {
        check_fit(self, changes.clone())?;
        changes.into_iter().try_for_each(|c| self.apply(c))
    }

    pub fn apply(&mut self, change: &Change) -> Result<(), ApplyError> {
        match change {
            Change::PutSource(source) => {
                self.sources
                    .insert(source.spec.name.clone(), (**source).clone());
            }
            Change::RemoveSource(name) => {
                self.sources.remove(name);
            }
            Change::Declare {
                app: key,
                source,
                path,
                declared: _,
            } => {
                let app = self
                    .apps
                    .entry(key.clone())
                    .or_insert_with(|| App::new(key.clone(), source.clone(), path.clone()));
                if app.source != *source
                    && let Some(keys) = self.by_source.get_mut(&app.source)
                {
                    keys.remove(key);
                }
                app.apply(change)?;
                self.by_source
                    .entry(source.clone())
                    .or_default()
                    .insert(key.clone());
            }
            Change::SetInvalid { app, invalid: _ } => {
                if let Some(app) = self.apps.get_mut(app) {
                    app.apply(change)?;
                }
            }
            Change::RemoveApp { app } => self.remove_app(app)?,
            Change::PutRollout(rollout) => {
                if let Some(old) = self.app_mut(&rollout.app)?.rollout.take() {
                    self.forget_preparing(&old);
                }
                self.app_mut(&rollout.app)?.apply(change)?;
                if rollout.is_active() {
                    for node in &rollout.prepare {
                        self.preparing
                            .entry(node.clone())
                            .or_default()
                            .insert(rollout.app.clone());
                    }
                }
            }
            Change::AddInstance(instance) => {
                self.app_mut(&instance.app)?.apply(change)?;
                self.usage
                    .entry(instance.node.clone())
                    .or_default()
                    .take(instance);
            }
            Change::SetRequests {
                app,
                instance,
                requests,
            } => {
                let old = self
                    .app_mut(app)?
                    .instances
                    .get(instance)
                    .map(|i| (i.node.clone(), i.requests));
                self.app_mut(app)?.apply(change)?;
                if let Some((node, old)) = old
                    && let Some(usage) = self.usage.get_mut(&node)
                {
                    usage.requests = usage.requests.minus(old).plus(*requests);
                }
            }
            Change::ForgetInstance { app, instance } => {
                let gone = self.app_mut(app)?.instances.get(instance).cloned();
                self.app_mut(app)?.apply(change)?;
                if let Some(gone) = gone
                    && let Some(usage) = self.usage.get_mut(&gone.node)
                {
                    usage.release(&gone);
                }
            }
            Change::Undeclare { app }
            | Change::SetSuspension { app, .. }
            | Change::SetScale { app, .. }
            | Change::SetIncarnation { app, .. }
            | Change::SetReleaseState { app, .. }
            | Change::PinImage { app, .. }
            | Change::ForgetRelease { app, .. }
            | Change::SetTarget { app, .. }
            | Change::Quarantine { app, .. }
            | Change::Unquarantine { app, .. }
            | Change::SetGoal { app, .. }
            | Change::SetHome { app, .. }
            | Change::Observe { app, .. } => self.app_mut(app)?.apply(change)?,
            Change::AddRelease(release) => self.app_mut(&release.app)?.apply(change)?,
            Change::PutNode(node) => {
                self.nodes.insert(node.name.clone(), (**node).clone());
            }
            Change::SetLiveness {
                node,
                liveness,
                last_heard,
            } => {
                let node = self.node_mut(node)?;
                node.liveness = *liveness;
                node.last_heard = *last_heard;
            }
            Change::SetScheduling {
                node,
                scheduling,
                note,
            } => {
                let node = self.node_mut(node)?;
                node.scheduling = *scheduling;
                node.scheduling_note = note.clone();
            }
            Change::SetImage { node, image, state } => {
                let node = self.node_mut(node)?;
                match state {
                    Some(state) => node.images.insert(image.clone(), state.clone()),
                    None => node.images.remove(image),
                };
            }
            Change::RemoveNode { node } => {
                self.nodes.remove(node);
            }
        }
        Ok(())
    }

    fn remove_app(&mut self, key: &AppKey) -> Result<(), ApplyError> {
        let gone = self
            .apps
            .remove(key)
            .ok_or_else(|| ApplyError::NoApp(key.clone()))?;
        if let Some(keys) = self.by_source.get_mut(&gone.source) {
            keys.remove(key);
        }
        for instance in gone.instances.values() {
            if let Some(usage) = self.usage.get_mut(&instance.node) {
                usage.release(instance);
            }
        }
        if let Some(rollout) = &gone.rollout {
            self.forget_preparing(rollout);
        }
        Ok(())
    }

    fn forget_preparing(&mut self, rollout: &Rollout) {
        for node in &rollout.prepare {
            if let Some(apps) = self.preparing.get_mut(node) {
                apps.remove(&rollout.app);
                if apps.is_empty() {
                    self.preparing.remove(node);
                }
            }
        }
    }
}

impl Usage {
    pub fn take(&mut self, instance: &Instance) {
        self.requests = self.requests.plus(instance.requests);
        for port in &instance.host_ports {
            self.host_ports.insert(*port, instance.id);
        }
        for volume in &instance.volumes {
            self.volumes
                .insert((instance.app.clone(), volume.clone()), instance.id);
        }
        self.instances.insert(instance.id, instance.app.clone());
    }

    pub fn release(&mut self, instance: &Instance) {
        self.requests = self.requests.minus(instance.requests);
        self.host_ports.retain(|_, holder| *holder != instance.id);
        self.volumes.retain(|_, holder| *holder != instance.id);
        self.instances.remove(&instance.id);
    }
}
