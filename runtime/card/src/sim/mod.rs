//! A card on virtual time, for the scheduler that drives real ones: to study queueing and sizing.
//!
//! The model: a transfer or a launch first costs the host's runtime a fixed time. For a transfer the link is meanwhile
//! free for others; a launch occupies its compute unit. Then bytes pass at the link's rate, one transfer at a time in
//! each direction, in the order in which they were asked for, and a kernel takes its latency, an interval for each
//! further row, and the loading of its weights. Packing and unpacking take turns on the host's threads. Nothing is
//! random.
//!
//! [`calibrate`] finds the costs from measured throughputs; [`Preset`]s hold them for some cards.

mod calibrate;
mod device;
mod load;
mod preset;

use std::time::Duration;

pub use calibrate::{CalibrationError, Point, calibrate, launches_per_second};
pub use device::{SimDevice, Trouble};
pub use load::{Binds, Latency, Load, Report, Shares, run};
pub use preset::Preset;

/// Bytes that buffers are padded to, and of the trailer after results.
const BEAT: u64 = 64;
/// What one step takes at most: longer than any simulation.
const LONGEST: Duration = Duration::from_secs(1_000_000);

/// What a card and its host cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Rate of the link to the card, in GB/s (10⁹ bytes).
    pub h2d_gb_s: f64,
    /// Rate of the link back.
    pub d2h_gb_s: f64,
    /// What a transfer costs beside its bytes.
    pub transfer: Duration,
    /// What a launch costs beside the kernel's work.
    pub launch: Duration,
    /// The host's packing and unpacking.
    pub host: Option<Host>,
}

/// Packing and unpacking on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Packed bytes that a thread writes or reads, in GB/s.
    pub gb_s: f64,
    /// Threads; 0 counts as 1.
    pub threads: usize,
}

/// What a kernel takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its clock.
    pub clock_mhz: u32,
    /// Cycles from one row to the next.
    pub interval: u64,
    /// Cycles from the start to the first result.
    pub latency: u64,
    /// Cycles to load weights, once a launch.
    pub weights: u64,
    /// Packed bytes of a row, all inputs.
    pub input_bytes: u64,
    /// Packed bytes of a row, all outputs.
    pub output_bytes: u64,
    /// Outputs: each has a trailer.
    pub outputs: u64,
}

impl Kernel {
    /// Time of a launch on the compute unit.
    pub fn time(&self, rows: usize) -> Duration {
        let further = (rows as u64).saturating_sub(1).saturating_mul(self.interval);
        let cycles = self.weights.saturating_add(self.latency).saturating_add(further);
        seconds(cycles as f64 / (f64::from(self.clock_mhz) * 1e6))
    }

    /// Bytes of a launch to the card.
    pub fn input(&self, rows: usize) -> u64 {
        (rows as u64).saturating_mul(self.input_bytes).div_ceil(BEAT).saturating_mul(BEAT)
    }

    /// Bytes of a launch back, trailers included.
    pub fn output(&self, rows: usize) -> u64 {
        let results = (rows as u64).saturating_mul(self.output_bytes).div_ceil(BEAT).saturating_mul(BEAT);
        results.saturating_add(self.outputs.saturating_mul(BEAT))
    }
}

/// Time of `bytes` at a rate.
fn at_rate(bytes: u64, gb_s: f64) -> Duration {
    seconds(bytes as f64 / (gb_s * 1e9))
}

/// A time, however large; what is no number takes the longest.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).map_or(LONGEST, |d| d.min(LONGEST))
}

impl Timing {
    /// A launch that has the card to itself, from packing to unpacked results.
    pub fn alone(&self, kernel: &Kernel, rows: usize) -> Duration {
        let host = |bytes| self.host.as_ref().map_or(Duration::ZERO, |h| at_rate(bytes, h.gb_s));
        let (input, output) = (kernel.input(rows), kernel.output(rows));
        let there = self.transfer + at_rate(input, self.h2d_gb_s);
        let back = self.transfer + at_rate(output, self.d2h_gb_s);
        host(input) + there + self.launch + kernel.time(rows) + back + host(output)
    }
}
