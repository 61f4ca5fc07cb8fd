//! `evenkeel agent`: this node, for a controller elsewhere.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::stop::{Parts, Signals};
use super::{AgentArgs, held, logging, runtimes};
use crate::agent::Agent;
use crate::config::DataDir;
use crate::failpoint;

const STOP_DEADLINE: Duration = Duration::from_secs(10);

pub async fn run_agent(args: AgentArgs) -> anyhow::Result<()> {
    logging::start(&args.log);
    failpoint::arm_from_env()?;
    let mut signals = Signals::catch()?;
    let dir = DataDir::open(args.data_dir.as_deref())?;
    let _lock = held::lock(&dir, "agent").await?;
    let token_file = args
        .token_file
        .clone()
        .unwrap_or_else(|| dir.path().join("agent-token"));
    let token = read_token(&token_file)?;
    let runtimes = runtimes::open(&args.node, &args.cluster, &dir)?;
    let config = runtimes::agent_config(&args.node, &dir, args.controller_url, token, || {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_else(|| "127.0.0.1".to_owned())
    })?;
    tracing::info!(node = %config.node, controller = config.controller_url, "agent starts");
    let stop = CancellationToken::new();
    let mut parts = Parts::default();
    let cancel = stop.clone();
    parts.spawn("agent", stop, async move {
        Ok(Agent::run(config, runtimes, cancel).await?)
    });
    let ended = parts.wait(&mut signals).await;
    parts.stop(STOP_DEADLINE).await;
    ended
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let token = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the agents' token from {}; copy the file agent-token from the controller's data folder",
            path.display()
        )
    })?;
    let token = token.trim();
    anyhow::ensure!(
        !token.is_empty(),
        "the token file {} is empty",
        path.display()
    );
    Ok(token.to_owned())
}
