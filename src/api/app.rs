//! An app's status document and its parts.
//!
//! `running` is the release that really serves: the app's target, but while a
//! forward rollout is under way the release it comes from, for as long as an
//! instance of that one is kept. A rollback's target is the release it returns
//! to, so a failed commit never shows up there once it was judged.
//!
//! `git` is what the source's latest applied commit says of the app: its commit
//! is the one that brought the present declaration, not the branch's head.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::app::{Scale, Suspension};
use crate::model::instance::{Exit, Failure, InstancePhase, ProbeAnswer};
use crate::model::spec::Strategy;
use crate::model::{
    AppName, CommitId, Evidence, HealthState, InstanceId, NodeName, Order, Problem, ProjectName,
    ReleaseId, RolloutId, RolloutPhase, SourceName, SpecDigest, SyncState, Timestamp, Verdict,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    pub project: ProjectName,
    pub name: AppName,
    /// Grows with each change of anything below: the number of the last commit of the cluster's
    /// state that changed it.
    pub version: u64,
    pub sync: SyncState,
    pub health: HealthState,
    /// Why it is not simply synced and healthy, most important first; empty when it is.
    pub messages: Vec<String>,
    pub source: SourceName,
    /// File that declares it, below the repository's root.
    pub path: String,
    /// `null`: Git no longer has it and it is being taken down.
    pub git: Option<Revision>,
    /// `null`: nothing was ever started.
    pub running: Option<Revision>,
    /// Why the declared digest is quarantined; `null`: it is not.
    pub rejected: Option<Rejected>,
    pub replicas: Replicas,
    /// The active rollout.
    pub rollout: Option<RolloutView>,
    /// The last rollout that ended; `null` while one is active, or before the first.
    pub last_rollout: Option<RolloutView>,
    pub suspended: Option<Suspension>,
    /// An operator's number of replicas, in place of the declared one.
    pub scaled: Option<Scale>,
    /// A brake holds its deletion until a person approves.
    pub held: bool,
    /// What is wrong with its declaration in Git.
    pub problems: Vec<Problem>,
    pub instances: Vec<InstanceView>,
}

/// A commit, and the digest of the spec that the app has there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    pub commit: CommitId,
    /// `null`: the declaration at this commit is invalid.
    pub digest: Option<SpecDigest>,
}

/// A digest that is not tried again, with the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    pub commit: CommitId,
    pub digest: SpecDigest,
    pub at: Timestamp,
    pub verdict: Verdict,
    pub reason: String,
    pub evidence: Evidence,
    pub release: ReleaseId,
    pub rollout: Option<RolloutId>,
}

/// Numbers of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    pub desired: u32,
    /// Known to be ready, and not about to be stopped.
    pub ready: u32,
    /// All that run or may run, stopping ones included.
    pub total: u32,
    /// Instances of the release the app is at or moving to.
    pub updated: u32,
    /// Those whose nodes are silent.
    pub unknown: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    pub id: RolloutId,
    pub kind: RolloutKindWord,
    pub strategy: Strategy,
    pub order: Order,
    pub phase: RolloutPhase,
    /// How far it is: `2 of 3 instances updated, 1 ready`; of an ended one the phase.
    pub step: String,
    /// `null`: a first deployment, or the release was forgotten since.
    pub from: Option<Revision>,
    pub to: Option<Revision>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Why it was started.
    pub reason: String,
    /// Why it paused or ended as it did.
    pub outcome: Option<String>,
    /// What it was condemned for.
    pub rejected: Option<Rejected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RolloutKindWord {
    Forward,
    Rollback,
    /// New instances of the same release, because an operator asked.
    Restart,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    pub id: InstanceId,
    pub slot: u32,
    pub node: NodeName,
    pub release: ReleaseId,
    /// Commit of its release; `null`: the release was forgotten since.
    pub commit: Option<CommitId>,
    /// As last seen; `observed` says whether that still holds.
    pub phase: InstancePhase,
    pub observed: ObservedWord,
    /// Known to be ready now.
    pub ready: bool,
    /// It is to be stopped.
    pub stopping: bool,
    /// Port name → `host:port`.
    pub ports: BTreeMap<String, String>,
    /// Container, or process group's leader; `null` before it was created.
    pub container_id: Option<String>,
    /// Why it exists, or why it stops.
    pub reason: String,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ready_since: Option<Timestamp>,
    pub exits: u32,
    pub restarts: u32,
    pub last_exit: Option<Exit>,
    pub last_probe: Option<ProbeAnswer>,
    pub failure: Option<Failure>,
    /// Last lines of its output, oldest first; only where it failed.
    pub log_tail: Vec<String>,
}

/// What is known of an instance at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ObservedWord {
    Known,
    /// Its node has not said anything of it yet.
    Pending,
    /// Its node is silent.
    Unknown,
    /// Its node says that nothing of it is left.
    Absent,
}
