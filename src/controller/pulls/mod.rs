//! What commits would do before they are merged.
//!
//! [`look`] runs `plan::preview` over a tree that somebody sends or that a mirror holds. One
//! [`worker`] per source with a forge follows the open pull requests into its branch, posts
//! the status `…/plan` on their heads, and keeps a comment on each up to date.
//!
//! Invariants: nothing here writes to the cluster, and nothing that does waits for it. The
//! image is held only while trees are compared; what follows runs on a copy, off the async
//! threads, a few at a time. What is told goes through the outbox, and the same is told once.
//! A pull request from a fork is not even fetched unless the source allows it.

mod comment;
mod look;
mod plan;
mod signals;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use look::Looks;
pub use look::Unreadable;
use signals::{Signals, Wakes, wakes};
use worker::Worker;

use super::{Error, Handle, lock};
use crate::model::{ForgeSpec, SourceName, SourceSpec};

/// The sources are looked at this often even if nothing told that they changed.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// Why a source's pull requests cannot be planned at present.
pub(super) type Troubles = BTreeMap<SourceName, String>;

/// The running workers.
#[derive(Default)]
pub(super) struct Workers(BTreeMap<SourceName, Running>);

struct Running {
    spec: SourceSpec,
    signals: Arc<Signals>,
    end: CancellationToken,
}

impl Handle {
    /// Asks for a look at the open pull requests into the source's branch; triggers coalesce.
    /// Nothing happens where the source plans none. `NotLeader`.
    pub fn trigger_pulls(&self, source: &SourceName) -> Result<(), Error> {
        self.0.image.leading()?;
        if let Some(running) = lock(&self.0.pull_workers).0.get(source) {
            running.signals.ask();
        }
        Ok(())
    }

    /// `pull requests: 403 from …`.
    pub(super) fn pull_trouble(&self, source: &SourceName) -> Option<String> {
        let troubles = lock(&self.0.pull_troubles);
        let reason = troubles.get(source)?;
        Some(format!("pull requests: {reason}"))
    }
}

/// Until the leadership ends.
pub(super) async fn run(handle: Handle, term: CancellationToken) {
    let tasks = TaskTracker::new();
    let mut events = handle.events();
    loop {
        follow(&handle, &term, &tasks);
        let refresh = Instant::now() + SAFETY_NET;
        let ended = loop {
            let event = tokio::select! {
                _ = term.cancelled() => break true,
                _ = sleep_until(refresh) => break false,
                event = events.recv() => event,
            };
            match event.as_deref().map(wakes) {
                Ok(Wakes::Nobody) => {}
                Ok(Wakes::Branch(source)) => {
                    if let Some(running) = lock(&handle.0.pull_workers).0.get(&source) {
                        running.signals.ask();
                    }
                }
                Ok(Wakes::Cluster) => change_cluster(&handle),
                Ok(Wakes::Sources) => break false,
                Err(RecvError::Lagged(_)) => {
                    change_cluster(&handle);
                    break false;
                }
                Err(RecvError::Closed) => break true,
            }
        };
        if ended {
            break;
        }
    }
    lock(&handle.0.pull_workers).0.clear();
    lock(&handle.0.pull_troubles).clear();
    tasks.close();
    tasks.wait().await;
}

fn change_cluster(handle: &Handle) {
    for running in lock(&handle.0.pull_workers).0.values() {
        running.signals.change_cluster();
    }
}

/// Starts and ends workers, so that each source that wants one has one.
fn follow(handle: &Handle, term: &CancellationToken, tasks: &TaskTracker) {
    let wanted: BTreeMap<SourceName, (SourceSpec, ForgeSpec)> = handle
        .read(|snapshot| {
            let followed = snapshot.sources.values().filter(|s| !s.suspended);
            followed
                .filter(|s| s.spec.pull_requests.plan)
                .filter_map(|s| Some((&s.spec, s.spec.forge.as_ref()?)))
                .map(|(spec, forge)| (spec.name.clone(), (spec.clone(), forge.clone())))
                .collect()
        })
        .unwrap_or_default();
    let mut workers = lock(&handle.0.pull_workers);
    workers.0.retain(|name, running| {
        let stays = wanted
            .get(name)
            .is_some_and(|(spec, _)| *spec == running.spec);
        if !stays {
            running.end.cancel();
            lock(&handle.0.pull_troubles).remove(name);
        }
        stays
    });
    for (name, (spec, forge)) in wanted {
        if workers.0.contains_key(&name) {
            continue;
        }
        let signals = Arc::new(Signals::default());
        let end = term.child_token();
        let worker = Worker::new(handle.clone(), spec.clone(), forge, Arc::clone(&signals));
        tasks.spawn(worker.run(end.clone()));
        let running = Running { spec, signals, end };
        workers.0.insert(name, running);
    }
}
