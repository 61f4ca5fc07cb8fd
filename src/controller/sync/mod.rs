//! One task per source, for as long as the source is there and not suspended.
//!
//! Tasks follow the snapshot: a source that appears, changes its settings or
//! vanishes starts, restarts or ends its task. There is never more than one
//! for a source.

mod hints;
mod parse;
mod source;
mod tree;

pub(super) use tree::Tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Error, Handle, SyncStatus, lock};
use crate::model::{SourceName, SourceSpec, SyncOutcome};

/// Sources that are fetched and read at the same time: bounds memory and connections
/// when a new leader looks at all of them.
const AT_ONCE: usize = 16;

/// The sources are looked at this often even if nothing told that they changed.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// The running tasks.
#[derive(Default)]
pub(super) struct Tasks(BTreeMap<SourceName, Arc<Task>>);

struct Task {
    spec: SourceSpec,
    trigger: Notify,
    hints: hints::Hints,
    status: std::sync::Mutex<SyncStatus>,
    end: CancellationToken,
    /// Held while it runs, so that its successor waits for its end.
    alive: Arc<Mutex<()>>,
}

impl Handle {
    /// Asks for a sync at once; triggers coalesce. `NotLeader`, `NoSource`; `Refused` if it is suspended.
    pub fn trigger_sync(&self, source: &SourceName) -> Result<(), Error> {
        self.nudge(source, |task| task.trigger.notify_one())
    }

    /// The same for word from outside that the repository moved: a single one leads to a
    /// sync at once, a burst of them to one at its beginning and one at its end.
    pub fn hint_sync(&self, source: &SourceName) -> Result<(), Error> {
        let now = self.now();
        self.nudge(source, |task| task.hints.add(now))
    }

    /// How many syncs are due and have not begun, and how late the latest of them is.
    pub(super) fn overdue_syncs(&self) -> (usize, Duration) {
        let now = self.now();
        let tasks = lock(&self.0.syncs);
        let late = tasks.0.values().filter_map(|task| {
            let status = lock(&task.status);
            let due = status.next_attempt_at?;
            (!status.running && due < now).then(|| now.since(due))
        });
        late.fold((0, Duration::ZERO), |(n, most), late| {
            (n + 1, most.max(late))
        })
    }

    fn nudge(&self, source: &SourceName, how: impl FnOnce(&Task)) -> Result<(), Error> {
        self.0.image.leading()?;
        if let Some(task) = lock(&self.0.syncs).0.get(source) {
            how(task);
            return Ok(());
        }
        match self.read(|s| s.sources.get(source).map(|s| s.suspended))? {
            None => Err(Error::NoSource(source.clone())),
            Some(true) => Err(Error::Refused(super::Refusal::Conflict(format!(
                "source {source} is suspended: it is not followed"
            )))),
            // Its task is about to start, and begins with a sync.
            Some(false) => Ok(()),
        }
    }

    /// `None` on a follower, while the source is suspended, and until its task has started.
    pub fn sync_status(&self, source: &SourceName) -> Option<SyncStatus> {
        let mut status = {
            let tasks = lock(&self.0.syncs);
            lock(&tasks.0.get(source)?.status).clone()
        };
        status.warnings.extend(self.forge_warning(source));
        status.warnings.extend(self.pull_trouble(source));
        Some(status)
    }
}

/// Keeps the tasks in step with the sources until the leadership ends.
pub(super) async fn run(handle: Handle, term: CancellationToken) {
    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let wanted: BTreeMap<SourceName, SourceSpec> = handle
            .read(|snapshot| {
                let followed = snapshot.sources.values().filter(|s| !s.suspended);
                followed
                    .map(|s| (s.spec.name.clone(), s.spec.clone()))
                    .collect()
            })
            .unwrap_or_default();
        follow(&handle, &term, &tasks, &slots, wanted);
        tokio::select! {
            _ = term.cancelled() => break,
            _ = handle.0.sources_changed.notified() => {}
            _ = tokio::time::sleep(SAFETY_NET) => {}
        }
    }
    lock(&handle.0.syncs).0.clear();
    tasks.close();
    tasks.wait().await;
}

fn follow(
    handle: &Handle,
    term: &CancellationToken,
    tasks: &TaskTracker,
    slots: &Arc<Semaphore>,
    wanted: BTreeMap<SourceName, SourceSpec>,
) {
    let mut running = lock(&handle.0.syncs);
    running.0.retain(|name, task| {
        let stays = wanted.contains_key(name);
        if !stays {
            tracing::info!(source = %name, "no longer following");
            task.end.cancel();
        }
        stays
    });
    for (name, spec) in wanted {
        let old = running.0.get(&name);
        if old.is_some_and(|task| task.spec == spec) {
            continue;
        }
        tracing::info!(source = %name, url = %spec.url, branch = %spec.branch, "following");
        let alive = old.map(|task| {
            task.end.cancel();
            Arc::clone(&task.alive)
        });
        let task = Arc::new(Task {
            spec,
            trigger: Notify::new(),
            hints: hints::Hints::default(),
            status: std::sync::Mutex::new(SyncStatus {
                running: false,
                hinted_at: None,
                last_attempt_at: None,
                next_attempt_at: None,
                outcome: SyncOutcome::Never,
                attempts: 0,
                warnings: Vec::new(),
            }),
            end: term.child_token(),
            alive: alive.unwrap_or_default(),
        });
        running.0.insert(name, Arc::clone(&task));
        tasks.spawn(source::run(handle.clone(), task, Arc::clone(slots)));
    }
}
