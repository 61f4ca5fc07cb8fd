//! The database: one lease row by its own clock, one state, the guards of `store::commit`.
//!
//! The rules are those of the real store (`store/commit.rs`, `store/lease.rs`).

use std::time::Duration;

use super::rng::Moment;
use crate::model::{Change, Epoch, Generation, Snapshot};
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
    /// A change names what is not there.
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
            Some((current, until)) => current == holder || until <= now,
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
        self.snapshot
            .apply_all(changes)
            .map_err(|e| Refused::Diverged(e.to_string()))?;
        self.snapshot.generation = current.next();
        Ok(self.snapshot.generation)
    }
}
