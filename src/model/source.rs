//! Sources: where specs come from, and how far each was followed.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forge::ForgeSpec;
use super::id::{AppKey, CommitId, ProjectName, SourceName};
use super::problem::Problem;
use super::quantity::duration_text;
use super::time::Timestamp;

/// What an operator says of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    pub name: SourceName,
    /// `https://…`, `http://…`, `ssh://…`, `git@host:…`, `file://…` or an absolute path. Never holds a password.
    pub url: String,
    pub branch: String,
    /// Folder below the root, without slashes at the ends; empty: the root.
    pub path: String,
    /// Of apps that name none.
    pub project: ProjectName,
    /// Between polls, before jitter.
    #[serde(with = "duration_text")]
    pub interval: Duration,
    pub credentials: Credentials,
    /// File on the controller's host that holds the webhook's secret.
    pub webhook_secret_file: Option<String>,
    /// Where commit statuses are posted; `None`: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeSpec>,
    /// What is done with pull requests into the branch, where there is a forge.
    #[serde(default, skip_serializing_if = "PullRequestPolicy::is_default")]
    pub pull_requests: PullRequestPolicy,
}

impl SourceSpec {
    /// All of the repository's `main`, looked at every minute, with nothing that only some need.
    pub fn new(name: SourceName, url: impl Into<String>, project: ProjectName) -> SourceSpec {
        SourceSpec {
            name,
            url: url.into(),
            branch: "main".to_owned(),
            path: String::new(),
            project,
            interval: Duration::from_secs(60),
            credentials: Credentials::default(),
            webhook_secret_file: None,
            forge: None,
            pull_requests: PullRequestPolicy::default(),
        }
    }
}

/// Which pull requests are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PullRequestPolicy {
    /// Whether any is.
    pub plan: bool,
    /// Those of other repositories too: anybody can open one, and its plan tells them what
    /// runs here.
    pub forks: bool,
}

impl Default for PullRequestPolicy {
    fn default() -> PullRequestPolicy {
        PullRequestPolicy {
            plan: true,
            forks: false,
        }
    }
}

impl PullRequestPolicy {
    pub fn is_default(&self) -> bool {
        *self == PullRequestPolicy::default()
    }
}

/// Where the controller finds secrets: names of files on its host, never the values.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Credentials {
    pub username: Option<String>,
    /// Https token or password; sent to the URL's own host only.
    pub token_file: Option<String>,
    pub ssh_key_file: Option<String>,
    pub known_hosts_file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub spec: SourceSpec,
    /// The source whose repository declares this one; `None`: an operator added it.
    pub declared_by: Option<SourceName>,
    /// An operator removed it with its apps: no longer followed, and gone with the last of them.
    pub suspended: bool,
    pub last_attempt_at: Option<Timestamp>,
    /// Head of the branch when last seen.
    pub last_seen: Option<CommitId>,
    /// The commit whose content was last taken over.
    pub last_applied: Option<CommitId>,
    pub last_applied_at: Option<Timestamp>,
    pub outcome: SyncOutcome,
    /// Problems of the last applied commit.
    pub problems: Vec<Problem>,
    /// Documents of other API groups in the last applied commit.
    pub ignored_documents: u32,
    /// Deletions that wait for a person: app → the file it was declared in.
    pub held: Option<Held>,
}

impl Source {
    /// One that was never synced.
    pub fn new(spec: SourceSpec, declared_by: Option<SourceName>) -> Source {
        Source {
            spec,
            declared_by,
            suspended: false,
            last_attempt_at: None,
            last_seen: None,
            last_applied: None,
            last_applied_at: None,
            outcome: SyncOutcome::Never,
            problems: Vec::new(),
            ignored_documents: 0,
            held: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    pub commit: CommitId,
    pub since: Timestamp,
    pub deletions: BTreeMap<AppKey, String>,
    /// The arithmetic: why the brake holds.
    pub reason: String,
}

/// How the last sync went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SyncOutcome {
    Never,
    Ok,
    /// The remote could not be read; nothing was changed.
    Unreachable {
        message: String,
    },
    /// The branch, the path, or every spec below it is gone; nothing was changed.
    Lost {
        message: String,
    },
    /// Access refused, unknown host key, or a setting that cannot work; a person must act.
    Refused {
        message: String,
    },
}
