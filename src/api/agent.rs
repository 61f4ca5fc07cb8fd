//! What agents and controllers say to each other, version 1.
//!
//! The agent opens one long-lived `GET /api/v1/agent/stream?node=NAME` whose
//! body is a line of JSON ([`ToAgent`]) per message, and posts [`Report`]s to
//! `/api/v1/agent/reports`. Nodes need no inbound port: what the controller
//! wants to read (logs, commands) it asks for on the stream, and the agent posts the
//! answer as a streamed body to `/api/v1/agent/streams/{id}`.
//!
//! Ages instead of times cross the wire, so clocks need not agree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::instance::{Exit, Failure, InstancePhase, ProbeAnswer};
use crate::model::node::{ImageState, NodeFacts};
use crate::model::{DesiredSet, Epoch, EventKind, Generation, InstanceId, NodeName};

/// Seconds between two signs of life, both ways.
pub const HEARTBEAT_SECONDS: u64 = 3;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ToAgent {
    /// The node's full desired set.
    Desired { set: Box<DesiredSet> },
    /// Nothing new; the controller is alive.
    Ping,
    /// Send lines of an instance's output to `/api/v1/agent/streams/{id}`.
    Logs {
        id: Uuid,
        instance: InstanceId,
        tail: usize,
        follow: bool,
    },
    /// Run a command inside an instance, and send `api::exec` frames to
    /// `/api/v1/agent/streams/{id}` as it goes. It is ended when that request is.
    #[serde(rename_all = "camelCase")]
    Exec {
        id: Uuid,
        instance: InstanceId,
        command: Vec<String>,
        /// Milliseconds after which it is killed.
        timeout_ms: u64,
    },
}

/// State of a node. Changes are sent at once, everything every heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub node: NodeName,
    /// Random per agent process: the controller drops what a predecessor sent late.
    pub session: Uuid,
    /// Counts reports of the session.
    pub sequence: u64,
    pub facts: NodeFacts,
    /// The set this report speaks about; `None` before the first.
    pub applied: Option<(Epoch, Generation)>,
    /// All instances of the set when `full`, else only those that changed.
    pub full: bool,
    pub instances: Vec<InstanceReport>,
    /// Images of the set, likewise.
    pub images: BTreeMap<String, ImageState>,
    /// What the agent did by itself and why.
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReport {
    pub id: InstanceId,
    pub phase: InstancePhase,
    /// Milliseconds for which it has been ready without a break; `None`: not ready.
    pub ready_ms: Option<u64>,
    /// Milliseconds since its present process was started.
    pub running_ms: Option<u64>,
    pub exits: u32,
    pub restarts: u32,
    pub container_id: Option<String>,
    pub ports: BTreeMap<String, String>,
    pub last_exit: Option<Exit>,
    pub last_probe: Option<ProbeAnswer>,
    pub failure: Option<Failure>,
    pub log_tail: Vec<String>,
}

/// An event of the agent's own: a restart, a container put back, a probe that turned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    pub instance: Option<InstanceId>,
    pub kind: EventKind,
    pub message: String,
    /// Milliseconds before the report was sent.
    pub age_ms: u64,
}

/// Between agents and controllers of one version: its form is no promise to others.
impl schemars::JsonSchema for Report {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Report".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "description": "What an agent sees"})
    }
}
