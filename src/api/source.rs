//! Sources: what an operator says of one, and how far it was followed.

use serde::{Deserialize, Serialize};

use crate::model::quantity::{format_duration, parse_duration};
use crate::model::source::{Credentials, Held, SourceSpec};
use crate::model::{
    AppKey, CommitId, Problem, ProjectName, Snapshot, Source, SourceName, SyncOutcome, Timestamp,
};

/// What `POST` and `PUT` take. Secrets are named by files on the controller's host, never sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceInput {
    pub name: SourceName,
    pub url: String,
    #[serde(default = "default_branch")]
    pub branch: String,
    /// Folder below the root; left out: the root.
    #[serde(default)]
    pub path: String,
    #[serde(default = "default_project")]
    pub project: String,
    /// Between polls, before jitter: `30s`, `5m`.
    #[serde(default = "default_interval")]
    pub interval: String,
    #[serde(default)]
    pub credentials: Credentials,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret_file: Option<String>,
}

fn default_branch() -> String {
    "main".to_owned()
}
fn default_project() -> String {
    "default".to_owned()
}
/// A poll per minute is cheap for both ends; a webhook or a local watch is faster anyway.
fn default_interval() -> String {
    "1m".to_owned()
}

impl SourceInput {
    /// A source with everything left out that may be.
    pub fn new(name: SourceName, url: impl Into<String>) -> SourceInput {
        SourceInput {
            name,
            url: url.into(),
            branch: default_branch(),
            path: String::new(),
            project: default_project(),
            interval: default_interval(),
            credentials: Credentials::default(),
            webhook_secret_file: None,
        }
    }

    /// The source's spec. What one field alone can get wrong is told here; rules of the
    /// whole are the planner's.
    pub fn into_spec(self) -> Result<SourceSpec, String> {
        let project = ProjectName::new(self.project).map_err(|e| format!("project: {e}"))?;
        let interval = parse_duration(&self.interval).map_err(|e| format!("interval: {e}"))?;
        Ok(SourceSpec {
            name: self.name,
            url: self.url,
            branch: self.branch,
            path: self.path.trim_matches('/').to_owned(),
            project,
            interval,
            credentials: self.credentials,
            webhook_secret_file: self.webhook_secret_file,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    pub name: SourceName,
    pub url: String,
    pub branch: String,
    pub path: String,
    pub project: ProjectName,
    pub interval: String,
    /// Names of files on the controller's host, never their content.
    pub credentials: Credentials,
    pub webhook: Webhook,
    /// The source whose repository declares this one; `null`: an operator added it.
    pub declared_by: Option<SourceName>,
    pub suspended: bool,
    /// One word for the whole: the outcome, or what stands above it.
    pub state: SourceState,
    /// How the last sync went.
    pub outcome: SyncOutcome,
    pub last_attempt_at: Option<Timestamp>,
    /// Head of the branch when last seen.
    pub last_seen: Option<CommitId>,
    /// The commit whose content was last taken over.
    pub last_applied: Option<CommitId>,
    pub last_applied_at: Option<Timestamp>,
    /// Problems of the last applied commit.
    pub problems: Vec<Problem>,
    /// Documents of other API groups in the last applied commit.
    pub ignored_documents: u32,
    pub held: Option<HeldView>,
    /// Apps that belong to it.
    pub apps: usize,
    /// What its task does at present; `null`: asked of a controller that does not lead.
    pub sync: Option<SyncView>,
}

/// Live state of a source's sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncView {
    /// A fetch or its evaluation is under way.
    pub running: bool,
    pub last_attempt_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
    /// Of the last attempt.
    pub outcome: SyncOutcome,
    /// Attempts finished since this controller leads.
    pub attempts: u64,
    /// What works but should not stay so, each a sentence.
    pub warnings: Vec<String>,
}

/// Where a forge reports pushes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Path of the address to enter at the forge.
    pub path: String,
    /// A secret is set; without one every delivery is refused.
    pub configured: bool,
    pub secret_file: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceState {
    /// Never synced yet.
    Never,
    Ok,
    /// Followed, but some of its files are invalid.
    Invalid,
    /// Deletions wait for a person.
    Held,
    Suspended,
    Unreachable,
    Lost,
    Refused,
}

/// Deletions that wait for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    pub commit: CommitId,
    pub since: Timestamp,
    /// The arithmetic: why the brake holds.
    pub reason: String,
    pub deletions: Vec<HeldDeletion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldDeletion {
    pub app: AppKey,
    /// The file it was declared in.
    pub file: String,
}

impl From<&Held> for HeldView {
    fn from(held: &Held) -> HeldView {
        HeldView {
            commit: held.commit.clone(),
            since: held.since,
            reason: held.reason.clone(),
            deletions: held
                .deletions
                .iter()
                .map(|(app, file)| HeldDeletion {
                    app: app.clone(),
                    file: file.clone(),
                })
                .collect(),
        }
    }
}

fn state(source: &Source) -> SourceState {
    if source.suspended {
        return SourceState::Suspended;
    }
    match &source.outcome {
        SyncOutcome::Never => SourceState::Never,
        SyncOutcome::Unreachable { .. } => SourceState::Unreachable,
        SyncOutcome::Lost { .. } => SourceState::Lost,
        SyncOutcome::Refused { .. } => SourceState::Refused,
        SyncOutcome::Ok if source.held.is_some() => SourceState::Held,
        SyncOutcome::Ok if !source.problems.is_empty() => SourceState::Invalid,
        SyncOutcome::Ok => SourceState::Ok,
    }
}

/// The document of `source`, which is one of `snapshot`'s; `sync` is for the caller to add.
pub fn source_status(snapshot: &Snapshot, source: &Source) -> SourceStatus {
    let spec = &source.spec;
    SourceStatus {
        name: spec.name.clone(),
        url: spec.url.clone(),
        branch: spec.branch.clone(),
        path: spec.path.clone(),
        project: spec.project.clone(),
        interval: format_duration(spec.interval),
        credentials: spec.credentials.clone(),
        webhook: Webhook {
            path: format!("{}/hooks/{}", super::PREFIX, spec.name),
            configured: spec.webhook_secret_file.is_some(),
            secret_file: spec.webhook_secret_file.clone(),
        },
        declared_by: source.declared_by.clone(),
        suspended: source.suspended,
        state: state(source),
        outcome: source.outcome.clone(),
        last_attempt_at: source.last_attempt_at,
        last_seen: source.last_seen.clone(),
        last_applied: source.last_applied.clone(),
        last_applied_at: source.last_applied_at,
        problems: source.problems.clone(),
        ignored_documents: source.ignored_documents,
        held: source.held.as_ref().map(HeldView::from),
        apps: snapshot.apps_of(&spec.name).len(),
        sync: None,
    }
}
