//! Who waits and who runs, in one word, so that a request that finds a free place takes it with one instruction.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of requests that wait and of batches that run. Those that wait change under the lock of the queue alone.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Waiting in the upper half, running in the lower one.
    word: AtomicU64,
    places: u64,
}

const WAITING: u64 = 1 << 32;

impl Gate {
    pub(crate) fn new(places: u32) -> Self {
        Self { word: AtomicU64::new(0), places: u64::from(places) }
    }

    /// Takes a place where one is free and nobody waits.
    pub(crate) fn pass(&self) -> bool {
        // Whoever waits makes the word larger than any number of places.
        self.take(|word| word < self.places)
    }

    /// Takes a place where one is free.
    pub(crate) fn enter(&self) -> bool {
        self.take(|word| word % WAITING < self.places)
    }

    fn take(&self, free: impl Fn(u64) -> bool) -> bool {
        let change = |word| free(word).then_some(word + 1);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }

    /// Gives a place back; whether somebody waits for it.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        self.word.fetch_sub(1, Ordering::AcqRel) >= WAITING
    }

    /// One more waits.
    pub(crate) fn queued(&self) {
        self.word.fetch_add(WAITING, Ordering::AcqRel);
    }

    /// So many wait no longer.
    pub(crate) fn unqueued(&self, count: usize) {
        self.word.fetch_sub(WAITING * count as u64, Ordering::AcqRel);
    }

    pub(crate) fn waiting(&self) -> usize {
        (self.word.load(Ordering::Acquire) / WAITING) as usize
    }

    /// Places that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.places.saturating_sub(self.word.load(Ordering::Acquire) % WAITING) as usize
    }
}
