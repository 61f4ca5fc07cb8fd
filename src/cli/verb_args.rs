//! Arguments of the verbs on apps, rollouts and nodes, and of what works without a server.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::args::{AppArgs, duration};
use crate::client::Client;

/// Whether a verb waits for what it started.
#[derive(Args, Clone, Copy, Debug)]
pub struct WaitArgs {
    /// Wait until what it started has ended; exit 1 if that failed, 4 if it takes too long
    #[arg(long)]
    pub wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "10m", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
}

/// What the operator has seen of what they act on.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SeenArgs {
    /// Only if no operator and no commit acted on it since this `version` of its document
    #[arg(long, value_name = "VERSION")]
    pub as_of: Option<u64>,
}

impl SeenArgs {
    /// One whose changes are refused where somebody was faster.
    pub fn guard(self, client: Client) -> Client {
        match self.as_of {
            Some(version) => client.as_of(version),
            None => client,
        }
    }
}

/// Why the operator acts, and upon what.
#[derive(Args, Debug)]
pub struct GroundArgs {
    /// Kept in the event, for those who ask later
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub seen: SeenArgs,
}

#[derive(Args, Debug)]
pub struct AppsArgs {
    /// Only those of this source
    #[arg(long)]
    pub source: Option<String>,
    /// Only those that are not synced and healthy
    #[arg(long)]
    pub unwell: bool,
}

#[derive(Args, Debug)]
pub struct WaitedArgs {
    /// APP or PROJECT/APP
    pub app: String,
    #[command(flatten)]
    pub seen: SeenArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// APP or PROJECT/APP
    pub app: String,
    /// Commit of the release to go back to, or its first digits; the latest proven one when left
    /// out
    #[arg(long, value_name = "COMMIT")]
    pub to: Option<String>,
    #[command(flatten)]
    pub ground: GroundArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Args, Debug)]
pub struct RestartArgs {
    /// APP or PROJECT/APP
    pub app: String,
    #[command(flatten)]
    pub ground: GroundArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Args, Debug)]
pub struct ExecArgs {
    /// APP or PROJECT/APP
    pub app: String,
    /// In this instance (its id, or the first digits of it); one that is ready when left out
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
    /// Longest time it may take, at most 1h; then it is killed
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub timeout: Duration,
    /// Kept in the event, for those who ask later
    #[arg(long)]
    pub reason: Option<String>,
    /// Program and arguments, after `--`; no shell reads them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Args, Debug)]
pub struct ScaleArgs {
    /// APP or PROJECT/APP
    pub app: String,
    /// How many instances
    #[arg(required_unless_present = "reset", conflicts_with = "reset")]
    pub replicas: Option<u32>,
    /// Back to what Git declares
    #[arg(long)]
    pub reset: bool,
    /// Ends by itself after this time, such as 2h; without it, with the next commit that changes
    /// the declared number
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "reset")]
    pub span: Option<String>,
    #[command(flatten)]
    pub ground: GroundArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Args, Debug)]
pub struct SuspendArgs {
    /// APP or PROJECT/APP
    pub app: String,
    /// Ends by itself after this time, such as 2h
    #[arg(long = "for", value_name = "DURATION")]
    pub span: Option<String>,
    #[command(flatten)]
    pub ground: GroundArgs,
}

#[derive(Subcommand, Debug)]
pub enum RolloutCommand {
    /// Follow the rollout until it has ended; exit 1 if it failed
    Watch {
        /// APP or PROJECT/APP
        app: String,
        /// Longest time to watch
        #[arg(long, value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Hold it where it is, until it is resumed, aborted, or a new commit takes over
    Pause(PauseArgs),
    /// Let a paused one go on
    Resume(WaitedArgs),
    /// End it and go back to the release before
    Abort(RestartArgs),
    /// Show past rollouts
    History(AppArgs),
}

#[derive(Args, Debug)]
pub struct PauseArgs {
    /// APP or PROJECT/APP
    pub app: String,
    #[command(flatten)]
    pub ground: GroundArgs,
}

#[derive(Args, Debug)]
pub struct NodeArgs {
    pub node: String,
    #[command(flatten)]
    pub ground: GroundArgs,
}

#[derive(Args, Debug)]
pub struct DrainArgs {
    pub node: String,
    #[command(flatten)]
    pub ground: GroundArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Args, Debug)]
pub struct InitArgs {
    /// Folder to write it into; made if it is not there
    pub dir: PathBuf,
    /// Whose pipeline checks it
    #[arg(long, value_enum, default_value_t)]
    pub ci: Ci,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ci {
    #[default]
    Github,
    Gitlab,
    /// Forgejo and Gitea read it too
    Forgejo,
    None,
}

#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// Show all contexts
    List,
    /// Speak to this one from now on
    Use { name: String },
    /// Keep a server's address and token (--url, --token or EVENKEEL_TOKEN, -p)
    Add {
        name: String,
        /// Read the token from a file instead
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Forget one
    Remove { name: String },
}
