//! Sources: what an operator says of one, and how far it was followed.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::quantity::{format_duration, parse_duration};
use crate::model::source::{Credentials, Held, SourceSpec};
use crate::model::{
    AppKey, CommitId, DeliveryLog, DeliveryVerdict, ForgeSpec, Problem, ProjectName,
    PullRequestPolicy, Snapshot, Source, SourceName, SyncOutcome, Timestamp, Vendor,
};

/// What `POST` and `PUT` take. Secrets are named by files on the controller's host, never sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Where commit statuses are posted; left out: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeSpec>,
    /// Which pull requests are planned, where there is a forge.
    #[serde(default, skip_serializing_if = "PullRequestPolicy::is_default")]
    pub pull_requests: PullRequestPolicy,
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

/// Shortest interval between polls: below it a forge takes us for an attack.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

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
            forge: None,
            pull_requests: PullRequestPolicy::default(),
        }
    }

    /// The source's spec. What one field alone can get wrong is told here; rules of the
    /// whole are the planner's.
    pub fn into_spec(self) -> Result<SourceSpec, String> {
        let project = ProjectName::new(self.project).map_err(|e| format!("project: {e}"))?;
        let interval = parse_duration(&self.interval).map_err(|e| format!("interval: {e}"))?;
        if interval < MIN_INTERVAL {
            return Err(format!(
                "interval: {} is too often; at least {} (a webhook is faster than any poll)",
                self.interval,
                format_duration(MIN_INTERVAL)
            ));
        }
        check_url(&self.url)?;
        if self.branch.is_empty() || self.branch.starts_with('-') {
            return Err(format!("branch: \"{}\" is not a branch", self.branch));
        }
        if self.path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(format!(
                "path: \"{}\" must stay below the repository's root",
                self.path
            ));
        }
        if let Some(forge) = &self.forge {
            forge
                .check()
                .map_err(|(field, why)| format!("forge.{field}: {why}"))?;
        }
        Ok(SourceSpec {
            name: self.name,
            url: self.url,
            branch: self.branch,
            path: self.path.trim_matches('/').to_owned(),
            project,
            interval,
            credentials: self.credentials,
            webhook_secret_file: self.webhook_secret_file,
            forge: self.forge,
            pull_requests: self.pull_requests,
        })
    }
}

/// Whether the address is of a kind that can be fetched from and holds no password: it would
/// be stored and shown. Never repeats the password.
fn check_url(url: &str) -> Result<(), String> {
    let kinds = "an https://, http://, ssh:// or file:// URL, user@host:path, or an absolute path";
    let odd = |c: char| c.is_whitespace() || c.is_control();
    // Two colons name one of Git's remote helpers: `ext::sh -c …` runs a program.
    if url.starts_with('-') || url.contains(odd) || url.contains("::") {
        return Err(format!("url: it is not {kinds}"));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let scp_like = url.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !host.contains('/') && !path.is_empty()
        });
        return match url.starts_with('/') || scp_like {
            true => Ok(()),
            false => Err(format!("url: \"{url}\" is not {kinds}")),
        };
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.rsplit_once('@')
        && user.contains(':')
    {
        return Err(
            "url: it holds a password, which would be stored and shown; write it into a file on \
             the controller's host and name that as credentials.tokenFile (--token-file)"
                .to_owned(),
        );
    }
    match scheme {
        "https" | "http" | "ssh" if authority.is_empty() => {
            Err(format!("url: \"{url}\" names no host"))
        }
        "https" | "http" | "ssh" | "file" => Ok(()),
        other => Err(format!(
            "url: {other}:// cannot be fetched from; give {kinds}"
        )),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    pub name: SourceName,
    /// Grows with each change of anything below but `sync`, `lastAttemptAt`, `forgeState` and the
    /// webhook's deliveries.
    #[serde(default)]
    pub version: u64,
    pub url: String,
    pub branch: String,
    pub path: String,
    pub project: ProjectName,
    pub interval: String,
    /// Names of files on the controller's host, never their content.
    pub credentials: Credentials,
    pub webhook: Webhook,
    /// Where commit statuses are posted; `null`: nowhere.
    #[serde(default)]
    pub forge: Option<ForgeSpec>,
    /// How telling it goes; `null`: there is none, or asked of a controller that does not lead.
    #[serde(default)]
    pub forge_state: Option<ForgeState>,
    /// What the statuses are called there; `null`: there is no forge.
    #[serde(default)]
    pub checks: Option<ForgeChecks>,
    /// Which pull requests are planned, where there is a forge.
    #[serde(default)]
    pub pull_requests: PullRequestPolicy,
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

/// Names by which a forge may be told to ask for them before it merges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForgeChecks {
    /// Of commits on the branch: how they fare.
    pub commit: String,
    /// Of pull requests: what they would do. `null`: none is planned.
    pub plan: Option<String>,
}

