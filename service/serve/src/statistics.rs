//! What a version has done, counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{self, Instant, SystemTime, UNIX_EPOCH},
};

/// How often, and for how long in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Duration {
    /// Times.
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

/// Executions of one batch size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStatistics {
    /// Rows.
    pub batch_size: u64,
    /// Preparing inputs.
    pub compute_input: Duration,
    /// Running.
    pub compute_infer: Duration,
    /// Taking outputs apart.
    pub compute_output: Duration,
}

/// How long the requests that were answered took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Requests that took longer than the bound before and not longer than this one, for each of
    /// [`BOUNDS_US`](Self::BOUNDS_US); then those that took longer than the last.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Upper bounds of the buckets in microseconds, ascending.
    pub const BOUNDS_US: [u64; 19] = [
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];
}

/// The counts of one version, read at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatistics {
    /// Name of the model.
    pub name: Arc<str>,
    /// Version.
    pub version: u64,
    /// Milliseconds since 1970 of the last request; 0: none.
    pub last_inference: u64,
    /// Rows that were answered; a request without a batch axis counts as one.
    pub inference_count: u64,
    /// Calls of the backend that gave answers.
    pub execution_count: u64,
    /// Requests that were answered, from arrival to answer.
    pub success: Duration,
    /// Requests that failed, from arrival to answer: the sum of the four kinds below.
    pub fail: Duration,
    /// Waiting, of every request that was let into the queue, those included that did not have to wait.
    pub queue: Duration,
    /// Preparing inputs. Each request of a batch counts once, with the time of the whole batch.
    pub compute_input: Duration,
    /// Running, likewise.
    pub compute_infer: Duration,
    /// Taking outputs apart, likewise.
    pub compute_output: Duration,
    /// Requests that were refused by the queue: full, or waited too long.
    pub rejected: u64,
    /// Requests whose client went away.
    pub cancelled: u64,
    /// Requests that a backend failed.
    pub backend_failures: u64,
    /// Requests that failed for other reasons.
    pub other_failures: u64,
    /// Requests that wait now.
    pub pending: u64,
    /// Executions by batch size, ascending. Of sizes beyond 32 there are at most some 300 entries: later ones are
    /// counted under the next power of two.
    pub batches: Vec<BatchStatistics>,
    /// The times behind `success`.
    pub latency: Histogram,
    /// How long loading took; `None` when nobody said.
    pub load: Option<time::Duration>,
}

/// Why a request failed, as metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The queue refused it.
    Rejected,
    /// Its client went away.
    Cancelled,
    /// All backends failed.
    Backend,
    /// It was wrong itself.
    Other,
}

/// What was run together.
#[derive(Debug)]
pub(crate) struct Computed {
    pub(crate) requests: usize,
    /// Of all requests; 1 where the model has no batch axis.
    pub(crate) rows: usize,
    /// Rows of one call of the backend; the last one may have had fewer.
    pub(crate) piece: usize,
    pub(crate) input: time::Duration,
    pub(crate) infer: time::Duration,
    pub(crate) output: time::Duration,
    /// When it was done.
    pub(crate) at: Instant,
}

/// Batch sizes up to this one are counted without a lock.
const SMALL: usize = 32;
/// Larger batch sizes that are told apart.
const SIZES: usize = 256;

/// The counts of one version, as they grow.
#[derive(Debug)]
pub struct Statistics {
    start: Instant,
    success: Total,
    fail: Total,
    queue: Total,
    computed: AtomicU64,
    input_ns: AtomicU64,
    infer_ns: AtomicU64,
    output_ns: AtomicU64,
    inferences: AtomicU64,
    /// Nanoseconds from `start` to the last request; 0: none.
    last: AtomicU64,
    /// By [`Reason`].
    failures: [AtomicU64; 4],
    latency: [AtomicU64; Histogram::BOUNDS_US.len() + 1],
    small: [Executions; SMALL + 1],
    large: Mutex<BTreeMap<u64, Executions>>,
    /// Nanoseconds; 0: nobody said.
    load: AtomicU64,
}

#[derive(Debug, Default)]
struct Total {
    count: AtomicU64,
    ns: AtomicU64,
}

impl Total {
    fn add(&self, ns: u64) {
        self.count.fetch_add(1, Relaxed);
        if ns > 0 {
            self.ns.fetch_add(ns, Relaxed);
        }
    }

    fn read(&self) -> Duration {
        Duration { count: self.count.load(Relaxed), ns: self.ns.load(Relaxed) }
    }
}

#[derive(Debug, Default)]
struct Executions {
    count: AtomicU64,
    /// Input, infer, output.
    ns: [AtomicU64; 3],
}

impl Executions {
    fn add(&self, count: u64, ns: [u64; 3]) {
        self.count.fetch_add(count, Relaxed);
        for (total, ns) in self.ns.iter().zip(ns) {
            if ns > 0 {
                total.fetch_add(ns, Relaxed);
            }
        }
    }

