//! A closed loop of clients on a simulated card.

use std::time::Duration;

use serde::Serialize;

use super::SimDevice;
use crate::{Clock, Config, Driver, Outcome, Refused, Scheduler, Time};

/// Clients that each send a request when the one before is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Clients.
    pub clients: usize,
    /// Rows of a request.
    pub rows: usize,
    /// What is simulated before counting begins.
    pub warm_up: Duration,
    /// What is counted.
    pub duration: Duration,
}

/// Times of the requests that were answered while counting, in ns; a percentile is the smallest time that at least so
/// many of them kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Latency {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let Some(&max) = times.last() else { return Self::default() };
        let kept = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
        let mean = times.iter().map(|t| u128::from(*t)).sum::<u128>() / times.len() as u128;
        Self { mean: mean as u64, p50: kept(50), p90: kept(90), p99: kept(99), max }
    }
}

/// Share of the time for which a part was in use, from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shares {
    /// The link to the card.
    pub h2d: f64,
    /// The link back.
    pub d2h: f64,
    /// Each compute unit: launch cost and kernel.
    pub units: Vec<f64>,
    /// The buffer slots, on average.
    pub slots: f64,
    /// The host's packing threads, on average; none where packing is not simulated.
    pub host: Option<f64>,
}

/// What a faster or larger one of would raise the throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binds {
    /// The link to the card.
    HostToDevice,
    /// The link back.
    DeviceToHost,
    /// The compute units.
    ComputeUnits,
    /// The threads that pack and unpack.
    Host,
    /// Slots: all are taken, and everything else waits for what they hold.
    Slots,
    /// Nothing of the card: too few rows are asked for at a time.
    Clients,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Requests answered while counting.
    pub requests: u64,
    /// Launches done.
    pub launches: u64,
    /// Rows of the requests answered, a second.
    pub rows_per_second: f64,
    /// Requests answered, a second.
    pub requests_per_second: f64,
    /// Launches done, a second.
    pub launches_per_second: f64,
    /// Times of requests.
    pub latency_ns: Latency,
    /// What was in use.
    pub utilisation: Shares,
    /// What limits the throughput.
    pub binds: Binds,
}

/// Share from which a part counts as always in use.
const FULL: f64 = 0.97;

struct Mark {
    h2d: Duration,
    d2h: Duration,
    host: Duration,
    units: Vec<Duration>,
    slots: Duration,
    launches: u64,
}

fn mark(driver: &mut Driver<SimDevice>) -> Mark {
    let now = driver.device().now();
    let used = driver.scheduler().used(now);
    let launches = driver.scheduler().counters().launches;
    let (h2d, d2h, host) = driver.device_mut().busy();
    Mark { h2d, d2h, host, units: used.units, slots: used.slots, launches }
}

/// Runs a load on an idle card that has no trouble. Without clients or rows nothing happens.
pub fn run(scheduler: Scheduler, device: SimDevice, load: &Load) -> Report {
    let Config { units, slots, .. } = *scheduler.config();
    let mut driver = Driver::new(scheduler, device);
    let clients = if load.rows == 0 { 0 } else { load.clients };
    for _ in 0..clients {
        submit(&mut driver, load.rows);
    }
    let begin = load.warm_up;
    let end = begin + load.duration;
    pass(&mut driver, begin, load.rows, |_| {});
    let before = mark(&mut driver);
    let mut times = Vec::new();
    pass(&mut driver, end, load.rows, |took| times.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)));
    let after = mark(&mut driver);

    let seconds = load.duration.as_secs_f64().max(f64::MIN_POSITIVE);
    let share = |from: Duration, to: Duration, n: usize| {
        to.saturating_sub(from).as_secs_f64() / seconds / n.max(1) as f64
    };
    let threads = driver.device().threads();
    let utilisation = Shares {
        h2d: share(before.h2d, after.h2d, 1),
        d2h: share(before.d2h, after.d2h, 1),
        units: before.units.iter().zip(&after.units).map(|(a, b)| share(*a, *b, 1)).collect(),
        slots: share(before.slots, after.slots, units * slots),
        host: (threads > 0).then(|| share(before.host, after.host, threads)),
    };
    let requests = times.len() as u64;
    let launches = after.launches - before.launches;
    Report {
        requests,
        launches,
        rows_per_second: requests as f64 * load.rows as f64 / seconds,
        requests_per_second: requests as f64 / seconds,
        launches_per_second: launches as f64 / seconds,
        latency_ns: Latency::of(times),
        binds: binds(&utilisation),
        utilisation,
    }
}

fn submit(driver: &mut Driver<SimDevice>, rows: usize) {
    // Only a card in trouble refuses, and this one has none; a client that is refused all the same stops.
    let _: Result<_, Refused> = driver.submit(rows, None);
}

/// Lets clients go on until `end`.
fn pass(driver: &mut Driver<SimDevice>, end: Time, rows: usize, mut answered: impl FnMut(Duration)) {
    while driver.device().now() < end {
        for answer in driver.turn(Some(end)) {
            if answer.outcome == Outcome::Done {
                answered(answer.took);
            }
            submit(driver, rows);
        }
    }
}

fn binds(shares: &Shares) -> Binds {
    let unit = shares.units.iter().sum::<f64>() / shares.units.len().max(1) as f64;
    let parts = [
        (shares.h2d, Binds::HostToDevice),
        (shares.d2h, Binds::DeviceToHost),
        (unit, Binds::ComputeUnits),
        (shares.host.unwrap_or(0.0), Binds::Host),
    ];
    let most = parts.into_iter().fold((0.0, Binds::Clients), |a, b| if b.0 > a.0 { b } else { a });
    match most {
        (share, part) if share >= FULL => part,
        _ if shares.slots >= FULL => Binds::Slots,
        _ => Binds::Clients,
    }
}
