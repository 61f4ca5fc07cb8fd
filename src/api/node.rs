//! Nodes as operators see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::quantity::Resources;
use crate::model::{
    AppKey, ImageState, InstanceId, Liveness, Node, NodeName, Scheduling, SchedulingNote, Snapshot,
    Timestamp,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    pub name: NodeName,
    /// Grows with each change of anything below but `lastHeard` and `remaining`.
    #[serde(default)]
    pub version: u64,
    pub scheduling: Scheduling,
    /// Who set `scheduling`, when and why; `null`: nobody ever did.
    pub scheduling_note: Option<SchedulingNote>,
    pub liveness: Liveness,
    pub last_heard: Timestamp,
    pub registered_at: Timestamp,
    /// Where its published ports are reached.
    pub address: String,
    pub capacity: Resources,
    /// Held by the instances placed there, stopping ones included.
    pub requested: Resources,
    /// Instances placed there, stopping ones included.
    pub instances: u32,
    pub attributes: BTreeMap<String, String>,
    pub agent_version: String,
    pub images: BTreeMap<String, ImageState>,
    /// While it is drained: what it still holds.
    #[serde(default)]
    pub remaining: Vec<Remaining>,
}

/// An instance on a node that is being drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Remaining {
    pub app: AppKey,
    pub slot: u32,
    pub instance: InstanceId,
    /// Why it cannot move; `null`: it is under way.
    pub stays: Option<String>,
}

/// The view of `node`, which is one of `snapshot`'s; its version is for the caller to add.
pub fn node_view(snapshot: &Snapshot, node: &Node) -> NodeView {
    let usage = snapshot.usage(&node.name);
    NodeView {
        name: node.name.clone(),
        version: 0,
        scheduling: node.scheduling,
        scheduling_note: node.scheduling_note.clone(),
        liveness: node.liveness,
        last_heard: node.last_heard,
        registered_at: node.registered_at,
        address: node.facts.address.clone(),
        capacity: node.facts.capacity,
        requested: usage.map(|u| u.requests).unwrap_or_default(),
        instances: usage.map_or(0, |u| u32::try_from(u.instances.len()).unwrap_or(u32::MAX)),
        attributes: node.facts.attributes.clone(),
        agent_version: node.facts.agent_version.clone(),
        images: node.images.clone(),
        remaining: Vec::new(),
    }
}
