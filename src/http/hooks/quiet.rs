//! A line in the log per source and minute, however many deliveries are refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::SourceName;

const PER_LINE: Duration = Duration::from_secs(60);

/// Its size is bounded by the number of sources that there were.
#[derive(Default)]
pub struct Quiet(Mutex<BTreeMap<SourceName, (Instant, u64)>>);

impl Quiet {
    /// How many were not told since the last line; `None`: this one is not to be told.
    pub fn speak(&self, source: &SourceName) -> Option<u64> {
        self.speak_at(source, Instant::now())
    }

    fn speak_at(&self, source: &SourceName, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(source) {
            Some((last, silent)) if now.duration_since(*last) < PER_LINE => {
                *silent = silent.saturating_add(1);
                None
            }
            Some((last, silent)) => {
                *last = now;
                Some(std::mem::take(silent))
            }
            None => {
                told.insert(source.clone(), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_and_counted() {
        let quiet = Quiet::default();
        let (a, b): (SourceName, SourceName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let start = Instant::now();
        assert_eq!(quiet.speak_at(&a, start), Some(0));
        for n in 0..1000 {
            let at = start + Duration::from_millis(n);
            assert_eq!(quiet.speak_at(&a, at), None);
        }
        assert_eq!(quiet.speak_at(&b, start), Some(0));
        assert_eq!(quiet.speak_at(&a, start + PER_LINE), Some(1000));
        assert_eq!(quiet.speak_at(&a, start + PER_LINE * 2), Some(0));
    }
}
