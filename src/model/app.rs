//! An app: what Git declares of it, and everything that exists because of it.
//!
//! `sync`, `health` are derived here, from one place, so that API, CLI,
//! statuses and metrics cannot disagree.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{ApplyError, Change};
use super::id::{AppKey, CommitId, InstanceId, NodeName, ReleaseId, SourceName, SpecDigest};
use super::instance::{Failure, FailureKind, Instance, InstanceStatus};
use super::problem::Problem;
use super::release::{Rejection, Release};
use super::rollout::{Rollout, RolloutKind, RolloutPhase};
use super::spec::{AppSpec, Check};
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct App {
    pub key: AppKey,
    pub source: SourceName,
    /// File that declares it, below the repository's root.
    pub path: String,
    /// Last valid declaration; `None`: removed from Git, being taken down.
    pub declared: Option<Declared>,
    /// The declaration in Git cannot be read at present; `declared` stays as it was.
    pub invalid: Option<Invalid>,
    pub suspended: Option<Suspension>,
    /// An operator's number of replicas, in place of the declared one.
    pub scale: Option<Scale>,
    /// Instances of an earlier one are exchanged; a restart raises it.
    pub incarnation: u64,
    /// Grows with each change; the `version` of the status document.
    pub version: u64,
    pub releases: BTreeMap<ReleaseId, Arc<Release>>,
    /// The release it is at or moving to.
    pub target: Option<ReleaseId>,
    /// The active rollout, else the last one.
    pub rollout: Option<Rollout>,
    /// Digests that are not tried again.
    pub quarantine: BTreeMap<SpecDigest, Rejection>,
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Slot → the node that holds its volumes.
    pub homes: BTreeMap<u32, NodeName>,
}

/// What Git says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declared {
    /// The commit that brought this digest.
    pub commit: CommitId,
    pub digest: SpecDigest,
    pub spec: Arc<AppSpec>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invalid {
    pub commit: CommitId,
    pub problems: Vec<Problem>,
}

