//! The one way the state moves: decide, commit, apply, wake.
//!
//! Invariants: the image in memory is what Postgres holds, or it is marked as
//! doubtful and read anew before the next decision. Decisions follow each
//! other; none is made on a state that another is about to change. A caller
//! that goes away does not interrupt a commit that has begun.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::image::{Leading, Part, State};
use super::{AsOf, Committed, Decision, Error, Handle, IdSource, Refusal, Subject, lock};
use crate::model::{Event, Generation, OutboxEntry, Snapshot, Timestamp};
use crate::plan::statuses::next_statuses;
use crate::plan::touched::touched;
use crate::store;

/// What only the one who decides may use.
pub(super) struct Writer {
    ids: IdSource,
    /// The image may differ from the database: read it before deciding.
    doubt: bool,
}

impl Writer {
    pub fn new(seed: u64) -> Writer {
        Writer {
            ids: IdSource::new(seed),
            doubt: false,
        }
    }
}

impl Handle {
    /// Decides on the image as it is and makes it so: all of it, or nothing and an error.
    /// `cause` is one line for the log of commits (`operator: rollback`, `sync shop`).
    ///
    /// Errors: `NotLeader`, `NotLoaded`, `Refused`, `Unavailable`, `Internal`, `Stopping`
    /// changed nothing; after `OutcomeUnknown` look before trying again.
    pub async fn transact(
        &self,
        cause: &str,
        decide: impl FnOnce(&Snapshot, Timestamp, &mut IdSource) -> Result<Decision, Refusal> + Send,
    ) -> Result<Committed, Error> {
        self.transact_as_of(cause, None, decide).await
    }

    /// The same for a caller who has looked before: `Overtaken`, and nothing changed, if an
    /// operator or a commit acted on it since. What nodes report takes nothing from anybody.
    pub async fn transact_as_of(
        &self,
        cause: &str,
        as_of: Option<AsOf>,
        decide: impl FnOnce(&Snapshot, Timestamp, &mut IdSource) -> Result<Decision, Refusal> + Send,
    ) -> Result<Committed, Error> {
        let mut writer = Arc::clone(&self.0.writer).lock_owned().await;
        let leading = self.0.image.leading()?;
        if writer.doubt {
            self.reload().await?;
            writer.doubt = false;
        }
        // Nobody else changes anything between this look and the commit.
        if let Some(seen) = as_of
            && let Some(act) = self.last_act(&seen.subject, seen.version).await?
        {
            return Err(Error::Overtaken(Box::new(act)));
        }
        let (base, decision, outbox) = self.0.image.read(|snapshot| {
            let decision = decide(snapshot, leading.now(), &mut writer.ids)?;
            let fits = snapshot.check_fit(&decision.changes);
            fits.map_err(|e| Error::Internal(Box::new(e)))?;
            let outbox = next_statuses(&self.0.options.cluster, snapshot, &decision.changes);
            Ok::<_, Error>((snapshot.generation, decision, outbox))
        })??;
        if decision.changes.is_empty() && decision.events.is_empty() {
            return Ok(Committed {
                generation: base,
                events: Vec::new(),
            });
        }
        let handle = self.clone();
        let cause = cause.to_owned();
        let commit = self.0.tasks.spawn(async move {
            handle
                .commit(writer, leading, base, &cause, &decision, &outbox)
                .await
        });
        match commit.await {
            Ok(result) => result,
            Err(_) => Err(Error::Stopping),
        }
    }

    /// The last thing that an operator or a commit did to `subject` after `version`.
    pub async fn last_act(&self, subject: &Subject, version: u64) -> Result<Option<Event>, Error> {
        let after = Generation(i64::try_from(version).unwrap_or(i64::MAX));
        let found = self.0.store.last_act(subject, after).await;
        found.map_err(|e| Error::Unavailable(Box::new(e)))
    }