    fn read(&self, batch_size: u64) -> BatchStatistics {
        let count = self.count.load(Relaxed);
        let [compute_input, compute_infer, compute_output] =
            [0, 1, 2].map(|i| Duration { count, ns: self.ns[i].load(Relaxed) });
        BatchStatistics { batch_size, compute_input, compute_infer, compute_output }
    }
}

fn nanoseconds(time: time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            success: Total::default(),
            fail: Total::default(),
            queue: Total::default(),
            computed: AtomicU64::default(),
            input_ns: AtomicU64::default(),
            infer_ns: AtomicU64::default(),
            output_ns: AtomicU64::default(),
            inferences: AtomicU64::default(),
            last: AtomicU64::default(),
            failures: Default::default(),
            latency: Default::default(),
            small: std::array::from_fn(|_| Executions::default()),
            large: Mutex::default(),
            load: AtomicU64::default(),
        }
    }
}

impl Statistics {
    /// The counts as they are.
    pub fn read(&self, name: &Arc<str>, version: u64, pending: u64) -> ModelStatistics {
        let computed = self.computed.load(Relaxed);
        let of = |ns: &AtomicU64| Duration { count: computed, ns: ns.load(Relaxed) };
        let failures = |reason: Reason| self.failures[reason as usize].load(Relaxed);
        let mut batches: Vec<_> = self.small.iter().zip(0..).map(|(e, size)| e.read(size)).collect();
        let large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        batches.extend(large.iter().map(|(size, e)| e.read(*size)));
        drop(large);
        batches.retain(|b| b.compute_infer.count > 0);
        let load = self.load.load(Relaxed);
        ModelStatistics {
            name: Arc::clone(name),
            version,
            last_inference: self.last_inference(),
            inference_count: self.inferences.load(Relaxed),
            execution_count: batches.iter().map(|b| b.compute_infer.count).sum(),
            success: self.success.read(),
            fail: self.fail.read(),
            queue: self.queue.read(),
            compute_input: of(&self.input_ns),
            compute_infer: of(&self.infer_ns),
            compute_output: of(&self.output_ns),
            rejected: failures(Reason::Rejected),
            cancelled: failures(Reason::Cancelled),
            backend_failures: failures(Reason::Backend),
            other_failures: failures(Reason::Other),
            pending,
            batches,
            latency: Histogram { counts: self.latency.iter().map(|c| c.load(Relaxed)).collect() },
            load: (load > 0).then(|| time::Duration::from_nanos(load)),
        }
    }

    fn last_inference(&self) -> u64 {
        let last = self.last.load(Relaxed);
        if last == 0 {
            return 0;
        }
        // Counted back from now, as the two clocks may drift apart over months.
        let ago = self.start.elapsed().saturating_sub(time::Duration::from_nanos(last));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Says how long loading the version took.
    pub fn set_load_time(&self, time: time::Duration) {
        self.load.store(nanoseconds(time).max(1), Relaxed);
    }

    /// A request has waited so long in the queue.
    pub(crate) fn queued(&self, time: time::Duration) {
        self.queue.add(nanoseconds(time));
    }

    /// A request was answered so long after it arrived.
    pub(crate) fn succeeded(&self, time: time::Duration) {
        let ns = nanoseconds(time);
        self.success.add(ns);
        let bucket = Histogram::BOUNDS_US.partition_point(|bound| bound * 1_000 < ns);
        self.latency[bucket].fetch_add(1, Relaxed);
    }

    /// A request failed so long after it arrived.
    pub(crate) fn failed(&self, time: time::Duration, reason: Reason) {
        self.fail.add(nanoseconds(time));
        self.failures[reason as usize].fetch_add(1, Relaxed);
    }

    /// A batch was run.
    pub(crate) fn computed(&self, done: &Computed) {
        let ns = [done.input, done.infer, done.output].map(nanoseconds);
        let requests = done.requests as u64;
        self.computed.fetch_add(requests, Relaxed);
        for (total, ns) in [&self.input_ns, &self.infer_ns, &self.output_ns].into_iter().zip(ns) {
            if ns > 0 {
                total.fetch_add(ns.saturating_mul(requests), Relaxed);
            }
        }
        self.inferences.fetch_add(done.rows as u64, Relaxed);
        self.last.store(nanoseconds(done.at.saturating_duration_since(self.start)).max(1), Relaxed);
        if done.rows <= done.piece {
            return self.executed(done.rows, 1, ns);
        }
        // Each call's part of the time is taken to be its part of the rows.
        let share = |rows: usize| ns.map(|ns| (u128::from(ns) * rows as u128 / done.rows as u128) as u64);
        let (whole, rest) = (done.rows / done.piece, done.rows % done.piece);
        self.executed(done.piece, whole as u64, share(done.rows - rest));
        if rest > 0 {
            self.executed(rest, 1, share(rest));
        }
    }

    fn executed(&self, rows: usize, count: u64, ns: [u64; 3]) {
        if let Some(small) = self.small.get(rows) {
            return small.add(count, ns);
        }
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = rows as u64;
        let known = large.len() < SIZES || large.contains_key(&rows);
        let size = if known { rows } else { rows.checked_next_power_of_two().unwrap_or(u64::MAX) };
        large.entry(size).or_default().add(count, ns);
    }
}
