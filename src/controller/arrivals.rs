//! Takes reports into the state, as many in one commit as have arrived while the last one
//! was written: what a report costs does not grow with how many come at once.
//!
//! Invariants: of one node one report at a time, in their order. Each is answered once it
//! is stored, or with why it is not; one that does not fit keeps no other from being heard.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::image::Leading;
use super::leadership::chain;
use super::reconcile::plan_checked;
use super::{Error, Handle, lock};
use crate::model::{AppKey, NodeName, Snapshot, Timestamp};
use crate::plan::hearing::Order;
use crate::plan::observe::{NodeReport, apps_to_follow, plan_report};
use crate::plan::{Decision, IdSource, PlanInput, Scope};

/// Reports in one commit, and instances of which they tell: bounds how long one waits for
/// the others. After a large rollout thousands of nodes speak at once.
const BATCH: usize = 1024;
const BATCH_INSTANCES: usize = 25_000;

/// What is done in the reports' own commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Plan,
    Nothing,
}

/// A report that waits for its turn.
pub(super) struct Arrival {
    pub session: Uuid,
    pub sequence: u64,
    /// It tells of all instances.
    pub full: bool,
    pub report: NodeReport,
    answer: oneshot::Sender<Result<(), Error>>,
}

impl Arrival {
    fn node(&self) -> &NodeName {
        &self.report.node
    }
}

impl Handle {
    /// Has it taken in, and waits until that is stored.
    pub(super) async fn arrive(
        &self,
        leading: &Leading,
        session: Uuid,
        sequence: u64,
        full: bool,
        report: NodeReport,
    ) -> Result<(), Error> {
        // Who speaks is alive, however long what it says waits for its turn.
        lock(&self.0.agents)
            .hearing
            .alive(&report.node, Instant::now());
        let (answer, taken) = oneshot::channel();
        lock(&self.0.arrivals).push_back(Arrival {
            session,
            sequence,
            full,
            report,
            answer,
        });
        self.0.arrived.notify_one();
        tokio::select! {
            biased;
            taken = taken => taken.unwrap_or(Err(Error::NotLeader { leader: None })),
            _ = leading.term.cancelled() => Err(Error::NotLeader { leader: None }),
        }
    }
}

/// For as long as this controller leads.
pub(super) async fn run(handle: Handle, term: CancellationToken) {
    let Ok(leading) = handle.0.image.leading() else {
        return;
    };
    let work = async {
        loop {
            let batch = next_batch(&mut lock(&handle.0.arrivals));
            match batch.is_empty() {
                true => handle.0.arrived.notified().await,
                false => take_in(&handle, &leading, batch).await,
            }
        }
    };
    term.run_until_cancelled(work).await;
}

/// The oldest, one of each node: a second one is decided on what the first one changed.
fn next_batch(arrivals: &mut VecDeque<Arrival>) -> Vec<Arrival> {
    let mut nodes = BTreeSet::new();
    let mut batch = Vec::new();
    let mut later = VecDeque::new();
    let mut instances = 0;
    while batch.len() < BATCH
        && instances < BATCH_INSTANCES
        && let Some(arrival) = arrivals.pop_front()
    {
        match nodes.insert(arrival.node().clone()) {
            true => {
                instances += arrival.report.instances.len();
                batch.push(arrival);
            }
            false => later.push_back(arrival),
        }
    }
    later.append(arrivals);
    *arrivals = later;
    batch
}

async fn take_in(handle: &Handle, leading: &Leading, batch: Vec<Arrival>) {
    match commit(handle, leading, &batch, Then::Plan).await {
        Err(Error::Internal(_)) => {
            for arrival in batch {
                let taken = alone(handle, leading, &arrival).await;
                let _ = arrival.answer.send(taken);
            }
        }
        taken => {
            for arrival in batch {
                // Whoever said it may have left.
                let _ = arrival.answer.send(taken.as_ref().copied().map_err(again));
            }
        }
    }
}

/// One report that was in a commit that was refused.
async fn alone(handle: &Handle, leading: &Leading, arrival: &Arrival) -> Result<(), Error> {
    let one = std::slice::from_ref(arrival);
    match commit(handle, leading, one, Then::Plan).await {
        // What a plan breaks must not keep the node from being heard.
        Err(Error::Internal(error)) => {
            tracing::warn!(node = %arrival.node(), error = chain(&*error), "a report and its plan were refused, taking the report alone");
            commit(handle, leading, one, Then::Nothing).await
        }
        taken => taken,
    }
}

async fn commit(
    handle: &Handle,
    leading: &Leading,
    batch: &[Arrival],
    then: Then,
) -> Result<(), Error> {
    let cause = match batch {
        [one] => format!("report of {}", one.node()),
        _ => format!("reports of {} nodes", batch.len()),
    };
    let taken = handle
        .transact(&cause, |snapshot, now, ids| {
            let mut decision = Decision::default();
            for arrival in take_turns(handle, leading, batch) {
                let news = plan_report(now, snapshot, &arrival.report);
                decision.changes.extend(news.changes);
                decision.events.extend(news.events);
            }
            if then == Then::Plan {
                follow(handle, leading, snapshot, now, &mut decision, ids);
            }
            Ok(decision)
        })
        .await;
    for arrival in batch {
        let (node, session, sequence) = (arrival.node(), arrival.session, arrival.sequence);
        match &taken {
            Ok(_) if arrival.full => handle.told(leading, node, session, sequence),
            Ok(_) => {}
            // So that it may be said again.
            Err(_) => lock(&handle.0.agents)
                .hearing
                .unheard(node, session, sequence),
        }
    }
    taken.map(drop)
}

