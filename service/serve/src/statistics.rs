//! What a version has done, counted.

use std::sync::Arc;

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

/// The counts of one version, read at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatistics {
    /// Name of the model.
    pub name: Arc<str>,
    /// Version.
    pub version: u64,
    /// Milliseconds since 1970 of the last request; 0: none.
    pub last_inference: u64,
    /// Rows that were answered.
    pub inference_count: u64,
    /// Calls of the backend.
    pub execution_count: u64,
    /// Requests that were answered, from arrival to answer.
    pub success: Duration,
    /// Requests that failed, from arrival to answer.
    pub fail: Duration,
    /// Waiting, of every request.
    pub queue: Duration,
    /// Preparing inputs.
    pub compute_input: Duration,
    /// Running.
    pub compute_infer: Duration,
    /// Taking outputs apart.
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
    /// Executions by batch size, ascending.
    pub batches: Vec<BatchStatistics>,
}

/// The counts of one version, as they grow.
#[derive(Debug, Default)]
pub struct Statistics;

impl Statistics {
    /// The counts as they are.
    pub fn read(&self, name: &Arc<str>, version: u64, pending: u64) -> ModelStatistics {
        ModelStatistics {
            name: Arc::clone(name),
            version,
            last_inference: 0,
            inference_count: 0,
            execution_count: 0,
            success: Duration::default(),
            fail: Duration::default(),
            queue: Duration::default(),
            compute_input: Duration::default(),
            compute_infer: Duration::default(),
            compute_output: Duration::default(),
            rejected: 0,
            cancelled: 0,
            backend_failures: 0,
            other_failures: 0,
            pending,
            batches: Vec::new(),
        }
    }
}
