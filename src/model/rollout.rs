//! The rollout's life as a total transition function.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{AppKey, NodeName, ReleaseId, RolloutId};
use super::release::Rejection;
use super::spec::Strategy;
use super::time::Timestamp;

/// The move of an app to a release. The next step is never stored: it follows
/// from the instances on every planning run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    pub id: RolloutId,
    pub app: AppKey,
    pub kind: RolloutKind,
    pub from: Option<ReleaseId>,
    pub to: ReleaseId,
    pub strategy: Strategy,
    pub order: Order,
    pub phase: RolloutPhase,
    pub started_at: Timestamp,
    /// When more of it was done than ever before; `progressDeadline` counts from here.
    pub progress_at: Timestamp,
    /// Most healthy instances of `to` seen so far in this rollout.
    pub best_healthy: u32,
    pub baking_since: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Nodes that must hold the image before the first old instance stops.
    pub prepare: BTreeSet<NodeName>,
    /// Why it was started.
    pub reason: String,
    /// Why it paused or ended as it did.
    pub outcome: Option<String>,
    pub rejection: Option<Rejection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum RolloutKind {
    Forward,
    /// Back to a stable release because `of` failed or an operator asked.
    Rollback {
        of: Option<RolloutId>,
    },
    /// New instances of the release it is at, because an operator asked.
    Restart,
}

/// Which comes first when one instance replaces another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    StartFirst,
    /// A fixed host port or an exclusive volume lets only one of the two live.
    StopFirst,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum RolloutPhase {
    /// Images are being brought to the nodes; nothing old was touched.
    Preparing,
    Progressing,
    /// All instances are healthy; watched for `bakeTime`.
    Baking,
    /// Waits for a person or a new commit.
    Paused,
    Succeeded,
    /// Failed, and a rollback took over.
    RolledBack,
    /// Failed with nothing to go back to.
    Failed,
    /// A newer commit or an operator took over.
    Superseded,
}

/// What happens to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutEvent {
    Prepared,
    AllHealthy,
    BakeDone,
    /// An instance that was counted healthy had to be replaced (node lost, drift).
    LostHealthy,
    Pause,
    Resume,
    RollBack,
    Fail,
    Supersede,
}

/// The event cannot happen in that phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rollout in phase {phase:?} cannot take {event:?}")]
pub struct IllegalTransition {
    pub phase: RolloutPhase,
    pub event: RolloutEvent,
}

impl RolloutPhase {
    pub fn is_terminal(self) -> bool {
        use RolloutPhase::*;
        match self {
            Preparing | Progressing | Baking | Paused => false,
            Succeeded | RolledBack | Failed | Superseded => true,
        }
    }

    pub fn after(self, event: RolloutEvent) -> Result<RolloutPhase, IllegalTransition> {
        use RolloutEvent as E;
        use RolloutPhase::*;
        match (self, event) {
            (Preparing, E::Prepared) => Ok(Progressing),
            (Progressing, E::AllHealthy) => Ok(Baking),
            (Baking, E::BakeDone) => Ok(Succeeded),
            (Progressing | Baking, E::LostHealthy) => Ok(Progressing),
            (Preparing | Progressing | Baking | Paused, E::Pause) => Ok(Paused),
            (Paused, E::Resume) => Ok(Preparing),
            (Preparing | Progressing | Baking | Paused, E::RollBack) => Ok(RolledBack),
            (Preparing | Progressing | Baking | Paused, E::Fail) => Ok(Failed),
            (Preparing | Progressing | Baking | Paused, E::Supersede) => Ok(Superseded),
            (
                Succeeded | RolledBack | Failed | Superseded,
                E::Prepared
                | E::AllHealthy
                | E::BakeDone
                | E::LostHealthy
                | E::Pause
                | E::Resume
                | E::RollBack
                | E::Fail
                | E::Supersede,
            )
            | (Preparing, E::AllHealthy | E::BakeDone | E::LostHealthy | E::Resume)
            | (Progressing, E::Prepared | E::BakeDone | E::Resume)
            | (Baking, E::Prepared | E::AllHealthy | E::Resume)
            | (Paused, E::Prepared | E::AllHealthy | E::BakeDone | E::LostHealthy) => {
                Err(IllegalTransition { phase: self, event })
            }
        }
    }
}

impl Rollout {
    pub fn is_active(&self) -> bool {
        !self.phase.is_terminal()
    }
    pub fn is_rollback(&self) -> bool {
        matches!(self.kind, RolloutKind::Rollback { .. })
    }
}
