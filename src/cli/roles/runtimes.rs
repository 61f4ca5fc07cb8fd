//! What an agent runs things with.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::{NodeArgs, RuntimeChoice};
use crate::agent::AgentConfig;
use crate::agent::runtime::Runtime;
use crate::agent::runtime::crash_points::CrashPoints;
use crate::agent::runtime::docker::{Docker, DockerConfig};
use crate::agent::runtime::process::{Process, ProcessConfig};
use crate::config::{DataDir, node_name};
use crate::model::NodeName;

const ENGINE_SOCKET: &str = "/var/run/docker.sock";

/// The runtimes as chosen: processes always, containers unless `process` was asked for. An
/// Engine that is down now but whose socket is there counts: it may come back.
pub fn open(
    args: &NodeArgs,
    cluster: &str,
    folder: &DataDir,
) -> anyhow::Result<Vec<Arc<dyn Runtime>>> {
    let mut runtimes: Vec<Arc<dyn Runtime>> = Vec::new();
    let socket = engine_socket(args)?;
    let wanted = match args.runtime {
        Some(RuntimeChoice::Docker) => true,
        Some(RuntimeChoice::Process) => false,
        None => Path::new(&socket).exists(),
    };
    if wanted {
        let node = node(args)?;
        runtimes.push(CrashPoints::around(Docker::new(DockerConfig {
            socket: socket.clone(),
            cluster: cluster.to_owned(),
            former_nodes: folder.former_nodes(&node)?,
            node: Some(node),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        })));
    }
    let process = Process::new(ProcessConfig {
        state_dir: folder.agent().join("processes"),
        cluster: cluster.to_owned(),
        shim: std::env::current_exe().context("cannot find this program's own file")?,
    })
    .context("processes cannot be run here")?;
    runtimes.push(CrashPoints::around(process));
    tracing::info!(
        runtimes = runtimes
            .iter()
            .map(|r| r.name())
            .collect::<Vec<_>>()
            .join(" "),
        socket,
        "runtimes"
    );
    Ok(runtimes)
}

/// The Engine's socket as a path.
fn engine_socket(args: &NodeArgs) -> anyhow::Result<String> {
    let given = args.engine_socket.clone().or_else(|| {
        let host = std::env::var("DOCKER_HOST")
            .ok()
            .filter(|h| !h.is_empty())?;
        if host.contains("://") && !host.starts_with("unix://") {
            tracing::warn!(host, "DOCKER_HOST is not a Unix socket and is passed over");
            return None;
        }
        Some(host)
    });
    let socket = given.unwrap_or_else(|| ENGINE_SOCKET.to_owned());
    let path = socket.strip_prefix("unix://").unwrap_or(&socket);
    anyhow::ensure!(
        path.starts_with('/'),
        "--engine-socket {socket}: give the path of a Unix socket, such as {ENGINE_SOCKET}"
    );
    Ok(path.to_owned())
}

fn node(args: &NodeArgs) -> anyhow::Result<NodeName> {
    match &args.node_name {
        Some(name) => Ok(name.clone()),
        None => node_name().context(
            "this host's name cannot name a node; give one with --node-name (lower-case letters, digits and '-')",
        ),
    }
}

/// `fallback_address`: where published ports are reached if the flags do not say.
pub fn agent_config(
    args: &NodeArgs,
    folder: &DataDir,
    controller_url: String,
    token: String,
    fallback_address: impl FnOnce() -> String,
) -> anyhow::Result<AgentConfig> {
    Ok(AgentConfig {
        node: node(args)?,
        data_dir: folder.agent(),
        controller_url,
        token,
        address: args.node_address.clone().unwrap_or_else(fallback_address),
        attributes: args.attributes.iter().cloned().collect(),
        capacity: None,
    })
}
