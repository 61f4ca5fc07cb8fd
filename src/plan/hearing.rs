//! Which reports of an agent are news, when each node was last heard, and which apps wait for
//! the first word of one.
//!
//! All of it is memory of one leadership: a new leader begins to listen anew. `T` is a moment
//! of a monotonic clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use super::Spoken;
use super::lease::Moment;
use crate::model::{App, AppKey, Epoch, Liveness, NodeName, Snapshot, Timestamp};
use crate::mutant::{Mutant, mutant};

/// Predecessors of an agent's process that are remembered, so that what they sent late is dropped.
const PREDECESSORS: usize = 16;

/// Silence of an agent's process after which one that it seemed to follow is heard again: two
/// heartbeats. What a dead process sent may arrive after the first word of the living one, which
/// a new leader then takes for the older of the two.
const SUCCESSOR_SILENT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Hearing<T> {
    of: BTreeMap<NodeName, Heard<T>>,
    /// How many nodes have told all that they know in which leadership.
    told: (Epoch, usize),
}

impl<T> Default for Hearing<T> {
    fn default() -> Hearing<T> {
        Hearing {
            of: BTreeMap::new(),
            told: (Epoch(0), 0),
        }
    }
}

/// What the agent's process said last.
#[derive(Clone, Debug)]
struct Heard<T> {
    epoch: Epoch,
    at: T,
    session: Uuid,
    sequence: u64,
    /// When this process said that.
    said: T,
    /// All that it knows was written down once in this leadership.
    told: bool,
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

impl<T: Moment> Hearing<T> {
    /// How a report that arrives `now` stands to those taken in under `epoch`.
    pub fn order(
        &self,
        epoch: Epoch,
        node: &NodeName,
        session: Uuid,
        sequence: u64,
        now: T,
    ) -> Order {
        if mutant(Mutant::LateReportsTaken) {
            return Order::Next;
        }
        match self.of.get(node).filter(|h| h.epoch == epoch) {
            Some(heard) if heard.session == session && sequence <= heard.sequence => Order::Late,
            Some(heard)
                if heard.predecessors.contains(&session)
                    && now.since(heard.said) < SUCCESSOR_SILENT =>
            {
                Order::Predecessor
            }
            Some(_) | None => Order::Next,
        }
    }
}

impl<T: Copy> Hearing<T> {
    /// A sign of life at `at`, and the last word taken in.
    pub fn heard(&mut self, epoch: Epoch, node: &NodeName, session: Uuid, sequence: u64, at: T) {
        let fresh = || Heard {
            epoch,
            at,
            session,
            sequence,
            said: at,
            told: false,
            predecessors: VecDeque::new(),
        };
        let heard = self.of.entry(node.clone()).or_insert_with(fresh);
        if heard.epoch != epoch {
            *heard = fresh();
        } else if heard.session != session {
            heard.predecessors.retain(|known| *known != session);
            if heard.predecessors.len() == PREDECESSORS {
                heard.predecessors.pop_front();
            }
            heard.predecessors.push_back(heard.session);
            heard.session = session;
        }
        heard.at = at;
        heard.said = at;
        heard.sequence = sequence;
    }

    /// What was heard last could not be taken in: the same may come again.
    pub fn unheard(&mut self, node: &NodeName, session: Uuid, sequence: u64) {
        if let Some(heard) = self.of.get_mut(node)
            && heard.session == session
            && heard.sequence == sequence
        {
            heard.sequence = sequence.saturating_sub(1);
        }
    }

    /// A report of all instances is written down. Whether it is the node's first in this
    /// leadership.
    pub fn told(&mut self, epoch: Epoch, node: &NodeName, session: Uuid, sequence: u64) -> bool {
        let this = |h: &&mut Heard<T>| {
            (h.epoch, h.session, h.sequence) == (epoch, session, sequence) && !h.told
        };
        let Some(heard) = self.of.get_mut(node).filter(this) else {
            return false;
        };
        heard.told = true;
        let (of, number) = self.told;
        self.told = (epoch, 1 + if of == epoch { number } else { 0 });
        true
    }

