//! Few numbers from many measurements.

use std::time::Duration;

/// Of a set of measurements; the machine is noisy, so the median is what counts.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
    pub count: usize,
}

impl Spread {
    /// Needs at least one.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Spread {
            least: values[0],
            median,
            most: values[values.len() - 1],
            count: values.len(),
        }
    }
}

/// Measurements of the product and of its baseline, taken in turns.
#[derive(Default)]
pub struct Pairs(Vec<(Duration, Duration)>);

impl Pairs {
    pub fn add(&mut self, product: Duration, baseline: Duration) {
        self.0.push((product, baseline));
    }

    pub fn ratios(&self) -> Spread {
        Spread::of(
            self.0
                .iter()
                .map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()),
        )
    }

    /// Median times of both, in words.
    pub fn times(&self) -> String {
        let ms = |pick: fn(&(Duration, Duration)) -> Duration| {
            let spread = Spread::of(self.0.iter().map(|p| pick(p).as_secs_f64() * 1000.0));
            if spread.median < 100.0 {
                format!("{:.2} ms", spread.median)
            } else {
                format!("{:.0} ms", spread.median)
            }
        };
        format!("{} to {}", ms(|p| p.0), ms(|p| p.1))
    }
}
