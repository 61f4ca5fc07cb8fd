//! Randomness from a seed, and moments of virtual time.

use std::ops::Add;
use std::time::Duration;

use crate::plan::IdSource;

/// Milliseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, d: Duration) -> Moment {
        Moment(
            self.0
                .saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Moment {
    pub fn plus(self, ms: u64) -> Moment {
        Moment(self.0.saturating_add(ms))
    }
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A clock that runs a little fast or slow: `permille` more or less than true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rate {
    permille: i64,
}

impl Rate {
    /// Far more than a working machine's.
    const MOST: u64 = 5;

    pub fn draw(rng: &mut Rng) -> Rate {
        Rate {
            permille: rng.between(0, 2 * Rate::MOST) as i64 - Rate::MOST as i64,
        }
    }

    /// What this clock has counted in `ms` true milliseconds.
    pub fn counted(self, ms: u64) -> u64 {
        ms * (1000 + self.permille) as u64 / 1000
    }

    /// After how many true milliseconds it has counted `ms`.
    pub fn truly(self, ms: u64) -> u64 {
        ms.saturating_mul(1000)
            .div_ceil((1000 + self.permille) as u64)
    }
}

/// Choices of one part of the world; each part has its own, so that taking one happening away
/// leaves the choices of the others as they were.
#[derive(Clone, Debug)]
pub struct Rng(IdSource);

impl Rng {
    /// `part` tells the streams of one seed apart.
    pub fn new(seed: u64, part: u64) -> Rng {
        let mut ids = IdSource::new(seed ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Neighbouring seeds begin far apart.
        let start = ids.next_u64();
        Rng(IdSource::new(start))
    }

    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 to `n - 1`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            0
        } else {
            (self.draw() % n as u64) as usize
        }
    }

    /// Both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high.saturating_sub(low) + 1)
    }

    /// True in `permille` of 1,000 cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.draw() % 1000 < permille
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

impl crate::plan::lease::Moment for Moment {
    fn since(self, earlier: Moment) -> Duration {
        Moment::since(self, earlier)
    }
}
