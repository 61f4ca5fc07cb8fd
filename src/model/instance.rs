//! One running copy: what the controller wants of it, and what its node saw.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{AppKey, InstanceId, NodeName, ReleaseId, WorkloadDigest};
use super::quantity::Resources;
use super::spec::Protocol;
use super::time::Timestamp;

/// All but `goal*` and `status` are fixed at creation. The controller writes
/// everything except `status`, which only reports of the node change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub id: InstanceId,
    pub app: AppKey,
    /// Stable replica index, from 0.
    pub slot: u32,
    pub release: ReleaseId,
    pub workload: WorkloadDigest,
    /// The app's at creation; see [`super::App::incarnation`].
    #[serde(default)]
    pub incarnation: u64,
    pub node: NodeName,
    pub created_at: Timestamp,
    pub reason: String,
    /// What it holds of its node until it is gone.
    pub requests: Resources,
    pub host_ports: Vec<(u16, Protocol)>,
    pub volumes: Vec<String>,
    pub goal: Goal,
    /// Last word of the node; `None`: it has not spoken of it yet.
    pub status: Option<InstanceStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Goal {
    Run,
    Stop { at: Timestamp, reason: String },
}

/// What a node sees of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    pub phase: InstancePhase,
    pub ready: bool,
    /// Since when ready without a break, by the controller's clock. Where it is no more: since
    /// when it was, if that was in its present run.
    pub ready_since: Option<Timestamp>,
    /// Start of its first process, by the controller's clock; `healthyDeadline` counts from here.
    pub first_started_at: Option<Timestamp>,
    /// Start of the present process, by the controller's clock.
    pub started_at: Option<Timestamp>,
    /// Exits that Evenkeel did not ask for and that no Engine outage explains.
    pub exits: u32,
    /// Starts after the first, for whatever reason.
    pub restarts: u32,
    pub container_id: Option<String>,
    /// Port name → `host:port`.
    pub ports: BTreeMap<String, String>,
    pub last_exit: Option<Exit>,
    pub last_probe: Option<ProbeAnswer>,
    /// What keeps it from running, in the runtime's words.
    pub failure: Option<Failure>,
    pub log_tail: Vec<String>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum InstancePhase {
    /// Accepted, nothing done yet.
    Pending,
    /// Its image is being brought to the node.
    Preparing,
    Starting,
    Running,
    /// Exited or failed to start; the next attempt waits.
    BackOff,
    Stopping,
    /// Ended on request and never to run again; what is left of it is being removed.
    Stopped,
    /// Stopped and removed: the node holds nothing of it any more.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Exit code; 128 + signal for a killed process, as shells tell it.
    pub code: Option<i32>,
    pub oom_killed: bool,
    /// Milliseconds from start to exit.
    pub ran_for_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeAnswer {
    pub probe: ProbeKind,
    pub passed: bool,
    /// `GET :8080/healthz: 503 Service Unavailable: database is down`.
    pub answer: String,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The registry says there is no such image, or access is denied.
    ImageNotFound,
    /// The pull failed for a reason that may pass.
    PullFailed,
    /// The runtime says this can never run (no such program, bad user or mount).
    Rejected,
    /// Start failed for a reason that may pass (port taken, disk full).
    StartFailed,
    /// The runtime itself does not answer: says nothing of the instance.
    RuntimeUnavailable,
}

impl Failure {
    /// What an agent says of a run that an earlier process of it began, until a probe has judged
    /// it: whatever was said before stands.
    pub fn unjudged() -> Failure {
        Failure {
            kind: FailureKind::RuntimeUnavailable,
            message: "its agent was started anew, no probe has judged it since".to_owned(),
        }
    }
}

impl FailureKind {
    /// Whether trying again can only give the same answer.
    pub fn is_conclusive(self) -> bool {
        match self {
            FailureKind::ImageNotFound | FailureKind::Rejected => true,
            FailureKind::PullFailed
            | FailureKind::StartFailed
            | FailureKind::RuntimeUnavailable => false,
        }
    }
}

impl Instance {
    pub fn wants_run(&self) -> bool {
        matches!(self.goal, Goal::Run)
    }
    /// The node has confirmed that nothing of it is left.
    pub fn is_gone(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|s| s.phase == InstancePhase::Gone)
    }
    /// The node has confirmed that it ended for good, on request.
    pub fn is_over(&self) -> bool {
        self.status.as_ref().is_some_and(|s| {
            matches!(s.phase, InstancePhase::Stopped | InstancePhase::Gone) && !self.wants_run()
        }) || self.is_gone()
    }
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().is_some_and(|s| s.ready)
    }
}
