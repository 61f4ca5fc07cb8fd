//! Whether a list of changes fits a snapshot, found out before anything is moved: so that a list
//! is applied as a whole or not at all.
//!
//! Says what [`Snapshot::apply`] would say of the same list; costs as much as the list is long.

use std::collections::BTreeMap;

use super::action::{ApplyError, Change};
use super::id::{AppKey, InstanceId, NodeName, ReleaseId};
use super::snapshot::Snapshot;

/// What the list itself has added (`true`) or taken away so far.
#[derive(Default)]
struct Seen {
    apps: BTreeMap<AppKey, SeenApp>,
    nodes: BTreeMap<NodeName, bool>,
}

struct SeenApp {
    exists: bool,
    /// It was removed by the list: nothing of the snapshot's record counts.
    anew: bool,
    instances: BTreeMap<InstanceId, bool>,
    releases: BTreeMap<ReleaseId, bool>,
}

struct Fit<'a> {
    snapshot: &'a Snapshot,
    seen: Seen,
}

/// The first change that does not fit.
pub(super) fn check_fit<'a>(
    snapshot: &Snapshot,
    changes: impl IntoIterator<Item = &'a Change>,
) -> Result<(), ApplyError> {
    let mut fit = Fit {
        snapshot,
        seen: Seen::default(),
    };
    changes.into_iter().try_for_each(|c| fit.one(c))
}

impl Fit<'_> {
    fn entry(&mut self, key: &AppKey) -> &mut SeenApp {
        let snapshot = self.snapshot;
        let entry = self.seen.apps.entry(key.clone());
        entry.or_insert_with(|| SeenApp {
            exists: snapshot.apps.contains_key(key),
            anew: false,
            instances: BTreeMap::new(),
            releases: BTreeMap::new(),
        })
    }

    fn app(&mut self, key: &AppKey) -> Result<&mut SeenApp, ApplyError> {
        let app = self.entry(key);
        if app.exists {
            Ok(app)
        } else {
            Err(ApplyError::NoApp(key.clone()))
        }
    }

    fn instance(&mut self, key: &AppKey, id: &InstanceId) -> Result<(), ApplyError> {
        let snapshot = self.snapshot;
        let app = self.app(key)?;
        let stored = !app.anew && snapshot.apps[key].instances.contains_key(id);
        if app.instances.get(id).copied().unwrap_or(stored) {
            Ok(())
        } else {
            Err(ApplyError::NoInstance(key.clone(), *id))
        }
    }

    fn release(&mut self, key: &AppKey, id: &ReleaseId) -> Result<(), ApplyError> {
        let snapshot = self.snapshot;
        let app = self.app(key)?;
        let stored = !app.anew && snapshot.apps[key].releases.contains_key(id);
        if app.releases.get(id).copied().unwrap_or(stored) {
            Ok(())
        } else {
            Err(ApplyError::NoRelease(key.clone()))
        }
    }

    fn node(&self, name: &NodeName) -> Result<(), ApplyError> {
        let stored = self.snapshot.nodes.contains_key(name);
        if self.seen.nodes.get(name).copied().unwrap_or(stored) {
            Ok(())
        } else {
            Err(ApplyError::NoNode(name.clone()))
        }
    }

    fn one(&mut self, change: &Change) -> Result<(), ApplyError> {
        match change {
            Change::PutSource(_) | Change::RemoveSource(_) | Change::SetInvalid { .. } => {}
            Change::Declare { app, .. } => {
                let seen = self.entry(app);
                seen.anew |= !seen.exists;
                seen.exists = true;
            }
            Change::RemoveApp { app } => {
                let seen = self.app(app)?;
                seen.exists = false;
                seen.anew = true;
                seen.instances.clear();
                seen.releases.clear();
            }
            Change::AddRelease(release) => {
                let seen = self.app(&release.app)?;
                seen.releases.insert(release.id, true);
            }
            Change::ForgetRelease { app, release } => {
                self.app(app)?.releases.insert(*release, false);
            }
            Change::AddInstance(instance) => {
                let seen = self.app(&instance.app)?;
                seen.instances.insert(instance.id, true);
            }
            Change::ForgetInstance { app, instance } => {
                self.instance(app, instance)?;
                self.app(app)?.instances.insert(*instance, false);
            }
            Change::SetReleaseState { app, release, .. }
            | Change::PinImage { app, release, .. } => self.release(app, release)?,
            Change::SetGoal { app, instance, .. }
            | Change::SetRequests { app, instance, .. }
            | Change::Observe { app, instance, .. } => self.instance(app, instance)?,
            Change::PutRollout(rollout) => {
                self.app(&rollout.app)?;
            }
            Change::Undeclare { app }
            | Change::SetSuspension { app, .. }
            | Change::SetScale { app, .. }
            | Change::SetIncarnation { app, .. }
            | Change::SetTarget { app, .. }
            | Change::Quarantine { app, .. }
            | Change::Unquarantine { app, .. }
            | Change::SetHome { app, .. } => {
                self.app(app)?;
            }
            Change::PutNode(node) => {
                self.seen.nodes.insert(node.name.clone(), true);
            }
            Change::RemoveNode { node } => {
                self.seen.nodes.insert(node.clone(), false);
            }
            Change::SetLiveness { node, .. }
            | Change::SetScheduling { node, .. }
            | Change::SetImage { node, .. } => self.node(node)?,
        }
        Ok(())
    }
}
