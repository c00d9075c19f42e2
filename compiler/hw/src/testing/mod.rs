//! Random Programs and inputs for differential tests, and a shrinker for what they find.
//!
//! Everything is a pure function of its seed and the same on every machine, so a failure is reported as a seed.

mod build;
mod inputs;
mod ops;
mod resize;
mod rng;
mod shrink;
mod sums;
#[cfg(test)]
mod tests;

pub use inputs::random_inputs;
pub use rng::Rng;
pub use shrink::shrink;

use crate::Program;

/// Ops that a random Program computes with. `Input`, `Output` and `Const` come as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the ops of the same names")]
pub enum OpKind {
    Dot,
    Affine,
    Requant,
    Binary,
    Table,
    Pool,
    Softmax,
    Reshape,
    Permute,
    Concat,
    Pad,
}

impl OpKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Dot,
        Self::Affine,
        Self::Requant,
        Self::Binary,
        Self::Table,
        Self::Pool,
        Self::Softmax,
        Self::Reshape,
        Self::Permute,
        Self::Concat,
        Self::Pad,
    ];
}

/// What random Programs may look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Kinds of op to draw from; a kind listed twice is drawn twice as often.
    pub ops: Vec<OpKind>,
    /// Widest tensor, constant and stepwise accumulator in bits, 1 to 64.
    pub max_width: u32,
    /// Most computing nodes, at least 1.
    pub max_nodes: usize,
    /// Most inputs, at least 1.
    pub max_inputs: usize,
    /// Most outputs, at least 1; exceeded where inputs never meet.
    pub max_outputs: usize,
    /// Highest rank of a tensor: 1 (C), 2 (L, C) or 3 (H, W, C).
    pub max_rank: usize,
    /// Longest axis.
    pub max_dim: usize,
    /// Most elements of a tensor and most weights of a node.
    pub max_elements: usize,
    /// Whether [`Accum::Stepwise`](crate::Accum::Stepwise) may occur.
    pub stepwise: bool,
    /// Whether types are as models mostly have them, which is what backends have their fastest paths for: 8, 16 or
    /// `max_width` bits, TRN or RND, WRAP or SAT; products and sums of a stepwise accumulator of one type; dot products
    /// whose result is the exact sum.
    pub usual_types: bool,
    /// Whether some names hold quotes, line breaks, C++ and other trouble.
    pub odd_names: bool,
}

impl Default for Config {
    /// Every op, widths to 64, tensors small enough that the generated C++ compiles quickly.
    fn default() -> Self {
        use OpKind::{Dot, Pool, Requant};
        let mut ops = vec![Dot, Dot, Pool, Requant];
        ops.extend(OpKind::ALL);
        Self {
            ops,
            max_width: 64,
            max_nodes: 7,
            max_inputs: 3,
            max_outputs: 3,
            max_rank: 3,
            max_dim: 6,
            max_elements: 120,
            stepwise: true,
            usual_types: false,
            odd_names: true,
        }
    }
}

/// A Program that passes [`Program::verify`], the same for the same arguments.
///
/// # Panics
/// When `config` lists no op or has a zero or `max_width` above 64.
pub fn random_program(seed: u64, config: &Config) -> Program {
    build::program(seed, config)
}
