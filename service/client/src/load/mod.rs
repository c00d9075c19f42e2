//! Calls a server many times and measures.
//!
//! In a closed loop each client sends its next request when it has the answer to the one before: this gives the
//! most that so many clients get, and their latency then. In an open loop requests have times of their own,
//! whether or not the server keeps up, and latency counts from the time that a request should have been sent: a
//! server that stalls is charged for every request that had to wait, not only for the one it was busy with.

mod paces;
mod random;
mod times;

use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{ClientError, Options, Prepared, Url};

pub use random::Random;
pub use times::Times;

/// Distinct errors that are told apart.
const ERRORS: usize = 16;

/// When requests of an open loop are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// At equal distances.
    Constant,
    /// At random, as from many clients that know nothing of each other.
    Poisson,
}

/// What makes a client send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The answer to its request before.
    Closed {
        /// Clients at the same time, each with a connection of its own.
        clients: usize,
    },
    /// The clock.
    Open {
        /// Requests a second.
        rate: f64,
        /// How they are spread.
        arrival: Arrival,
        /// Connections at most, each with one request at a time; a request that finds none free waits, and its
        /// latency counts on.
        clients: usize,
    },
}

/// A load on a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// What makes a client send.
    pub pace: Pace,
    /// Time before measuring begins.
    pub warmup: Duration,
    /// Time of measuring.
    pub duration: Duration,
    /// Threads of the machine that send, at least 1.
    pub threads: usize,
    /// Where randomness begins.
    pub seed: u64,
}

/// What a load showed.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Time that was measured.
    pub seconds: f64,
    /// Latency of the requests that were answered: from sending in a closed loop, in an open one from the time
    /// that sending was due.
    pub latency: Times,
    /// By how much requests of an open loop were sent later than due.
    pub lateness: Times,
    /// Failed requests by what was wrong.
    pub errors: BTreeMap<String, u64>,
    /// Requests sent in all, warm-up included.
    pub sent: u64,
}

impl Measured {
    fn new() -> Self {
        let (latency, lateness) = (Times::default(), Times::default());
        Self { seconds: 0.0, latency, lateness, errors: BTreeMap::new(), sent: 0 }
    }

    /// Notes a request's end; `time`: its latency, where it is measured.
    fn note(&mut self, answer: &Result<(), ClientError>, time: Option<Duration>) {
        self.sent += 1;
        match (answer, time) {
            (Ok(()), Some(time)) => self.latency.record(time),
            (Err(error), Some(_)) => self.fail_as(error.to_string(), 1),
            (_, None) => {}
        }
    }

    fn fail_as(&mut self, what: String, count: u64) {
        let known = self.errors.contains_key(&what) || self.errors.len() < ERRORS;
        *self.errors.entry(if known { what } else { "other errors".to_owned() }).or_default() += count;
    }

    fn add(&mut self, other: Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.latency.add(&other.latency);
        self.lateness.add(&other.lateness);
        self.sent += other.sent;
        for (what, count) in other.errors {
            self.fail_as(what, count);
        }
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests answered, a second.
    pub fn throughput(&self) -> f64 {
        if self.seconds > 0.0 { self.latency.count() as f64 / self.seconds } else { 0.0 }
    }
}

/// Puts a load on a server; blocks for as long as it lasts. The requests are sent in turn.
///
/// # Errors
/// The connections of the start cannot be opened. What fails later is counted.
///
/// # Panics
/// When there are no requests.
pub fn run(
    url: &Url,
    options: &Options,
    requests: &[Prepared],
    load: &Load,
) -> Result<Measured, ClientError> {
    assert!(!requests.is_empty(), "no requests");
    let threads = match load.pace {
        Pace::Closed { clients } | Pace::Open { clients, .. } => load.threads.clamp(1, clients.max(1)),
    };
    let start = Start { barrier: Barrier::new(threads), failed: AtomicBool::new(false) };
    let one = |index| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                paces::Part { url, options, requests, load, index, of: threads }.run(&runtime, &start)
            }
            Err(error) => {
                start.wait(false);
                Err(ClientError::Options(format!("cannot start a thread: {error}")))
            }
        }
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|index| {
                scope.spawn({
                    let one = &one;
                    move || one(index)
                })
            })
            .collect();
        running.into_iter().map(|r| r.join().expect("it does not panic")).collect()
    });
    let mut all = Measured::new();
    for part in parts {
        all.add(part?);
    }
    Ok(all)
}

/// Where the threads of a load wait for each other.
struct Start {
    barrier: Barrier,
    failed: AtomicBool,
}

impl Start {
    /// Waits for all; says whether every one of them is ready.
    fn wait(&self, ready: bool) -> bool {
        if !ready {
            self.failed.store(true, Ordering::SeqCst);
        }
        self.barrier.wait();
        !self.failed.load(Ordering::SeqCst)
    }
}
