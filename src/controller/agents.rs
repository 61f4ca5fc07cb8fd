//! Which agents are connected, and what was heard of them.
//!
//! One session per node: a newer one ends the older. All of it is memory of
//! this leadership; a new leader begins to listen anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::agent::ToAgent;
use crate::model::{Epoch, NodeName};

/// Requests to one agent that may wait to be sent; more than this is refused.
const REQUEST_BACKLOG: usize = 64;

/// Predecessors of an agent's process that are remembered, so that what they sent late is dropped.
const PREDECESSORS: usize = 16;

#[derive(Default)]
pub(super) struct Agents {
    sessions: BTreeMap<NodeName, Session>,
    heard: BTreeMap<NodeName, Heard>,
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

/// What the agent's process said last.
struct Heard {
    epoch: Epoch,
    at: Instant,
    session: Uuid,
    sequence: u64,
    predecessors: VecDeque<Uuid>,
}

/// How a report stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Next,
    /// A later one of the same process was taken in already.
    Late,
    /// Of a process that another has followed.
    Predecessor,
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

    pub fn order(&self, epoch: Epoch, node: &NodeName, session: Uuid, sequence: u64) -> Order {
        match self.heard.get(node).filter(|h| h.epoch == epoch) {
            Some(heard) if heard.session == session && sequence <= heard.sequence => Order::Late,
            Some(heard) if heard.predecessors.contains(&session) => Order::Predecessor,
            Some(_) | None => Order::Next,
        }
    }

    /// A sign of life, and the last word taken in.
    pub fn heard(&mut self, epoch: Epoch, node: &NodeName, session: Uuid, sequence: u64) {
        let at = Instant::now();
        let fresh = || Heard {
            epoch,
            at,
            session,
            sequence,
            predecessors: VecDeque::new(),
        };
        let heard = self.heard.entry(node.clone()).or_insert_with(fresh);
        if heard.epoch != epoch {
            *heard = fresh();
        } else if heard.session != session {
            if heard.predecessors.len() == PREDECESSORS {
                heard.predecessors.pop_front();
            }
            heard.predecessors.push_back(heard.session);
            heard.session = session;
        }
        heard.at = at;
        heard.sequence = sequence;
    }

    /// What was heard last could not be taken in: the same may come again.
    pub fn unheard(&mut self, node: &NodeName, session: Uuid, sequence: u64) {
        if let Some(heard) = self.heard.get_mut(node)
            && heard.session == session
            && heard.sequence == sequence
        {
            heard.sequence = sequence.saturating_sub(1);
        }
    }

    /// A sign of life alone.
    pub fn alive(&mut self, node: &NodeName) {
        if let Some(heard) = self.heard.get_mut(node) {
            heard.at = Instant::now();
        }
    }

    /// Last sign of life of each node in this leadership.
    pub fn last_heard(&self, epoch: Epoch) -> impl Iterator<Item = (&NodeName, Instant)> {
        self.heard
            .iter()
            .filter(move |(_, h)| h.epoch == epoch)
            .map(|(node, h)| (node, h.at))
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

    #[test]
    fn reports_that_come_late_are_told_apart() {
        let mut agents = Agents::default();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let epoch = Epoch(1);
        assert_eq!(agents.order(epoch, &node(), a, 5), Order::Next);
        agents.heard(epoch, &node(), a, 5);
        assert_eq!(agents.order(epoch, &node(), a, 5), Order::Late);
        assert_eq!(agents.order(epoch, &node(), a, 6), Order::Next);
        agents.heard(epoch, &node(), b, 1);
        assert_eq!(agents.order(epoch, &node(), a, 9), Order::Predecessor);
        assert_eq!(agents.order(epoch, &node(), b, 2), Order::Next);
        // A new leadership knows nothing of the old one's agents.
        assert_eq!(agents.order(Epoch(2), &node(), a, 1), Order::Next);
    }
}
