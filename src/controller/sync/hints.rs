//! Word from outside that a repository moved: acted on at once, but a burst of it is not
//! answered with a burst of fetches.
//!
//! The first hint after a pause is due at once. Those that follow closely are due together,
//! once none came for [`QUIET`], or after [`LONGEST`] at the latest. So any number of
//! deliveries costs a forge one fetch at their beginning and one at their end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::model::Timestamp;

/// Without a hint for so long, a burst is over.
const QUIET: Duration = Duration::from_millis(250);
/// A hint waits no longer; polls go on meanwhile.
const LONGEST: Duration = Duration::from_secs(30);
/// A hint so long after the last sync that one asked for begins a burst of its own.
const APART: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Hints {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// First and last hint that no sync has looked at.
    waiting: Option<(Instant, Instant)>,
    /// When the first of them came, as people tell time.
    since: Option<Timestamp>,
    /// When a sync last took hints up.
    taken: Option<Instant>,
}

impl State {
    fn add(&mut self, now: Instant, at: Timestamp) {
        let first = self.waiting.map_or(now, |(first, _)| first);
        self.waiting = Some((first, now));
        self.since.get_or_insert(at);
    }

    fn begin(&mut self, now: Instant) -> Option<Timestamp> {
        if self.waiting.take().is_some() {
            self.taken = Some(now);
        }
        self.since.take()
    }

    /// When the waiting hints are to be acted on; `None`: none waits.
    fn due(&self) -> Option<Instant> {
        let (first, last) = self.waiting?;
        Some(match self.taken {
            Some(taken) if first < taken + APART => (last + QUIET).min(first + LONGEST),
            Some(_) | None => first,
        })
    }
}

impl Hints {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, at: Timestamp) {
        self.state().add(Instant::now(), at);
        self.added.notify_one();
    }

    /// A sync begins, for whatever reason: what was hinted before it is seen by it. Returns
    /// when the first of that came.
    pub fn begin(&self) -> Option<Timestamp> {
        self.state().begin(Instant::now())
    }

    /// Returns once hints are to be acted on. May be dropped and called again at any time.
    pub async fn due(&self) {
        loop {
            let due = self.state().due();
            match due {
                None => self.added.notified().await,
                Some(due) if due <= Instant::now() => return,
                // A hint that comes meanwhile may put it off.
                Some(due) => sleep_until(due).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Syncs that hints at these milliseconds lead to, each taking `takes`.
    fn syncs(hints: &[u64], takes: u64) -> Vec<u64> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut state = State::default();
        let mut hints = hints.iter().copied().peekable();
        let (mut began, mut free) = (Vec::new(), 0);
        for now in 0..200_000 {
            while hints.next_if(|hint| *hint <= now).is_some() {
                state.add(at(now), Timestamp(0));
            }
            if now >= free && state.due().is_some_and(|due| due <= at(now)) {
                state.begin(at(now));
                began.push(now);
                free = now + takes;
            }
        }
        began
    }

    #[test]
    fn a_single_hint_is_acted_on_at_once() {
        assert_eq!(syncs(&[100], 50), [100]);
        assert_eq!(syncs(&[100, 5000, 9000], 50), [100, 5000, 9000]);
    }

    #[test]
    fn a_burst_is_two_syncs() {
        let burst: Vec<u64> = (0..10_000).collect();
        assert_eq!(syncs(&burst, 50), [0, 10_249]);
    }

    #[test]
    fn a_hint_during_a_sync_is_not_lost() {
        assert_eq!(syncs(&[0, 40], 500), [0, 500]);
        assert_eq!(syncs(&[0, 40], 10), [0, 290]);
    }

    #[test]
    fn an_endless_flood_is_acted_on_too() {
        let flood: Vec<u64> = (0..100_000).step_by(100).collect();
        assert_eq!(syncs(&flood, 50), [0, 30_100, 60_200, 90_300, 100_150]);
    }

    #[tokio::test]
    async fn waiting_ends_when_a_hint_comes() {
        let hints = std::sync::Arc::new(Hints::default());
        let waiting = tokio::spawn({
            let hints = std::sync::Arc::clone(&hints);
            async move { hints.due().await }
        });
        hints.add(Timestamp(7));
        hints.add(Timestamp(8));
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, waiting).await.unwrap().unwrap();
        assert_eq!(hints.begin(), Some(Timestamp(7)));
        assert!(hints.state().due().is_none());
        assert_eq!(hints.begin(), None);
    }
}
