//! Counts what the loops do, for `/metrics`.
//!
//! Counters begin at zero with the process; whoever reads them knows how to cope with that.
//! What lasts (apps, instances, nodes) is counted from the image instead. Its size is
//! bounded by what the cluster has: what is gone is left out and forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Handle, lock};
use crate::model::{AppKey, DeliveryVerdict, Event, EventKind, RolloutPhase, SourceName};

/// How often something was done, and how long it took together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub count: u64,
    pub seconds: f64,
}

impl Sum {
    pub(super) fn add(&mut self, took: Duration) {
        self.count += 1;
        self.seconds += took.as_secs_f64();
    }
}

/// How an attempt to sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncEnd {
    Ok,
    Failed,
    /// Git was read, but the database did not take it.
    NotWritten,
}

impl SyncEnd {
    pub const ALL: [SyncEnd; 3] = [SyncEnd::Ok, SyncEnd::Failed, SyncEnd::NotWritten];

    pub fn as_str(self) -> &'static str {
        match self {
            SyncEnd::Ok => "ok",
            SyncEnd::Failed => "failed",
            SyncEnd::NotWritten => "notWritten",
        }
    }
}

/// How a call to a forge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallEnd {
    Delivered,
    Retry,
    GivenUp,
}

impl CallEnd {
    pub fn as_str(self) -> &'static str {
        match self {
            CallEnd::Delivered => "delivered",
            CallEnd::Retry => "retry",
            CallEnd::GivenUp => "givenUp",
        }
    }
}

/// Since this process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub syncs: BTreeMap<(SourceName, SyncEnd), u64>,
    pub sync_time: Sum,
    /// Ended ones, by how.
    pub rollouts: BTreeMap<(AppKey, RolloutEnd), u64>,
    pub events: BTreeMap<EventKind, u64>,
    /// Planning runs that were carried out or found nothing to do.
    pub plan_time: Sum,
    pub plans_failed: u64,
    /// From a change to the planning run that looks at it.
    pub plan_wait: Sum,
    pub forge_calls: BTreeMap<(SourceName, CallEnd), u64>,
    pub deliveries: BTreeMap<(SourceName, DeliveryVerdict), u64>,
}

/// How a rollout ended; the words of [`RolloutPhase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RolloutEnd {
    Succeeded,
    RolledBack,
    Failed,
    Superseded,
}

impl RolloutEnd {
    pub const ALL: [RolloutEnd; 4] = [
        RolloutEnd::Succeeded,
        RolloutEnd::RolledBack,
        RolloutEnd::Failed,
        RolloutEnd::Superseded,
    ];

    pub fn phase(self) -> RolloutPhase {
        match self {
            RolloutEnd::Succeeded => RolloutPhase::Succeeded,
            RolloutEnd::RolledBack => RolloutPhase::RolledBack,
            RolloutEnd::Failed => RolloutPhase::Failed,
            RolloutEnd::Superseded => RolloutPhase::Superseded,
        }
    }

    fn of(kind: EventKind) -> Option<RolloutEnd> {
        match kind {
            EventKind::RolloutSucceeded => Some(RolloutEnd::Succeeded),
            EventKind::RolloutRolledBack => Some(RolloutEnd::RolledBack),
            EventKind::RolloutFailed => Some(RolloutEnd::Failed),
            EventKind::RolloutSuperseded => Some(RolloutEnd::Superseded),
            _ => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Meter {
    counts: Counts,
    /// Since when something waits to be planned.
    marked: Option<Instant>,
}

impl Meter {
    pub fn count(&mut self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts);
    }

    pub fn events(&mut self, events: &[Event]) {
        for event in events {
            *self.counts.events.entry(event.kind).or_default() += 1;
            if let (Some(end), Some(app)) = (RolloutEnd::of(event.kind), &event.app) {
                let key = (app.clone(), end);
                *self.counts.rollouts.entry(key).or_default() += 1;
            }
        }
    }

    /// Something is to be planned.
    pub fn mark(&mut self) {
        self.marked.get_or_insert_with(Instant::now);
    }

    /// A planning run begins that looks at all that was marked.
    pub fn take_marks(&mut self) {
        if let Some(since) = self.marked.take() {
            self.counts.plan_wait.add(since.elapsed());
        }
    }
}

/// How the loops stand right now.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauges {
    /// Apps that wait to be planned.
    pub plan_queue: usize,
    /// How long the oldest of them has waited.
    pub plan_lag: Duration,
    /// How late the latest of the due syncs is.
    pub sync_lag: Duration,
    /// Sources whose sync is due and has not begun.
    pub sync_queue: usize,
    /// Streams of agents that are open here.
    pub agents: usize,
    /// Of the leadership; `None`: this controller does not lead.
    pub epoch: Option<i64>,
    /// Until the leadership ends unless the lease is renewed.
    pub lease_left: Duration,
}

impl Handle {
    /// What was counted of sources and apps that are there.
    pub fn counts(&self) -> Counts {
        let known = self.read(|s| {
            let mut meter = lock(&self.0.meter);
            let counts = &mut meter.counts;
            counts
                .syncs
                .retain(|(source, _), _| s.sources.contains_key(source));
            counts
                .forge_calls
                .retain(|(source, _), _| s.sources.contains_key(source));
            counts
                .deliveries
                .retain(|(source, _), _| s.sources.contains_key(source));
            counts
                .rollouts
                .retain(|(app, _), _| s.apps.contains_key(app));
            counts.clone()
        });
        known.unwrap_or_default()
    }

    pub fn gauges(&self) -> Gauges {
        let plan_queue = {
            let (all, marked) = {
                let marks = lock(&self.0.marks);
                (marks.all, marks.apps.len())
            };
            match all {
                true => self.read(|s| s.apps.len()).unwrap_or(0),
                false => marked,
            }
        };
        let plan_lag = lock(&self.0.meter).marked.map(|since| since.elapsed());
        let leading = self.0.image.leading().ok();
        let (sync_queue, sync_lag) = self.overdue_syncs();
        Gauges {
            plan_queue,
            plan_lag: plan_lag.filter(|_| leading.is_some()).unwrap_or_default(),
            sync_lag,
            sync_queue,
            agents: lock(&self.0.agents).connected(),
            epoch: leading.as_ref().map(|l| l.epoch.0),
            lease_left: leading
                .map(|l| l.deadline.saturating_duration_since(Instant::now()))
                .unwrap_or_default(),
        }
    }

    pub(super) fn meter(&self, change: impl FnOnce(&mut Counts)) {
        lock(&self.0.meter).count(change);
    }
}
