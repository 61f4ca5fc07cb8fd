//! `evenkeel up`: everything on this machine. The agent speaks to the API over
//! HTTP as any other would.

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::controller::{Setup, local_url, open_store, start};
use super::stop::{Parts, Signals};
use super::{UpArgs, held, logging, runtimes};
use crate::agent::Agent;
use crate::config::{DataDir, source_from_flag};
use crate::failpoint;
use crate::model::SourceSpec;
use crate::store::private_postgres::{self, PrivatePostgres};
use crate::telemetry;

/// For each part; Postgres has its own.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// What is known before anything is started.
struct Plan {
    args: UpArgs,
    dir: DataDir,
    cluster: String,
    listener: TcpListener,
    git: Option<SourceSpec>,
}

pub async fn run_up(args: UpArgs) -> anyhow::Result<()> {
    logging::start(&args.log);
    failpoint::arm_from_env()?;
    telemetry::Exporter::check_env()?;
    let mut signals = Signals::catch()?;
    let dir = DataDir::open(args.data_dir.as_deref())?;
    let _controller = held::lock(&dir, "controller").await?;
    let _agent = held::lock(&dir, "agent").await?;
    let plan = Plan {
        git: args.git.as_deref().map(source_from_flag).transpose()?,
        cluster: dir.cluster_name(args.cluster.as_deref(), DataDir::new_cluster_name)?,
        listener: held::listen(args.listen).await?,
        args,
        dir,
    };
    if let Some(url) = plan.args.database_url.clone() {
        return run(plan, &mut signals, &url).await;
    }
    let Some(postgres) = signals.or(start_postgres(&plan.dir)).await? else {
        return Ok(());
    };
    let url = postgres.url().to_owned();
    let ended = run(plan, &mut signals, &url).await;
    tracing::info!("stopping the private Postgres");
    if let Err(error) = postgres.stop().await {
        tracing::warn!(%error, "the private Postgres did not stop cleanly; it recovers at the next start");
    }
    ended
}

async fn start_postgres(dir: &DataDir) -> anyhow::Result<PrivatePostgres> {
    dir.let_others_through()?;
    PrivatePostgres::start(private_postgres::Options::new(dir.postgres()))
        .await
        .context("the private Postgres does not start; or give another's URL with --database-url")
}

/// Everything but the database: from its start to its end.
async fn run(plan: Plan, signals: &mut Signals, database: &str) -> anyhow::Result<()> {
    let Some(store) = signals.or(open_store(&plan.dir, database)).await? else {
        return Ok(());
    };
    let mut parts = Parts::default();
    let ended = match start_parts(plan, store.clone(), &mut parts) {
        Ok(()) => parts.wait(signals).await,
        Err(error) => Err(error),
    };
    parts.stop(STOP_DEADLINE).await;
    store.close().await;
    ended
}

fn start_parts(plan: Plan, store: crate::store::Store, parts: &mut Parts) -> anyhow::Result<()> {
    let Plan {
        args,
        dir,
        cluster,
        listener,
        git,
    } = plan;
    let address = local_url(&listener)?;
    let runtimes = runtimes::open(&args.node, &cluster, &dir)?;
    let token = dir.token("agent-token")?;
    let config = runtimes::agent_config(&args.node, &dir, address.clone(), token, || {
        "127.0.0.1".to_owned()
    })?;
    let setup = Setup {
        dir: &dir,
        cluster,
        listener,
        address,
        external_url: args.external.external_url,
        store,
        git,
        allowed_host_paths: args.policy.allowed_host_paths,
    };
    start(setup, parts)?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    parts.spawn("agent", stop, async move {
        Ok(Agent::run(config, runtimes, cancel).await?)
    });
    Ok(())
}
