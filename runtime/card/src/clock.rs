//! Time.

use std::time::{Duration, Instant};

/// A point in time: what has passed since its clock's zero.
pub type Time = Duration;

/// Where time comes from.
pub trait Clock {
    /// Now; never earlier than before.
    fn now(&self) -> Time;
}

/// The machine's monotonic clock; zero is when it was made.
#[derive(Debug, Clone, Copy)]
pub struct RealClock(Instant);

impl RealClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RealClock {
    fn now(&self) -> Time {
        self.0.elapsed()
    }
}
