//! Queues, batches, instances.

mod policy;

use std::{sync::Arc, time::Duration};

use hs_runtime::Buffer;

pub use policy::{Batching, Policy, QueuePolicy, TimeoutAction};

use crate::{Runner, ServeError, Statistics};

/// What a request asks of the scheduler: its buffers, checked against the model.
#[derive(Debug, Clone)]
pub struct Job {
    /// Inputs in the model's order, the batch axis first where the model has one.
    pub inputs: Vec<Buffer>,
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
}

/// The queue, the instances and the backends of one version of a model.
#[derive(Debug)]
pub struct Scheduler;

impl Scheduler {
    /// Starts the instances. `runners`: in order of preference, at least one. `batched`: whether buffers have a batch
    /// axis.
    pub fn new(
        _name: &str,
        _policy: Policy,
        _batched: bool,
        _runners: Vec<Runner>,
        _statistics: Arc<Statistics>,
    ) -> Self {
        Self
    }

    /// Runs a job. Dropping the future withdraws it.
    pub async fn run(&self, _job: Job) -> Result<Done, ServeError> {
        Err(ServeError::internal("not yet"))
    }

    /// Requests in the queue.
    pub fn pending(&self) -> usize {
        0
    }

    /// Health of each runner, in order: backend, device, whether it is in use, what was last wrong with it.
    pub fn health(&self) -> Vec<(Arc<str>, String, bool, String)> {
        Vec::new()
    }
}