/// New commits are not rolled out; instance counts are still kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    pub by: String,
    pub at: Timestamp,
    pub reason: Option<String>,
    /// When it ends by itself; `None`: an operator ends it.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// Ends with the next commit that changes the declared number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    pub replicas: u32,
    pub by: String,
    pub at: Timestamp,
    pub reason: Option<String>,
    /// When it ends by itself; `None`: a commit or an operator ends it.
    pub until: Option<Timestamp>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum SyncState {
    Synced,
    OutOfSync,
    Quarantined,
    Invalid,
    Suspended,
    Held,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum HealthState {
    Healthy,
    Progressing,
    Degraded,
    Failed,
    Unknown,
}

impl App {
    pub fn new(key: AppKey, source: SourceName, path: String) -> App {
        App {
            key,
            source,
            path,
            declared: None,
            invalid: None,
            suspended: None,
            scale: None,
            incarnation: 0,
            version: 0,
            releases: BTreeMap::new(),
            target: None,
            rollout: None,
            quarantine: BTreeMap::new(),
            instances: BTreeMap::new(),
            homes: BTreeMap::new(),
        }
    }

    /// Applies a change of this app's own record. Changes of other records,
    /// and those that add or remove the app, are not for here.
    pub fn apply(&mut self, change: &Change) -> Result<(), ApplyError> {
        self.version += 1;
        match change {
            Change::Declare {
                source,
                path,
                declared,
                app: _,
            } => {
                self.source = source.clone();
                self.path = path.clone();
                self.declared = Some(declared.clone());
                self.invalid = None;
            }
            Change::SetInvalid { invalid, app: _ } => self.invalid = invalid.clone(),
            Change::Undeclare { app: _ } => {
                self.declared = None;
                self.invalid = None;
            }
            Change::SetSuspension { suspension, app: _ } => self.suspended = suspension.clone(),
            Change::SetScale { scale, app: _ } => self.scale = scale.clone(),
            Change::SetIncarnation {
                incarnation,
                app: _,
            } => self.incarnation = *incarnation,
            Change::AddRelease(release) => {
                self.releases.insert(release.id, Arc::clone(release));
            }
            Change::SetReleaseState {
                release,
                state,
                app: _,
            } => Arc::make_mut(self.release_mut(release)?).state = *state,
            Change::PinImage {
                release,
                image,
                app: _,
            } => Arc::make_mut(self.release_mut(release)?).pinned_image = Some(image.clone()),
            Change::ForgetRelease { release, app: _ } => {
                self.releases.remove(release);
            }
            Change::SetTarget { release, app: _ } => self.target = Some(*release),
            Change::Quarantine { rejection, app: _ } => {
                self.quarantine
                    .insert(rejection.digest.clone(), (**rejection).clone());
            }
            Change::Unquarantine { digest, app: _ } => {
                self.quarantine.remove(digest);
            }
            Change::PutRollout(rollout) => self.rollout = Some((**rollout).clone()),
            Change::AddInstance(instance) => {
                self.instances.insert(instance.id, (**instance).clone());
            }
            Change::SetGoal {
                instance,
                goal,
                app: _,
            } => self.instance_mut(instance)?.goal = goal.clone(),
            Change::SetRequests {
                instance,
                requests,
                app: _,
            } => self.instance_mut(instance)?.requests = *requests,
            Change::SetHome { slot, node, app: _ } => {
                self.homes.insert(*slot, node.clone());
            }
            Change::Observe {
                instance,
                status,
                app: _,
            } => self.instance_mut(instance)?.status = Some((**status).clone()),
            Change::ForgetInstance { instance, app: _ } => {
                self.instances
                    .remove(instance)
                    .ok_or_else(|| ApplyError::NoInstance(self.key.clone(), *instance))?;
            }
            Change::PutSource(_)
            | Change::RemoveSource(_)
            | Change::RemoveApp { .. }
            | Change::PutNode(_)
            | Change::SetLiveness { .. }
            | Change::SetScheduling { .. }
            | Change::SetImage { .. }
            | Change::RemoveNode { .. } => {
                return Err(ApplyError::NotOfAnApp(self.key.clone()));
            }
        }
        Ok(())
    }

    fn release_mut(&mut self, id: &ReleaseId) -> Result<&mut Arc<Release>, ApplyError> {
        self.releases
            .get_mut(id)
            .ok_or_else(|| ApplyError::NoRelease(self.key.clone()))
    }

    fn instance_mut(&mut self, id: &InstanceId) -> Result<&mut Instance, ApplyError> {
        self.instances
            .get_mut(id)
            .ok_or_else(|| ApplyError::NoInstance(self.key.clone(), *id))
    }

    /// How many instances are wanted while the app is at `release`.
    pub fn replicas_of(&self, release: &Release) -> u32 {
        let declared = release.spec.replicas;
        self.scale.as_ref().map_or(declared, |s| s.replicas)
    }

    /// Whether `instance` runs what `release` wants, and no restart asks for a new one.
    pub fn is_current(&self, instance: &Instance, release: &Release) -> bool {
        instance.workload == release.workload_digest && instance.incarnation >= self.incarnation
    }

    /// Limits, probes and policies change in place: they come from the release the app is at,
    /// wherever that runs the same workload.
    pub fn settings_of<'a>(&'a self, own: &'a Arc<Release>) -> &'a Arc<Release> {
        match self.target_release() {
            Some(target) if target.workload_digest == own.workload_digest => target,
            Some(_) | None => own,
        }
    }

    /// Whether nobody can see how `instance` does, though its node is heard: its runtime does
    /// not answer, and no probe over the network shows that it serves all the same; or its agent
    /// has just been started and its probes have said nothing.
    pub fn is_unseen(&self, instance: &Instance, status: &InstanceStatus) -> bool {
        let silent = |f: &Failure| f.kind == FailureKind::RuntimeUnavailable;
        if !instance.wants_run() || !status.failure.as_ref().is_some_and(silent) {
            return false;
        }
        let own = self.releases.get(&instance.release);
        let probe = own.and_then(|own| self.settings_of(own).spec.health.readiness.as_ref());
        let vouched = probe.is_some_and(|probe| match probe.check {
            Check::Http { .. } | Check::Tcp { .. } | Check::Grpc { .. } => true,
            // A runtime that does not answer runs no command inside.
            Check::Exec { .. } => false,
        });
        !(status.ready && vouched)
    }

    pub fn target_release(&self) -> Option<&Arc<Release>> {
        self.target.and_then(|id| self.releases.get(&id))
    }

    pub fn active_rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref().filter(|r| r.is_active())
    }

    /// Where a rollback goes: the latest stable release whose digest is not `other`.
    pub fn latest_stable_except(&self, other: &SpecDigest) -> Option<&Arc<Release>> {
        self.releases
            .values()
            .filter(|r| {
                r.is_stable()
                    && r.spec_digest != *other
                    && !self.quarantine.contains_key(&r.spec_digest)
            })
            .max_by_key(|r| r.number)
    }

    /// The rejection that keeps Git's present digest from running.
    pub fn rejection_of_declared(&self) -> Option<&Rejection> {
        self.declared
            .as_ref()
            .and_then(|d| self.quarantine.get(&d.digest))
    }

    /// `held` says whether a brake of its source holds this app's deletion.
    pub fn sync_state(&self, held: bool) -> SyncState {
        if held {
            return SyncState::Held;
        }
        if self.invalid.is_some() {
            return SyncState::Invalid;
        }
        if self.rejection_of_declared().is_some() {
            return SyncState::Quarantined;
        }
        let synced = match (&self.declared, self.target_release()) {
            (Some(declared), Some(target)) => {
                let moves = self
                    .active_rollout()
                    .is_some_and(|r| r.kind != RolloutKind::Restart);
                target.spec_digest == declared.digest && !moves
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if self.suspended.is_some() && !synced {
            SyncState::Suspended
        } else if synced {
            SyncState::Synced
        } else {
            SyncState::OutOfSync
        }
    }

    /// `unknown` counts the running instances whose nodes are silent.
    pub fn health_state(&self, unknown: usize) -> HealthState {
        let desired = self
            .target_release()
            .map_or(0, |r| self.replicas_of(r) as usize);
        let ready = self
            .instances
            .values()
            .filter(|i| i.wants_run() && i.is_ready())
            .count();
        let active = self.active_rollout();
        let paused = active.is_some_and(|r| r.phase == RolloutPhase::Paused);
        let failed = self
            .rollout
            .as_ref()
            .is_some_and(|r| r.phase == RolloutPhase::Failed);
        if unknown > 0 && ready < desired + unknown && ready.saturating_sub(unknown) < desired {
            HealthState::Unknown
        } else if paused || (failed && ready > 0 && ready < desired) {
            HealthState::Degraded
        } else if failed && ready == 0 && (desired > 0 || self.target.is_none()) {
            HealthState::Failed
        } else if active.is_some() || self.target.is_none() {
            HealthState::Progressing
        } else if ready >= desired {
            HealthState::Healthy
        } else {
            HealthState::Degraded
        }
    }
}
