//! Bodies of the operator's verbs, and the answer to "why".

use serde::{Deserialize, Serialize};

use crate::model::{AppKey, HealthState, SyncState, Timestamp};

/// Body of `rollback`, `release`, `suspend`, `resume` and `approve`; all of it may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReasonInput {
    /// Kept in the event, for those who ask later.
    pub reason: Option<String>,
}

/// Why nothing more happens to an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    pub app: AppKey,
    pub sync: SyncState,
    pub health: HealthState,
    /// Answers, most important first; never empty.
    pub reasons: Vec<String>,
    /// When the planner looks again by itself; `null`: when something changes.
    pub next_look_at: Option<Timestamp>,
}
