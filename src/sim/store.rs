//! The database: one lease row by its own clock, one state, the guards of `store::commit`.
//!
//! The rules are those of the real store (`store/commit.rs`, `store/lease.rs`, the keys of the
//! first migration); `tests/support/store_cases` holds both to the same cases.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use super::rng::Moment;
use crate::model::{App, AppKey, Change, Epoch, Generation, Snapshot};
use crate::mutant::{Mutant, mutant};

/// Why a commit was not taken; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    StaleEpoch {
        current: Epoch,
    },
    StaleGeneration {
        current: Generation,
    },
    /// A change names what is not there, or breaks a key of the schema.
    Diverged(String),
}

/// A leadership as the database told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub epoch: Epoch,
    pub expires_in: Duration,
    /// The database's clock when it answered.
    pub now: Moment,
}

#[derive(Clone, Debug, Default)]
pub struct Store {
    pub snapshot: Snapshot,
    pub epoch: Epoch,
    /// Who holds the lease, until when by the database's clock.
    pub holder: Option<(u64, Moment)>,
}

impl Store {
    /// `now` is the database's clock, here and below. `None`: somebody else leads.
    pub fn acquire(&mut self, holder: u64, ttl: Duration, now: Moment) -> Option<Lease> {
        let free = match self.holder {
            None => true,
            Some((current, until)) => {
                // One that runs on for longer than any is given: the clock was put back.
                current == holder || until <= now || until > now + ttl * 2
            }
        };
        if !free {
            return None;
        }
        self.epoch = Epoch(self.epoch.0 + 1);
        self.holder = Some((holder, now + ttl));
        Some(Lease {
            epoch: self.epoch,
            expires_in: ttl,
            now,
        })
    }

    pub fn renew(&mut self, epoch: Epoch, ttl: Duration, now: Moment) -> Result<Lease, Refused> {
        match &mut self.holder {
            Some((_, until)) if self.epoch == epoch => {
                *until = now + ttl;
                Ok(Lease {
                    epoch,
                    expires_in: ttl,
                    now,
                })
            }
            Some(_) | None => Err(Refused::StaleEpoch {
                current: self.epoch,
            }),
        }
    }

    pub fn release(&mut self, epoch: Epoch) -> Result<(), Refused> {
        if self.holder.is_none() || self.epoch != epoch {
            return Err(Refused::StaleEpoch {
                current: self.epoch,
            });
        }
        self.holder = None;
        Ok(())
    }

    /// Ends a held leadership so that the next one is later than `seen`.
    pub fn outrun(&mut self, held: Epoch, seen: Epoch) -> Result<(), Refused> {
        self.release(held)?;
        self.epoch = self.epoch.max(seen);
        Ok(())
    }

    /// All of it or nothing. Returns the new generation.
    pub fn commit(
        &mut self,
        epoch: Epoch,
        base: Generation,
        changes: &[Change],
    ) -> Result<Generation, Refused> {
        let leads = self.holder.is_some() && self.epoch == epoch;
        if !leads && !mutant(Mutant::StoreTakesOlderEpoch) {
            return Err(Refused::StaleEpoch {
                current: self.epoch,
            });
        }
        let current = self.snapshot.generation;
        if base != current && !mutant(Mutant::StoreTakesStaleBase) {
            return Err(Refused::StaleGeneration { current });
        }
        let does_not_fit = |e: crate::model::ApplyError| Refused::Diverged(e.to_string());
        let apps = reaches(&self.snapshot, changes);
        if apps.is_empty() {
            self.snapshot.apply_all(changes).map_err(does_not_fit)?;
        } else {
            let mut next = self.snapshot.clone();
            next.apply_all(changes).map_err(does_not_fit)?;
            new_ones(&self.snapshot, changes).map_err(Refused::Diverged)?;
            for app in apps.iter().filter_map(|key| next.apps.get(key)) {
                keys(&next, app).map_err(Refused::Diverged)?;
            }
            self.snapshot = next;
        }
        self.snapshot.generation = current.next();
        Ok(self.snapshot.generation)
    }
}

/// The apps in which `changes` may leave a key that points nowhere.
fn reaches(snapshot: &Snapshot, changes: &[Change]) -> BTreeSet<AppKey> {
    let mut apps = BTreeSet::new();
    for change in changes {
        match change {
            Change::RemoveSource(source) => apps.extend(snapshot.apps_of(source).cloned()),
            Change::Declare { app, .. }
            | Change::SetTarget { app, .. }
            | Change::ForgetRelease { app, .. } => drop(apps.insert(app.clone())),
            Change::AddRelease(release) => drop(apps.insert(release.app.clone())),
            Change::AddInstance(instance) => drop(apps.insert(instance.app.clone())),
            Change::PutSource(_)
            | Change::SetInvalid { .. }
            | Change::Undeclare { .. }
            | Change::RemoveApp { .. }
            | Change::SetSuspension { .. }
            | Change::SetScale { .. }
            | Change::SetIncarnation { .. }
            | Change::SetReleaseState { .. }
            | Change::PinImage { .. }
            | Change::Quarantine { .. }
            | Change::Unquarantine { .. }
            | Change::PutRollout(_)
            | Change::SetGoal { .. }
            | Change::SetRequests { .. }
            | Change::SetHome { .. }
            | Change::Observe { .. }
            | Change::ForgetInstance { .. }
            | Change::PutNode(_)
            | Change::SetLiveness { .. }
            | Change::SetScheduling { .. }
            | Change::SetImage { .. }
            | Change::RemoveNode { .. } => {}
        }
    }
    apps
}

/// What is added must not be there, unless the list takes it away first.
fn new_ones(snapshot: &Snapshot, changes: &[Change]) -> Result<(), String> {
    let mut gone = BTreeSet::new();
    for change in changes {
        match change {
            Change::ForgetInstance { instance, .. } => drop(gone.insert(instance.0)),
            Change::ForgetRelease { release, .. } => drop(gone.insert(release.0)),
            Change::AddInstance(new) => {
                let app = snapshot.apps.get(&new.app);
                let there = app.is_some_and(|a| a.instances.contains_key(&new.id));
                if there && !gone.contains(&new.id.0) {
                    return Err(format!("instances_pkey: {} is there", new.id));
                }
            }
            Change::AddRelease(new) => {
                let app = snapshot.apps.get(&new.app);
                let there = app.is_some_and(|a| a.releases.contains_key(&new.id));
                if there && !gone.contains(&new.id.0) {
                    return Err(format!("releases_pkey: release {} is there", new.number));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The keys of the schema, each by its name there.
fn keys(snapshot: &Snapshot, app: &App) -> Result<(), String> {
    let broken = |key: &str| Err(format!("{key}: app {}", app.key));
    if !snapshot.sources.contains_key(&app.source) {
        return broken("apps_source_fkey");
    }
    if app.target.is_some_and(|t| !app.releases.contains_key(&t)) {
        return broken("apps_target_fkey");
    }
    let mut releases = app.instances.values().map(|i| i.release);
    if releases.any(|r| !app.releases.contains_key(&r)) {
        return broken("instances_release_fkey");
    }
    let numbers: BTreeSet<u64> = app.releases.values().map(|r| r.number).collect();
    if numbers.len() < app.releases.len() {
        return broken("releases_number_key");
    }
    Ok(())
}
