//! Hosts with an agent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::NodeName;
use super::instance::Failure;
use super::quantity::Resources;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub name: NodeName,
    /// What the agent says the host is.
    pub facts: NodeFacts,
    pub scheduling: Scheduling,
    /// Who set `scheduling`, and why; `None`: nobody ever did.
    #[serde(default)]
    pub scheduling_note: Option<SchedulingNote>,
    pub liveness: Liveness,
    /// Of a node that is silent: its last sign of life. Of one that is heard: since when, without
    /// a break; later signs are in the leader's memory only. By the controller's clock.
    pub last_heard: Timestamp,
    pub registered_at: Timestamp,
    /// Image reference → what the node has of it; only of images it was asked for.
    pub images: BTreeMap<String, ImageState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Where the node's published ports are reached: a host name or address.
    pub address: String,
    pub capacity: Resources,
    /// `os`, `arch`, `kernel`, `runtime.docker`, `runtime.process`, and the operator's own.
    pub attributes: BTreeMap<String, String>,
    pub agent_version: String,
}

/// What may be put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scheduling {
    Active,
    Cordoned,
    Draining,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingNote {
    pub by: String,
    pub at: Timestamp,
    pub reason: Option<String>,
}

/// Whether it can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Liveness {
    Ready,
    /// Silent for a while: nothing is known of its instances.
    Suspect,
    /// Silent so long that its movable instances go elsewhere.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ImageState {
    Pulling,
    /// `digest`: `repository@sha256:…` where a registry told it.
    Present {
        digest: Option<String>,
    },
    Failed {
        failure: Failure,
    },
}

pub const RUNTIME_DOCKER: &str = "runtime.docker";
pub const RUNTIME_PROCESS: &str = "runtime.process";

/// Value of a runtime's attribute while it is meant to be there and has never
/// answered: nothing is put there, and nothing is concluded from it.
pub const RUNTIME_UNKNOWN: &str = "unknown";

impl Node {
    /// The value of an attribute; `node` is the name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        if name == "node" {
            return Some(self.name.as_str());
        }
        self.facts.attributes.get(name).map(String::as_str)
    }
}
