//! When a leader renews its lease, and when it stops to act.
//!
//! The lease is a row by the database's clock; the leader goes by its own monotonic clock,
//! counted from before each renewal was sent. So it stops before another can begin, however
//! long the answer took. `T` is a moment of that clock.

use std::ops::Add;
use std::time::Duration;

use crate::model::Timestamp;
use crate::mutant::{Mutant, mutant};

/// Part of the lease's life that is kept in reserve for clocks that run apart
/// and for what is already on its way.
const RESERVE: u32 = 5;

/// Renewals in a lease's life.
const RENEWALS: u32 = 4;

/// One leadership's hold on its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeper<T> {
    ttl: Duration,
    deadline: T,
    next: T,
}

/// The clock by which a leadership decides: the database's, read once when the lease was taken,
/// and moved on by the leader's monotonic clock. So it never steps, and one leader's times mean
/// the same to the next, whatever the hosts' wall clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock<T> {
    at: T,
    time: Timestamp,
}

/// A monotonic moment.
pub trait Moment: Copy {
    /// Zero where `earlier` is later.
    fn since(self, earlier: Self) -> Duration;
}

impl<T: Moment> Clock<T> {
    /// `asked`: before the database was asked for the `time` that it answered.
    pub fn new(asked: T, time: Timestamp) -> Clock<T> {
        Clock { at: asked, time }
    }

    pub fn time(&self, now: T) -> Timestamp {
        self.time + now.since(self.at)
    }
}

/// What a leader does about its lease now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due<T> {
    /// Nothing until then.
    Wait(T),
    /// Renew it; a try that has no answer by `give_up` leaves time for another.
    Renew { give_up: T },
    /// It could not be renewed in time: act no more.
    StepDown,
}

/// Whether a leader whose hold ends at `deadline` may act at `now`.
pub fn may_act<T: Ord>(now: T, deadline: T) -> bool {
    now < deadline || mutant(Mutant::LeaseOutlived)
}

fn deadline<T: Add<Duration, Output = T>>(asked: T, expires_in: Duration) -> T {
    asked + expires_in.saturating_sub(expires_in / RESERVE)
}

impl<T: Copy + Ord + Add<Duration, Output = T>> Keeper<T> {
    /// `asked`: before the lease was asked for; `expires_in`: as the answer told; `now`: when
    /// the keeping begins.
    pub fn new(ttl: Duration, asked: T, expires_in: Duration, now: T) -> Keeper<T> {
        Keeper {
            ttl,
            deadline: deadline(asked, expires_in),
            next: now + ttl / RENEWALS,
        }
    }

    /// From here on it no longer acts, whatever it believes.
    pub fn deadline(&self) -> T {
        self.deadline
    }

    pub fn due(&self, now: T) -> Due<T> {
        if !may_act(now, self.deadline) {
            Due::StepDown
        } else if now < self.next {
            Due::Wait(self.next.min(self.deadline))
        } else {
            Due::Renew {
                give_up: self.deadline.min(now + self.ttl / 3),
            }
        }
    }

    pub fn renewed(&mut self, asked: T, expires_in: Duration) {
        self.deadline = deadline(asked, expires_in);
        self.next = asked + self.ttl / RENEWALS;
    }

    /// The database refused or broke off: a short pause.
    pub fn failed(&mut self, now: T) {
        self.next = now + self.ttl / RENEWALS / 4;
    }

    /// No answer in time: another try at once.
    pub fn unanswered(&mut self, now: T) {
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    /// Seconds, as moments.
    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_stops_before_the_lease_runs_out_counted_from_before_it_was_asked_for() {
        let keeper = Keeper::new(TTL, s(0), TTL, s(3));
        assert_eq!(keeper.deadline(), s(8));
        assert_eq!(keeper.due(s(8)), Due::StepDown);
        assert!(may_act(s(7), keeper.deadline()) && !may_act(s(8), keeper.deadline()));
    }

    #[test]
    fn it_renews_in_time_for_several_tries() {
        let mut keeper = Keeper::new(TTL, s(0), TTL, s(0));
        let first = Duration::from_millis(2500);
        assert_eq!(keeper.due(s(0)), Due::Wait(first));
        let give_up = first + TTL / 3;
        assert_eq!(keeper.due(first), Due::Renew { give_up });
        keeper.unanswered(give_up);
        assert_eq!(keeper.due(give_up), Due::Renew { give_up: s(8) });
        keeper.failed(s(6));
        assert_eq!(keeper.due(s(6)), Due::Wait(s(6) + TTL / 16));
        keeper.renewed(s(7), TTL);
        assert_eq!(keeper.deadline(), s(15));
    }
}
