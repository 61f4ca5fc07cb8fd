//! Releases, and what is known against a rejected one.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{
    AppKey, CommitId, InstanceId, NodeName, ReleaseId, RolloutId, SpecDigest, WorkloadDigest,
};
use super::instance::{Exit, ProbeAnswer};
use super::spec::AppSpec;
use super::time::Timestamp;

/// One app at one commit with one spec digest. All but `state` and
/// `pinned_image` never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    pub id: ReleaseId,
    pub app: AppKey,
    /// Counts the app's releases from 1.
    pub number: u64,
    pub commit: CommitId,
    pub spec_digest: SpecDigest,
    pub workload_digest: WorkloadDigest,
    pub spec: Arc<AppSpec>,
    pub created_at: Timestamp,
    pub state: ReleaseState,
    /// `repository@sha256:…`, once a registry told it: every node then runs the same bytes.
    pub pinned_image: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ReleaseState {
    /// Not yet proven.
    New,
    /// Was fully healthy once and its bake time passed: may be rolled back to.
    Stable { at: Timestamp },
    /// Its rollout failed.
    Rejected { at: Timestamp },
}

impl Release {
    pub fn is_stable(&self) -> bool {
        matches!(self.state, ReleaseState::Stable { .. })
    }
    /// The image to run: pinned by digest where known.
    pub fn image(&self) -> Option<&str> {
        self.pinned_image
            .as_deref()
            .or_else(|| self.spec.workload.image())
    }
}

/// Why a spec digest is quarantined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    pub digest: SpecDigest,
    pub commit: CommitId,
    pub release: ReleaseId,
    pub rollout: Option<RolloutId>,
    pub at: Timestamp,
    pub verdict: Verdict,
    /// One sentence for people.
    pub reason: String,
    pub evidence: Evidence,
    /// The release to go back to; `None`: the latest proven one.
    #[serde(default)]
    pub back_to: Option<ReleaseId>,
}

/// What condemned a release: the rule, not its wording.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It exited `startAttempts` times before the release had proved itself.
    CrashLoop,
    /// The image does not exist, or may not be pulled.
    ImageMissing,
    /// The runtime refuses the spec (unknown user, bad mount, no such program).
    CannotStart,
    /// No node can ever take it.
    Infeasible,
    /// Not ready within `healthyDeadline`.
    NotReady,
    /// Lost its readiness or exited while baking.
    FailedBake,
    /// No progress within `progressDeadline`.
    NoProgress,
    /// An operator asked for a rollback.
    Operator,
}

/// What was seen, kept after the instance is gone.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    pub instance: Option<InstanceId>,
    pub slot: Option<u32>,
    pub node: Option<NodeName>,
    /// Exits so far.
    pub exits: u32,
    pub last_exit: Option<Exit>,
    pub last_probe: Option<ProbeAnswer>,
    /// The runtime's own words.
    pub error: Option<String>,
    /// Last lines of the instance's output, oldest first.
    pub log_tail: Vec<String>,
}
