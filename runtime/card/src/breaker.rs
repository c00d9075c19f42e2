//! The circuit breaker of a card: a state machine without a clock.

use std::time::Duration;

use crate::Time;

/// When a card is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open the breaker; 0 counts as 1.
    pub failures: u32,
    /// Time until the first probe. Each probe that fails doubles it.
    pub first: Duration,
    /// The longest time between probes.
    pub most: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 3, first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

/// Whether a card gets work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It does.
    Closed,
    /// It does not, until a probe at this time.
    Open {
        /// Of the next probe.
        until: Time,
    },
    /// One probe is under way.
    HalfOpen,
}

/// How work is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As one of many.
    Normal,
    /// As the only one: it decides whether the breaker closes.
    Probe,
}

/// Closed, open after failures in a row, half open while one probe is under way.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
    failures: u32,
    /// Times that it opened since a success.
    opened: u32,
}

impl Breaker {
    /// A closed one.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: BreakerState::Closed, failures: 0, opened: 0 }
    }

    /// Its state.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Asks for admission at `now`; `Err` says when to ask again, `None` if that depends on the probe under way. An
    /// admitted probe must end in [`succeeded`](Self::succeeded), [`failed`](Self::failed) or
    /// [`undecided`](Self::undecided).
    pub fn admit(&mut self, now: Time) -> Result<Admission, Option<Time>> {
        match self.state {
            BreakerState::Closed => Ok(Admission::Normal),
            BreakerState::Open { until } if now >= until => {
                self.state = BreakerState::HalfOpen;
                Ok(Admission::Probe)
            }
            BreakerState::Open { until } => Err(Some(until)),
            BreakerState::HalfOpen => Err(None),
        }
    }

    /// The card did some work. What was started before the breaker opened proves nothing while it is open.
    pub fn succeeded(&mut self) {
        match self.state {
            BreakerState::Closed | BreakerState::HalfOpen => {
                self.state = BreakerState::Closed;
                self.failures = 0;
                self.opened = 0;
            }
            BreakerState::Open { .. } => {}
        }
    }

    /// The card passed a test of its own: it gets work again, and is left alone for longer if it fails before
    /// [`succeeded`](Self::succeeded).
    pub fn passed(&mut self) {
        self.state = BreakerState::Closed;
        self.failures = 0;
    }

    /// The card failed at `now`; says whether that opened the breaker.
    pub fn failed(&mut self, now: Time) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures < self.policy.failures => false,
            BreakerState::Closed | BreakerState::HalfOpen => {
                self.open(now);
                true
            }
            BreakerState::Open { .. } => false,
        }
    }

    /// Opens at `now` whatever the number of failures; an open one stays as it is.
    pub fn trip(&mut self, now: Time) {
        if !matches!(self.state, BreakerState::Open { .. }) {
            self.open(now);
        }
    }

    /// The probe ended and says nothing of the card: the next may follow at once.
    pub fn undecided(&mut self, now: Time) {
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Open { until: now };
        }
    }

    fn open(&mut self, now: Time) {
        let wait = self.policy.first.saturating_mul(1 << self.opened.min(16)).min(self.policy.most);
        self.opened = self.opened.saturating_add(1);
        self.failures = 0;
        self.state = BreakerState::Open { until: now.saturating_add(wait) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Time = Duration::from_secs;

    #[test]
    fn opens_after_failures_in_a_row() {
        let mut b = Breaker::new(BreakerPolicy::default());
        assert!(!b.failed(S(1)) && !b.failed(S(2)));
        b.succeeded();
        assert!(!b.failed(S(3)) && !b.failed(S(4)));
        assert_eq!((b.state(), b.admit(S(4))), (BreakerState::Closed, Ok(Admission::Normal)));
        assert!(b.failed(S(5)));
        assert_eq!(b.state(), BreakerState::Open { until: S(6) });
        assert_eq!(b.admit(S(5)), Err(Some(S(6))));
    }

    #[test]
    fn one_probe_decides() {
        let mut b = Breaker::new(BreakerPolicy { failures: 1, ..BreakerPolicy::default() });
        assert!(b.failed(S(0)));
        assert_eq!(b.admit(S(1)), Ok(Admission::Probe));
        assert_eq!((b.state(), b.admit(S(9))), (BreakerState::HalfOpen, Err(None)));
        b.succeeded();
        assert_eq!(b.admit(S(9)), Ok(Admission::Normal));
    }

    #[test]
    fn backs_off_up_to_the_longest_time_and_starts_again_after_a_success() {
        let mut b = Breaker::new(BreakerPolicy { failures: 1, first: S(1), most: S(5) });
        assert!(b.failed(S(0)));
        let mut waits = Vec::new();
        for _ in 0..5 {
            let BreakerState::Open { until } = b.state() else { panic!("{b:?}") };
            assert_eq!(b.admit(until), Ok(Admission::Probe));
            assert!(b.failed(until));
            let BreakerState::Open { until: next } = b.state() else { panic!("{b:?}") };
            waits.push((next - until).as_secs());
        }
        assert_eq!(waits, [2, 4, 5, 5, 5]);
        assert_eq!(b.admit(S(1000)), Ok(Admission::Probe));
        b.succeeded();
        assert!(b.failed(S(1000)));
        assert_eq!(b.state(), BreakerState::Open { until: S(1001) });
    }

    #[test]
    fn a_card_that_passes_and_fails_again_is_left_alone_for_longer() {
        let mut b = Breaker::new(BreakerPolicy { failures: 1, first: S(1), most: S(60) });
        for wait in [1, 2, 4] {
            b.trip(S(100));
            assert_eq!(b.state(), BreakerState::Open { until: S(100 + wait) });
            b.passed();
            assert_eq!(b.admit(S(100)), Ok(Admission::Normal));
        }
        b.succeeded();
        b.trip(S(100));
        assert_eq!(b.state(), BreakerState::Open { until: S(101) });
    }

    #[test]
    fn late_news_do_not_move_an_open_breaker() {
        let mut b = Breaker::new(BreakerPolicy { failures: 1, ..BreakerPolicy::default() });
        assert!(b.failed(S(0)));
        b.succeeded();
        assert!(!b.failed(S(0)));
        b.trip(S(0));
        b.undecided(S(0));
        assert_eq!(b.state(), BreakerState::Open { until: S(1) });
    }

    #[test]
    fn a_hang_opens_at_once_and_a_lost_probe_comes_back() {
        let mut b = Breaker::new(BreakerPolicy::default());
        b.trip(S(7));
        assert_eq!(b.admit(S(8)), Ok(Admission::Probe));
        b.undecided(S(9));
        assert_eq!(b.admit(S(9)), Ok(Admission::Probe));
    }
}
