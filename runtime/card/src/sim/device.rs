//! The device: steps in, their ends on virtual time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    ops::Range,
    time::Duration,
};

use super::{Kernel, Timing, at_rate};
use crate::{Clock, Device, Done, Fault, Stage, Step, Ticket, Time};

/// What is wrong with a card for a while: it strikes kernels that start then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// They end with an error.
    Fails,
    /// They do not end.
    Hangs,
    /// They take this many times longer.
    Slow(u32),
}

/// Something that does one thing at a time, in the order in which it is asked.
#[derive(Debug, Default)]
struct Turn {
    free: Time,
    /// What it did until the last look.
    busy: Duration,
    /// What it has accepted and not done by the last look.
    ahead: VecDeque<Range<Time>>,
}

impl Turn {
    /// When something that arrives at `at`, not before `now`, and takes `time` is done.
    fn take(&mut self, now: Time, at: Time, time: Duration) -> Time {
        // Forgets what is past.
        self.busy(now);
        let start = at.max(self.free);
        self.free = start + time;
        self.ahead.push_back(start..self.free);
        self.free
    }

    /// For how long it was busy until `now`.
    fn busy(&mut self, now: Time) -> Duration {
        while let Some(first) = self.ahead.front()
            && first.end <= now
        {
            self.busy += first.end - first.start;
            self.ahead.pop_front();
        }
        self.busy + self.ahead.front().map_or(Duration::ZERO, |first| now.saturating_sub(first.start))
    }
}

/// A card on virtual time.
#[derive(Debug)]
pub struct SimDevice {
    timing: Timing,
    kernel: Kernel,
    now: Time,
    h2d: Turn,
    d2h: Turn,
    threads: Vec<Turn>,
    /// Ends of steps; of those at one time the first to be started is the first to end.
    ends: BinaryHeap<Reverse<(Time, Ticket, bool)>>,
    troubles: Vec<(Range<Time>, Trouble)>,
}

impl SimDevice {
    /// An idle card at time zero.
    pub fn new(timing: Timing, kernel: Kernel) -> Self {
        let threads = timing.host.as_ref().map_or(0, |h| h.threads.max(1));
        Self {
            timing,
            kernel,
            now: Time::ZERO,
            h2d: Turn::default(),
            d2h: Turn::default(),
            threads: (0..threads).map(|_| Turn::default()).collect(),
            ends: BinaryHeap::new(),
            troubles: Vec::new(),
        }
    }

    /// Gives it trouble for a while.
    pub fn trouble(&mut self, when: Range<Time>, what: Trouble) {
        self.troubles.push((when, what));
    }

    /// Starts it again: nothing is under way any more.
    pub fn restart(&mut self) {
        self.ends.clear();
        for turn in [&mut self.h2d, &mut self.d2h].into_iter().chain(&mut self.threads) {
            turn.busy(self.now);
            turn.ahead.clear();
            turn.free = self.now;
        }
    }

    /// For how long the link to the card, the link back and all host threads together were in use.
    pub(super) fn busy(&mut self) -> (Duration, Duration, Duration) {
        let now = self.now;
        let threads = self.threads.iter_mut().map(|t| t.busy(now)).sum();
        (self.h2d.busy(now), self.d2h.busy(now), threads)
    }

    /// The host's threads.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    fn host(&mut self, bytes: u64) -> Time {
        let (Some(host), Some(thread)) = (&self.timing.host, self.threads.iter_mut().min_by_key(|t| t.free))
        else {
            return self.now;
        };
        thread.take(self.now, self.now, at_rate(bytes, host.gb_s))
    }

    /// When a kernel ends, and whether well; `None` if never.
    fn compute(&self, rows: usize) -> Option<(Time, bool)> {
        let time = self.timing.launch + self.kernel.time(rows);
        let trouble = self.troubles.iter().find(|(when, _)| when.contains(&self.now)).map(|(_, what)| what);
        match trouble {
            None => Some((self.now + time, true)),
            Some(Trouble::Fails) => Some((self.now + time, false)),
            Some(Trouble::Slow(times)) => Some((self.now + time.saturating_mul(*times), true)),
            Some(Trouble::Hangs) => None,
        }
    }
}

impl Clock for SimDevice {
    fn now(&self) -> Time {
        self.now
    }
}

impl Device for SimDevice {
    fn start(&mut self, step: Step) {
        let rows = step.rows.len();
        let (input, output) = (self.kernel.input(rows), self.kernel.output(rows));
        let ready = self.now + self.timing.transfer;
        let end = match step.stage {
            Stage::Pack => Some((self.host(input), true)),
            Stage::HostToDevice => {
                Some((self.h2d.take(self.now, ready, at_rate(input, self.timing.h2d_gb_s)), true))
            }
            Stage::Kernel => self.compute(rows),
            Stage::DeviceToHost => {
                Some((self.d2h.take(self.now, ready, at_rate(output, self.timing.d2h_gb_s)), true))
            }
            Stage::Unpack => Some((self.host(output), true)),
        };
        self.ends.extend(end.map(|(at, well)| Reverse((at, step.ticket, well))));
    }

    fn wait(&mut self, until: Option<Time>) -> Option<Done> {
        let next = self.ends.peek().map(|Reverse((at, ..))| *at).filter(|at| until.is_none_or(|u| *at <= u));
        let Some(at) = next else {
            self.now = self.now.max(until.unwrap_or_default());
            return None;
        };
        self.now = at;
        let Reverse((_, ticket, well)) = self.ends.pop()?;
        let result = if well { Ok(()) } else { Err(Fault("the simulated kernel failed".to_owned())) };
        Some(Done { ticket, result })
    }
}
