//! The tree of commands and flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::quantity::parse_duration;
use crate::model::{ForgeKind, Role};

use super::roles;
use super::verb_args::{
    AppsArgs, ContextCommand, DrainArgs, ExecArgs, InitArgs, NodeArgs, RestartArgs, RollbackArgs,
    RolloutCommand, ScaleArgs, SeenArgs, SuspendArgs, WaitArgs, WaitedArgs,
};

/// Keeps a cluster of Docker hosts equal to a Git repository.
#[derive(Parser, Debug)]
#[command(name = "evenkeel", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// How to reach the server, and how to print.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Address of the server, such as http://127.0.0.1:7600
    #[arg(long, global = true, env = "EVENKEEL_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Token of the server
    #[arg(long, global = true, env = "EVENKEEL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Project of apps that are named without one
    #[arg(short, long, global = true)]
    pub project: Option<String>,
    /// Server of the contexts file to speak to; see `evenkeel context`
    #[arg(long, global = true, env = "EVENKEEL_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Up(roles::UpArgs),
    Controller(roles::ControllerArgs),
    Agent(roles::AgentArgs),

    /// Show all apps, or one in full
    Status(StatusArgs),
    /// Say what an app waits for
    Why(AppArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Show the output of an app's instances
    Logs(LogsArgs),
    /// Show all apps, with what operators set beside Git
    Apps(AppsArgs),
    /// Show what Git declares of an app against what runs, field by field
    Diff(AppArgs),
    /// Follow and steer the rollout of an app
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Put an app back on a proven release, until a new commit changes it
    Rollback(RollbackArgs),
    /// Lift an app's quarantine, so that its rejected version is tried again
    Release(WaitedArgs),
    /// Exchange all instances of an app for new ones of the same release
    Restart(RestartArgs),
    /// Run a command inside an instance; its exit code is that of the command
    Exec(ExecArgs),
    /// Run another number of instances than Git declares
    Scale(ScaleArgs),
    /// Roll out no new commits of an app
    Suspend(SuspendArgs),
    /// Follow Git again after `suspend`
    Resume(WaitedArgs),
    /// Show the nodes
    Nodes,
    /// Put nothing more on a node; what is there stays
    Cordon(NodeArgs),
    /// Let a node take instances again
    Uncordon(NodeArgs),
    /// Move a node's instances elsewhere, as a rollout would
    Drain(DrainArgs),
    /// Show and change the followed repositories
    #[command(subcommand)]
    Source(SourceCommand),
    /// Make, show and revoke tokens of the API
    #[command(subcommand)]
    Token(TokenCommand),

    /// Show what the specs in a folder would do to the live cluster
    Plan(PlanArgs),
    /// Check the specs in a folder
    Validate {
        /// Folder that holds them
        dir: PathBuf,
    },
    /// Print the JSON Schema of the specs
    Schema,
    /// Say what a field of a spec means, such as spec.rollout.maxSurge
    Explain {
        /// Path of the field; `App`, `Source` alone for what they hold
        field: String,
    },
    /// Write a starter repository
    Init(InitArgs),
    /// Choose among several servers
    #[command(subcommand)]
    Context(ContextCommand),
    /// Print a completion script
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub struct AppArgs {
    /// APP or PROJECT/APP
    pub app: String,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// APP or PROJECT/APP; all apps when left out
    pub app: Option<String>,
    /// Wait until it is synced and healthy at the source's latest commit
    #[arg(long, requires = "app")]
    pub wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "10m", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
}

#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Go on with new events as they happen
    #[arg(short, long)]
    pub follow: bool,
    /// Only those of APP or PROJECT/APP
    #[arg(long)]
    pub app: Option<String>,
    /// Only those of this source
    #[arg(long)]
    pub source: Option<String>,
    /// Only of this kind, such as rollout.rolledBack
    #[arg(long)]
    pub kind: Option<String>,
    /// How many past events
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
}

