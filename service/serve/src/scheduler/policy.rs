//! How requests wait and are put together.

use std::{collections::BTreeMap, time::Duration};

/// What happens to a request that has waited too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeoutAction {
    /// It is refused.
    #[default]
    Reject,
    /// It waits until no request is left that has not.
    Delay,
}

/// Limits of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuePolicy {
    /// What a timeout does.
    pub action: TimeoutAction,
    /// How long a request may wait; `None`: for ever.
    pub timeout: Option<Duration>,
    /// Whether a request may ask for a shorter time.
    pub allow_override: bool,
    /// Requests that may wait; 0: any number.
    pub max_size: usize,
}

/// Putting requests together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batching {
    /// How long the oldest request waits for more, once an instance is free.
    pub delay: Duration,
    /// Rows at which a batch goes without waiting, ascending; empty: the most that fit.
    pub preferred: Vec<usize>,
    /// Whether answers leave in the order in which requests came.
    pub preserve_ordering: bool,
}

/// How requests of one model wait and are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Rows of a batch at most; 0: requests have no batch axis.
    pub max_batch: usize,
    /// `None`: each request is a batch of its own.
    pub batching: Option<Batching>,
    /// Priorities are 1 (highest) to this; 0: there are none.
    pub levels: u64,
    /// Priority of requests that give none.
    pub default_level: u64,
    /// Limits of a level's queue that `queues` does not name.
    pub default_queue: QueuePolicy,
    /// Limits of a level's queue.
    pub queues: BTreeMap<u64, QueuePolicy>,
    /// Batches that run at the same time; 0: as many as the backend likes.
    pub instances: usize,
    /// How long one call of a backend may take before its rows are given to the next one; `None`: for ever.
    pub execution_timeout: Option<Duration>,
}
