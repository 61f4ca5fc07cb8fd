//! What nodes say, and their silence. What it means is decided in
//! `plan::observe`; a report that brings nothing new costs no transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::image::Leading;
use super::leadership::chain;
use super::{Error, Handle, Refusal, lock};
use crate::api::agent::Report;
use crate::model::{AppKey, NodeName, Snapshot, Timestamp};
use crate::plan::Spoken;
use crate::plan::hearing::Order;
use crate::plan::observe::{
    NodeReport, STOOD_STILL, SeenInstance, SeenNote, plan_liveness, plan_report,
};
use crate::store;

/// Between two looks at who is silent.
const LIVENESS_TICK: Duration = Duration::from_secs(1);

/// Leaderships between a copy of the database and its restoration; more is another cluster's.
const LARGEST_LEAP: i64 = 1_000_000;

impl Handle {
    /// Takes in what a node says. A late report changes nothing. `Refused`: another
    /// process reports under this node's name. Other errors: say it again.
    pub async fn report(&self, report: Report) -> Result<(), Error> {
        let leading = self.0.image.leading()?;
        self.outrun(&leading, &report).await?;
        let (session, sequence, full) = (report.session, report.sequence, report.full);
        let (node, report) = (report.node.clone(), node_report(report));
        let order = lock(&self.0.agents).hearing.order(
            leading.epoch,
            &node,
            session,
            sequence,
            Instant::now(),
        );
        match order {
            Order::Next => {}
            Order::Late => {
                lock(&self.0.agents).hearing.alive(&node, Instant::now());
                return Ok(());
            }
            Order::Predecessor => return Err(displaced(&node)),
        }
        let news = self.read(|s| plan_report(leading.now(), s, &report))?;
        let agents = &self.0.agents;
        if news.changes.is_empty() && news.events.is_empty() {
            lock(agents)
                .hearing
                .heard(leading.epoch, &node, session, sequence, Instant::now());
            if full {
                self.told(&leading, &node, session, sequence);
            }
            return Ok(());
        }
        self.arrive(&leading, session, sequence, full, report).await
    }

    /// All that a node knows is in the state; what waited for that is planned.
    pub(super) fn told(&self, leading: &Leading, node: &NodeName, session: Uuid, sequence: u64) {
        let first = lock(&self.0.agents)
            .hearing
            .told(leading.epoch, node, session, sequence);
        if first {
            lock(&self.0.marks).told.insert(node.clone());
            self.0.marked.notify_one();
        }
    }

    /// A node that obeys a later leadership or state than this one refuses all that it is
    /// told. Either another controller leads by now, or the database was put back to an
    /// older copy: then its state is what counts, under an epoch that the node accepts.
    async fn outrun(&self, leading: &Leading, report: &Report) -> Result<(), Error> {
        let Some((seen, generation)) = report.applied else {
            return Ok(());
        };
        let (ours, known) = self.read(|s| (s.generation, s.nodes.contains_key(&report.node)))?;
        if (seen, generation) <= (leading.epoch, ours) {
            return Ok(());
        }
        // A new database under an old name must not take what runs for leftovers.
        if !known || seen.0.saturating_sub(leading.epoch.0) > LARGEST_LEAP {
            return Err(Error::Refused(Refusal::Conflict(format!(
                "node {} obeys epoch {} generation {}, which this cluster never had; if its database was \
                 made anew on purpose, delete the node's ledger: what runs there is then removed",
                report.node, seen.0, generation.0
            ))));
        }
        tracing::warn!(
            node = %report.node, seen = seen.0, seen_generation = generation.0,
            epoch = leading.epoch.0, generation = ours.0,
            "the node obeys a later state: the database was put back to an older copy, or another \
             controller leads; seeking leadership anew, with a later epoch"
        );
        match self.0.store.outrun_epoch(leading.epoch, seen).await {
            Ok(()) | Err(store::Error::StaleEpoch { .. }) => {
                leading.term.cancel();
                Err(Error::NotLeader { leader: None })
            }
            Err(error) => Err(Error::Unavailable(Box::new(error))),
        }
    }

