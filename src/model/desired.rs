//! What a node is told: its full desired set, never a delta.
//!
//! A set is identified by (epoch, generation); the same pair always carries
//! the same content. Instances are listed until their node reports them gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{AppKey, CommitId, Epoch, Generation, InstanceId, NodeName, ReleaseId};
use super::quantity::duration_text;
use super::spec::{Health, Limits, PullPolicy, RestartPolicy, Workload};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredSet {
    /// Name of the cluster: labels every container, guards against foreign ones.
    pub cluster: String,
    pub node: NodeName,
    pub epoch: Epoch,
    pub generation: Generation,
    pub instances: BTreeMap<InstanceId, DesiredInstance>,
    /// Image reference → how to get it. Brought to the node before anything needs it.
    pub images: BTreeMap<String, PullPolicy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredInstance {
    pub id: InstanceId,
    pub app: AppKey,
    pub slot: u32,
    pub release: ReleaseId,
    pub commit: CommitId,
    pub goal: DesiredGoal,
    pub run: Arc<RunSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum DesiredGoal {
    Run,
    /// Stop gracefully, remove, and report it gone.
    Stop {
        reason: String,
    },
}

/// The part of a release that a node needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSpec {
    pub workload: Workload,
    /// Image to run, pinned by digest where known; `None` for a process.
    pub image: Option<String>,
    pub pull_policy: PullPolicy,
    /// Changed on the live instance when they differ.
    pub limits: Limits,
    pub health: Health,
    pub restart: RestartPolicy,
    #[serde(with = "duration_text")]
    pub stop_grace_period: Duration,
    pub labels: BTreeMap<String, String>,
}