    /// A node whose word is needed before anything is decided about the app, and that has not
    /// spoken in this leadership. What was stored of its instances may be long over: nobody
    /// listened until now. Those that count as silent are not waited for.
    pub fn lacks<'a>(
        &self,
        epoch: Epoch,
        snapshot: &Snapshot,
        app: &'a App,
    ) -> Option<&'a NodeName> {
        // Mostly all have: then nothing is looked up.
        let (of, told) = self.told;
        let all = of == epoch && told >= snapshot.nodes.len();
        if all || app.declared.is_none() {
            return None;
        }
        let told = |node| {
            self.of
                .get(node)
                .is_some_and(|h| h.epoch == epoch && h.told)
        };
        let expected = |node| {
            let node = snapshot.nodes.get(node);
            node.is_some_and(|n| n.liveness == Liveness::Ready)
        };
        let running = app.instances.values().filter(|i| i.wants_run());
        let mut nodes = running.map(|i| &i.node);
        nodes.find(|node| !told(node) && expected(node))
    }

    /// The nodes with instances of these apps that are stored as silent and have spoken in this
    /// leadership, at what time. Of others no plan of these apps asks.
    pub fn of_silent<'a>(
        &self,
        epoch: Epoch,
        snapshot: &Snapshot,
        apps: impl IntoIterator<Item = &'a AppKey>,
        time: impl Fn(T) -> Timestamp,
    ) -> Spoken {
        let apps = apps.into_iter().filter_map(|app| snapshot.apps.get(app));
        let hosts = apps.flat_map(|app| app.instances.values().map(|i| &i.node));
        let silent = hosts.filter(|name| !snapshot.hears(name));
        let spoken = silent.filter_map(|name| {
            let at = self.last_heard_of(epoch, name)?;
            Some((name.clone(), time(at)))
        });
        spoken.collect()
    }

    /// A sign of life alone.
    pub fn alive(&mut self, node: &NodeName, at: T) {
        if let Some(heard) = self.of.get_mut(node) {
            heard.at = at;
        }
    }

    /// Last sign of life of each node in this leadership.
    pub fn last_heard(&self, epoch: Epoch) -> impl Iterator<Item = (&NodeName, T)> {
        self.of
            .iter()
            .filter(move |(_, h)| h.epoch == epoch)
            .map(|(node, h)| (node, h.at))
    }

    /// The same of one node.
    pub fn last_heard_of(&self, epoch: Epoch, node: &NodeName) -> Option<T> {
        let heard = self.of.get(node).filter(|h| h.epoch == epoch)?;
        Some(heard.at)
    }
}

/// Apps that wait for the first word of a node: each is filed under one.
#[derive(Clone, Debug, Default)]
pub struct Unheard(BTreeMap<NodeName, BTreeSet<AppKey>>);

impl Unheard {
    /// Takes those out of `apps` that have to wait; returns them with whom they wait for.
    pub fn hold_back<T: Copy>(
        &mut self,
        hearing: &Hearing<T>,
        epoch: Epoch,
        snapshot: &Snapshot,
        apps: &mut BTreeSet<AppKey>,
    ) -> Vec<(AppKey, NodeName)> {
        let waits = |key: &AppKey| {
            let app = snapshot.apps.get(key)?;
            Some((key.clone(), hearing.lacks(epoch, snapshot, app)?.clone()))
        };
        let held: Vec<(AppKey, NodeName)> = apps.iter().filter_map(waits).collect();
        for (app, node) in &held {
            apps.remove(app);
            self.0.entry(node.clone()).or_default().insert(app.clone());
        }
        held
    }

    /// The apps that waited for that node.
    pub fn told(&mut self, node: &NodeName) -> BTreeSet<AppKey> {
        self.0.remove(node).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Moment for u64 {
        fn since(self, earlier: u64) -> Duration {
            Duration::from_secs(self.saturating_sub(earlier))
        }
    }

    #[test]
    fn reports_that_come_late_are_told_apart() {
        let node: NodeName = "node-1".parse().unwrap();
        let mut hearing = Hearing::default();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let epoch = Epoch(1);
        assert_eq!(hearing.order(epoch, &node, a, 5, 0), Order::Next);
        hearing.heard(epoch, &node, a, 5, 0);
        assert_eq!(hearing.order(epoch, &node, a, 5, 1), Order::Late);
        assert_eq!(hearing.order(epoch, &node, a, 6, 1), Order::Next);
        hearing.heard(epoch, &node, b, 1, 1);
        assert_eq!(hearing.order(epoch, &node, a, 9, 10), Order::Predecessor);
        assert_eq!(hearing.order(epoch, &node, b, 2, 10), Order::Next);
        // A new leadership knows nothing of the old one's agents.
        assert_eq!(hearing.order(Epoch(2), &node, a, 1, 10), Order::Next);
    }

    /// The first word of the process before arrived after its own.
    #[test]
    fn who_goes_on_speaking_is_heard_in_the_end() {
        let node: NodeName = "node-1".parse().unwrap();
        let mut hearing = Hearing::default();
        let (dead, living) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let epoch = Epoch(1);
        hearing.heard(epoch, &node, living, 3, 0);
        assert_eq!(hearing.order(epoch, &node, dead, 34, 1), Order::Next);
        hearing.heard(epoch, &node, dead, 34, 1);
        for (sequence, now) in [(4, 2), (5, 6), (6, 10)] {
            let order = hearing.order(epoch, &node, living, sequence, now);
            assert_eq!(order, Order::Predecessor);
            // That somebody speaks for the node does not keep it waiting.
            hearing.alive(&node, now);
        }
        assert_eq!(hearing.order(epoch, &node, living, 7, 11), Order::Next);
        hearing.heard(epoch, &node, living, 7, 11);
        assert_eq!(hearing.order(epoch, &node, living, 8, 12), Order::Next);
        assert_eq!(
            hearing.order(epoch, &node, dead, 35, 12),
            Order::Predecessor
        );
    }
}
