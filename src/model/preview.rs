//! What a commit would do, as plain data: the answer of `plan::preview`, which the wire,
//! the command line and pull requests carry unchanged.
//!
//! Invariant: nothing in it is secret. What may be is hidden before it gets here, by the
//! rule of `plan::preview::mask`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{AppKey, CommitId, NodeName, SourceName};
use super::problem::Problem;

/// What a tree would change if its source came to it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    pub source: SourceName,
    /// The commit that was looked at; `None`: files that are in no commit.
    pub commit: Option<CommitId>,
    pub verdict: PreviewVerdict,
    /// One line: what would happen, or what stands against it.
    pub summary: String,
    pub counts: PreviewCounts,
    /// Apps that would not stay as they are, by project and name.
    pub apps: Vec<AppPreview>,
    /// What would wait for a person, each a sentence with the next command.
    pub brakes: Vec<String>,
    /// Ordered by file and line; at most [`PROBLEMS_TOLD`].
    pub problems: Vec<Problem>,
    /// All of them, also those not listed.
    pub problem_count: usize,
    /// What is worth knowing beside the apps: of the source, of silent nodes.
    pub notes: Vec<String>,
}

/// Problems that a preview lists.
pub const PROBLEMS_TOLD: usize = 200;

/// New instances of one app that a preview lists one by one.
pub const PLACES_TOLD: usize = 200;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum PreviewVerdict {
    /// Everything would stay as it is.
    Unchanged,
    /// It would be carried out to its end.
    Changes,
    /// Part of it would wait for a person, the rest would be carried out.
    Held,
    /// Invalid specs, a rollout that cannot come to its end, or a rejected version.
    Blocked,
}

impl PreviewVerdict {
    pub fn as_str(self) -> &'static str {
        match self {
            PreviewVerdict::Unchanged => "unchanged",
            PreviewVerdict::Changes => "changes",
            PreviewVerdict::Held => "held",
            PreviewVerdict::Blocked => "blocked",
        }
    }
}

/// How many apps fall into which [`PreviewAction`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewCounts {
    pub create: usize,
    pub replace: usize,
    pub in_place: usize,
    pub delete: usize,
    pub held: usize,
    pub quarantined: usize,
    pub invalid: usize,
    pub foreign: usize,
    pub unchanged: usize,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum PreviewAction {
    Create,
    /// Every instance is exchanged for a new one.
    Replace,
    /// The instances that run stay, as far as the new size and rules let them.
    InPlace,
    Delete,
    /// A brake or a suspension keeps it from happening.
    Held,
    /// This very version was rejected before and is not tried again.
    Quarantined,
    /// Its spec cannot be used: it stays as it is.
    Invalid,
    /// Another source declares it: refused here.
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppPreview {
    pub app: AppKey,
    pub action: PreviewAction,
    /// File that declares it; for a deletion, the one that did.
    pub path: String,
    /// Why it is not simply carried out; `None`: it is.
    pub reason: Option<String>,
    pub fields: Vec<FieldPreview>,
    pub replicas: Replicas,
    /// Where new instances would go, as many as are listed ([`PLACES_TOLD`]).
    pub places: Vec<Place>,
    /// New instances per node.
    pub per_node: BTreeMap<NodeName, usize>,
    /// Instances that would be started and stopped in all.
    pub starts: usize,
    pub stops: usize,
    pub fit: Fit,
    pub downtime: Downtime,
}

/// One field that differs; values that may be secret are hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldPreview {
    /// As it is written in a spec: `env.LOG`, `replicas`.
    pub field: String,
    pub old: Option<String>,
    pub new: Option<String>,
    pub effect: FieldEffect,
    /// Why it has that effect.
    pub reason: String,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum FieldEffect {
    Replace,
    InPlace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PreviewReplicas")]
pub struct Replicas {
    /// Of the version it runs or moves to now.
    pub before: u32,
    pub after: u32,
    /// Instances that serve now.
    pub serving: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub slot: u32,
    pub node: NodeName,
}

/// Whether the rollout would come to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Fit {
    /// Nothing has to be placed or stopped.
    NothingToDo,
    ToItsEnd,
    /// It waits for something that is neither room nor a rule of placement.
    Waits {
        what: String,
    },
    /// It would stop half way, or never begin.
    #[serde(rename_all = "camelCase")]
    Never {
        reason: String,
        /// It would come to its end if nothing else of this commit were done.
        fits_alone: bool,
    },
}

impl Fit {
    pub fn is_infeasible(&self) -> bool {
        match self {
            Fit::Never { .. } => true,
            Fit::NothingToDo | Fit::ToItsEnd | Fit::Waits { .. } => false,
        }
    }
}

/// Whether users would notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Downtime {
    /// Always as many serve as now, or as are declared.
    None,
    /// Fewer serve for a while.
    #[serde(rename_all = "camelCase")]
    Reduced {
        at_least: usize,
        of: usize,
        reason: String,
    },
    /// For a while nobody serves.
    Outage { reason: String },
}
