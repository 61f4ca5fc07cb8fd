//! The promises, measured from outside: on what really runs, what was really committed and what
//! the repository really holds. Knows nothing of how decisions are made.

mod commits;
mod hearing;
mod nodes;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::apps::Tree;
use super::rng::Moment;
use super::world::Place;
use crate::model::SpecDigest;
use crate::model::quantity::Resources;
use crate::model::spec::Strategy;
use crate::model::{
    App, AppKey, Epoch, Generation, Instance, InstanceId, NodeName, RolloutId, WorkloadDigest,
};

/// Between what a node does and that a leader without faults has heard of it, or has noticed
/// that it hears nothing: what fails in that time could not be known.
const NEWS: u64 = 25_000;
/// The same while messages come late.
const LATE_NEWS: u64 = 60_000;
/// From a decision to its being written at most.
const WRITTEN_LATE: u64 = 60_000;
/// Clocks of two machines and the time of a message.
const SLACK: u64 = 100;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub at: Moment,
    pub rule: &'static str,
    pub text: String,
}

#[derive(Clone, Debug)]
struct Promise {
    since: Moment,
    floor: usize,
    ceiling: usize,
    min_healthy: Duration,
    wanted: Option<(WorkloadDigest, Resources)>,
}

#[derive(Clone, Debug)]
struct Seen {
    instance: Instance,
    created: Moment,
    stop: Option<Stop>,
    /// Told to stop on a node that was silent then or later: nobody counts it.
    given_up: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    at: Moment,
    /// Its node had said that it serves.
    ready: bool,
    /// For its node's silence: it served on until its node came back, and others were counted on
    /// meanwhile.
    for_silence: bool,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// When it began, went on after a pause, or more of its instances were healthy than ever.
    at: Moment,
    healthy: u32,
    paused: bool,
}

/// What is compared with a commit.
pub struct Truth<'a> {
    pub places: &'a [Place],
    pub history: &'a [Arc<Tree>],
    /// When the leader that commits began to watch.
    pub since: Moment,
    /// When it decided on what is written now: of what it heard later it could not know.
    pub decided: Moment,
}

/// What was so before a commit.
pub struct Before {
    declared: BTreeSet<AppKey>,
    silent: usize,
    nodes: usize,
    rollouts: BTreeMap<AppKey, (RolloutId, bool)>,
    /// Of the apps that a rollout is written for.
    quarantined: BTreeMap<AppKey, BTreeSet<SpecDigest>>,
}

#[derive(Default)]
pub struct Watch {
    pub broken: Vec<Broken>,
    promises: BTreeMap<AppKey, Vec<Promise>>,
    instances: BTreeMap<InstanceId, Seen>,
    obeyed: BTreeMap<usize, (Epoch, Generation)>,
    /// Its latest signs of life, as they were taken in.
    contact: BTreeMap<NodeName, VecDeque<Moment>>,
    /// The last of them that each controller took in.
    voices: BTreeMap<(usize, NodeName), Moment>,
    /// When a node that counted as silent was last heard again.
    returned: BTreeMap<NodeName, Moment>,
    losses: BTreeMap<AppKey, Vec<Moment>>,
    hurt: BTreeSet<AppKey>,
    last_stop: BTreeMap<AppKey, Moment>,
    /// When a node last counted as lost: nobody waits for its images.
    lost: BTreeMap<NodeName, Moment>,
    storm_until: Moment,
    database_stepped: Option<Moment>,
    rollouts: BTreeMap<RolloutId, Moment>,
    progress: BTreeMap<RolloutId, Progress>,
    /// While nothing may be done.
    pub resting: bool,
    /// When the leader that decided last began to watch.
    led_since: Moment,
}

impl Watch {
    pub fn break_rule(&mut self, at: Moment, rule: &'static str, text: String) {
        self.broken.push(Broken { at, rule, text });
    }

    /// A serving container of the app ended, and not because somebody wanted it.
    pub fn lost(&mut self, now: Moment, app: &AppKey) {
        self.losses.entry(app.clone()).or_default().push(now);
    }

    /// Its containers were ended from outside.
    pub fn hurt(&mut self, app: &AppKey) {
        self.hurt.insert(app.clone());
    }

    pub fn storm_until(&mut self, until: Moment) {
        self.storm_until = self.storm_until.max(until);
    }

    pub fn database_stepped(&mut self, now: Moment) {
        self.database_stepped = Some(now);
    }

    pub fn ledger_lost(&mut self, node: usize, previous: Option<(Epoch, Generation)>) {
        match previous {
            Some(key) => self.obeyed.insert(node, key),
            None => self.obeyed.remove(&node),
        };
    }

    pub fn obeyed(&mut self, now: Moment, node: usize, epoch: Epoch, generation: Generation) {
        let new = (epoch, generation);
        if let Some(old) = self.obeyed.insert(node, new)
            && new < old
        {
            self.break_rule(
                now,
                "older orders",
                format!("n{node} obeys {new:?} after {old:?}"),
            );
        }
    }

    pub fn two_leaders(&mut self, now: Moment) {
        // A lease that ends early by a clock that was set is what the epochs are for.
        if self.database_stepped.is_none() {
            self.break_rule(now, "one leader", "two controllers act at once".to_owned());
        }
    }

    fn news(&self, now: Moment) -> u64 {
        if now < self.storm_until {
            LATE_NEWS
        } else {
            NEWS
        }
    }

    /// The promises of an app that held at some time from `since` on.
    fn promised(&self, app: &AppKey, since: Moment) -> impl Iterator<Item = &Promise> {
        let all = self.promises.get(app).map_or(&[][..], Vec::as_slice);
        let first = all.iter().rposition(|p| p.since <= since).unwrap_or(0);
        all[first..].iter()
    }

    fn promise(&mut self, now: Moment, key: &AppKey, app: Option<&App>) {
        let none = Promise {
            since: now,
            floor: 0,
            ceiling: usize::MAX,
            min_healthy: Duration::ZERO,
            wanted: None,
        };
        let release = app
            .filter(|a| a.declared.is_some())
            .and_then(|a| a.target_release());
        let promise = release.map_or(none, |release| {
            let policy = &release.spec.rollout;
            let replicas = app.map_or(0, |a| a.replicas_of(release));
            let unavailable = policy.max_unavailable.of_rounding_down(replicas);
            Promise {
                since: now,
                floor: match policy.strategy {
                    Strategy::Recreate => 0,
                    Strategy::Rolling => replicas.saturating_sub(unavailable) as usize,
                },
                ceiling: (replicas + policy.max_surge.of_rounding_up(replicas)) as usize,
                min_healthy: policy.min_healthy_time,
                wanted: Some((release.workload_digest.clone(), release.spec.requests)),
            }
        });
        let all = self.promises.entry(key.clone()).or_default();
        let same = all.last().is_some_and(|p| {
            (p.floor, p.ceiling, p.min_healthy)
                == (promise.floor, promise.ceiling, promise.min_healthy)
                && p.wanted == promise.wanted
        });
        if !same {
            all.push(promise);
        }
    }
}