    async fn commit(
        &self,
        mut writer: OwnedMutexGuard<Writer>,
        leading: Leading,
        base: Generation,
        cause: &str,
        decision: &Decision,
        outbox: &[OutboxEntry],
    ) -> Result<Committed, Error> {
        let commit = store::Commit {
            epoch: leading.epoch,
            base,
            cause,
            changes: &decision.changes,
            events: &decision.events,
            outbox,
        };
        // Until the answer is in, and if this task dies: unknown.
        writer.doubt = true;
        let result = self.0.store.commit(commit).await;
        match result {
            Ok(committed) => {
                self.0.image.database(true);
                match self.apply(decision, committed.generation) {
                    Ok(()) => writer.doubt = false,
                    Err(error) => {
                        tracing::error!(%error, cause, "a stored change does not fit the image; reading it anew");
                        writer.doubt = self.reload().await.is_err();
                    }
                }
                drop(writer);
                lock(&self.0.meter).events(&committed.events);
                if !outbox.is_empty() {
                    self.0.outbox.notify_one();
                }
                if self.0.events.receiver_count() > 0 {
                    for event in &committed.events {
                        // The last listener may just have gone.
                        let _ = self.0.events.send(Arc::new(event.clone()));
                    }
                }
                Ok(Committed {
                    generation: committed.generation,
                    events: committed.events,
                })
            }
            Err(error) => Err(self.failed(&mut writer, &leading, cause, error).await),
        }
    }

    /// Sorts a failed commit by what is known of the stored state now.
    async fn failed(
        &self,
        writer: &mut Writer,
        leading: &Leading,
        cause: &str,
        error: store::Error,
    ) -> Error {
        match error {
            store::Error::StaleEpoch { .. } => {
                tracing::warn!(%error, cause, epoch = leading.epoch.0, "another controller leads, stepping down");
                leading.term.cancel();
                Error::NotLeader { leader: None }
            }
            store::Error::Unavailable { .. } | store::Error::Refused { .. } => {
                writer.doubt = false;
                self.0.image.database(false);
                Error::Unavailable(Box::new(error))
            }
            store::Error::OutcomeUnknown { .. } => {
                tracing::warn!(%error, cause, "reading the state anew");
                self.0.image.database(false);
                writer.doubt = self.reload().await.is_err();
                Error::OutcomeUnknown(Box::new(error))
            }
            store::Error::StaleGeneration { .. } => {
                tracing::warn!(%error, cause, "reading the state anew");
                writer.doubt = self.reload().await.is_err();
                Error::Unavailable(Box::new(error))
            }
            store::Error::Constraint { .. }
            | store::Error::Diverged { .. }
            | store::Error::Corrupt { .. }
            | store::Error::Migration { .. }
            | store::Error::Unexpected { .. } => {
                writer.doubt = self.reload().await.is_err();
                Error::Internal(Box::new(error))
            }
        }
    }

    fn apply(&self, decision: &Decision, generation: Generation) -> Result<(), Error> {
        let touched = {
            let State {
                snapshot, versions, ..
            } = &mut *self.0.image.state_mut();
            let snapshot = snapshot.as_mut().ok_or(Error::NotLoaded)?;
            versions.committed(snapshot, &decision.changes, generation);
            let touched = touched(snapshot, &decision.changes);
            // They fit: that was seen before they were stored.
            let applied = decision.changes.iter().try_for_each(|c| snapshot.apply(c));
            applied.map_err(|e| Error::Internal(Box::new(e)))?;
            snapshot.generation = generation;
            touched
        };
        self.0.image.tell_moved();
        self.0.wake(&touched);
        Ok(())
    }

    /// Replaces the image by what the database holds, and wakes everybody.
    pub(super) async fn reload(&self) -> Result<(), Error> {
        let loaded = self.0.store.load().await;
        self.0.image.database(loaded.is_ok());
        let snapshot = loaded.map_err(|e| Error::Unavailable(Box::new(e)))?;
        self.0.image.replace(snapshot);
        self.0.wake_all();
        Ok(())
    }

    /// Takes up a leadership with a freshly read image.
    pub(super) async fn lead(&self, leading: Leading, snapshot: Snapshot) {
        let mut writer = self.0.writer.lock().await;
        self.0.image.replace(snapshot);
        // Of an earlier leadership: their senders were told so. Before anybody can report to this one.
        lock(&self.0.arrivals).clear();
        {
            let mut state = self.0.image.state_mut();
            state.part = Part::Leader(leading);
            state.database = true;
        }
        writer.doubt = false;
        self.0.wake_all();
    }
}
