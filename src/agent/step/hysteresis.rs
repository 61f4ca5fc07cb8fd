//! From single answers of a probe to a verdict.
//!
//! A probe is asked faster than its interval right after a start, so that
//! "ready" is noticed at once. Failures of that phase count at the pace of the
//! interval all the same: asking more often must not condemn sooner.

use std::time::Duration;

use super::Millis;
use crate::model::spec::Probe;

/// A probe's answers for one run of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Track {
    /// `None`: too early to say.
    pub verdict: Option<Verdict>,
    pub passes: u32,
    pub failures: u32,
    last_failure: Option<Millis>,
    /// When the verdict last turned.
    pub turned_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
}

impl Track {
    /// A run that was found good by an earlier agent process.
    pub fn taken_over() -> Track {
        Track {
            verdict: Some(Verdict::Good),
            passes: 1,
            ..Track::default()
        }
    }

    pub fn is_good(&self) -> bool {
        self.verdict == Some(Verdict::Good)
    }

    /// Takes an answer in; `started` is when the run, or this probe's turn in it, began.
    /// Returns the verdict if it turned.
    pub fn answer(
        &mut self,
        probe: &Probe,
        started: Millis,
        passed: bool,
        now: Millis,
    ) -> Option<Verdict> {
        if passed {
            self.failures = 0;
            self.last_failure = None;
            self.passes = self.passes.saturating_add(1);
            if self.passes >= probe.success_threshold {
                return self.turn(Verdict::Good, now);
            }
            return None;
        }
        self.passes = 0;
        if now < started.plus(probe.grace_period) {
            return None;
        }
        // The first failure counts one interval after the start, not at once: nothing
        // listens in the first milliseconds of a healthy process either.
        let due = match self.last_failure {
            Some(last) => last.plus(tolerant(probe.interval)),
            None if self.verdict.is_none() => started.plus(tolerant(probe.interval)),
            None => now,
        };
        if now < due {
            return None;
        }
        self.last_failure = Some(now);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= probe.failure_threshold {
            return self.turn(Verdict::Bad, now);
        }
        None
    }

    fn turn(&mut self, to: Verdict, now: Millis) -> Option<Verdict> {
        if self.verdict == Some(to) {
            return None;
        }
        self.verdict = Some(to);
        self.turned_at = Some(now);
        Some(to)
    }
}

/// Timers are late, not early, but two in a row may be closer than the interval.
fn tolerant(interval: Duration) -> Duration {
    interval.mul_f64(0.9)
}

/// Until the first success a probe is asked again after this share of the time that has
/// passed since the start, so "ready" is noticed at most this much too late.
const QUICK_SHARE: f64 = 0.05;

/// The pause before the next probe: quick and growing until the first success
/// where there is a `quickest`, else the interval.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval: Duration,
    /// Shortest pause; `None`: no quick phase (any more).
    quickest: Option<Duration>,
}

impl Pace {
    pub fn new(interval: Duration, quickest: Option<Duration>) -> Pace {
        Pace { interval, quickest }
    }

    /// `elapsed`: since this probe was first asked in this run.
    pub fn next(&mut self, passed: bool, elapsed: Duration) -> Duration {
        if passed {
            self.quickest = None;
        }
        match self.quickest {
            Some(quickest) => elapsed
                .mul_f64(QUICK_SHARE)
                .max(quickest)
                .min(self.interval),
            None => self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::Check;

    fn probe(success: u32, failure: u32, grace_ms: u64) -> Probe {
        Probe {
            check: Check::Tcp { port: "p".into() },
            interval: Duration::from_millis(1000),
            timeout: Duration::from_millis(500),
            success_threshold: success,
            failure_threshold: failure,
            grace_period: Duration::from_millis(grace_ms),
        }
    }

    /// `answers`: (time, passed) → the turns as (time, verdict).
    fn check(probe: &Probe, answers: &[(i64, bool)], turns: &[(i64, Verdict)]) {
        let mut track = Track::default();
        let got: Vec<(i64, Verdict)> = answers
            .iter()
            .filter_map(|&(at, passed)| {
                track
                    .answer(probe, Millis(0), passed, Millis(at))
                    .map(|v| (at, v))
            })
            .collect();
        assert_eq!(got, turns);
    }

    use Verdict::{Bad, Good};

    #[test]
    fn thresholds_count_answers_in_a_row() {
        check(&probe(1, 3, 0), &[(5, true)], &[(5, Good)]);
        check(
            &probe(2, 2, 0),
            &[
                (0, true),
                (1000, false),
                (2000, true),
                (3000, true),
                (4000, false),
                (5000, true),
                (6000, false),
                (7000, false),
                (8000, false),
                (9000, true),
                (10000, true),
            ],
            &[(3000, Good), (7000, Bad), (10000, Good)],
        );
    }

    #[test]
    fn quick_failures_count_at_the_pace_of_the_interval() {
        let quick: Vec<(i64, bool)> = (0..200).map(|n| (n * 20, false)).collect();
        check(&probe(1, 3, 0), &quick, &[(2700, Bad)]);
        check(&probe(1, 1, 0), &quick, &[(900, Bad)]);
        check(
            &probe(1, 1, 0),
            &[(3, false), (23, false), (43, true)],
            &[(43, Good)],
        );
    }

    #[test]
    fn grace_forgives_failures_but_not_successes() {
        check(
            &probe(1, 2, 5000),
            &[
                (1000, false),
                (2000, false),
                (4000, false),
                (5000, false),
                (6000, false),
            ],
            &[(6000, Bad)],
        );
        check(&probe(1, 2, 5000), &[(1000, true)], &[(1000, Good)]);
    }

    #[test]
    fn a_taken_over_run_needs_the_whole_threshold_to_fall() {
        let mut track = Track::taken_over();
        let p = probe(1, 2, 0);
        assert_eq!(track.answer(&p, Millis(0), false, Millis(1)), None);
        assert_eq!(track.answer(&p, Millis(0), false, Millis(1000)), Some(Bad));
    }

    #[test]
    fn pace_is_quick_until_the_first_success() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(1000), Some(ms(10)));
        assert_eq!(pace.next(false, ms(0)), ms(10));
        assert_eq!(pace.next(false, ms(2000)), ms(100));
        assert_eq!(pace.next(false, ms(60_000)), ms(1000));
        assert_eq!(pace.next(true, ms(100)), ms(1000));
        assert_eq!(pace.next(false, ms(100)), ms(1000));
        assert_eq!(Pace::new(ms(9000), None).next(false, ms(0)), ms(9000));
        assert_eq!(Pace::new(ms(5), Some(ms(10))).next(false, ms(0)), ms(5));
    }
}
