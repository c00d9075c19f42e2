//! Queues, batches, instances.
//!
//! A request that finds nobody waiting, a free instance and a backend that is quick is run on the thread that it came
//! on. All others are queued; instances, threads that start when they are first needed, form batches of what waits and
//! give them to the first healthy backend.

mod batch;
mod call;
mod gate;
mod instance;
mod order;
mod policy;
mod queue;
mod runners;

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use hs_runtime::{Buffer, CardStatus, Input};
use tokio::sync::oneshot;

pub use policy::{Batching, Policy, QueuePolicy, TimeoutAction};

use self::{
    call::Fault,
    gate::Gate,
    order::Order,
    queue::{Key, Queue, Waiting},
    runners::{Failure, Runners},
};
use crate::{
    Runner, ServeError, Statistics,
    statistics::{Computed, Reason},
};

/// Threads of one version at most, whatever its configuration and its backend like.
const MOST_INSTANCES: usize = 512;

/// What a request asks of the scheduler: its inputs, checked against the model.
#[derive(Debug, Clone)]
pub struct Job {
    /// Inputs in the model's order, the batch axis first where the model has one.
    pub inputs: Vec<Input>,
    /// Rows of each input; 1 where the model has no batch axis.
    pub rows: usize,
    /// 1 is the highest; 0: the policy's default.
    pub priority: u64,
    /// How long it may wait in the queue, where the policy lets requests say so.
    pub timeout: Option<Duration>,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Done {
    /// Outputs in the model's order.
    pub outputs: Vec<Buffer>,
    /// Who ran it.
    pub backend: Arc<str>,
    /// Whether it computes the model's exact codes.
    pub exact: bool,
    /// When.
    pub times: Times,
}

/// How a request went through the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// It came.
    pub arrived: Instant,
    /// A batch was formed of it.
    pub started: Instant,
    /// The batch had been run.
    pub ended: Instant,
    /// Rows of the batch.
    pub rows: usize,
}

/// A backend of a version, and whether it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Name of the backend.
    pub backend: Arc<str>,
    /// What it runs on.
    pub device: String,
    /// Whether it computes the model's exact codes.
    pub exact: bool,
    /// Whether it is in use; if not, it is passed over for a while.
    pub healthy: bool,
    /// What was last wrong with it; empty: nothing ever.
    pub problem: String,
}

/// What a request is told, and what kind of failure that counts as.
type Answer = Result<Done, (ServeError, Reason)>;

/// The queue, the instances and the backends of one version of a model.
pub struct Scheduler(Arc<Core>);

/// What the instances share with the requests.
struct Core {
    name: String,
    policy: Policy,
    batched: bool,
    instances: usize,
    /// Rows in the queue for which a batch may go without waiting for more.
    enough: usize,
    /// Whether requests may run on the thread that they came on.
    direct: bool,
    runners: Runners,
    statistics: Arc<Statistics>,
    gate: Gate,
    state: Mutex<State>,
    wake: Condvar,
    order: Option<Order>,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Threads, and how many of them have not begun yet or sleep.
    threads: usize,
    starting: usize,
    idle: usize,
    /// Batches formed so far.
    formed: u64,
    closed: bool,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = &self.0;
        f.debug_struct("Scheduler")
            .field("model", &core.name)
            .field("runners", &core.runners)
            .finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Gets ready; threads start when they are needed. `runners`: in order of preference, at least one. `batched`:
    /// whether buffers have a batch axis.
    pub fn new(
        name: &str,
        mut policy: Policy,
        batched: bool,
        runners: Vec<Runner>,
        statistics: Arc<Statistics>,
    ) -> Self {
        let wanted = match policy.instances {
            0 => runners.first().map_or(1, |r| r.executable.concurrency()),
            instances => instances,
        };
        let instances = wanted.clamp(1, MOST_INSTANCES);
        if !batched {
            policy.max_batch = 0;
        }
        let joins = policy.joins();
        let ordered = policy.batching.as_ref().is_some_and(|b| b.preserve_ordering);
        let enough = match joins {
            None => 0,
            Some(b) if b.delay.is_zero() => 0,
            Some(b) => b.preferred.first().copied().unwrap_or(policy.max_batch),
        };
        Self(Arc::new(Core {
            name: name.to_owned(),
            batched,
            instances,
            enough,
            // A call that may have to be given up must be another thread's, and answers of several threads are only
            // in order when all of them are queued.
            direct: policy.execution_timeout.is_none() && (instances == 1 || !ordered),
            runners: Runners::new(runners),
            statistics,
            gate: Gate::new(instances as u32),
            state: Mutex::default(),
            wake: Condvar::new(),
            order: ordered.then(Order::default),
            policy,
        }))
    }

    /// Runs a job. Dropping the future withdraws it.
    pub async fn run(&self, job: Job) -> Result<Done, ServeError> {
        let arrived = Instant::now();
        if let Some(done) = self.0.run_here(&job, arrived) {
            return done;
        }
        Request { core: &self.0, arrived, place: None }.wait(job).await
    }

    /// Requests in the queue.
    pub fn pending(&self) -> usize {
        self.0.gate.waiting()
    }

    /// The backends in order of preference.
    pub fn health(&self) -> Vec<Health> {
        self.0.runners.iter().map(runners::Member::health).collect()
    }

    /// The cards that the version runs on.
    pub fn cards(&self) -> Vec<CardStatus> {
        self.0.runners.iter().flat_map(|m| m.runner.executable.cards()).collect()
    }

