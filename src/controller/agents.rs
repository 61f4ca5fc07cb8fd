//! Which agents are connected, and what was heard of them.
//!
//! One session per node: a newer one ends the older. All of it is memory of
//! this leadership; a new leader begins to listen anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::agent::ToAgent;
use crate::model::NodeName;
use crate::plan::hearing::Hearing;

/// Requests to one agent that may wait to be sent; more than this is refused.
const REQUEST_BACKLOG: usize = 64;

#[derive(Default)]
pub(super) struct Agents {
    sessions: BTreeMap<NodeName, Session>,
    /// What was heard of them.
    pub hearing: Hearing<Instant>,
    next_id: u64,
}

struct Session {
    id: u64,
    changed: Arc<Notify>,
    requests: mpsc::Sender<ToAgent>,
    end: CancellationToken,
}

/// The stream's side of a session.
pub(super) struct Connection {
    pub id: u64,
    /// The node's desired set may differ.
    pub changed: Arc<Notify>,
    pub requests: mpsc::Receiver<ToAgent>,
    /// A newer session took over.
    pub end: CancellationToken,
}

impl Agents {
    pub fn connect(&mut self, node: &NodeName) -> Connection {
        self.next_id += 1;
        let (requests, receiver) = mpsc::channel(REQUEST_BACKLOG);
        let session = Session {
            id: self.next_id,
            changed: Arc::new(Notify::new()),
            requests,
            end: CancellationToken::new(),
        };
        let connection = Connection {
            id: session.id,
            changed: Arc::clone(&session.changed),
            requests: receiver,
            end: session.end.clone(),
        };
        if let Some(older) = self.sessions.insert(node.clone(), session) {
            older.end.cancel();
        }
        connection
    }

    /// Streams that are open.
    pub fn connected(&self) -> usize {
        self.sessions.len()
    }

    pub fn disconnect(&mut self, node: &NodeName, id: u64) {
        if self.sessions.get(node).is_some_and(|s| s.id == id) {
            self.sessions.remove(node);
        }
    }

    /// Whether the request is on its way to the node.
    pub fn request(&self, node: &NodeName, request: ToAgent) -> bool {
        self.sessions
            .get(node)
            .is_some_and(|s| s.requests.try_send(request).is_ok())
    }

    pub fn wake(&self, nodes: &BTreeSet<NodeName>) {
        for node in nodes {
            if let Some(session) = self.sessions.get(node) {
                session.changed.notify_one();
            }
        }
    }

    pub fn wake_all(&self) {
        for session in self.sessions.values() {
            session.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeName {
        "node-1".parse().unwrap()
    }

    #[test]
    fn a_newer_session_ends_the_older_and_outlives_its_goodbye() {
        let mut agents = Agents::default();
        let first = agents.connect(&node());
        let second = agents.connect(&node());
        assert!(first.end.is_cancelled() && !second.end.is_cancelled());
        agents.disconnect(&node(), first.id);
        assert!(agents.sessions.contains_key(&node()));
        agents.disconnect(&node(), second.id);
        assert!(agents.sessions.is_empty());
    }
}
