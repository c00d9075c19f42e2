//! Many times, in little memory.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest that is told from longer.
const LONGEST: u64 = 3_600_000_000_000;

/// Times from a nanosecond to an hour, to three digits.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("constants in range"))
    }
}

impl Times {
    /// Adds one.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }

    /// Adds all of another.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that a share `q` (0 to 1) of all does not exceed; zero where there are none.
    pub fn quantile(&self, q: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(q))
    }

    /// Their mean; zero where there are none.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// The longest; zero where there are none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_to_three_digits() {
        let (mut all, mut other) = (Times::default(), Times::default());
        assert_eq!((all.count(), all.quantile(0.5), all.max()), (0, Duration::ZERO, Duration::ZERO));
        for i in 1..=1000 {
            if i % 2 == 0 { &mut all } else { &mut other }.record(Duration::from_micros(i));
        }
        all.add(&other);
        assert_eq!(all.count(), 1000);
        for (q, micros) in [(0.5, 500.0), (0.9, 900.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = all.quantile(q).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 1e-3, "{q}: {found}");
        }
        // Beyond an hour is an hour.
        all.record(Duration::MAX);
        assert!(all.max() >= Duration::from_secs(3600) && all.max() < Duration::from_secs(3700));
    }
}
