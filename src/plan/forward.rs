//! The planner run forward to its end, on a copy in which every instance
//! becomes healthy at once: does the whole rollout fit, and where would its
//! instances go?

use std::collections::BTreeSet;
use std::sync::Arc;

use super::exchange::{Creating, Serving, plan_exchange};
use super::place::{Funnel, Overlay};
use super::verdict::{healthy_slots, is_complete};
use super::work::{Hosts, Work};
use super::{IdSource, PlanInput};
use crate::model::{
    App, Change, Goal, Instance, InstancePhase, InstanceStatus, NodeName, Release, Timestamp,
};

/// How the run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// All replicas run the release and nothing else is left.
    pub fits: bool,
    /// Slots that it serves in the end.
    pub served: usize,
    /// Nodes that got an instance of it.
    pub nodes: BTreeSet<NodeName>,
    /// Why the next instance could not be placed.
    pub funnel: Option<Funnel>,
    /// What it waits for in the end.
    pub waits_for: String,
}

/// `overlay` says what is taken on the nodes; it is not changed.
pub fn run_forward(
    input: &PlanInput<'_>,
    app: &App,
    overlay: &Overlay,
    release: &Arc<Release>,
    seed: u64,
) -> Forward {
    overlay.try_out(input.snapshot, |trial| {
        run_on(input, app, trial, release, seed)
    })
}

fn run_on(
    input: &PlanInput<'_>,
    app: &App,
    overlay: &mut Overlay,
    release: &Arc<Release>,
    seed: u64,
) -> Forward {
    let mut copy = app.clone();
    copy.rollout = None;
    copy.releases.insert(release.id, Arc::clone(release));
    copy.target = Some(release.id);
    let mut ids = IdSource::new(seed);
    let mut nodes = BTreeSet::new();
    // Each round moves at least one instance by one step, and each takes two.
    let rounds = 4 * (copy.instances.len() + app.replicas_of(release) as usize) + 8;
    let hosts = Hosts::of(input, &copy, overlay);
    for _ in 0..rounds {
        settle(input, &mut copy, overlay, &hosts);
        let mut work = Work::trial(hosts.clone(), input, copy, overlay, &mut ids);
        if is_complete(&work, release) {
            return Forward {
                fits: true,
                served: app.replicas_of(release) as usize,
                nodes,
                funnel: None,
                waits_for: String::new(),
            };
        }
        plan_exchange(&mut work, release, Serving::Exchange, Creating::Allowed, "");
        let (next, changes, report, waits_for) = work.into_trial();
        copy = next;
        for change in &changes {
            if let Change::AddInstance(instance) = change {
                nodes.insert(instance.node.clone());
            }
        }
        if changes.is_empty() {
            return Forward {
                fits: false,
                served: healthy_slots(
                    &Work::trial(hosts.clone(), input, copy, overlay, &mut ids),
                    release,
                ),
                nodes,
                funnel: report.funnel,
                waits_for,
            };
        }
    }
    Forward {
        fits: false,
        served: 0,
        nodes,
        funnel: None,
        waits_for: format!("an end that did not come in {rounds} rounds"),
    }
}

/// By an earlier round.
fn is_settled(instance: &Instance, long_ago: Timestamp) -> bool {
    let ready_since = instance.status.as_ref().and_then(|s| s.ready_since);
    ready_since == Some(long_ago)
}

/// Everything that was started is healthy, everything that was stopped is gone.
/// Instances on silent nodes stay as they are.
fn settle(input: &PlanInput<'_>, app: &mut App, overlay: &mut Overlay, hosts: &Hosts) {
    let long_ago = Timestamp(i64::MIN / 2);
    let mut gone = Vec::new();
    for instance in app.instances.values_mut() {
        match &instance.goal {
            Goal::Stop { .. } => gone.push(instance.id),
            Goal::Run if is_settled(instance, long_ago) => {}
            Goal::Run if hosts.hears(&instance.node) => {
                instance.status = Some(InstanceStatus {
                    phase: InstancePhase::Running,
                    ready: true,
                    ready_since: Some(long_ago),
                    first_started_at: Some(long_ago),
                    started_at: Some(long_ago),
                    exits: 0,
                    restarts: 0,
                    container_id: None,
                    ports: Default::default(),
                    last_exit: None,
                    last_probe: None,
                    failure: None,
                    log_tail: Vec::new(),
                });
            }
            Goal::Run => {}
        }
    }
    for id in gone {
        if let Some(instance) = app.instances.remove(&id) {
            overlay.release(input.snapshot, &instance);
        }
    }
}
