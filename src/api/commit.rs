//! What became of a commit: the document that a commit's status at its forge links to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{AppKey, CommitId, SourceName, StatusState, Timestamp};

use super::app::Rejected;
use super::release::CommitView;
use super::source::HeldView;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitReport {
    pub source: SourceName,
    pub id: CommitId,
    /// The source's last applied commit.
    pub applied: bool,
    /// The status it deserves now, else the last one that was said of it; `null`: none was.
    pub status: Option<StatusView>,
    /// Apps that it touched, as far as that is remembered.
    pub apps: Vec<TouchedApp>,
    /// Deletions of it that wait for a person.
    pub held: Option<HeldView>,
    /// Author, subject, and the problems of its files; `null`: it is not in the list of commits.
    pub seen: Option<CommitView>,
    /// What was said of it at the forge, newest first.
    pub told: Vec<ToldView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    pub state: StatusState,
    /// In full; forges get as much of it as they take.
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TouchedApp {
    pub app: AppKey,
    pub verdict: AppVerdict,
    pub reason: String,
    /// What was seen, where its version was rejected: instance, node, exit code, probe answer,
    /// last output.
    pub rejected: Option<Rejected>,
    /// Path of the app's own document.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AppVerdict {
    /// It is being brought to this commit.
    Progressing,
    /// It was fully healthy at this commit.
    Healthy,
    Failed,
    /// Its file is invalid at this commit.
    Invalid,
    /// The commit removes it.
    Removed,
    /// The commit removes it, and a brake holds that.
    Held,
    /// A later commit took over before it was proven.
    Superseded,
}

/// A message to the forge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToldView {
    pub context: String,
    pub state: StatusState,
    pub description: String,
    pub delivery: Delivery,
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    Queued,
    Sent,
    /// Given up.
    Failed,
    /// A later one took its place before it was sent.
    Superseded,
}