/// Reports wait for their turn: which are still the newest?
fn take_turns<'a>(handle: &Handle, leading: &Leading, batch: &'a [Arrival]) -> Vec<&'a Arrival> {
    let mut agents = lock(&handle.0.agents);
    let hearing = &mut agents.hearing;
    let (epoch, now) = (leading.epoch, Instant::now());
    let newest = |arrival: &&Arrival| {
        let (node, session, sequence) = (arrival.node(), arrival.session, arrival.sequence);
        match hearing.order(epoch, node, session, sequence, now) {
            Order::Next => {
                hearing.heard(epoch, node, session, sequence, now);
                true
            }
            Order::Late | Order::Predecessor => false,
        }
    };
    batch.iter().filter(newest).collect()
}

/// Adds what follows from reports to their decision, so that both are one commit. What is
/// not added here, the reconciler plans by itself a moment later.
fn follow(
    handle: &Handle,
    leading: &Leading,
    snapshot: &Snapshot,
    now: Timestamp,
    decision: &mut Decision,
    ids: &mut IdSource,
) {
    let mut apps = apps_to_follow(decision);
    let held = |app: &AppKey| {
        let app = snapshot.apps.get(app)?;
        let agents = lock(&handle.0.agents);
        agents.hearing.lacks(leading.epoch, snapshot, app).map(drop)
    };
    apps.retain(|app| held(app).is_none());
    if apps.is_empty() {
        return;
    }
    let input = PlanInput {
        now,
        since: leading.watched_since(),
        heard: &handle.heard_of_silent(leading, snapshot, &apps, now),
        snapshot,
        scope: Scope::Apps(&apps),
        settings: &handle.0.options.settings,
    };
    // An error is told when the reconciler meets it.
    if let Ok(plan) = plan_checked(&input, &decision.changes, ids) {
        decision.changes.extend(plan.changes);
        decision.events.extend(plan.events);
    }
}

/// The same error for another that it concerns.
fn again(error: &Error) -> Error {
    let cause = || chain(error).into();
    match error {
        Error::NotLeader { leader } => Error::NotLeader {
            leader: leader.clone(),
        },
        Error::NotLoaded => Error::NotLoaded,
        Error::Refused(refusal) => Error::Refused(refusal.clone()),
        Error::Overtaken(act) => Error::Overtaken(act.clone()),
        Error::OutcomeUnknown(_) => Error::OutcomeUnknown(cause()),
        Error::Internal(_) => Error::Internal(cause()),
        Error::Stopping => Error::Stopping,
        Error::Unavailable(_) | Error::NoSource(_) | Error::NoAgent(_) | Error::NoStream => {
            Error::Unavailable(cause())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeFacts;
    use crate::plan::observe::SeenInstance;

    fn arrival(node: &str, sequence: u64) -> Arrival {
        Arrival {
            session: Uuid::nil(),
            sequence,
            full: true,
            report: NodeReport {
                node: node.parse().unwrap(),
                facts: NodeFacts::default(),
                instances: Vec::new(),
                images: Default::default(),
                notes: Vec::new(),
            },
            answer: oneshot::channel().0,
        }
    }

    fn taken(arrivals: &mut VecDeque<Arrival>) -> Vec<(String, u64)> {
        let of = |a: Arrival| (a.report.node.to_string(), a.sequence);
        next_batch(arrivals).into_iter().map(of).collect()
    }

    #[test]
    fn a_batch_holds_one_report_of_each_node_and_the_others_keep_their_order() {
        let said = [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3), ("b", 2)];
        let mut arrivals = said.iter().map(|(n, s)| arrival(n, *s)).collect();
        let own = |said: &[(&str, u64)]| -> Vec<(String, u64)> {
            said.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect()
        };
        assert_eq!(taken(&mut arrivals), own(&[("a", 1), ("b", 1), ("c", 1)]));
        assert_eq!(taken(&mut arrivals), own(&[("a", 2), ("b", 2)]));
        assert_eq!(taken(&mut arrivals), own(&[("a", 3)]));
        assert_eq!(taken(&mut arrivals), own(&[]));
    }

    #[test]
    fn a_batch_has_a_bound() {
        let mut arrivals: VecDeque<Arrival> = (0..BATCH + 3)
            .map(|n| arrival(&format!("n{n}"), 1))
            .collect();
        assert_eq!(taken(&mut arrivals).len(), BATCH);
        assert_eq!(taken(&mut arrivals).len(), 3);
    }

    #[test]
    fn a_batch_ends_where_its_reports_tell_of_many_instances() {
        let seen = || SeenInstance {
            id: crate::model::InstanceId(Uuid::nil()),
            phase: crate::model::InstancePhase::Running,
            ready_ms: None,
            running_ms: None,
            exits: 0,
            restarts: 0,
            container_id: None,
            ports: Default::default(),
            last_exit: None,
            last_probe: None,
            failure: None,
            log_tail: Vec::new(),
        };
        let mut arrivals: VecDeque<Arrival> =
            (0..5).map(|n| arrival(&format!("n{n}"), 1)).collect();
        for arrival in &mut arrivals {
            arrival.report.instances = vec![seen(); BATCH_INSTANCES / 2];
        }
        assert_eq!(taken(&mut arrivals).len(), 2);
        // One is taken however much it tells.
        arrivals[0].report.instances = vec![seen(); 2 * BATCH_INSTANCES];
        assert_eq!(taken(&mut arrivals).len(), 1);
        assert_eq!(taken(&mut arrivals).len(), 2);
    }
}
