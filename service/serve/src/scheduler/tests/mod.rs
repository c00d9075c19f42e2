//! The scheduler with backends that do as they are told.

mod batches;
mod faults;
mod random;
mod waiting;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{fake::*, *};
use crate::Code;

type Running<'a> = Pin<Box<dyn Future<Output = Result<Done, ServeError>> + 'a>>;

/// A scheduler of one backend.
fn scheduler(policy: Policy, fake: &Arc<Fake>) -> Scheduler {
    Scheduler::new("m", policy, true, vec![fake.runner("fake", "cpu")], Arc::default())
}

/// Hands a job over, before anything else happens.
fn start(s: &Scheduler, job: Job) -> Running<'_> {
    let mut running: Running<'_> = Box::pin(s.run(job));
    match poll(&mut running) {
        None => running,
        Some(answer) => Box::pin(std::future::ready(answer)),
    }
}

fn poll(running: &mut Running<'_>) -> Option<Result<Done, ServeError>> {
    match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// The values of an answer.
fn answer(done: Result<Done, ServeError>) -> Vec<u32> {
    values(&done.unwrap().outputs[0])
}

fn results(values: &[u32]) -> Vec<u32> {
    values.iter().map(|v| result(*v)).collect()
}

fn statistics(s: &Scheduler) -> crate::ModelStatistics {
    s.0.statistics.read(&"m".into(), 1, s.pending() as u64)
}

/// Requests are joined to so many rows.
fn joining(max_batch: usize) -> Policy {
    Policy { max_batch, batching: Some(Batching::default()), ..Policy::default() }
}

fn delayed(max_batch: usize, delay: Duration) -> Policy {
    Policy { batching: Some(Batching { delay, ..Batching::default() }), ..joining(max_batch) }
}
