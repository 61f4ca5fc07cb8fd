//! Who acts: seeks the lease, keeps it, and ends all acting before it runs out.
//!
//! When to renew and when to stop is decided in `plan::lease`.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::image::{Leading, Part};
use super::{
    Error, Handle, arrivals, deliveries, notify, observe, pulls, reconcile, retention, sync,
};
pub(super) use crate::causes::chain;
use crate::model::{Actor, Event, EventKind};
use crate::plan::Decision;
use crate::plan::lease::{Clock, Due, Keeper};
use crate::store::{self, Lease};

/// For the leader's loops to end once the leadership has; they only finish what they hold.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Seeks leadership until the controller is stopped.
pub(super) async fn run(handle: Handle) {
    let stop = handle.0.stop.clone();
    let options = &handle.0.options;
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let answer = handle
            .0
            .store
            .acquire_lease(&options.holder, &options.address, options.lease_ttl)
            .await;
        match answer {
            Ok(Some(lease)) => lead(&handle, lease, asked).await,
            Ok(None) => follow(&handle).await,
            Err(error) => {
                // Told once per outage, not once per attempt.
                if handle.status().database {
                    tracing::warn!(error = %chain(&error), "the database does not answer; nothing is decided until it does");
                } else {
                    tracing::debug!(error = %chain(&error), "the database does not answer");
                }
                handle.0.image.database(false);
                set_follower(&handle, None);
            }
        }
        tokio::select! {
            _ = stop.cancelled() => {}
            _ = sleep(options.follow_interval) => {}
        }
    }
}

/// One look as a follower: who leads, and what is the state.
async fn follow(handle: &Handle) {
    let leader = match handle.0.store.current_lease().await {
        // Its own address means a predecessor that was killed: nobody leads until its lease ends.
        Ok(lease) => lease
            .map(|l| l.address)
            .filter(|address| *address != handle.0.options.address),
        Err(error) => {
            tracing::debug!(error = %chain(&error), "the lease cannot be read");
            handle.0.image.database(false);
            return;
        }
    };
    set_follower(handle, leader);
    if let Err(error) = handle.refresh().await {
        tracing::debug!(error = %chain(&error), "the state cannot be read");
    }
}

fn set_follower(handle: &Handle, leader: Option<String>) {
    handle.0.image.state_mut().part = Part::Follower { leader };
}

impl Handle {
    /// Reads the state anew, if it has moved, for a follower's readers.
    async fn refresh(&self) -> Result<(), Error> {
        let _writer = self.0.writer.lock().await;
        let unavailable = |e: store::Error| Error::Unavailable(Box::new(e));
        let known = self.read(|s| s.generation).ok();
        let stored = self.0.store.generation().await;
        self.0.image.database(stored.is_ok());
        if known == Some(stored.map_err(unavailable)?) {
            return Ok(());
        }
        let snapshot = self.0.store.load().await.map_err(unavailable)?;
        self.0.image.replace(snapshot);
        Ok(())
    }
}

/// A whole leadership, from the lease's acquisition to its end.
async fn lead(handle: &Handle, lease: Lease, asked: Instant) {
    let term = handle.0.stop.child_token();
    let ttl = handle.0.options.lease_ttl;
    let mut keeper = Keeper::new(ttl, asked, lease.expires_in, Instant::now());
    let mut leading = Leading {
        epoch: lease.epoch,
        since: Instant::now(),
        clock: Clock::new(asked, lease.now),
        deadline: keeper.deadline(),
        term: term.clone(),
        address: handle.0.options.address.clone(),
    };
    let loops = TaskTracker::new();
    // The state is read while the lease is being kept: reading may take longer than it lasts.
    let begin = async {
        match handle.0.store.load().await {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the cluster state cannot be read; not leading");
                None
            }
        }
    };
    tokio::pin!(begin);
    let loaded = tokio::select! {
        loaded = &mut begin => loaded,
        _ = keep(handle, &leading, &mut keeper) => None,
    };
    if let Some(snapshot) = loaded {
        leading.since = Instant::now();
        leading.deadline = keeper.deadline();
        tracing::info!(
            epoch = leading.epoch.0,
            generation = snapshot.generation.0,
            apps = snapshot.apps.len(),
            nodes = snapshot.nodes.len(),
            "leading"
        );
        handle.lead(leading.clone(), snapshot).await;
        spawn_loops(handle, &term, &loops);
        keep(handle, &leading, &mut keeper).await;
    }
    // First nobody acts any more, then they are asked to end.
    set_follower(handle, None);
    term.cancel();
    loops.close();
    if timeout(WIND_DOWN, loops.wait()).await.is_err() {
        tracing::warn!("a task of the ended leadership is still busy");
    }
    tracing::info!(epoch = leading.epoch.0, "no longer leading");
    if handle.0.stop.is_cancelled() {
        let released = handle.0.store.release_lease(leading.epoch);
        match timeout(WIND_DOWN, released).await {
            Ok(Ok(())) | Ok(Err(store::Error::StaleEpoch { .. })) => {}
            Ok(Err(error)) => {
                tracing::info!(error = %chain(&error), "the lease could not be given up; it runs out by itself");
            }
            Err(_) => tracing::info!("the lease could not be given up; it runs out by itself"),
        }
    }
}

