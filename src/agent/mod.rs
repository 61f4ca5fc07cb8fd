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

pub mod found;
pub mod runtime;
pub mod step;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::model::NodeName;
use crate::model::quantity::Resources;
use runtime::Runtime;

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

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the agent's folder {path} cannot be used")]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the controller's address {url} cannot be used: {why}")]
    Controller { url: String, why: String },
}

/// A node's agent.
pub struct Agent;

impl Agent {
    /// Runs until `cancel`; what it started keeps running after it.
    pub async fn run(
        config: AgentConfig,
        runtimes: Vec<Arc<dyn Runtime>>,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        let _ = (config, runtimes);
        cancel.cancelled().await;
        Ok(())
    }
}
