//! What was chosen for each node, and why.

use std::fmt;

use serde::Serialize;

use crate::{Isa, Width};

/// Choices for one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodePlan {
    /// Name of the node.
    pub node: String,
    /// Keyword of its op.
    pub op: &'static str,
    /// Kernel that runs it; empty where nothing runs.
    pub kernel: String,
    /// Integers it computes in, sums included; `None` where nothing runs.
    pub computes: Option<Width>,
    /// Integers its tensor is stored in.
    pub stores: Width,
    /// Bits of its operands: of each input, then of the weights.
    pub operand_bits: Vec<u32>,
    /// Smallest and largest partial sum or exact value that the proof allows, in codes of the exact format.
    pub range: Option<(String, String)>,
    /// Multiplications a row.
    pub macs: u64,
    /// What the kernel multiplied on one core, in 10^9 a second, where it was tried: [`Emulator::measured_plan`](crate::Emulator::measured_plan).
    pub gmacs: Option<f64>,
    /// The reason for the choice.
    pub why: String,
}

/// How the tensors of a block lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[element][row]`: a vector holds an element of many rows.
    Lanes,
    /// `[row][element]`: a vector holds neighbouring elements of a row.
    Rows,
}

/// How an emulator runs its Program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// How tensors lie in memory.
    pub layout: Layout,
    /// Instruction set.
    pub isa: Isa,
    /// Threads.
    pub threads: usize,
    /// Rows of a block.
    pub block: usize,
    /// Bytes of the tensors of a full block that are alive together.
    pub block_bytes: usize,
    /// Multiplications a row.
    pub macs: u64,
    /// One entry a node, in order.
    pub nodes: Vec<NodePlan>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} threads, {:?}, {:?}, blocks of {} rows in {} KiB, {} MACs a row",
            self.threads,
            self.isa,
            self.layout,
            self.block,
            self.block_bytes.div_ceil(1024),
            self.macs
        )?;
        let computes = |n: &NodePlan| n.computes.map_or_else(|| "-".to_owned(), |w| w.to_string());
        let longest = |of: fn(&NodePlan) -> usize| self.nodes.iter().map(of).max().unwrap_or(0);
        let (name, kernel) = (longest(|n| n.node.chars().count()), longest(|n| n.kernel.chars().count()));
        for n in &self.nodes {
            writeln!(
                f,
                "{:name$}  {:8} {:kernel$}  {:>4} -> {:3}  {:>10}  {}",
                n.node,
                n.op,
                n.kernel,
                computes(n),
                n.stores.to_string(),
                n.macs,
                n.why
            )?;
        }
        Ok(())
    }
}
