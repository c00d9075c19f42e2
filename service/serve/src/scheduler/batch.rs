//! A batch: joined, run, taken apart.

use std::{sync::Arc, time::Instant};

use hs_runtime::{Buffer, Input};

use super::{
    Answer, Core, Done, Times,
    call::Caller,
    queue::Waiting,
    runners::{Failure, Ran},
};
use crate::{
    ServeError,
    statistics::{Computed, Reason},
};

/// Requests whose inputs are one after the other in the same buffers.
struct Batch {
    inputs: Vec<Input>,
    rows: Vec<usize>,
}

impl Core {
    /// Runs requests together; the answers are in their order.
    pub(super) fn execute(&self, requests: Vec<Waiting>, caller: &mut Caller) -> Vec<Reply> {
        let start = Instant::now();
        let rows: Vec<usize> = requests.iter().map(|r| r.rows).collect();
        let mut inputs = Vec::with_capacity(requests.len());
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            self.statistics.queued(start.saturating_duration_since(request.arrived));
            inputs.push(request.inputs);
            replies.push(request.reply);
        }
        let answers = match join(&inputs) {
            Some(Ok(inputs)) => self.answers(&Batch { inputs, rows }, start, caller),
            // One of them cannot be read: alone, each gets what it deserves.
            Some(Err(_)) => {
                let alone = |(inputs, rows)| self.answers(&Batch { inputs, rows: vec![rows] }, start, caller);
                inputs.into_iter().zip(rows).flat_map(alone).collect()
            }
            None => {
                let e = ServeError::internal("requests of different shapes were put into one batch");
                rows.iter().map(|_| Err((e.clone(), Reason::Other))).collect()
            }
        };
        replies.into_iter().zip(answers).map(|(to, answer)| Reply { to, answer }).collect()
    }

    fn answers(&self, batch: &Batch, start: Instant, caller: &mut Caller) -> Vec<Answer> {
        let joined = Instant::now();
        let total: usize = batch.rows.iter().sum();
        let limit = self.policy.execution_timeout.map(|limit| (&mut *caller, limit));
        let ran = self.runners.run(&batch.inputs, self.batched.then_some(total), limit);
        let done = Instant::now();
        match ran {
            Ok(ran) => {
                // Each request knows itself when it arrived.
                let times = Times { arrived: start, started: start, ended: done, rows: total };
                let answers = self.split(&ran, &batch.rows, times);
                let infer = done - joined;
                ran.by.was_busy(infer);
                self.statistics.computed(&Computed {
                    requests: batch.rows.len(),
                    rows: total,
                    piece: ran.piece,
                    input: joined - start,
                    infer,
                    output: done.elapsed(),
                    at: done,
                });
                answers
            }
            // One of them is wrong: alone, each gets what it deserves.
            Err(Failure::Request(_)) if batch.rows.len() > 1 => {
                let mut first = 0;
                let mut alone = |rows: &usize| {
                    let start = Instant::now();
                    let range = first..first + rows;
                    first = range.end;
                    let inputs = batch.inputs.iter().map(|b| b.slice_rows(range.clone())).collect();
                    self.answers(&Batch { inputs, rows: vec![*rows] }, start, caller)
                };
                batch.rows.iter().flat_map(&mut alone).collect()
            }
            Err(failure) => {
                let reason = failure.reason();
                let e = ServeError::from(failure);
                batch.rows.iter().map(|_| Err((e.clone(), reason))).collect()
            }
        }
    }

    /// Gives each request its rows.
    fn split(&self, ran: &Ran<'_>, rows: &[usize], times: Times) -> Vec<Answer> {
        let done = |outputs| Ok(ran.done(outputs, times));
        if rows.len() == 1 {
            return vec![done(ran.outputs.clone())];
        }
        let mut first = 0;
        let one = |rows: &usize| {
            let range = first..first + rows;
            first = range.end;
            done(ran.outputs.iter().map(|b| b.slice_rows(range.clone())).collect())
        };
        rows.iter().map(one).collect()
    }
}

impl Ran<'_> {
    pub(super) fn done(&self, outputs: Vec<Buffer>, times: Times) -> Done {
        let runner = &self.by.runner;
        Done { outputs, backend: Arc::clone(&runner.backend), exact: runner.executable.is_exact(), times }
    }
}

impl Failure {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Request(_) => Reason::Other,
            Self::Backends(_) => Reason::Backend,
        }
    }
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Reply {
    to: tokio::sync::oneshot::Sender<Answer>,
    answer: Answer,
}

impl Reply {
    /// Delivers it, if its client is still there.
    pub(super) fn send(self) {
        let _ = self.to.send(self.answer);
    }
}

/// The inputs of all requests, one after the other; `None` where they differ in shape.
fn join(requests: &[Vec<Input>]) -> Option<Result<Vec<Input>, String>> {
    if let [request] = requests {
        return Some(Ok(request.clone()));
    }
    let joined = (0..requests.first()?.len()).map(|i| {
        let parts: Vec<Input> = requests.iter().map(|r| r.get(i).cloned()).collect::<Option<_>>()?;
        Input::concat_rows(&parts)
    });
    joined.collect()
}