    /// The accelerators among the runners, and the nanoseconds that each has spent in calls.
    pub(crate) fn busy(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.runners.iter().filter_map(|m| Some((m.runner.device.as_str(), m.busy()?)))
    }
}

impl Drop for Scheduler {
    /// The threads end when the queue is empty; one that is stuck in a call is left to itself.
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_all();
    }
}

impl Core {
    /// Runs a job on the calling thread, where it is quick and nothing speaks against it.
    fn run_here(&self, job: &Job, arrived: Instant) -> Option<Result<Done, ServeError>> {
        if !self.direct || job.rows < self.enough {
            return None;
        }
        let member = self.runners.quick(job.rows)?;
        if !self.gate.pass() {
            return None;
        }
        let place = Place(self);
        let start = Instant::now();
        let ran = member.run_here(&job.inputs, self.batched.then_some(job.rows));
        let done = Instant::now();
        drop(place);
        let result = match ran {
            Ok(mut ran) => {
                ran.by.was_busy(done - start);
                let outputs = std::mem::take(&mut ran.outputs);
                let answer =
                    ran.done(outputs, Times { arrived, started: start, ended: done, rows: job.rows });
                let end = Instant::now();
                self.statistics.computed(&Computed {
                    requests: 1,
                    rows: job.rows,
                    piece: ran.piece,
                    input: start - arrived,
                    infer: done - start,
                    output: end - done,
                    at: end,
                });
                self.statistics.succeeded(end - arrived);
                Ok(answer)
            }
            Err(Fault::Request(e)) => {
                self.statistics.failed(done - arrived, Reason::Other);
                Err(ServeError::invalid(e))
            }
            Err(Fault::Backend(message)) if self.runners.is_alone() => {
                self.statistics.failed(done - arrived, Reason::Backend);
                Err(Failure::Backends(format!("{:?}: {message}", member.runner)).into())
            }
            // The next backend may take its time: an instance asks it.
            Err(Fault::Backend(_)) => return None,
        };
        self.statistics.queued(Duration::ZERO);
        Some(result)
    }
}

/// An instance's place in use by a request.
struct Place<'a>(&'a Core);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.0.gate.leave() {
            // With the lock, a thread either sees the place or is asleep by now.
            drop(self.0.state());
            self.0.wake.notify_one();
        }
    }
}

/// A request that waits for its answer; withdrawn when dropped.
struct Request<'a> {
    core: &'a Arc<Core>,
    arrived: Instant,
    /// Where it is, until it has been answered.
    place: Option<Key>,
}

impl Request<'_> {
    async fn wait(mut self, job: Job) -> Result<Done, ServeError> {
        let answer = match self.queue(job) {
            Ok((answer, deadline)) => self.answer(answer, deadline).await,
            Err(refused) => Err(refused),
        };
        self.place = None;
        let time = self.arrived.elapsed();
        match answer {
            Ok(done) => {
                self.core.statistics.succeeded(time);
                Ok(Done { times: Times { arrived: self.arrived, ..done.times }, ..done })
            }
            Err((e, reason)) => {
                self.core.statistics.failed(time, reason);
                Err(e)
            }
        }
    }

    fn queue(
        &mut self,
        job: Job,
    ) -> Result<(oneshot::Receiver<Answer>, Option<Instant>), (ServeError, Reason)> {
        let core = self.core;
        let (reply, answer) = oneshot::channel();
        let level = core.policy.level(job.priority);
        let limits = core.policy.queue(level);
        let deadline = limits.deadline(self.arrived, job.timeout);
        let request = Waiting { inputs: job.inputs, rows: job.rows, arrived: self.arrived, deadline, reply };
        let mut state = core.state();
        // What a free instance is about to take does not count as waiting.
        let taken = if core.enough == 0 { core.gate.free() } else { 0 };
        if limits.max_size > 0 && state.queue.size(level) >= limits.max_size.saturating_add(taken) {
            return Err((ServeError::unavailable("Exceeds maximum queue size"), Reason::Rejected));
        }
        let place = state.queue.push(level, request);
        if let Err(e) = core.attend(&mut state) {
            state.queue.withdraw(place);
            let message = format!("no thread can be started for model '{}': {e}", core.name);
            return Err((ServeError::unavailable(message), Reason::Other));
        }
        self.place = Some(place);
        core.gate.queued();
        let refuses = limits.action == TimeoutAction::Reject;
        Ok((answer, deadline.filter(|_| refuses)))
    }

    async fn answer(&mut self, mut answer: oneshot::Receiver<Answer>, deadline: Option<Instant>) -> Answer {
        let lost = |_| Err((ServeError::internal("the request was lost"), Reason::Other));
        if let Some(deadline) = deadline {
            match tokio::time::timeout_at(deadline.into(), &mut answer).await {
                Ok(answer) => return answer.unwrap_or_else(lost),
                Err(_) if self.withdraw() => return Err(expired()),
                Err(_) => {}
            }
        }
        answer.await.unwrap_or_else(lost)
    }

    /// Takes it out of the queue; false when it is running by now.
    fn withdraw(&self) -> bool {
        let Some(place) = self.place else { return false };
        let mut state = self.core.state();
        let Some(request) = state.queue.withdraw(place) else { return false };
        self.core.gate.unqueued(1);
        drop(state);
        self.core.statistics.queued(request.arrived.elapsed());
        true
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.withdraw();
            self.core.statistics.failed(self.arrived.elapsed(), Reason::Cancelled);
        }
    }
}

fn expired() -> (ServeError, Reason) {
    (ServeError::unavailable("Request timeout expired"), Reason::Rejected)
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
