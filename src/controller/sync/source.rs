//! Follows one source: fetch, read, decide, and again.
//!
//! Invariants: one fetch at a time; triggers that come meanwhile make one
//! more. A head that was taken over costs nothing but the fetch. What could
//! not be written is decided again, on everything that it may concern.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::super::leadership::chain;
use super::super::{Error, Handle, SyncEnd, lock};
use super::Task;
use super::tree::Tree;
use crate::git::{self, Fetched, LocalWatch};
use crate::model::{Actor, Change, CommitId, Event, EventKind, SourceName, SyncOutcome, Timestamp};
use crate::plan::Decision;
use crate::plan::following::Following;
use crate::plan::sync::{SyncInput, plan_failed_sync, plan_sync};
use crate::store::CommitRecord;

/// First pause after a failure; doubles up to the source's interval.
const RETRY: Duration = Duration::from_secs(2);

/// Share of the interval by which polls are spread, both ways.
const JITTER: f64 = 0.1;

/// How old the stored time of the last attempt may get: a poll writes nothing.
const STORE_ATTEMPT_AFTER: Duration = Duration::from_secs(10 * 60);

/// Problems kept with a commit; the count is always whole.
const PROBLEMS_KEPT: usize = 100;

struct Follower {
    handle: Handle,
    task: Arc<Task>,
    tree: Tree,
    following: Following,
    watch: Option<LocalWatch>,
}

/// How an attempt ended.
enum Attempt {
    Done,
    Failed(SyncOutcome),
    /// Git is fine, the database is not.
    NotWritten(Error),
}

