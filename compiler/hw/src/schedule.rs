//! How a Program is laid out in hardware. Nothing here changes a bit.

use serde::{Deserialize, Serialize};

/// How tensors travel between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// Whole tensors in registers (hls4ml's `io_parallel`).
    Parallel,
    /// One pixel with all its channels a beat, through FIFOs (hls4ml's `io_stream`).
    Stream,
}

/// How the multiplications of a layer are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// All at once.
    Latency,
    /// `reuse` steps on the same multipliers.
    Resource,
}

/// Layout of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSchedule {
    /// Strategy.
    pub strategy: Strategy,
    /// Products that share a multiplier; 1 for the latency strategy.
    pub reuse: usize,
}

/// A FIFO of a streamed design: from a node to a consumer, or to the process that clones a value with
/// several consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fifo {
    /// Node whose value it carries.
    pub from: u32,
    /// Reader and its input slot; `None`: the clone process of `from`.
    pub to: Option<(u32, usize)>,
    /// Beats it holds, at least 1.
    pub depth: usize,
}

/// Layout of a Program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Transport between layers.
    pub io: Io,
    /// One entry a node, by index.
    pub layers: Vec<LayerSchedule>,
    /// Stream only: every FIFO, by `from`, clone trunk first, then consumers in order.
    pub fifos: Vec<Fifo>,
}

impl Schedule {
    /// Depth of the FIFO between two ends.
    pub fn depth(&self, from: u32, to: Option<(u32, usize)>) -> Option<usize> {
        self.fifos.iter().find(|f| f.from == from && f.to == to).map(|f| f.depth)
    }
}