    /// Last sign of life of a node by this controller's clock; `None`: none in this
    /// leadership, or this controller does not lead.
    pub fn last_heard(&self, node: &NodeName) -> Option<Timestamp> {
        let leading = self.0.image.leading().ok()?;
        let agents = lock(&self.0.agents);
        let at = agents.hearing.last_heard_of(leading.epoch, node)?;
        Some(leading.now() - at.elapsed())
    }

    /// The nodes of these apps that are stored as silent and have spoken in this leadership.
    pub(super) fn heard_of_silent(
        &self,
        leading: &Leading,
        snapshot: &Snapshot,
        apps: &BTreeSet<AppKey>,
        now: Timestamp,
    ) -> Spoken {
        let hearing = &lock(&self.0.agents).hearing;
        hearing.of_silent(leading.epoch, snapshot, apps, |at| now - at.elapsed())
    }
}

fn displaced(node: &NodeName) -> Error {
    Error::Refused(Refusal::Conflict(format!(
        "another agent reports as node {node} now; if that is another host, give each its own --node-name"
    )))
}

/// What the planner takes up of a report.
pub fn node_report(report: Report) -> NodeReport {
    NodeReport {
        node: report.node,
        facts: report.facts,
        instances: report
            .instances
            .into_iter()
            .map(|i| SeenInstance {
                id: i.id,
                phase: i.phase,
                ready_ms: i.ready_ms,
                running_ms: i.running_ms,
                exits: i.exits,
                restarts: i.restarts,
                container_id: i.container_id,
                ports: i.ports,
                last_exit: i.last_exit,
                last_probe: i.last_probe,
                failure: i.failure,
                log_tail: i.log_tail,
            })
            .collect(),
        images: report.images,
        notes: report
            .notes
            .into_iter()
            .map(|n| SeenNote {
                instance: n.instance,
                kind: n.kind,
                message: n.message,
                age_ms: n.age_ms,
            })
            .collect(),
    }
}

/// Notices nodes that fall silent. Silence counts from when this leader began to
/// listen, so a change of leaders or a pause of this process condemns nobody.
pub(super) async fn watch_liveness(handle: Handle, term: CancellationToken) {
    let Ok(leading) = handle.0.image.leading() else {
        return;
    };
    let mut listening_since = leading.since;
    let mut tick = interval(LIVENESS_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            _ = term.cancelled() => return,
            _ = tick.tick() => {}
        }
        if last.elapsed() > STOOD_STILL {
            tracing::warn!(
                seconds = last.elapsed().as_secs(),
                "this process stood still; listening to all nodes anew"
            );
            listening_since = Instant::now();
        }
        last = Instant::now();
        lock(&handle.0.streams).expire();
        if let Err(error) = judge_silence(&handle, &leading, listening_since).await {
            tracing::debug!(error = %chain(&error), "the nodes' silence could not be recorded");
        }
    }
}

async fn judge_silence(
    handle: &Handle,
    leading: &Leading,
    listening_since: Instant,
) -> Result<(), Error> {
    let heard: BTreeMap<NodeName, Instant> = lock(&handle.0.agents)
        .hearing
        .last_heard(leading.epoch)
        .map(|(node, at)| (node.clone(), at.max(listening_since)))
        .collect();
    let settings = &handle.0.options.settings;
    // Ages are monotonic; as times they are right whatever the wall clock did.
    let decide = |snapshot: &_, now: Timestamp| {
        let heard = heard
            .iter()
            .map(|(node, at)| (node.clone(), now - at.elapsed()))
            .collect();
        plan_liveness(
            now,
            snapshot,
            &heard,
            now - listening_since.elapsed(),
            settings,
        )
    };
    let news = handle.read(|s| decide(s, leading.now()))?;
    if news.changes.is_empty() {
        return Ok(());
    }
    handle
        .transact("liveness", |snapshot, now, _| Ok(decide(snapshot, now)))
        .await?;
    Ok(())
}
