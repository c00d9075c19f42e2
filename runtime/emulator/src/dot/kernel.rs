//! The inner loop of dense layers and convolutions: a few outputs at a time, a chunk of lanes in registers.

use super::Weights;
use crate::{
    isa::{Checked, Kernel},
    lane::{Buf, Lane, Stored},
    windows::Run,
};

/// Outputs of a tile, and the lanes that one pass over the terms handles.
const TILE: usize = 4;
/// Lanes of a pass; the lanes of a block are a multiple of it.
pub(crate) const CHUNK: usize = 16;

/// Terms of one output pixel for one group of channels.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) runs: &'a [Run],
    /// Input channels, those of the group, and the group's first.
    pub(crate) channels: usize,
    pub(crate) group: usize,
    pub(crate) first: usize,
}

impl Terms<'_> {
    /// Calls `f` with the first element, the first term and the length of each contiguous piece.
    #[inline(always)]
    fn pieces(&self, mut f: impl FnMut(usize, usize, usize)) {
        for run in self.runs {
            let (pixel, position, n) = (run.pixel as usize, run.position as usize, run.n as usize);
            if self.group == self.channels {
                f(pixel * self.channels, position * self.channels, n * self.channels);
            } else {
                for i in 0..n {
                    f((pixel + i) * self.channels + self.first, (position + i) * self.group, self.group);
                }
            }
        }
    }
}

/// What becomes of each product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    /// It is added as it is.
    Whole,
    /// `(p + half) >> drop`.
    Shifted { half: i64, drop: u32 },
}

/// `acc[t][lane] = init[t] + Σ x[lane] × w[t]` for the outputs t of a tile.
pub(crate) struct TileJob<'a, A> {
    pub(crate) terms: Terms<'a>,
    /// Where the tile's weights begin: a weight of each output, term after term.
    pub(crate) weights: usize,
    /// As many as the tile has outputs.
    pub(crate) init: &'a [A],
    pub(crate) product: Product,
    pub(crate) acc: &'a mut [A],
}

/// Lanes that tiles are summed in. Each type has the kernels for the operands that can occur with it.
pub(crate) trait TileLane: Sized {
    /// Most outputs of a tile.
    const TILE: usize;

    /// Computes a tile of 1 or [`TILE`](Self::TILE) outputs.
    fn tile(isa: Checked, x: &Buf, w: &Weights, job: TileJob<'_, Self>);
}

impl TileLane for i32 {
    const TILE: usize = TILE;

    fn tile(isa: Checked, x: &Buf, w: &Weights, job: TileJob<'_, Self>) {
        match (x, w) {
            (Buf::I32(x), Weights::I32(w)) => run(isa, x, w, job),
            _ => unreachable!("planned: 32-bit lanes have 32-bit operands"),
        }
    }
}

impl TileLane for i64 {
    const TILE: usize = TILE;

    fn tile(isa: Checked, x: &Buf, w: &Weights, job: TileJob<'_, Self>) {
        match (x, w) {
            (Buf::I32(x), Weights::I32(w)) => run(isa, x, w, job),
            (Buf::I32(x), Weights::I64(w)) => run(isa, x, w, job),
            (Buf::I64(x), Weights::I64(w)) => run(isa, x, w, job),
            (Buf::I64(_), Weights::I32(_)) => unreachable!("planned: weights as wide as the input"),
        }
    }
}

impl TileLane for i128 {
    const TILE: usize = 1;

    fn tile(_: Checked, x: &Buf, w: &Weights, job: TileJob<'_, Self>) {
        match (x, w) {
            (Buf::I32(x), Weights::I64(w)) => Job::<_, _, _, 1> { x, w, job }.run(),
            (Buf::I64(x), Weights::I64(w)) => Job::<_, _, _, 1> { x, w, job }.run(),
            (_, Weights::I32(_)) => unreachable!("planned: 128-bit lanes have 64-bit weights"),
        }
    }
}

fn run<S: Stored, W: Stored, A: Lane>(isa: Checked, x: &[S], w: &[W], job: TileJob<'_, A>) {
    if job.init.len() == 1 {
        isa.run(Job::<S, W, A, 1> { x, w, job });
    } else {
        isa.run(Job::<S, W, A, TILE> { x, w, job });
    }
}

/// A tile of `T` outputs of known operands.
struct Job<'a, S, W, A, const T: usize> {
    x: &'a [S],
    w: &'a [W],
    job: TileJob<'a, A>,
}

impl<S: Stored, W: Stored, A: Lane, const T: usize> Kernel for Job<'_, S, W, A, T> {
    #[inline(always)]
    fn run(self) {
        let TileJob { terms, weights, init, product, acc } = self.job;
        let w = &self.w[weights..];
        let lanes = acc.len() / T;
        let mut start = [A::ZERO; T];
        start.copy_from_slice(init);
        for first in (0..lanes).step_by(CHUNK) {
            let x = (self.x, lanes, first);
            match product {
                Product::Whole => chunk::<S, W, A, T>(terms, x, w, start, acc, |p| p),
                Product::Shifted { half, drop } => {
                    let half = A::of64(half);
                    chunk::<S, W, A, T>(terms, x, w, start, acc, |p| p.plus(half).right(drop));
                }
            }
        }
    }
}

#[inline(always)]
fn chunk<S: Stored, W: Stored, A: Lane, const T: usize>(
    terms: Terms<'_>,
    (x, lanes, first): (&[S], usize, usize),
    w: &[W],
    init: [A; T],
    acc: &mut [A],
    product: impl Fn(A) -> A,
) {
    let mut sums = [[A::ZERO; CHUNK]; T];
    for t in 0..T {
        sums[t] = [init[t]; CHUNK];
    }
    terms.pieces(|element, term, len| {
        let rows = x[element * lanes..(element + len) * lanes].chunks_exact(lanes);
        let weights = w[term * T..(term + len) * T].chunks_exact(T);
        for (row, weights) in rows.zip(weights) {
            let row = &row[first..first + CHUNK];
            for t in 0..T {
                let weight: A = weights[t].lane();
                for l in 0..CHUNK {
                    sums[t][l] = sums[t][l].plus(product(row[l].lane::<A>().times(weight)));
                }
            }
        }
    });
    for t in 0..T {
        acc[t * lanes + first..][..CHUNK].copy_from_slice(&sums[t]);
    }
}
