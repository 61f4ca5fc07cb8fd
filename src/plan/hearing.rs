//! Which reports of an agent are news, and when each node was last heard.
//!
//! All of it is memory of one leadership: a new leader begins to listen anew. `T` is a moment
//! of a monotonic clock.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use crate::model::{Epoch, NodeName};
use crate::mutant::{Mutant, mutant};

/// Predecessors of an agent's process that are remembered, so that what they sent late is dropped.
const PREDECESSORS: usize = 16;

#[derive(Clone, Debug)]
pub struct Hearing<T>(BTreeMap<NodeName, Heard<T>>);

impl<T> Default for Hearing<T> {
    fn default() -> Hearing<T> {
        Hearing(BTreeMap::new())
    }
}

/// What the agent's process said last.
#[derive(Clone, Debug)]
struct Heard<T> {
    epoch: Epoch,
    at: T,
    session: Uuid,
    sequence: u64,
    predecessors: VecDeque<Uuid>,
}

/// How a report stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Next,
    /// A later one of the same process was taken in already.
    Late,
    /// Of a process that another has followed.
    Predecessor,
}

impl<T: Copy> Hearing<T> {
    pub fn order(&self, epoch: Epoch, node: &NodeName, session: Uuid, sequence: u64) -> Order {
        if mutant(Mutant::LateReportsTaken) {
            return Order::Next;
        }
        match self.0.get(node).filter(|h| h.epoch == epoch) {
            Some(heard) if heard.session == session && sequence <= heard.sequence => Order::Late,
            Some(heard) if heard.predecessors.contains(&session) => Order::Predecessor,
            Some(_) | None => Order::Next,
        }
    }

    /// A sign of life at `at`, and the last word taken in.
    pub fn heard(&mut self, epoch: Epoch, node: &NodeName, session: Uuid, sequence: u64, at: T) {
        let fresh = || Heard {
            epoch,
            at,
            session,
            sequence,
            predecessors: VecDeque::new(),
        };
        let heard = self.0.entry(node.clone()).or_insert_with(fresh);
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
        if let Some(heard) = self.0.get_mut(node)
            && heard.session == session
            && heard.sequence == sequence
        {
            heard.sequence = sequence.saturating_sub(1);
        }
    }

    /// A sign of life alone.
    pub fn alive(&mut self, node: &NodeName, at: T) {
        if let Some(heard) = self.0.get_mut(node) {
            heard.at = at;
        }
    }

    /// Last sign of life of each node in this leadership.
    pub fn last_heard(&self, epoch: Epoch) -> impl Iterator<Item = (&NodeName, T)> {
        self.0
            .iter()
            .filter(move |(_, h)| h.epoch == epoch)
            .map(|(node, h)| (node, h.at))
    }

    /// The same of one node.
    pub fn last_heard_of(&self, epoch: Epoch, node: &NodeName) -> Option<T> {
        let heard = self.0.get(node).filter(|h| h.epoch == epoch)?;
        Some(heard.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_come_late_are_told_apart() {
        let node: NodeName = "node-1".parse().unwrap();
        let mut hearing = Hearing::default();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let epoch = Epoch(1);
        assert_eq!(hearing.order(epoch, &node, a, 5), Order::Next);
        hearing.heard(epoch, &node, a, 5, 0);
        assert_eq!(hearing.order(epoch, &node, a, 5), Order::Late);
        assert_eq!(hearing.order(epoch, &node, a, 6), Order::Next);
        hearing.heard(epoch, &node, b, 1, 1);
        assert_eq!(hearing.order(epoch, &node, a, 9), Order::Predecessor);
        assert_eq!(hearing.order(epoch, &node, b, 2), Order::Next);
        // A new leadership knows nothing of the old one's agents.
        assert_eq!(hearing.order(Epoch(2), &node, a, 1), Order::Next);
    }
}
