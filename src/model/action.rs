//! Changes: the only way the cluster state moves.
//!
//! Every writer (sync, planner, observer, operator) expresses itself as a list
//! of these. [`super::Snapshot::apply`] applies one to the image in memory and
//! `store` applies the same one to Postgres, so the two cannot drift apart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::app::{Declared, Invalid, Scale, Suspension};
use super::id::{AppKey, InstanceId, NodeName, ReleaseId, SourceName, SpecDigest};
use super::instance::{Goal, Instance, InstanceStatus};
use super::node::{ImageState, Liveness, Node, Scheduling, SchedulingNote};
use super::quantity::Resources;
use super::release::{Rejection, Release, ReleaseState};
use super::rollout::Rollout;
use super::source::Source;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Adds or replaces the source's whole record.
    PutSource(Box<Source>),
    /// Only when no app of it is left.
    RemoveSource(SourceName),

    /// Adds the app, or replaces its declaration and clears `invalid`.
    Declare {
        app: AppKey,
        source: SourceName,
        path: String,
        declared: Declared,
    },
    /// Git's present declaration cannot be used (`Some`) or can again (`None`). The app
    /// may not exist: then nothing changes.
    SetInvalid {
        app: AppKey,
        invalid: Option<Invalid>,
    },
    /// Git no longer has it.
    Undeclare {
        app: AppKey,
    },
    /// The last instance is gone: forget the app with all that belongs to it.
    RemoveApp {
        app: AppKey,
    },
    SetSuspension {
        app: AppKey,
        suspension: Option<Suspension>,
    },
    SetScale {
        app: AppKey,
        scale: Option<Scale>,
    },
    /// Instances of an earlier one are exchanged from now on.
    SetIncarnation {
        app: AppKey,
        incarnation: u64,
    },

    AddRelease(Arc<Release>),
    SetReleaseState {
        app: AppKey,
        release: ReleaseId,
        state: ReleaseState,
    },
    PinImage {
        app: AppKey,
        release: ReleaseId,
        image: String,
    },
    /// Retention: neither target, nor used by an instance, nor the rollback's goal.
    ForgetRelease {
        app: AppKey,
        release: ReleaseId,
    },
    SetTarget {
        app: AppKey,
        release: ReleaseId,
    },
    Quarantine {
        app: AppKey,
        rejection: Box<Rejection>,
    },
    Unquarantine {
        app: AppKey,
        digest: SpecDigest,
    },

    /// Adds or replaces; an ended rollout is kept in the history.
    PutRollout(Box<Rollout>),

    AddInstance(Box<Instance>),
    SetGoal {
        app: AppKey,
        instance: InstanceId,
        goal: Goal,
    },
    /// The declared requests changed and still fit its node.
    SetRequests {
        app: AppKey,
        instance: InstanceId,
        requests: Resources,
    },
    /// The node that holds the volumes of a slot.
    SetHome {
        app: AppKey,
        slot: u32,
        node: NodeName,
    },
    Observe {
        app: AppKey,
        instance: InstanceId,
        status: Box<InstanceStatus>,
    },
    /// It is gone, or its node is gone for good.
    ForgetInstance {
        app: AppKey,
        instance: InstanceId,
    },

    /// Registers the node or updates its facts.
    PutNode(Box<Node>),
    SetLiveness {
        node: NodeName,
        liveness: Liveness,
        last_heard: Timestamp,
    },
    SetScheduling {
        node: NodeName,
        scheduling: Scheduling,
        /// Who said so, and why.
        note: Option<SchedulingNote>,
    },
    /// `None`: the node no longer holds or wants it.
    SetImage {
        node: NodeName,
        image: String,
        state: Option<ImageState>,
    },
    RemoveNode {
        node: NodeName,
    },
}

impl Change {
    /// The app whose record it touches.
    pub fn app(&self) -> Option<&AppKey> {
        match self {
            Change::Declare { app, .. }
            | Change::SetInvalid { app, .. }
            | Change::Undeclare { app }
            | Change::RemoveApp { app }
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
            | Change::SetRequests { app, .. }
            | Change::SetHome { app, .. }
            | Change::Observe { app, .. }
            | Change::ForgetInstance { app, .. } => Some(app),
            Change::AddRelease(release) => Some(&release.app),
            Change::PutRollout(rollout) => Some(&rollout.app),
            Change::AddInstance(instance) => Some(&instance.app),
            Change::PutSource(_)
            | Change::RemoveSource(_)
            | Change::PutNode(_)
            | Change::SetLiveness { .. }
            | Change::SetScheduling { .. }
            | Change::SetImage { .. }
            | Change::RemoveNode { .. } => None,
        }
    }
}

/// A change that does not fit the state it is applied to: a bug, or an
/// operator's action that came too late.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("there is no app {0}")]
    NoApp(AppKey),
    #[error("there is no node {0}")]
    NoNode(NodeName),
    #[error("app {0} has no instance {1}")]
    NoInstance(AppKey, InstanceId),
    #[error("app {0} has no such release")]
    NoRelease(AppKey),
    #[error("a change of another record was applied to app {0}")]
    NotOfAnApp(AppKey),
}
