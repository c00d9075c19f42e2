//! The backends of a model in order of preference, and which of them are well.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hs_runtime::{Buffer, Input, RunError};

use super::{
    Health,
    call::{Caller, Fault, call},
};
use crate::{Runner, ServeError};

/// How long a backend that has failed is left alone, at first and at most; each further failure doubles it.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Calls of one backend that have not returned in time, beyond which it is not called: each holds a thread.
pub(crate) const MOST_STUCK: usize = 8;

/// What a backend made of a batch.
#[derive(Debug)]
pub(crate) struct Ran<'a> {
    pub(crate) outputs: Vec<Buffer>,
    pub(crate) by: &'a Member,
    /// Rows of each call; the last one may have had fewer.
    pub(crate) piece: usize,
}

/// Why no backend made anything of a batch.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request is wrong.
    Request(RunError),
    /// All backends failed: what they say.
    Backends(String),
}

/// The backends of one version.
#[derive(Debug)]
pub(crate) struct Runners(Vec<Member>);

/// A backend and its health.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) runner: Runner,
    /// Whether it is to be passed over as long as another one can do it.
    ill: AtomicBool,
    breaker: Mutex<Breaker>,
    stuck: Arc<AtomicUsize>,
    accelerator: bool,
    /// Nanoseconds in calls; of accelerators only, as others are not asked for it.
    busy: AtomicU64,
}

#[derive(Debug)]
struct Breaker {
    /// Failures in a row, those of calls at the same time counted once.
    failures: u32,
    /// When one batch may try it.
    retry: Instant,
    trying: bool,
    message: String,
}

/// How long a backend is left alone that had failed so often before.
fn back_off(failures: u32) -> Duration {
    BACK_OFF.0.saturating_mul(1 << failures.min(16)).min(BACK_OFF.1)
}

/// Why a batch is given to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Well,
    /// It was ill; this batch finds out whether it still is.
    Probe,
    /// There is nobody else.
    LastResort,
}

impl Runners {
    pub(crate) fn new(runners: Vec<Runner>) -> Self {
        Self(runners.into_iter().map(Member::new).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    /// Whether there is no other backend that a failed call could go to.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.len() == 1
    }

    /// The backend that so many rows would go to, when it is so quick that the caller may do it itself.
    pub(crate) fn quick(&self, rows: usize) -> Option<&Member> {
        let first = self.0.first()?;
        (!first.ill.load(Ordering::Relaxed) && first.runner.executable.is_quick(rows)).then_some(first)
    }

    /// Gives a batch to the first backend that is well, and to the next when that fails.
    pub(crate) fn run(
        &self,
        inputs: &[Input],
        rows: Option<usize>,
        limit: Option<(&mut Caller, Duration)>,
    ) -> Result<Ran<'_>, Failure> {
        let mut limit = limit;
        let mut failed = Vec::new();
        let mut tried = vec![false; self.0.len()];
        for last_resort in [false, true] {
            for (member, tried) in self.0.iter().zip(&mut tried) {
                if *tried {
                    continue;
                }
                let why = match member.admit() {
                    Some(why) => why,
                    None if last_resort => Why::LastResort,
                    None => continue,
                };
                *tried = true;
                let limit = limit.as_mut().map(|(caller, limit)| (&mut **caller, *limit));
                match member.run_for(why, inputs, rows, limit) {
                    Ok(ran) => return Ok(ran),
                    Err(Fault::Request(e)) => return Err(Failure::Request(e)),
                    Err(Fault::Backend(message)) => failed.push(format!("{:?}: {message}", member.runner)),
                }
            }
        }
        if failed.is_empty() {
            failed.push("there is no backend".to_owned());
        }
        Err(Failure::Backends(failed.join("; ")))
    }
}

impl Member {
    fn new(runner: Runner) -> Self {
        let breaker = Breaker { failures: 0, retry: Instant::now(), trying: false, message: String::new() };
        Self {
            accelerator: runner.device != "cpu",
            runner,
            ill: AtomicBool::new(false),
            breaker: Mutex::new(breaker),
            stuck: Arc::default(),
            busy: AtomicU64::new(0),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn health(&self) -> Health {
        Health {
            backend: Arc::clone(&self.runner.backend),
            device: self.runner.device.clone(),
            exact: self.runner.executable.is_exact(),
            healthy: !self.ill.load(Ordering::Relaxed),
            problem: self.breaker().message.clone(),
        }
    }

    /// Nanoseconds spent in calls that have returned, those at the same time added up; `None` for the host's
    /// processor.
    pub(crate) fn busy(&self) -> Option<u64> {
        self.accelerator.then(|| self.busy.load(Ordering::Relaxed))
    }

    fn admit(&self) -> Option<Why> {
        if !self.ill.load(Ordering::Relaxed) {
            return Some(Why::Well);
        }
        let mut breaker = self.breaker();
        let due = !breaker.trying && breaker.retry <= Instant::now();
        breaker.trying |= due;
        due.then_some(Why::Probe)
    }

    /// Runs a batch on the calling thread.
    pub(crate) fn run_here(&self, inputs: &[Input], rows: Option<usize>) -> Result<Ran<'_>, Fault> {
        self.run_for(Why::Well, inputs, rows, None)
    }

    fn run_for(
        &self,
        why: Why,
        inputs: &[Input],
        rows: Option<usize>,
        limit: Option<(&mut Caller, Duration)>,
    ) -> Result<Ran<'_>, Fault> {
        let result = self.pieces(inputs, rows, limit);
        match &result {
            Ok(_) | Err(Fault::Request(_)) => {
                if why != Why::Well {
                    self.recovered(why);
                }
            }
            Err(Fault::Backend(message)) => self.failed(why, message),
        }
        result
    }

