//! What a connected agent is told: its full desired set at once and whenever
//! its content changes, requests for logs, and a ping when there is nothing new.
//!
//! A stream does its own work when it is polled; there is no task behind it.
//! It ends with the leadership, and when a newer session of the node begins.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::agents::Connection;
use super::{Error, Handle, lock};
use crate::api::agent::{HEARTBEAT_SECONDS, ToAgent};
use crate::model::{DesiredInstance, DesiredSet, NodeName};
use crate::plan::dispatch::sharing_set;

struct Telling {
    handle: Handle,
    node: NodeName,
    connection: Connection,
    term: CancellationToken,
    ping: Interval,
    sent: Option<DesiredSet>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        lock(&self.handle.0.agents).disconnect(&self.node, self.connection.id);
    }
}

impl Handle {
    /// A node's agent opens its stream: its desired set at once, then whenever it changes,
    /// and a ping every heartbeat. A newer stream of the same node ends the older one.
    /// `NotLeader` while this controller does not lead.
    pub fn agent_connected(&self, node: NodeName) -> Result<BoxStream<'static, ToAgent>, Error> {
        let leading = self.0.image.leading()?;
        let connection = lock(&self.0.agents).connect(&node);
        tracing::info!(%node, "agent connected");
        let mut ping = interval(Duration::from_secs(HEARTBEAT_SECONDS));
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let telling = Telling {
            handle: self.clone(),
            node,
            connection,
            term: leading.term,
            ping,
            sent: None,
        };
        Ok(stream::unfold(telling, |mut telling| async move {
            let message = telling.next().await?;
            Some((message, telling))
        })
        .boxed())
    }
}

impl Telling {
    async fn next(&mut self) -> Option<ToAgent> {
        loop {
            if self.sent.is_none() {
                return self.desired();
            }
            tokio::select! {
                biased;
                _ = self.term.cancelled() => return None,
                _ = self.connection.end.cancelled() => return None,
                _ = self.connection.changed.notified() => {
                    if let Some(message) = self.desired() {
                        return Some(message);
                    }
                    self.handle.0.image.leading().ok()?;
                }
                Some(request) = self.connection.requests.recv() => return Some(request),
                _ = self.ping.tick() => {
                    self.handle.0.image.leading().ok()?;
                    return Some(ToAgent::Ping);
                }
            }
        }
    }

    /// The node's set, if this controller leads and it differs from what was sent.
    fn desired(&mut self) -> Option<ToAgent> {
        let leading = self.handle.0.image.leading().ok()?;
        let cluster = self.handle.cluster();
        let set = self
            .handle
            .read(|s| {
                let specs = &mut lock(&self.handle.0.run_specs);
                sharing_set(s, cluster, leading.epoch, &self.node, specs)
            })
            .ok()?;
        if self
            .sent
            .as_ref()
            .is_some_and(|sent| same_content(sent, &set))
        {
            return None;
        }
        self.sent = Some(set.clone());
        Some(ToAgent::Desired { set: Box::new(set) })
    }
}

fn same_content(a: &DesiredSet, b: &DesiredSet) -> bool {
    a.epoch == b.epoch
        && a.images == b.images
        && a.instances.len() == b.instances.len()
        && a.instances.values().zip(b.instances.values()).all(same)
}

/// Sets share their run specs: most need not be looked into.
fn same((a, b): (&DesiredInstance, &DesiredInstance)) -> bool {
    let DesiredInstance {
        id,
        app,
        slot,
        release,
        commit,
        goal,
        run,
    } = a;
    (id, slot, release, goal) == (&b.id, &b.slot, &b.release, &b.goal)
        && (app, commit) == (&b.app, &b.commit)
        && (Arc::ptr_eq(run, &b.run) || run == &b.run)
}
