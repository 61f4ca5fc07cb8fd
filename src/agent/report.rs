//! Tells the controller what the node sees: changes at once, everything every heartbeat.
//!
//! A change waits only while another report is on its way, and is merged with
//! what happened meanwhile. Notes are kept until a report with them was taken.

mod notebook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use notebook::Notebook;

use super::step::{InstanceView, Millis};
use super::stream::Pause;
use super::worker::Clock;
use crate::api::agent::{HEARTBEAT_SECONDS, InstanceReport, Note, Report};
use crate::causes::chain;
use crate::client::Client;
use crate::model::{Epoch, Generation, ImageState, InstanceId, NodeFacts, NodeName};

/// The node as the worker last saw it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NodeView {
    /// Every runtime was asked at least once: silence about an instance means something.
    pub settled: bool,
    pub applied: Option<(Epoch, Generation)>,
    pub instances: BTreeMap<InstanceId, InstanceView>,
    pub images: BTreeMap<String, ImageState>,
}

/// Makes reports; knows what was taken.
#[derive(Debug)]
struct Builder {
    node: NodeName,
    /// Where published ports are reached.
    address: String,
    session: Uuid,
    sequence: u64,
    taken: Option<(NodeView, NodeFacts)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Full,
    Changes,
}

impl Builder {
    /// `None`: nothing changed.
    fn build(
        &mut self,
        view: &NodeView,
        facts: &NodeFacts,
        notes: Vec<Note>,
        extent: Extent,
        now: Millis,
    ) -> Option<Report> {
        let base = match extent {
            Extent::Full => None,
            Extent::Changes => self.taken.as_ref(),
        };
        let instances: Vec<InstanceReport> = view
            .instances
            .values()
            .filter(|i| base.is_none_or(|(v, _)| v.instances.get(&i.id) != Some(i)))
            .map(|i| instance_report(i, &self.address, now))
            .collect();
        // A new set may ask for an image that the controller has forgotten since.
        let base_images = base.filter(|(v, _)| v.applied == view.applied);
        let images: BTreeMap<String, ImageState> = view
            .images
            .iter()
            .filter(|(name, state)| {
                base_images.is_none_or(|(v, _)| v.images.get(*name) != Some(state))
            })
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect();
        let nothing_new = base.is_some_and(|(v, f)| v.applied == view.applied && f == facts);
        if nothing_new && instances.is_empty() && images.is_empty() && notes.is_empty() {
            return None;
        }
        self.sequence += 1;
        Some(Report {
            node: self.node.clone(),
            session: self.session,
            sequence: self.sequence,
            facts: facts.clone(),
            applied: view.applied,
            full: base.is_none(),
            instances,
            images,
            notes,
        })
    }
}

fn instance_report(view: &InstanceView, address: &str, now: Millis) -> InstanceReport {
    let host = if address.contains(':') && !address.starts_with('[') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    InstanceReport {
        id: view.id,
        phase: view.phase,
        ready_ms: view.ready_since.map(|since| now.since(since)),
        running_ms: view.running_since.map(|since| now.since(since)),
        exits: view.exits,
        restarts: view.restarts,
        container_id: view.container_id.clone(),
        ports: view
            .published_ports
            .iter()
            .map(|(name, port)| (name.clone(), format!("{host}:{port}")))
            .collect(),
        last_exit: view.last_exit.clone(),
        last_probe: view.last_probe.clone(),
        failure: view.failure.clone(),
        log_tail: view.log_tail.clone(),
    }
}

/// The reporting task.
pub(super) struct Reporter {
    pub node: NodeName,
    pub address: String,
    pub client: Client,
    pub clock: Clock,
    pub view: watch::Receiver<Arc<NodeView>>,
    pub facts: watch::Receiver<NodeFacts>,
    pub notebook: Arc<Notebook>,
    /// A new connection wants everything.
    pub full: Arc<Notify>,
}

impl Reporter {
    pub async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.keep_reporting() => {}
        }
    }

    async fn keep_reporting(mut self) {
        let heartbeat = Duration::from_secs(HEARTBEAT_SECONDS);
        let mut builder = Builder {
            node: self.node.clone(),
            address: self.address.clone(),
            session: crate::clock::uuid(),
            sequence: 0,
            taken: None,
        };
        let mut pause = Pause::new();
        let mut told = false;
        // The senders live as long as this task: they are parts of the same agent.
        if self.view.wait_for(|view| view.settled).await.is_err() {
            return;
        }
        let mut extent = Extent::Full;
        let mut next_full = Instant::now();
        loop {
            let view = Arc::clone(&self.view.borrow_and_update());
            let facts = self.facts.borrow_and_update().clone();
            let now = self.clock.now();
            let (notes, upto) = self.notebook.pending(now);
            if let Some(report) = builder.build(&view, &facts, notes, extent, now) {
                match self.client.agent_report(&report).await {
                    Ok(()) => {
                        if std::mem::take(&mut told) {
                            tracing::info!(node = %self.node, "the controller takes reports again");
                        }
                        pause = Pause::new();
                        self.notebook.taken(upto);
                        builder.taken = Some((NodeView::clone(&view), facts));
                        if report.full {
                            next_full = Instant::now() + heartbeat;
                        }
                        extent = Extent::Changes;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut told, true) {
                            let error = chain(&error);
                            tracing::warn!(node = %self.node, error, "report not taken");
                        }
                        // It may have been taken, or the controller may be another one now.
                        extent = Extent::Full;
                        tokio::select! {
                            () = tokio::time::sleep(pause.next()) => {}
                            () = self.full.notified() => {}
                        }
                        continue;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(next_full) => extent = Extent::Full,
                () = self.full.notified() => extent = Extent::Full,
                () = self.notebook.written() => {}
                changed = self.view.changed() => if changed.is_err() { return },
                changed = self.facts.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests;