    /// Runs a batch in calls of as many rows as the executable takes.
    fn pieces(
        &self,
        inputs: &[Input],
        rows: Option<usize>,
        mut limit: Option<(&mut Caller, Duration)>,
    ) -> Result<Ran<'_>, Fault> {
        let executable = &self.runner.executable;
        if self.stuck.load(Ordering::Acquire) >= MOST_STUCK {
            return Err(Fault::Backend(format!("{MOST_STUCK} calls have not returned")));
        }
        let mut one = |inputs: &[Input], rows: Option<usize>| match &mut limit {
            None => call(&**executable, inputs, rows),
            Some((caller, limit)) => caller.call(executable, inputs, rows, *limit, &self.stuck),
        };
        let most = executable.max_rows().map_or(usize::MAX, |most| most.max(1));
        let all = match rows {
            Some(rows) if rows > most => rows,
            _ => return Ok(Ran { outputs: one(inputs, rows)?, by: self, piece: rows.unwrap_or(1) }),
        };
        let mut parts: Vec<Vec<Buffer>> = vec![Vec::new(); executable.outputs().len()];
        for start in (0..all).step_by(most) {
            let range = start..all.min(start.saturating_add(most));
            let piece: Vec<Input> = inputs.iter().map(|b| b.slice_rows(range.clone())).collect();
            let outputs = one(&piece, Some(range.len())).map_err(|e| e.of_piece(range.start))?;
            for (parts, output) in parts.iter_mut().zip(outputs) {
                parts.push(output);
            }
        }
        let join = |parts: Vec<Buffer>| {
            let differ =
                || Fault::Backend("gave outputs of different shapes for parts of a batch".to_owned());
            Buffer::concat_rows(&parts).ok_or_else(differ)
        };
        let outputs = parts.into_iter().map(join).collect::<Result<_, _>>()?;
        Ok(Ran { outputs, by: self, piece: most })
    }

    /// Notes that it has been in calls for `time`.
    pub(crate) fn was_busy(&self, time: Duration) {
        if self.accelerator {
            self.busy.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// When a batch may try it, if it is ill.
    #[cfg(test)]
    pub(crate) fn retry_in(&self, time: Duration) {
        self.breaker().retry = Instant::now() + time;
    }

    #[cfg(test)]
    pub(crate) fn failures(&self) -> u32 {
        self.breaker().failures
    }

    /// Calls that have not returned in time.
    #[cfg(test)]
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Acquire)
    }

    fn failed(&self, why: Why, message: &str) {
        let mut breaker = self.breaker();
        breaker.message = message.to_owned();
        if why == Why::Probe {
            breaker.trying = false;
        }
        // What failed at the same time says nothing new.
        if why == Why::Probe || !self.ill.load(Ordering::Relaxed) {
            let wait = back_off(breaker.failures);
            breaker.failures = breaker.failures.saturating_add(1);
            breaker.retry = Instant::now() + wait;
            self.ill.store(true, Ordering::Relaxed);
            tracing::warn!(backend = ?self.runner, message, ?wait, "a backend failed and is passed over for a while");
        }
    }

    /// A call that began while it was ill has returned. One that began before says nothing about now.
    fn recovered(&self, why: Why) {
        let mut breaker = self.breaker();
        if why == Why::Probe {
            breaker.trying = false;
        }
        breaker.failures = 0;
        if self.ill.swap(false, Ordering::Relaxed) {
            tracing::info!(backend = ?self.runner, "a backend is well again");
        }
    }
}

impl From<Failure> for ServeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(e) => Self::invalid(e),
            Failure::Backends(message) => Self::internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_time_up_to_a_minute() {
        let seconds: Vec<u64> = [0, 1, 2, 5, 6, 7, u32::MAX].map(|n| back_off(n).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60, 60]);
    }
}