/// How telling a source's forge goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForgeState {
    /// `null`: the last that was to be told arrived, or there was nothing yet.
    pub trouble: Option<ForgeTrouble>,
    pub last_told_at: Option<Timestamp>,
}

/// Why what is to be told does not arrive. It goes by itself with the first that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForgeTrouble {
    /// `credentials`, `forbidden`, `notFound`, `rateLimited`, `unreachable`, `faulty`,
    /// `refused`, `redirected` or `settings`.
    pub kind: String,
    /// A sentence that says what to repair.
    pub reason: String,
    pub since: Timestamp,
}

/// Live state of a source's sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// The address to enter at the forge.
    #[serde(default)]
    pub url: String,
    /// Path of it.
    pub path: String,
    /// A secret is set; without one every delivery is refused.
    pub configured: bool,
    pub secret_file: Option<String>,
    /// Whose forge the repository is on, as far as the settings tell.
    #[serde(default)]
    pub vendor: Option<Vendor>,
    /// What to enter at each kind of forge; of a single source only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<WebhookSetup>,
    /// The last deliveries; of a single source only, and `null` while they cannot be read.
    #[serde(default)]
    pub deliveries: Option<DeliveryLog>,
}

/// How a webhook is set up at one kind of forge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSetup {
    pub vendor: Vendor,
    pub title: String,
    /// Where to click.
    pub place: String,
    /// To be chosen there; `null`: there is nothing to choose.
    pub content_type: Option<String>,
    /// Name of the field that takes the content of the secret's file.
    pub secret_field: String,
    /// To be ticked.
    pub events: Vec<String>,
}

/// What the sender of a delivery is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookAnswer {
    pub verdict: DeliveryVerdict,
    /// Why, and what is done about it.
    pub detail: String,
    pub vendor: Vendor,
    /// The vendor's word for what happened.
    pub event: String,
    pub id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    pub commit: CommitId,
    pub since: Timestamp,
    /// The arithmetic: why the brake holds.
    pub reason: String,
    pub deletions: Vec<HeldDeletion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// One word for the whole: the outcome, or what stands above it.
pub fn state(source: &Source) -> SourceState {
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

/// The document of `source`, which is one of `snapshot`'s; `version`, `sync` and what of the webhook
/// depends on more than the snapshot are for the caller to add.
pub fn source_status(snapshot: &Snapshot, source: &Source) -> SourceStatus {
    let spec = &source.spec;
    SourceStatus {
        name: spec.name.clone(),
        version: 0,
        url: spec.url.clone(),
        branch: spec.branch.clone(),
        path: spec.path.clone(),
        project: spec.project.clone(),
        interval: format_duration(spec.interval),
        credentials: spec.credentials.clone(),
        webhook: Webhook {
            url: String::new(),
            vendor: None,
            setup: Vec::new(),
            deliveries: None,
            path: format!("{}/hooks/{}", super::PREFIX, spec.name),
            configured: spec.webhook_secret_file.is_some(),
            secret_file: spec.webhook_secret_file.clone(),
        },
        forge: spec.forge.clone(),
        forge_state: None,
        checks: None,
        pull_requests: spec.pull_requests,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SourceInput)) -> String {
        let name = SourceName::new("shop").expect("a label");
        let mut input = SourceInput::new(name, "https://forge.example/shop.git");
        assert!(input.clone().into_spec().is_ok());
        change(&mut input);
        input.into_spec().err().unwrap_or_default()
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in [
            "https://bot:hunter2@forge/x",
            "ssh://git:hunter2@forge/x",
            "http://:hunter2@h",
        ] {
            let why = refused(|i| i.url = url.to_owned());
            assert!(
                why.contains("password") && !why.contains("hunter2"),
                "{why}"
            );
        }
    }

    #[test]
    fn addresses_of_every_usual_kind_are_taken() {
        for url in [
            "http://127.0.0.1:8080/x.git",
            "ssh://git@forge:2222/x",
            "git@forge.example:team/x.git",
            "file:///srv/x",
            "/srv/x",
        ] {
            assert_eq!(refused(|i| i.url = url.to_owned()), "", "{url}");
        }
        for url in [
            "",
            "x",
            "ftp://forge/x",
            "ext::sh -c id",
            "ext::sh",
            "-x:y",
            "https://",
            "./x",
        ] {
            assert_ne!(refused(|i| i.url = url.to_owned()), "", "{url}");
        }
    }

    #[test]
    fn fields_say_what_is_wrong_with_them() {
        assert!(refused(|i| i.interval = "soon".to_owned()).starts_with("interval: "));
        assert!(refused(|i| i.interval = "10ms".to_owned()).starts_with("interval: "));
        assert!(refused(|i| i.project = "Shop".to_owned()).starts_with("project: "));
        assert!(refused(|i| i.branch = String::new()).starts_with("branch: "));
        assert!(refused(|i| i.path = "a/../b".to_owned()).starts_with("path: "));
    }
}
