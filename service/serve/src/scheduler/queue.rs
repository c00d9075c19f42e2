//! Requests that wait, and which of them make the next batch.

use std::{collections::BTreeMap, time::Instant};

use hs_runtime::Input;
use tokio::sync::oneshot;

use super::{
    Answer,
    policy::{Policy, TimeoutAction, after},
};

/// Requests of other shapes that are looked past for ones that fit the batch.
const LOOK_PAST: usize = 256;

/// A request's place. The order of keys is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    level: u64,
    late: bool,
    number: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) inputs: Vec<Input>,
    pub(crate) rows: usize,
    pub(crate) arrived: Instant,
    /// When it has waited too long.
    pub(crate) deadline: Option<Instant>,
    pub(crate) reply: oneshot::Sender<Answer>,
}

impl Waiting {
    fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|d| d <= now)
    }

    /// Whether the two can be one batch: all is the same except the number of rows.
    fn fits(&self, other: &Self) -> bool {
        let one = |(a, b): (&Input, &Input)| {
            a.datatype() == b.datatype()
                && !a.shape().is_empty()
                && !b.shape().is_empty()
                && a.shape()[1..] == b.shape()[1..]
        };
        self.inputs.len() == other.inputs.len() && self.inputs.iter().zip(&other.inputs).all(one)
    }
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Run these together.
    Batch(Vec<Waiting>),
    /// Wait for more, until then at most.
    Hold(Option<Instant>),
}

/// The queue of one model.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Key, Waiting>,
    /// Requests of each level.
    sizes: BTreeMap<u64, usize>,
    /// Rows in all.
    rows: usize,
    numbered: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Requests of a level.
    pub(crate) fn size(&self, level: u64) -> usize {
        self.sizes.get(&level).copied().unwrap_or(0)
    }

    /// Rows of all requests.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn push(&mut self, level: u64, request: Waiting) -> Key {
        let key = Key { level, late: false, number: self.numbered };
        self.numbered += 1;
        self.insert(key, request);
        key
    }

    /// Takes a request out again; `None` when it is no longer here.
    pub(crate) fn withdraw(&mut self, key: Key) -> Option<Waiting> {
        self.remove(key).or_else(|| self.remove(Key { late: true, ..key }))
    }

    fn insert(&mut self, key: Key, request: Waiting) {
        *self.sizes.entry(key.level).or_default() += 1;
        self.rows = self.rows.saturating_add(request.rows);
        self.waiting.insert(key, request);
    }

    fn remove(&mut self, key: Key) -> Option<Waiting> {
        let request = self.waiting.remove(&key)?;
        self.rows = self.rows.saturating_sub(request.rows);
        if let Some(size) = self.sizes.get_mut(&key.level) {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&key.level);
            }
        }
        Some(request)
    }

    /// Brings requests at the head that have waited too long to where they belong: those to be refused are returned,
    /// the others go behind their level.
    pub(crate) fn expire(&mut self, now: Instant, policy: &Policy) -> Vec<Waiting> {
        let mut refused = Vec::new();
        while let Some((&key, request)) = self.waiting.first_key_value()
            && !key.late
            && request.is_expired(now)
        {
            let Some(request) = self.remove(key) else { break };
            match policy.queue(key.level).action {
                TimeoutAction::Reject => refused.push(request),
                TimeoutAction::Delay => self.insert(Key { late: true, ..key }, request),
            }
        }
        refused
    }

    /// The next batch. `hurry`: nothing more will come.
    pub(crate) fn next(&mut self, now: Instant, policy: &Policy, hurry: bool) -> Next {
        let Some((&first, head)) = self.waiting.first_key_value() else { return Next::Hold(None) };
        let Some(batching) = policy.joins() else {
            return Next::Batch(self.remove(first).into_iter().collect());
        };
        let mut keys = vec![first];
        let mut rows = head.rows;
        let mut oldest = head.arrived;
        let mut full = rows >= policy.max_batch;
        // Requests, and their rows, of the longest batch so far that has a preferred size.
        let is_preferred = |rows: usize| batching.preferred.binary_search(&rows).is_ok();
        let mut preferred = is_preferred(rows).then_some(1);
        let mut passed = 0;
        for (&key, request) in self.waiting.iter().skip(1) {
            if full || passed == LOOK_PAST {
                break;
            }
            if !request.fits(head) {
                full = batching.preserve_ordering;
                passed += 1;
            } else if key.late || !request.is_expired(now) {
                if request.rows > policy.max_batch - rows {
                    full = true;
                    continue;
                }
                rows += request.rows;
                oldest = oldest.min(request.arrived);
                keys.push(key);
                full = rows == policy.max_batch;
                if is_preferred(rows) {
                    preferred = Some(keys.len());
                }
            }
        }
        if let Some(count) = preferred {
            keys.truncate(count);
        } else if !full && !hurry && batching.preferred.last().is_none_or(|most| rows < *most) {
            match after(oldest, batching.delay) {
                Some(due) if due <= now => {}
                due => return Next::Hold(due),
            }
        }
        Next::Batch(keys.into_iter().filter_map(|key| self.remove(key)).collect())
    }
}
