//! The cluster state in memory, and whether this controller may act on it.
//!
//! The image is what Postgres holds (see the head of [`super::transact`]). A
//! follower keeps one too, for reading; it may be a little old.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::versions::Versions;
use super::{Error, Role, Status};
use crate::model::{Epoch, Generation, Snapshot, Timestamp};
use crate::plan::lease::{Clock, Moment, may_act};

impl Moment for Instant {
    fn since(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[derive(Default)]
pub(super) struct Image {
    state: RwLock<State>,
    /// Told after each move of the snapshot.
    moved: watch::Sender<()>,
}

pub(super) struct State {
    /// `None`: nothing was loaded yet.
    pub snapshot: Option<Snapshot>,
    pub versions: Versions,
    pub part: Part,
    /// The last thing asked of the database was answered.
    pub database: bool,
}

/// The part this controller plays.
pub(super) enum Part {
    Follower { leader: Option<String> },
    Leader(Leading),
}

/// A leadership of this process.
#[derive(Clone)]
pub(super) struct Leading {
    pub epoch: Epoch,
    /// When it began to listen to agents.
    pub since: Instant,
    /// The time by which it decides.
    pub clock: Clock<Instant>,
    /// From here on it no longer acts, whatever it believes: another may lead.
    pub deadline: Instant,
    /// Ends with the leadership; the leader's loops hang on it.
    pub term: CancellationToken,
    pub address: String,
}

impl Leading {
    /// Since when it has watched, by its own time.
    pub fn watched_since(&self) -> Timestamp {
        self.clock.time(self.since)
    }

    /// The leadership's present time.
    pub fn now(&self) -> Timestamp {
        self.clock.time(Instant::now())
    }
}

impl Default for State {
    fn default() -> State {
        State {
            snapshot: None,
            versions: Versions::default(),
            part: Part::Follower { leader: None },
            database: false,
        }
    }
}

impl Image {
    // A panic while it was held cannot leave it half changed in a way that
    // matters: apply errors are followed by a reload.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Result<T, Error> {
        let state = self.state();
        state.snapshot.as_ref().map(look).ok_or(Error::NotLoaded)
    }

    pub fn look<T>(&self, look: impl FnOnce(&Snapshot, &Versions) -> T) -> Result<T, Error> {
        let state = self.state();
        let snapshot = state.snapshot.as_ref().ok_or(Error::NotLoaded)?;
        Ok(look(snapshot, &state.versions))
    }

    /// Takes the place of what was there, if anything was.
    pub fn replace(&self, snapshot: Snapshot) {
        let State {
            snapshot: known,
            versions,
            ..
        } = &mut *self.state_mut();
        versions.replaced(known.as_ref(), &snapshot);
        *known = Some(snapshot);
        self.tell_moved();
    }

    pub fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    pub fn tell_moved(&self) {
        self.moved.send_replace(());
    }

    /// The leadership, as long as it surely holds.
    pub fn leading(&self) -> Result<Leading, Error> {
        match &self.state().part {
            Part::Leader(leading) if may_act(Instant::now(), leading.deadline) => {
                Ok(leading.clone())
            }
            Part::Leader(_) => Err(Error::NotLeader { leader: None }),
            Part::Follower { leader } => Err(Error::NotLeader {
                leader: leader.clone(),
            }),
        }
    }

    pub fn database(&self, answers: bool) {
        if self.state().database != answers {
            self.state_mut().database = answers;
        }
    }

    pub fn status(&self) -> Status {
        let state = self.state();
        let (role, leader) = match &state.part {
            Part::Follower { leader } => (Role::Follower, leader.clone()),
            Part::Leader(leading) => (Role::Leader, Some(leading.address.clone())),
        };
        Status {
            role,
            leader,
            database: state.database,
            loaded: state.snapshot.is_some(),
            generation: state
                .snapshot
                .as_ref()
                .map_or(Generation(0), |s| s.generation),
        }
    }
}
