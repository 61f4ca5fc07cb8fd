//! How long to wait before the next attempt.

use std::time::Duration;

use super::Millis;
use super::local::{Setback, SetbackKind};
use crate::model::spec::RestartPolicy;

/// Between attempts that can only give the same answer: slow, but not never, as
/// an image may be pushed or a program installed meanwhile.
pub const CONCLUSIVE_RETRY: Duration = Duration::from_secs(30);
/// Between attempts while a runtime stumbles.
pub const RUNTIME_RETRY: Duration = Duration::from_secs(1);
/// A policy of zero must not become a busy loop.
pub const MIN_DELAY: Duration = Duration::from_millis(100);
/// Longest wait between attempts to stop, remove or pull.
pub const MAX_RETRY: Duration = Duration::from_secs(30);

/// Wait after the `attempts`th setback in a row (from 1).
pub fn delay(policy: &RestartPolicy, attempts: u32) -> Duration {
    let exponent = f64::from(attempts.saturating_sub(1).min(64));
    let factor = if policy.factor.is_finite() {
        policy.factor.max(1.0)
    } else {
        1.0
    };
    let seconds = policy.backoff.as_secs_f64() * factor.powf(exponent);
    let max = policy.max.max(policy.backoff);
    let wait = if seconds.is_finite() && seconds < max.as_secs_f64() {
        Duration::from_secs_f64(seconds)
    } else {
        max
    };
    wait.max(MIN_DELAY)
}

/// When the next start may be tried.
pub fn next_start(policy: &RestartPolicy, attempts: u32, setback: Setback) -> Millis {
    setback.at.plus(match setback.kind {
        SetbackKind::Transient => delay(policy, attempts),
        SetbackKind::Conclusive => CONCLUSIVE_RETRY,
        SetbackKind::Runtime => RUNTIME_RETRY,
    })
}

/// 1 s, 2 s, 4 s … up to [`MAX_RETRY`]: for operations without a policy of their own.
pub fn plain(attempts: u32) -> Duration {
    Duration::from_secs(1u64 << attempts.saturating_sub(1).min(10)).min(MAX_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(backoff: u64, factor: f64, max: u64) -> RestartPolicy {
        RestartPolicy {
            backoff: Duration::from_millis(backoff),
            factor,
            max: Duration::from_millis(max),
        }
    }

    #[test]
    fn grows_by_the_factor_up_to_the_maximum() {
        let p = policy(1000, 2.0, 60_000);
        let waits: Vec<u128> = [1, 2, 3, 6, 7, 8, 1000]
            .map(|n| delay(&p, n).as_millis())
            .to_vec();
        assert_eq!(waits, [1000, 2000, 4000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn nonsense_never_becomes_a_busy_loop() {
        assert_eq!(delay(&policy(0, 1.0, 0), 5), MIN_DELAY);
        assert_eq!(delay(&policy(0, f64::INFINITY, 1000), 5), MIN_DELAY);
        assert_eq!(
            delay(&policy(500, f64::NAN, 1000), 9),
            Duration::from_millis(500)
        );
        assert_eq!(plain(0), Duration::from_secs(1));
        assert_eq!(plain(500), MAX_RETRY);
    }
}
