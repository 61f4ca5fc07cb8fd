//! The record of what was done, by whom and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{AppKey, CommitId, InstanceId, NodeName, RolloutId, SourceName};
use super::time::Timestamp;

/// One thing that happened. `message` is a sentence that holds the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Given by the store; 0 before.
    pub id: i64,
    pub at: Timestamp,
    pub actor: Actor,
    pub kind: EventKind,
    pub app: Option<AppKey>,
    pub source: Option<SourceName>,
    pub commit: Option<CommitId>,
    pub rollout: Option<RolloutId>,
    pub instance: Option<InstanceId>,
    pub node: Option<NodeName>,
    pub message: String,
    /// Evidence and numbers for programs; `null` where none.
    pub detail: Value,
}

impl Event {
    pub fn new(at: Timestamp, actor: Actor, kind: EventKind, message: impl Into<String>) -> Event {
        Event {
            id: 0,
            at,
            actor,
            kind,
            app: None,
            source: None,
            commit: None,
            rollout: None,
            instance: None,
            node: None,
            message: message.into(),
            detail: Value::Null,
        }
    }
}

/// `controller`, `agent:NODE`, `user:NAME`, `git:SOURCE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Actor {
    Controller,
    Agent(NodeName),
    User(String),
    Git(SourceName),
}

impl From<Actor> for String {
    fn from(actor: Actor) -> String {
        match actor {
            Actor::Controller => "controller".to_owned(),
            Actor::Agent(node) => format!("agent:{node}"),
            Actor::User(name) => format!("user:{name}"),
            Actor::Git(source) => format!("git:{source}"),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = String;
    fn try_from(text: String) -> Result<Actor, String> {
        let bad = || format!("\"{text}\" is not an actor");
        match text.split_once(':') {
            None if text == "controller" => Ok(Actor::Controller),
            Some(("agent", n)) => n.parse().map(Actor::Agent).map_err(|_| bad()),
            Some(("git", n)) => n.parse().map(Actor::Git).map_err(|_| bad()),
            Some(("user", n)) => Ok(Actor::User(n.to_owned())),
            None | Some(_) => Err(bad()),
        }
    }
}

macro_rules! kinds {
    ($($variant:ident => $text:literal),+ $(,)?) => {
        /// What happened. The text form is stable: dashboards filter by it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $(#[serde(rename = $text)] $variant),+
        }
        impl EventKind {
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant),+];
            pub fn as_str(self) -> &'static str {
                match self { $(EventKind::$variant => $text),+ }
            }
        }
        impl std::str::FromStr for EventKind {
            type Err = String;
            fn from_str(text: &str) -> Result<EventKind, String> {
                match text {
                    $($text => Ok(EventKind::$variant),)+
                    _ => Err(format!("\"{text}\" is not a kind of event")),
                }
            }
        }
    };
}

kinds! {
    SourceAdded => "source.added",
    SourceChanged => "source.changed",
    SourceRemoved => "source.removed",
    SyncOk => "sync.ok",
    SyncFailed => "sync.failed",
    SyncHeld => "sync.held",
    SyncReleased => "sync.released",
    SpecInvalid => "spec.invalid",
    AppDeclared => "app.declared",
    AppChanged => "app.changed",
    AppUndeclared => "app.undeclared",
    AppRemoved => "app.removed",
    AppSuspended => "app.suspended",
    AppResumed => "app.resumed",
    AppScaled => "app.scaled",
    RolloutStarted => "rollout.started",
    RolloutProgress => "rollout.progress",
    RolloutPaused => "rollout.paused",
    RolloutResumed => "rollout.resumed",
    RolloutSucceeded => "rollout.succeeded",
    RolloutRolledBack => "rollout.rolledBack",
    RolloutFailed => "rollout.failed",
    RolloutSuperseded => "rollout.superseded",
    ReleaseStable => "release.stable",
    ReleaseQuarantined => "release.quarantined",
    ReleaseReleased => "release.released",
    InstanceCreated => "instance.created",
    InstanceReady => "instance.ready",
    InstanceUnready => "instance.unready",
    InstanceExited => "instance.exited",
    InstanceRestarted => "instance.restarted",
    InstanceFailed => "instance.failed",
    InstanceStopping => "instance.stopping",
    InstanceGone => "instance.gone",
    InstanceExec => "instance.exec",
    PlacementBlocked => "placement.blocked",
    NodeRegistered => "node.registered",
    NodeSuspect => "node.suspect",
    NodeLost => "node.lost",
    NodeReturned => "node.returned",
    NodeScheduling => "node.scheduling",
    LeaderElected => "leader.elected",
    TokenCreated => "token.created",
    TokenRevoked => "token.revoked",
    BrakeHolds => "brake.holds",
}