fn spawn_loops(handle: &Handle, term: &CancellationToken, loops: &TaskTracker) {
    loops.spawn(announce(handle.clone()));
    loops.spawn(reconcile::run(handle.clone(), term.clone()));
    loops.spawn(sync::run(handle.clone(), term.clone()));
    loops.spawn(arrivals::run(handle.clone(), term.clone()));
    loops.spawn(observe::watch_liveness(handle.clone(), term.clone()));
    loops.spawn(notify::run(handle.clone(), term.clone()));
    loops.spawn(pulls::run(handle.clone(), term.clone()));
    loops.spawn(retention::run(handle.clone(), term.clone()));
    loops.spawn(deliveries::run(handle.clone(), term.clone()));
}

/// Renews the lease; returns once the leadership is over or is to end.
async fn keep(handle: &Handle, leading: &Leading, keeper: &mut Keeper<Instant>) {
    let ttl = handle.0.options.lease_ttl;
    loop {
        let give_up = match keeper.due(Instant::now()) {
            Due::Wait(until) => {
                tokio::select! {
                    _ = leading.term.cancelled() => return,
                    _ = tokio::time::sleep_until(until) => continue,
                }
            }
            Due::StepDown => {
                tracing::warn!(
                    epoch = leading.epoch.0,
                    "the lease could not be renewed in time, stepping down"
                );
                return;
            }
            Due::Renew { give_up } => give_up,
        };
        if leading.term.is_cancelled() {
            return;
        }
        let asked = Instant::now();
        let renewal = handle.0.store.renew_lease(leading.epoch, ttl);
        match tokio::time::timeout_at(give_up, renewal).await {
            Ok(Ok(lease)) => {
                keeper.renewed(asked, lease.expires_in);
                handle.0.image.database(true);
                let mut state = handle.0.image.state_mut();
                if let Part::Leader(current) = &mut state.part {
                    current.deadline = keeper.deadline();
                }
            }
            Ok(Err(error @ store::Error::StaleEpoch { .. })) => {
                tracing::warn!(%error, "another controller leads, stepping down");
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "the lease could not be renewed, trying again");
                handle.0.image.database(false);
                keeper.failed(Instant::now());
            }
            Err(_) => {
                if handle.status().database {
                    tracing::warn!(
                        "the database does not answer, the lease is not renewed; trying again"
                    );
                }
                handle.0.image.database(false);
                keeper.unanswered(Instant::now());
            }
        }
    }
}

async fn announce(handle: Handle) {
    let Ok(leading) = handle.0.image.leading() else {
        return;
    };
    let message = format!(
        "the controller at {} leads, epoch {}",
        handle.0.options.address, leading.epoch.0
    );
    let told = handle
        .transact("leadership", |_, now, _| {
            Ok(Decision {
                changes: Vec::new(),
                events: vec![Event::new(
                    now,
                    Actor::Controller,
                    EventKind::LeaderElected,
                    message,
                )],
            })
        })
        .await;
    if let Err(error) = told {
        tracing::debug!(error = %chain(&error), "the leadership could not be announced");
    }
}
