//! The verbs that are long-running roles: `up`, `controller`, `agent`.
//!
//! Here are their flags; what each starts, in which order, and how it ends is
//! in the file of its name. All of them end cleanly on SIGINT and SIGTERM;
//! what they started for the cluster keeps running.

mod agent;
mod controller;
mod held;
mod logging;
mod runtimes;
mod stop;
mod up;

pub use agent::run_agent;
pub use controller::run_controller;
pub use up::run_up;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::model::NodeName;

/// Flags every role has.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// How log lines are written to standard error
    #[arg(long, env = "EVENKEEL_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    Docker,
    Process,
}

/// Everything on this machine: a private Postgres, the controller and an agent
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Folder for state and secrets [default: /var/lib/evenkeel as root, else below the user's data folder]
    #[arg(long, env = "EVENKEEL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the API
    #[arg(long, env = "EVENKEEL_LISTEN", default_value = "127.0.0.1:7600")]
    pub listen: SocketAddr,
    /// Use this Postgres instead of starting a private one
    #[arg(long, env = "EVENKEEL_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Follow this Git repository, as a source named after its folder
    #[arg(long, env = "EVENKEEL_GIT", value_name = "PATH-OR-URL")]
    pub git: Option<String>,
    /// Name of the cluster, in the labels of every container [default: as before; at first one of its own]
    #[arg(long, env = "EVENKEEL_CLUSTER")]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub external: ExternalArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Only the controller, against an existing Postgres
#[derive(Args, Clone, Debug)]
pub struct ControllerArgs {
    /// Folder for mirrors and tokens [default: as for `up`]
    #[arg(long, env = "EVENKEEL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the API
    #[arg(long, env = "EVENKEEL_LISTEN", default_value = "127.0.0.1:7600")]
    pub listen: SocketAddr,
    /// URL by which other controllers reach this one [default: http:// and the address listened on]
    #[arg(long, env = "EVENKEEL_ADVERTISE_URL")]
    pub advertise_url: Option<String>,
    /// The Postgres that all controllers of the cluster share
    #[arg(long, env = "EVENKEEL_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Follow this Git repository, as a source named after its folder
    #[arg(long, env = "EVENKEEL_GIT", value_name = "PATH-OR-URL")]
    pub git: Option<String>,
    /// Name of the cluster: in the labels of every container
    #[arg(long, env = "EVENKEEL_CLUSTER", default_value = "default")]
    pub cluster: String,
    #[command(flatten)]
    pub external: ExternalArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where the API is for those outside of the cluster.
#[derive(Args, Clone, Debug)]
pub struct ExternalArgs {
    /// URL by which people and forges reach the API, such as https://evenkeel.example [default: the address listened on]
    #[arg(long, env = "EVENKEEL_EXTERNAL_URL", value_name = "URL", value_parser = external_url)]
    pub external_url: Option<String>,
}

/// What specs may ask for beyond the defaults; the same on every controller of a cluster.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// A folder of the nodes that `hostPath` volumes may lie in; may be given several times [default: none]
    #[arg(long = "allow-host-path", env = "EVENKEEL_ALLOW_HOST_PATHS", value_name = "FOLDER", value_delimiter = ',', value_parser = host_folder)]
    pub allowed_host_paths: Vec<String>,
}

/// Only the agent of this node
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// Folder for the ledger [default: as for `up`]
    #[arg(long, env = "EVENKEEL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the controller is, such as http://10.0.0.1:7600; any of several passes on to the leader
    #[arg(long, env = "EVENKEEL_CONTROLLER_URL", value_name = "URL")]
    pub controller_url: String,
    /// Name of the cluster, the same as the controller's
    #[arg(long, env = "EVENKEEL_CLUSTER", default_value = "default")]
    pub cluster: String,
    /// File that holds the agents' token [default: DATA_DIR/agent-token]
    #[arg(long, env = "EVENKEEL_AGENT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What every agent is told, alone or inside of `up`.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// What runs the apps here [default: docker where there is an Engine, and processes]
    #[arg(long, env = "EVENKEEL_RUNTIME", value_enum)]
    pub runtime: Option<RuntimeChoice>,
    /// This node's name [default: the host's name]
    #[arg(long, env = "EVENKEEL_NODE_NAME")]
    pub node_name: Option<NodeName>,
    /// Host name or address at which this node's published ports are reached
    #[arg(long, env = "EVENKEEL_NODE_ADDRESS")]
    pub node_address: Option<String>,
    /// An attribute of this node, for placement
    #[arg(long = "attribute", env = "EVENKEEL_ATTRIBUTES", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// The Docker Engine's socket [default: DOCKER_HOST, else /var/run/docker.sock]
    #[arg(long, env = "EVENKEEL_ENGINE_SOCKET")]
    pub engine_socket: Option<String>,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected KEY=VALUE, such as zone=a".to_owned()),
    }
}

fn external_url(text: &str) -> Result<String, String> {
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '@');
    if host.is_empty() || host.starts_with(['/', ':']) || host.contains(odd) {
        return Err("expected a URL such as https://evenkeel.example".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn host_folder(text: &str) -> Result<String, String> {
    let is_plain = |part: &str| !matches!(part, "." | "..");
    if text.starts_with('/') && text.split('/').all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("expected a folder from the root, such as /srv/shared, without . and ..".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::args::{Cli, Command};

    fn allowed(args: &[&str]) -> Option<Vec<String>> {
        match Cli::try_parse_from([&["evenkeel"], args].concat())
            .ok()?
            .command
        {
            Command::Up(args) => Some(args.policy.allowed_host_paths),
            Command::Controller(args) => Some(args.policy.allowed_host_paths),
            _ => None,
        }
    }

    #[test]
    fn an_external_url_is_one() {
        use super::external_url;
        let kept = external_url("https://evenkeel.example/keel/");
        assert_eq!(kept.as_deref(), Ok("https://evenkeel.example/keel"));
        for wrong in [
            "",
            "evenkeel.example",
            "https://",
            "https://:80",
            "http://a b",
            "https://u:p@h",
            "ftp://h",
        ] {
            assert!(external_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn folders_that_may_be_mounted_are_given_one_by_one_or_as_a_list() {
        let several = [
            "up",
            "--allow-host-path",
            "/srv/a",
            "--allow-host-path",
            "/b",
        ];
        assert_eq!(allowed(&several).unwrap(), ["/srv/a", "/b"]);
        let database = "--database-url=postgres://h/d";
        let list = ["controller", database, "--allow-host-path=/srv/a,/b"];
        assert_eq!(allowed(&list).unwrap(), ["/srv/a", "/b"]);
        for wrong in ["srv", "/srv/../etc", ""] {
            assert_eq!(
                allowed(&["up", "--allow-host-path", wrong]),
                None,
                "{wrong}"
            );
        }
    }
}
