//! What a scheduler counts.

use std::time::Duration;

use crate::Stage;

/// Sums since the start. Times are of launches, each from the step's start to its end, what it waited for a link or a
/// host thread included; waiting for the compute unit is [`ready`](Self::ready).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs taken.
    pub jobs: u64,
    /// Launches that went through all stages.
    pub launches: u64,
    /// Rows of the jobs taken.
    pub rows_in: u64,
    /// Rows computed and unpacked, for jobs that still waited for them.
    pub rows_out: u64,
    /// Rows given back undone.
    pub rows_back: u64,
    /// Steps that failed.
    pub faults: u64,
    /// Completions of steps that were given up before.
    pub stale: u64,
    /// From a job's arrival to the start of its launch.
    pub queue: Duration,
    /// Packing.
    pub pack: Duration,
    /// Transfers to the card.
    pub h2d: Duration,
    /// On the card, waiting for the compute unit.
    pub ready: Duration,
    /// Kernels.
    pub kernel: Duration,
    /// Transfers back.
    pub d2h: Duration,
    /// Unpacking.
    pub unpack: Duration,
}

impl Counters {
    pub(crate) fn stage(&mut self, stage: Stage) -> &mut Duration {
        match stage {
            Stage::Pack => &mut self.pack,
            Stage::HostToDevice => &mut self.h2d,
            Stage::Kernel => &mut self.kernel,
            Stage::DeviceToHost => &mut self.d2h,
            Stage::Unpack => &mut self.unpack,
        }
    }
}

/// For how long parts of a card were in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Each compute unit, by its kernels' steps.
    pub units: Vec<Duration>,
    /// The sum over all slots.
    pub slots: Duration,
}
