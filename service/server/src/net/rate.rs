//! How often calls may come.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A rate, and how many calls may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Time between two calls.
    interval: u64,
    /// How much earlier than its time a call may come.
    tolerance: u64,
}

impl Rate {
    /// `per_second` calls, at least one; as many may come at once.
    pub fn per_second(per_second: u32) -> Self {
        Self::with_burst(per_second, per_second)
    }

    /// `per_second` calls, `burst` of them at once; both at least one.
    pub fn with_burst(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        Self { interval, tolerance: interval * u64::from(burst.max(1) - 1) }
    }

    /// Whether a call may come `now`, when the one after the last is due at `due`; `due` moves on if so. Else how long
    /// to wait. All in nanoseconds.
    fn admit(self, due: &mut u64, now: u64) -> Result<(), Duration> {
        let early = due.saturating_sub(now);
        if early > self.tolerance {
            return Err(Duration::from_nanos(early - self.tolerance));
        }
        *due = now + early + self.interval;
        Ok(())
    }
}

/// Limits of how often calls may come: of each client, and of all together. A call that one of the two refuses does not
/// count for the other.
#[derive(Debug)]
pub struct RateLimits {
    start: Instant,
    all: Option<Rate>,
    each: Option<Rate>,
    state: Mutex<State>,
}

/// When the next calls are due, in nanoseconds since the start.
#[derive(Debug, Default)]
struct State {
    all: u64,
    each: HashMap<IpAddr, u64>,
    /// Clients at which those that are no longer limited are forgotten.
    crowd: usize,
}

/// Clients that are remembered without a thought.
const FEW: usize = 1024;

impl RateLimits {
    /// `all`: of all clients together; `each`: of each client's address, in IPv6 of its network of 64 bits.
    pub fn new(all: Option<Rate>, each: Option<Rate>) -> Self {
        let state = Mutex::new(State { crowd: FEW, ..State::default() });
        Self { start: Instant::now(), all, each, state }
    }

    /// Whether a client's call may come now; else how long to wait.
    pub(super) fn admit(&self, client: Option<IpAddr>) -> Result<(), Duration> {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.admit_at(client, now)
    }

    fn admit_at(&self, client: Option<IpAddr>, now: u64) -> Result<(), Duration> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let own = self.each.zip(client).map(|(rate, client)| (rate, network(client)));
        let mut due = own.and_then(|(_, client)| state.each.get(&client).copied()).unwrap_or(0);
        if let Some((rate, _)) = own {
            rate.admit(&mut due, now)?;
        }
        if let Some(rate) = self.all {
            rate.admit(&mut state.all, now)?;
        }
        if let Some((_, client)) = own {
            if state.each.len() >= state.crowd {
                state.each.retain(|_, due| *due > now);
                state.crowd = FEW.max(2 * state.each.len());
            }
            state.each.insert(client, due);
        }
        Ok(())
    }
}

/// One client can have as many addresses of its network as it likes.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[4..].fill(0);
            IpAddr::from(segments)
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn bursts_and_the_rate_after_them() {
        let limits = RateLimits::new(Some(Rate::with_burst(10, 3)), None);
        let at = |ms: u64| limits.admit_at(None, ms * MS);
        assert!([at(0), at(0), at(0)].iter().all(Result::is_ok));
        assert_eq!(at(0), Err(Duration::from_millis(100)));
        assert_eq!(at(99), Err(Duration::from_millis(1)));
        assert_eq!(at(100), Ok(()));
        assert!(at(150).is_err());
        // After a rest, a burst again, and no more than that.
        assert!([at(5000), at(5000), at(5000)].iter().all(Result::is_ok));
        assert!(at(5000).is_err());
    }

    #[test]
    fn clients_do_not_take_from_each_other() {
        let limits = RateLimits::new(Some(Rate::with_burst(1, 3)), Some(Rate::with_burst(1, 1)));
        assert_eq!(limits.admit_at(ip("10.0.0.1"), 0), Ok(()));
        for _ in 0..10 {
            assert!(limits.admit_at(ip("10.0.0.1"), 0).is_err());
        }
        // What the first was refused has not been taken from all.
        assert_eq!(limits.admit_at(ip("10.0.0.2"), 0), Ok(()));
        assert_eq!(limits.admit_at(ip("2001:db8::1"), 0), Ok(()));
        assert!(limits.admit_at(ip("10.0.0.3"), 0).is_err());
        // What all were refused has not been taken from one.
        assert_eq!(limits.admit_at(ip("10.0.0.3"), 1000 * MS), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let limits = RateLimits::new(None, Some(Rate::with_burst(1, 1)));
        assert!(limits.admit_at(ip("2001:db8::1"), 0).is_ok());
        assert!(limits.admit_at(ip("2001:db8::2"), 0).is_err());
        assert!(limits.admit_at(ip("2001:db8:0:1::1"), 0).is_ok());
        assert!(limits.admit_at(ip("10.0.0.1"), 0).is_ok());
        assert!(limits.admit_at(ip("::ffff:10.0.0.1"), 0).is_err());
    }

    #[test]
    fn memory_is_bounded_by_those_who_are_limited() {
        let limits = RateLimits::new(None, Some(Rate::per_second(1000)));
        for n in 0..100_000u32 {
            let client = Some(IpAddr::from(n.to_be_bytes()));
            assert!(limits.admit_at(client, u64::from(n) * MS).is_ok());
        }
        assert!(limits.state.lock().unwrap().each.len() <= FEW);
    }
}
