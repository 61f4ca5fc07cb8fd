//! When the runtimes are looked at: when they hint, and now and then in any case.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::{Event, Worker};
use crate::agent::carry::LOOK;
use crate::agent::runtime::{Error, Hint};
use crate::model::{FailureKind, InstanceId};

/// Between two lists though nothing hints: the safety net.
const PERIOD: Duration = Duration::from_secs(15);
/// While a runtime does not answer: first and longest pause.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Each runtime's list: when it is due, whether it is under way.
pub struct Looks(BTreeMap<&'static str, Listing>);

struct Listing {
    due: Instant,
    under_way: bool,
    /// Asked for again while under way.
    again: bool,
    retry: Duration,
    answered: bool,
}

impl Looks {
    pub fn new(runtimes: impl IntoIterator<Item = &'static str>) -> Looks {
        let listing = |name| {
            let listing = Listing {
                due: Instant::now(),
                under_way: false,
                again: false,
                retry: FIRST_RETRY,
                answered: false,
            };
            (name, listing)
        };
        Looks(runtimes.into_iter().map(listing).collect())
    }

    /// Every runtime has answered, or failed to, once.
    pub fn settled(&self) -> bool {
        self.0.values().all(|l| l.answered)
    }

    pub fn look_at_all(&mut self, runtime: &'static str) {
        if let Some(listing) = self.0.get_mut(runtime) {
            // A runtime that is down is asked at its own pace.
            if listing.retry == FIRST_RETRY {
                listing.due = Instant::now();
            }
            listing.again = listing.under_way;
        }
    }

    pub fn listed(&mut self, runtime: &'static str, ok: bool, now: Instant) {
        if let Some(listing) = self.0.get_mut(runtime) {
            listing.under_way = false;
            listing.answered = true;
            if ok {
                listing.retry = FIRST_RETRY;
                listing.due = if listing.again { now } else { now + PERIOD };
            } else {
                listing.due = now + listing.retry;
                listing.retry = (listing.retry * 2).min(LONGEST_RETRY);
            }
            listing.again = false;
        }
    }
}

impl Worker {
    /// Starts the lists that are due; returns when the next one is.
    pub(super) fn list_runtimes(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        for (name, listing) in &mut self.looks.0 {
            if listing.under_way {
                continue;
            }
            if listing.due <= now {
                listing.under_way = true;
                due.push(*name);
            } else {
                next = Some(next.map_or(listing.due, |n| n.min(listing.due)));
            }
        }
        for name in due {
            let Some(runtime) = self.runtimes.get(name).cloned() else {
                continue;
            };
            let look = self.local.begin_look();
            self.spawn(async move {
                let listed = tokio::time::timeout(LOOK, runtime.list()).await;
                Event::Listed(name, look, listed.unwrap_or_else(|_| Err(silent())))
            });
        }
        next
    }

    pub(super) fn look(&mut self, name: &'static str, id: InstanceId) {
        if let Some(memory) = self.local.instances.get_mut(&id)
            && memory.in_flight.is_some()
        {
            memory.look_again = true;
            return;
        }
        let Some(runtime) = self.runtimes.get(name).cloned() else {
            return;
        };
        let look = self.local.begin_look();
        self.spawn(async move {
            let looked = tokio::time::timeout(LOOK, runtime.inspect(id)).await;
            Event::Looked(name, look, id, looked.unwrap_or_else(|_| Err(silent())))
        });
    }

    pub(super) fn watch_runtimes(&self) {
        for (name, runtime) in &self.runtimes {
            let (name, runtime) = (*name, Arc::clone(runtime));
            let sender = self.events.0.clone();
            let cancel = self.cancel.clone();
            let watching = async move {
                loop {
                    let mut hints = runtime.watch();
                    while let Some(hint) = hints.next().await {
                        if sender.send(Event::Hinted(name, hint)).await.is_err() {
                            return;
                        }
                    }
                    // A watch should not end; until the next one the lists see what happens.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if sender.send(Event::Hinted(name, Hint::All)).await.is_err() {
                        return;
                    }
                }
            };
            self.tasks.spawn(async move {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = watching => {}
                }
            });
        }
    }
}

fn silent() -> Error {
    Error::new(
        FailureKind::RuntimeUnavailable,
        format!("no answer within {} s", LOOK.as_secs()),
    )
}
