//! `kind: Source`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::field::{DurationText, Field};

/// A Git repository, branch and path that holds specs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// `https://…`, `http://…`, `ssh://…` or `git@host:path`. Without a password: that is what
    /// `credentials` is for.
    pub url: Field<String>,
    /// Default: `main`.
    #[serde(default)]
    #[schemars(extend("default" = "main"))]
    pub branch: Field<String>,
    /// Folder of the repository to read. Default: all of it.
    #[serde(default)]
    #[schemars(extend("default" = ""))]
    pub path: Field<String>,
    /// Project of apps that name none. Default: `default`.
    #[serde(default)]
    #[schemars(extend("default" = "default"))]
    pub project: Field<String>,
    /// Time between two looks at the branch. Default: `1m`.
    #[serde(default)]
    #[schemars(extend("default" = "1m"))]
    pub interval: Field<DurationText>,
    /// How to get in. Its files are not for Git to name: an operator sets them with `evenkeel
    /// source add`.
    #[serde(default)]
    pub credentials: Field<Credentials>,
    /// File on the controller's host that holds the webhook's secret. Not for Git to say: an
    /// operator sets it with `evenkeel source add`.
    #[serde(default)]
    pub webhook_secret_file: Field<String>,
    /// Where the status of each commit is posted. Not for Git to say: an operator sets it with
    /// `evenkeel source add`. Default: nowhere.
    #[serde(default)]
    pub forge: Field<Forge>,
    /// Which pull requests into the branch are planned, where there is a forge.
    #[serde(default)]
    pub pull_requests: Field<PullRequests>,
}

/// Which pull requests are planned.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PullRequests {
    /// Whether any is. Default: `true`.
    #[schemars(extend("default" = true))]
    pub plan: Field<bool>,
    /// Those of other repositories too: anybody can open one, and its plan tells them what runs
    /// here. Default: `false`.
    #[schemars(extend("default" = false))]
    pub forks: Field<bool>,
}

/// The repository at its forge, for commit statuses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forge {
    /// What is spoken there; `gitea` is for Forgejo too.
    pub kind: Field<ForgeKind>,
    /// Root of its API. Default: that of github.com, gitlab.com or bitbucket.org; the others
    /// have none.
    #[serde(default)]
    pub api_url: Field<String>,
    /// `owner/name`; at GitLab the project's path or number, at Bitbucket Data Center
    /// `PROJECT/repository`.
    pub repository: Field<String>,
    /// File on the controller's host that holds a token that may write commit statuses.
    /// Either this or `app`.
    #[serde(default)]
    pub token_file: Field<String>,
    /// Bitbucket: whose API token or password it is, where it is not an access token.
    #[serde(default)]
    pub username: Field<String>,
    /// The GitHub App to act as.
    #[serde(default)]
    pub app: Field<GitHubApp>,
}

/// A GitHub App that is installed at the repository.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitHubApp {
    /// Its App ID or client ID, in quotes.
    pub id: Field<String>,
    /// File on the controller's host that holds its private key (PEM).
    pub private_key_file: Field<String>,
    /// Default: the installation that the repository belongs to.
    #[serde(default)]
    pub installation_id: Field<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ForgeKind {
    Github,
    Gitlab,
    Gitea,
    /// bitbucket.org.
    Bitbucket,
    BitbucketDataCenter,
}

/// Names of files on the controller's host; never the secrets themselves.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Credentials {
    /// User name for https.
    pub username: Field<String>,
    /// Holds the token or password for https.
    pub token_file: Field<String>,
    /// Holds the private key for ssh.
    pub ssh_key_file: Field<String>,
    /// Holds the host keys that are trusted.
    pub known_hosts_file: Field<String>,
}
