//! The inner loop of dense layers and convolutions: a few outputs at a time, a chunk of lanes in registers.

use crate::{
    lane::{Lane, Stored},
    windows::Run,
};

/// Outputs of a tile, and the lanes that one pass over the terms handles.
pub(crate) const TILE: usize = 4;
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

/// `acc[t][lane] = init[t] + Σ x[lane] × w[t]` for `T` outputs. `w` holds `T` weights a term.
#[inline(always)]
pub(crate) fn tile<S: Stored, W: Stored, A: Lane, const T: usize>(
    terms: Terms<'_>,
    x: &[S],
    w: &[W],
    init: [A; T],
    product: Product,
    acc: &mut [A],
) {
    let lanes = acc.len() / T;
    match product {
        Product::Whole => {
            for first in (0..lanes).step_by(CHUNK) {
                chunk::<S, W, A, T>(terms, (x, lanes, first), w, init, acc, |p| p);
            }
        }
        Product::Shifted { half, drop } => {
            let half = A::of64(half);
            for first in (0..lanes).step_by(CHUNK) {
                chunk::<S, W, A, T>(terms, (x, lanes, first), w, init, acc, |p| p.plus(half).right(drop));
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
