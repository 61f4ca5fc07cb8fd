//! The node's side: brings what runs here to the desired set, and reports.
//!
//! ```text
//! stream ─▶ ledger ─▶ step (pure) ─▶ worker ─▶ runtime {docker, process, fake}
//!                        ▲             │  ▲            │
//!                        └── Local ◀───┘  └── probes   └─ hints
//!                                   └─▶ report ─▶ controller
//! ```
//!
//! Invariants: nothing is done before the set that asks for it is in the
//! ledger; an older set is refused; instances outlive the agent; no controller
//! is needed to keep what runs running.

pub mod admission;
mod carry;
mod commands;
mod facts;
mod files;
pub mod found;
pub mod ledger;
mod logs;
mod memory;
pub mod probe;
pub mod report;
pub mod runtime;
pub mod step;
mod stream;
#[cfg(test)]
#[allow(dead_code, reason = "each test program uses some of it")]
mod testing;
mod worker;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client};
use crate::model::NodeName;
use crate::model::quantity::Resources;
use ledger::Ledger;
use memory::MemoryFile;
use probe::Prober;
use report::{NodeView, Notebook};
use runtime::Runtime;
use worker::{Orders, Worker};

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub node: NodeName,
    /// Its own folder: the ledger and the memory live here.
    pub data_dir: PathBuf,
    /// Base, such as `http://127.0.0.1:7600`.
    pub controller_url: String,
    /// Bearer token.
    pub token: String,
    /// Where the node's published ports are reached: a host name or address.
    pub address: String,
    /// The operator's own attributes; they win over detected ones.
    pub attributes: BTreeMap<String, String>,
    /// Instead of what `/proc` says.
    pub capacity: Option<Resources>,
}

/// Why an agent could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the agent's folder {path} cannot be used")]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the controller's address cannot be used")]
    Controller(#[source] client::Error),
    #[error("probes cannot be made")]
    Probes(#[source] reqwest::Error),
    #[error("the agent's {task} ended unexpectedly")]
    Ended { task: &'static str },
}

/// How long the parts of an agent may take to end.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// A node's agent.
pub struct Agent;

/// Makes the agent's folder if need be, and closes to others the files that an earlier version
/// left open. The folder can be passed through but not listed: programs under other users have
/// their own folders below it.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(folder)?;
    for name in ["ledger", "ledger.previous", "memory"] {
        files::close(&folder.join(name))?;
    }
    Ok(())
}

impl Agent {
    /// Runs until `cancel`; what it started keeps running after it.
    pub async fn run(
        config: AgentConfig,
        runtimes: Vec<Arc<dyn Runtime>>,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        let cancel = cancel.child_token();
        let _guard = cancel.clone().drop_guard();
        make_folder(&config.data_dir).map_err(|source| Error::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        let client = Client::new(&config.controller_url, Some(config.token.clone()))
            .map_err(Error::Controller)?;
        let prober = Prober::new().map_err(Error::Probes)?;
        let runtimes: BTreeMap<&'static str, Arc<dyn Runtime>> =
            runtimes.into_iter().map(|r| (r.name(), r)).collect();

        let ledger = Ledger::open(&config.data_dir, config.node.clone());
        let orders = watch::Sender::new(Orders {
            set: ledger.set().cloned(),
            hold: ledger.hold().map(str::to_owned),
        });
        if let Some(why) = ledger.hold() {
            tracing::error!(node = %config.node, why, "the ledger cannot be used; nothing is touched");
        }
        let view = watch::Sender::new(Arc::new(NodeView::default()));
        let notebook = Arc::new(Notebook::default());
        let facts = watch::Sender::new(facts::first(&config, &runtimes).await);
        let full = Arc::new(Notify::new());

        let worker = Worker::new(
            runtimes.clone(),
            MemoryFile::new(&config.data_dir),
            prober,
            orders.subscribe(),
            view.clone(),
            Arc::clone(&notebook),
            cancel.clone(),
        );
        let reporter = report::Reporter {
            node: config.node.clone(),
            address: config.address.clone(),
            client: client.clone(),
            clock: worker.clock(),
            view: view.subscribe(),
            facts: facts.subscribe(),
            notebook,
            full: Arc::clone(&full),
        };
        let stream = stream::Stream {
            node: config.node.clone(),
            client: client.clone(),
            full,
            logs: logs::Sender::new(client.clone(), runtimes.clone(), cancel.clone()),
            commands: commands::Commands::new(client, runtimes.clone(), cancel.clone()),
        };
        let commands = stream.commands.ended();

        let mut tasks = Tasks::new(cancel.clone());
        tasks.spawn("worker", worker.run());
        tasks.spawn("reporter", reporter.run(cancel.clone()));
        tasks.spawn("commands", commands);
        tasks.spawn("stream", stream.run(ledger, orders, cancel.clone()));
        tasks.spawn("facts", facts::keep(config, runtimes, facts, cancel));
        tasks.run().await
    }
}

/// The agent's parts: each ends only because the agent does.
struct Tasks {
    set: JoinSet<&'static str>,
    cancel: CancellationToken,
}

impl Tasks {
    fn new(cancel: CancellationToken) -> Tasks {
        Tasks {
            set: JoinSet::new(),
            cancel,
        }
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    async fn run(mut self) -> Result<(), Error> {
        let mut ended = None;
        tokio::select! {
            () = self.cancel.cancelled() => {}
            first = self.set.join_next() => {
                if !self.cancel.is_cancelled() {
                    let task = match first {
                        Some(Ok(name)) => name,
                        Some(Err(_)) | None => "task",
                    };
                    ended = Some(Error::Ended { task });
                }
            }
        }
        self.cancel.cancel();
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, all).await.is_err() {
            tracing::warn!("parts of the agent did not end in time");
        }
        ended.map_or(Ok(()), Err)
    }
}