#[derive(Args, Debug)]
pub struct LogsArgs {
    /// APP or PROJECT/APP
    pub app: String,
    /// Go on with new lines as they are written
    #[arg(short, long)]
    pub follow: bool,
    /// Lines per instance, from the end
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub tail: usize,
    /// Only this instance (its id, or the first digits of it)
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Folder that holds them: the repository's root, or the source's folder in it
    pub dir: PathBuf,
    /// Source whose tree it is; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Exit with 5 where something would change, 0 where nothing would
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Subcommand, Debug)]
pub enum SourceCommand {
    /// Follow a repository
    Add(Box<SourceAddArgs>),
    /// Show all sources
    List,
    /// Show one source in full
    Show { name: String },
    /// Fetch now instead of at the next poll
    Sync {
        name: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Stop following it
    Remove {
        name: String,
        /// Take its apps down too
        #[arg(long)]
        prune: bool,
        #[command(flatten)]
        seen: SeenArgs,
    },
    /// Let the deletions through that a brake holds
    Approve {
        name: String,
        #[command(flatten)]
        seen: SeenArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Args, Debug)]
pub struct SourceAddArgs {
    /// Name of the source, unique in the cluster
    pub name: String,
    /// https://…, ssh://…, git@host:…, file://… or a path on the controller's host
    pub repository: String,
    #[arg(long, default_value = "main")]
    pub branch: String,
    /// Folder below the repository's root that holds the specs
    #[arg(long, default_value = "")]
    pub path: String,
    /// Change the source if there is one of that name
    #[arg(long)]
    pub replace: bool,
    /// Only if nobody changed it since this `version` of its document
    #[arg(long, value_name = "VERSION", requires = "replace")]
    pub as_of: Option<u64>,
    /// Between polls
    #[arg(long, default_value = "1m")]
    pub interval: String,
    /// Plan no pull requests, although there is a forge
    #[arg(long, requires = "forge")]
    pub no_pull_requests: bool,
    /// Plan pull requests of other repositories too, which anybody can open
    #[arg(long, requires = "forge", conflicts_with = "no_pull_requests")]
    pub pull_requests_from_forks: bool,
    /// User for https or ssh
    #[arg(long)]
    pub username: Option<String>,
    /// File on the controller's host that holds the https token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// File on the controller's host that holds the ssh key
    #[arg(long, value_name = "FILE")]
    pub ssh_key_file: Option<String>,
    /// File on the controller's host that holds the accepted host keys
    #[arg(long, value_name = "FILE")]
    pub known_hosts_file: Option<String>,
    /// File on the controller's host that holds the webhook's secret
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<String>,
    /// Post commit statuses: github, gitlab, gitea (Forgejo too), bitbucket (bitbucket.org) or bitbucketDataCenter
    #[arg(
        long,
        value_name = "KIND",
        requires = "forge_repository",
        requires = "forge_credentials"
    )]
    pub forge: Option<ForgeKind>,
    /// Root of the forge's API, where it is not that of github.com, gitlab.com or bitbucket.org
    #[arg(long, value_name = "URL", requires = "forge")]
    pub forge_api: Option<String>,
    /// The repository's name there: owner/name, at GitLab the project's path or number
    #[arg(long, value_name = "REPOSITORY", requires = "forge")]
    pub forge_repository: Option<String>,
    /// File on the controller's host that holds a token that may write commit statuses
    #[arg(
        long,
        value_name = "FILE",
        requires = "forge",
        group = "forge_credentials"
    )]
    pub forge_token_file: Option<String>,
    /// Bitbucket: whose API token or password it is, where it is not an access token
    #[arg(long, value_name = "USER", requires = "forge_token_file")]
    pub forge_username: Option<String>,
    /// GitHub: App ID or client ID of the App to act as, in place of a token
    #[arg(
        long,
        value_name = "ID",
        requires = "forge_app_key_file",
        group = "forge_credentials"
    )]
    pub forge_app_id: Option<String>,
    /// GitHub: file on the controller's host that holds the App's private key
    #[arg(long, value_name = "FILE", requires = "forge_app_id")]
    pub forge_app_key_file: Option<String>,
    /// GitHub: the App's installation [default: the one that the repository belongs to]
    #[arg(long, value_name = "ID", requires = "forge_app_id")]
    pub forge_app_installation: Option<u64>,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token; it is printed once and kept nowhere
    Create(TokenCreateArgs),
    /// Show the tokens that are not revoked
    List,
    /// Make a token worthless at once
    Revoke {
        /// Its name
        name: String,
    },
}

#[derive(Args, Debug)]
pub struct TokenCreateArgs {
    /// Name under which its holder acts, such as ci or jane
    pub name: String,
    /// viewer: look; operator: use the verbs; admin: also sources and tokens
    #[arg(long, default_value = "viewer")]
    pub role: Role,
    /// The only project it opens; may be given several times
    #[arg(long = "only", value_name = "PROJECT")]
    pub only: Vec<String>,
    /// For how long it is good, such as 720h; left out: until it is revoked
    #[arg(long, value_name = "DURATION")]
    pub expires: Option<String>,
}
