//! `evenkeel controller`: API and decisions, against a Postgres that is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::stop::{Parts, Signals};
use super::{ControllerArgs, held, logging};
use crate::config::{DataDir, source_from_flag};
use crate::controller::{self, Handle, Options};
use crate::failpoint;
use crate::git::Mirrors;
use crate::http;
use crate::model::SourceSpec;
use crate::plan::Decision;
use crate::plan::operate::plan_add_source;
use crate::store::{ConnectOptions, Store};
use crate::telemetry;

const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Between two tries to add the source of `--git`.
const ADD_SOURCE_RETRY: Duration = Duration::from_millis(200);

/// What a controller is made of.
pub struct Setup<'a> {
    pub dir: &'a DataDir,
    pub cluster: String,
    pub listener: TcpListener,
    /// By which agents and other controllers reach it.
    pub address: String,
    /// By which people and forges reach it.
    pub external_url: Option<String>,
    pub store: Store,
    pub git: Option<SourceSpec>,
    pub allowed_host_paths: Vec<String>,
}

pub async fn run_controller(args: ControllerArgs) -> anyhow::Result<()> {
    logging::start(&args.log);
    failpoint::arm_from_env()?;
    telemetry::Exporter::check_env()?;
    let mut signals = Signals::catch()?;
    let dir = DataDir::open(args.data_dir.as_deref())?;
    let _lock = held::lock(&dir, "controller").await?;
    let git = args.git.as_deref().map(source_from_flag).transpose()?;
    let listener = held::listen(args.listen).await?;
    let Some(store) = signals.or(open_store(&dir, &args.database_url)).await? else {
        return Ok(());
    };
    let mut parts = Parts::default();
    let address = match &args.advertise_url {
        Some(url) => url.clone(),
        None => local_url(&listener)?,
    };
    let setup = Setup {
        dir: &dir,
        cluster: dir.cluster_name(Some(&args.cluster), String::new)?,
        listener,
        address,
        external_url: args.external.external_url,
        store: store.clone(),
        git,
        allowed_host_paths: args.policy.allowed_host_paths,
    };
    start(setup, &mut parts)?;
    let ended = parts.wait(&mut signals).await;
    parts.stop(STOP_DEADLINE).await;
    store.close().await;
    ended
}

/// URL of a listener for this machine itself.
pub fn local_url(listener: &TcpListener) -> anyhow::Result<String> {
    let mut address = listener
        .local_addr()
        .context("the listener has no address")?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(format!("http://{address}"))
}

/// A database with this program's schema, and the one that the folder belongs to.
pub async fn open_store(dir: &DataDir, url: &str) -> anyhow::Result<Store> {
    let store = Store::connect(url, ConnectOptions::default())
        .await
        .context(
            "the database cannot be used; check the URL, its user's rights, and that it runs",
        )?;
    store
        .migrate()
        .await
        .context("the database's schema cannot be brought up to date")?;
    let id = store
        .cluster_id()
        .await
        .context("the database does not say which one it is")?;
    dir.check_database(id)?;
    Ok(store)
}

/// Starts the controller, its API, and what adds the source of `--git`.
pub fn start(setup: Setup<'_>, parts: &mut Parts) -> anyhow::Result<Handle> {
    let Setup {
        dir,
        cluster,
        listener,
        address,
        external_url,
        store,
        git,
        allowed_host_paths,
    } = setup;
    let tokens = http::Tokens::new(&dir.token("admin-token")?, &dir.token("agent-token")?);
    let mirrors = Mirrors::open(dir.mirrors()).context("the folder of mirrors cannot be used")?;
    let local = listener
        .local_addr()
        .context("the listener has no address")?;
    let options = Options {
        allowed_host_paths,
        external_url,
        ..Options::new(cluster.clone(), dir.controller_id()?, address.clone())
    };

    let stop = CancellationToken::new();
    let handle = controller::start(store.clone(), mirrors, options, stop.clone());
    let running = handle.clone();
    parts.spawn("controller", stop.clone(), async move {
        running.stopped().await;
        Ok(())
    });
    if let Some(exporter) = telemetry::Exporter::from_env(&handle.options().holder)? {
        let stop = CancellationToken::new();
        let (handle, cancel) = (handle.clone(), stop.clone());
        parts.spawn("traces", stop, async move {
            telemetry::run(handle, exporter, cancel).await;
            Ok(())
        });
    }
    let state = http::AppState::new(handle.clone(), Some(store), tokens);
    let stop_api = CancellationToken::new();
    let cancel = stop_api.clone();
    parts.spawn("API", stop_api, async move {
        http::serve(listener, state, cancel).await;
        Ok(())
    });
    dir.write_listen(&local.to_string())?;
    tracing::info!(%local, cluster, data_dir = %dir.path().display(), "the API listens; the admin's token is in the data folder");
    if let Some(spec) = git {
        let stop_adding = stop.child_token();
        let (handle, cancel) = (handle.clone(), stop_adding.clone());
        parts.spawn("source of --git", stop_adding, async move {
            cancel.run_until_cancelled(add_source(handle, spec)).await;
            // Its end is not the role's end.
            cancel.cancelled().await;
            Ok(())
        });
    }
    Ok(handle)
}

/// Adds the source once there is a leader to do it, unless it is there.
async fn add_source(handle: Handle, spec: SourceSpec) {
    loop {
        let known = handle.read(|s| s.sources.get(&spec.name).map(|s| s.spec.clone()));
        if let Ok(Some(known)) = known {
            if known.url != spec.url {
                tracing::warn!(
                    source = %spec.name, given = spec.url, followed = known.url,
                    "--git names a source that follows another repository; it stays as it is"
                );
            }
            return;
        }
        let added = handle
            .transact(&format!("add source {}", spec.name), |snapshot, now, _| {
                if snapshot.sources.contains_key(&spec.name) {
                    return Ok(Decision::default());
                }
                plan_add_source(now, snapshot, spec.clone(), "--git")
            })
            .await;
        match added {
            Ok(_) => {}
            Err(controller::Error::Refused(refusal)) => {
                tracing::error!(source = %spec.name, "--git: {refusal}");
                return;
            }
            Err(error) => tracing::debug!(%error, "the source of --git is not added yet"),
        }
        tokio::time::sleep(ADD_SOURCE_RETRY).await;
    }
}
