//! Placement: feasible → fit → score, and a funnel that says what each stage let through.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::NodeName;
use crate::model::snapshot::Usage;

/// What the plan under way takes of the nodes, on top of the snapshot's usage.
#[derive(Debug, Default)]
pub struct Overlay {
    pub nodes: BTreeMap<NodeName, Usage>,
}

/// Why no node was chosen: how many each rule left out, each node counted at the first rule it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Funnel {
    pub considered: usize,
    /// Rule in words → nodes it excluded.
    pub excluded: BTreeMap<String, usize>,
}