pub(super) async fn run(handle: Handle, task: Arc<Task>, slots: Arc<Semaphore>) {
    let end = task.end.clone();
    let Some(_alive) = end
        .run_until_cancelled(Arc::clone(&task.alive).lock_owned())
        .await
    else {
        return;
    };
    let allowed_host_paths = handle.0.options.allowed_host_paths.as_slice().into();
    let mut follower = Follower {
        handle,
        task,
        tree: Tree::new(allowed_host_paths),
        following: Following::default(),
        watch: None,
    };
    let mut retry = RETRY;
    loop {
        follower.watch_local();
        // What was hinted so far is looked at now.
        let hinted = follower.task.hints.begin();
        follower.note_hint(hinted, retry > RETRY);
        let begun = Instant::now();
        let Some(attempt) = end.run_until_cancelled(follower.attempt(&slots)).await else {
            return;
        };
        let interval = follower.task.spec.interval;
        let pause = match &attempt {
            Attempt::Done => {
                retry = RETRY;
                jittered(interval)
            }
            Attempt::Failed(_) | Attempt::NotWritten(_) => {
                let pause = jittered(retry.min(interval));
                retry = (retry * 2).min(interval);
                pause
            }
        };
        follower.finish(attempt, begun.elapsed(), pause);
        tokio::select! {
            _ = end.cancelled() => return,
            _ = follower.wake(pause) => {}
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

impl Follower {
    fn name(&self) -> &SourceName {
        &self.task.spec.name
    }

    /// What was asked of an attempt that failed is asked of the next one still.
    fn note_hint(&self, hinted: Option<Timestamp>, again: bool) {
        let mut status = lock(&self.task.status);
        let before = status.hinted_at.filter(|_| again);
        status.hinted_at = before.or(hinted);
    }

    /// A repository on this machine tells by itself when it moves.
    fn watch_local(&mut self) {
        let url = &self.task.spec.url;
        let path = url.strip_prefix("file://").unwrap_or(url);
        if self.watch.is_none() && path.starts_with('/') {
            match git::watch_local(Path::new(path)) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => {
                    tracing::debug!(source = %self.name(), error = %chain(&error), "only polling");
                }
            }
        }
    }

    async fn wake(&mut self, pause: Duration) {
        let poll = sleep_until(Instant::now() + pause);
        let moved = async {
            match &mut self.watch {
                Some(watch) => {
                    if watch.next().await.is_none() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = poll => {}
            _ = self.task.trigger.notified() => {}
            _ = self.task.hints.due() => {}
            _ = moved => {}
        }
    }

    fn finish(&mut self, attempt: Attempt, took: Duration, pause: Duration) {
        let end = match &attempt {
            Attempt::Done => SyncEnd::Ok,
            Attempt::Failed(_) => SyncEnd::Failed,
            Attempt::NotWritten(_) => SyncEnd::NotWritten,
        };
        let counted = (self.name().clone(), end);
        self.handle.meter(|counts| {
            *counts.syncs.entry(counted).or_default() += 1;
            counts.sync_time.add(took);
        });
        let mut status = lock(&self.task.status);
        status.running = false;
        status.attempts += 1;
        status.next_attempt_at = Some(self.handle.now() + pause);
        match attempt {
            Attempt::Done => {
                let outcome = self
                    .handle
                    .read(|s| s.sources.get(self.name()).map(|s| s.outcome.clone()));
                status.outcome = outcome.ok().flatten().unwrap_or(SyncOutcome::Never);
            }
            Attempt::Failed(outcome) => {
                self.following.failed();
                status.outcome = outcome;
            }
            Attempt::NotWritten(error) => {
                tracing::debug!(source = %self.name(), error = %chain(&error), "the sync is not written yet, trying again");
            }
        }
    }

    async fn attempt(&mut self, slots: &Semaphore) -> Attempt {
        let Ok(_slot) = slots.acquire().await else {
            return Attempt::NotWritten(Error::Stopping);
        };
        {
            let mut status = lock(&self.task.status);
            status.running = true;
            status.last_attempt_at = Some(self.handle.now());
        }
        let deadline = self.handle.0.options.fetch_deadline;
        let fetched = match self.handle.0.mirrors.fetch(&self.task.spec, deadline).await {
            Ok(fetched) => fetched,
            Err(error) => return self.fail(None, &error).await,
        };
        lock(&self.task.status).warnings = fetched.warnings.clone();
        if self.is_taken(&fetched.head) {
            return self.store_attempt().await;
        }
        self.handle.announce(self.name(), &fetched.head).await;
        if !self.tree.is_at(&fetched.head)
            && let Err(error) = self.read_tree(&fetched.head).await
        {
            return self.fail(Some(fetched.head), &error).await;
        }
        match self.take_over(&fetched).await {
            Ok(()) => Attempt::Done,
            Err(error) => Attempt::NotWritten(error),
        }
    }

    /// Whether there is nothing to do about this head.
    fn is_taken(&self, head: &CommitId) -> bool {
        // Apps that another source declares too are refused; that one may have let go.
        let problems = self.tree.index.catalog().problems.len();
        let refused = self.handle.read(|s| {
            s.sources
                .get(self.name())
                .map(|s| s.problems.len() > problems)
        });
        self.following
            .is_taken(head, matches!(refused, Ok(Some(true))))
    }

    async fn read_tree(&mut self, head: &CommitId) -> Result<(), git::Error> {
        let mut tree = self.tree.take();
        let (mirrors, spec) = (self.handle.0.mirrors.clone(), self.task.spec.clone());
        let head = head.clone();
        let work = move || {
            let result = tree.bring_to(&mirrors, &spec, &head);
            (tree, result)
        };
        let (tree, result) =
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|join| git::Error::Local {
                    what: "reading the specs failed unexpectedly".to_owned(),
                    why: join.to_string(),
                })?;
        self.tree = tree;
        self.following.saw(result?);
        Ok(())
    }

    /// Decides what the commit changes and writes it.
    async fn take_over(&mut self, fetched: &Fetched) -> Result<(), Error> {
        // Before it, so that what follows from a commit never tells of one that nobody knows.
        if self.following.is_new(&fetched.head) {
            self.record(fetched).await;
        }
        let name = self.name().clone();
        let catalog = self.tree.index.catalog();
        let touched = self.following.touched(&fetched.head);
        let settings = &self.handle.0.options.settings;
        let known = self.following.began();
        self.handle
            .transact(
                &format!("sync {name} {}", fetched.head.short()),
                |snapshot, now, _| {
                    let mut decision = plan_sync(&SyncInput {
                        now,
                        snapshot,
                        source: &name,
                        commit: &fetched.head,
                        catalog,
                        touched,
                        settings,
                    });
                    if fetched.rewritten && known {
                        decision.events.insert(0, rewritten(now, &name, fetched));
                    }
                    Ok(decision)
                },
            )
            .await?;
        // An empty tree was refused as a whole.
        match catalog.spec_files {
            0 => self.following.refused(&fetched.head),
            _ => self.following.wrote(&fetched.head),
        }
        Ok(())
    }

    /// For the list of commits only: a failure costs its line there and nothing else.
    async fn record(&self, fetched: &Fetched) {
        let problems = &self.tree.index.catalog().problems;
        let record = CommitRecord {
            source: self.name().clone(),
            commit: fetched.head.clone(),
            author: fetched.info.author.clone(),
            subject: fetched.info.subject.clone(),
            committed_at: fetched.info.committed_at,
            seen_at: self.handle.now(),
            valid: Some(problems.is_empty()),
            problem_count: u32::try_from(problems.len()).unwrap_or(u32::MAX),
            problems: problems.iter().take(PROBLEMS_KEPT).cloned().collect(),
        };
        let Ok(leading) = self.handle.0.image.leading() else {
            return;
        };
        let store = &self.handle.0.store;
        if let Err(error) = store.record_commits(leading.epoch, &[record]).await {
            tracing::warn!(source = %self.name(), commit = %fetched.head, error = %chain(&error), "the commit is missing in the list of commits");
        }
    }

    /// Writes a failure when it is a new one.
    async fn fail(&mut self, seen: Option<CommitId>, error: &git::Error) -> Attempt {
        let outcome = outcome(error);
        self.following.failed();
        let name = self.name().clone();
        let known = self.handle.read(|s| {
            let source = s.sources.get(&name)?;
            let new_head = seen.is_some() && source.last_seen != seen;
            Some(!new_head && is_same_failure(&source.outcome, &outcome))
        });
        // `None`: the source is being removed.
        if !matches!(known, Ok(Some(false))) {
            return Attempt::Failed(outcome);
        }
        tracing::warn!(source = %name, error = %chain(error), "the sync failed, nothing was changed");
        let written = self
            .handle
            .transact(&format!("sync {name} failed"), |snapshot, now, _| {
                Ok(plan_failed_sync(
                    now,
                    snapshot,
                    &name,
                    seen,
                    outcome.clone(),
                ))
            })
            .await;
        match written {
            Ok(_) => Attempt::Failed(outcome),
            Err(error) => Attempt::NotWritten(error),
        }
    }

    /// A poll that brought nothing new is written down now and then only.
    async fn store_attempt(&self) -> Attempt {
        let name = self.name();
        let now = self.handle.now();
        let is_old =
            |at: Option<Timestamp>| at.is_none_or(|at| now.since(at) > STORE_ATTEMPT_AFTER);
        let old = self.handle.read(|s| {
            s.sources
                .get(name)
                .is_some_and(|s| is_old(s.last_attempt_at))
        });
        if !matches!(old, Ok(true)) {
            return Attempt::Done;
        }
        let written = self
            .handle
            .transact(&format!("poll {name}"), |snapshot, now, _| {
                let mut decision = Decision::default();
                if let Some(source) = snapshot.sources.get(name) {
                    let mut next = source.clone();
                    next.last_attempt_at = Some(now);
                    decision.changes.push(Change::PutSource(Box::new(next)));
                }
                Ok(decision)
            })
            .await;
        match written {
            Ok(_) => Attempt::Done,
            Err(error) => Attempt::NotWritten(error),
        }
    }
}

fn rewritten(now: Timestamp, name: &SourceName, fetched: &Fetched) -> Event {
    let previous = fetched
        .previous
        .as_ref()
        .map_or_else(String::new, |p| format!("commit {} ", p.short()));
    let mut event = Event::new(
        now,
        Actor::Git(name.clone()),
        EventKind::SyncOk,
        format!(
            "history was rewritten (force push): {previous}is not among the ancestors of commit {}",
            fetched.head.short()
        ),
    );
    event.source = Some(name.clone());
    event.commit = Some(fetched.head.clone());
    event
}

fn outcome(error: &git::Error) -> SyncOutcome {
    use git::Error as E;
    let message = chain(error);
    match error {
        E::Unreachable { .. } | E::Timeout { .. } | E::Local { .. } | E::CommitMissing { .. } => {
            SyncOutcome::Unreachable { message }
        }
        E::BranchMissing { .. } | E::PathMissing { .. } => SyncOutcome::Lost { message },
        E::Refused { .. } | E::Hostile { .. } => SyncOutcome::Refused { message },
    }
}

/// An outage is one event, however its wording varies from attempt to attempt.
fn is_same_failure(stored: &SyncOutcome, new: &SyncOutcome) -> bool {
    match (stored, new) {
        (SyncOutcome::Unreachable { .. }, SyncOutcome::Unreachable { .. }) => true,
        _ => stored == new,
    }
}
