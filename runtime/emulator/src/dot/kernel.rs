//! The inner loop of dense layers and convolutions.

use super::Weights;
#[cfg(target_arch = "x86_64")]
use super::simd::Vectors;
use crate::{
    lane::{Buf, Lane, Stored},
    windows::Run,
};
use hs_runtime::isa::{Checked, Kernel};

/// Outputs that are summed together.
const TILE: usize = 4;
/// Terms that are added in one pass over the lanes.
const PASS: usize = 2;
/// Terms of one output pixel for one group of channels.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) runs: &'a [Run],
    /// Input channels, those of the group, and the group's first.
    pub(crate) channels: usize,
    pub(crate) group: usize,
    pub(crate) first: usize,
}

/// The contiguous pieces of a run.
pub(crate) struct Pieces {
    element: usize,
    term: usize,
    left: usize,
    len: usize,
    stride: usize,
}

impl Terms<'_> {
    /// First element, first term and length of each contiguous piece. All channels of neighbouring pixels lie side
    /// by side; those of a group do not.
    #[inline(always)]
    pub(crate) fn pieces(&self, run: &Run) -> Pieces {
        let n = run.n as usize;
        let (left, len) = if self.group == self.channels { (1, n * self.group) } else { (n, self.group) };
        Pieces {
            element: run.pixel as usize * self.channels + self.first,
            term: run.position as usize * self.group,
            left,
            len,
            stride: self.channels,
        }
    }
}

impl Iterator for Pieces {
    type Item = (usize, usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let piece = (self.element, self.term, self.len);
        self.element += self.stride;
        self.term += self.len;
        Some(piece)
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
            (Buf::I32 { words, .. }, Weights::I32(w)) => run(isa, words, w, job),
            _ => unreachable!("planned: 32-bit lanes have 32-bit operands"),
        }
    }
}

impl TileLane for i64 {
    const TILE: usize = TILE;

    fn tile(isa: Checked, x: &Buf, w: &Weights, job: TileJob<'_, Self>) {
        match (x, w) {
            (Buf::I32 { words, .. }, Weights::I32(w)) => vectors(isa, words, w, job),
            (Buf::I32 { words, .. }, Weights::I64(w)) => run(isa, words, w, job),
            (Buf::I64(x), Weights::I64(w)) => run(isa, x, w, job),
            (Buf::I64(_), Weights::I32(_)) => unreachable!("planned: weights as wide as the input"),
        }
    }
}

impl TileLane for i128 {
    const TILE: usize = 1;

    fn tile(_: Checked, x: &Buf, w: &Weights, job: TileJob<'_, Self>) {
        match (x, w) {
            (Buf::I32 { words: x, .. }, Weights::I64(w)) => Job::<_, _, _, 1> { x, w, job }.run(),
            (Buf::I64(x), Weights::I64(w)) => Job::<_, _, _, 1> { x, w, job }.run(),
            (_, Weights::I32(_)) => unreachable!("planned: 128-bit lanes have 64-bit weights"),
        }
    }
}

/// The explicit kernel where there is one, else the portable loop.
#[cfg(target_arch = "x86_64")]
fn vectors<A: Lane + Vectors>(isa: Checked, x: &[i32], w: &[i32], mut job: TileJob<'_, A>) {
    let done = if job.init.len() == 1 {
        <A as Vectors>::tile::<1>(isa, x, w, &mut job)
    } else {
        <A as Vectors>::tile::<TILE>(isa, x, w, &mut job)
    };
    if !done {
        run(isa, x, w, job);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors<A: Lane>(isa: Checked, x: &[i32], w: &[i32], job: TileJob<'_, A>) {
    run(isa, x, w, job);
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
        let (x, w) = (self.x, &self.w[weights..]);
        let lanes = acc.len() / T;
        for (row, init) in acc.chunks_exact_mut(lanes).zip(init) {
            row.fill(*init);
        }
        match product {
            Product::Whole => sum::<S, W, A, T>(terms, x, w, acc, Keep),
            Product::Shifted { half, drop } => {
                sum::<S, W, A, T>(terms, x, w, acc, Shift { half: A::of64(half), drop });
            }
        }
    }
}

/// What is done to a product before it is added. Not a closure: that would be compiled for the build's target.
trait Post<A>: Copy {
    fn post(self, product: A) -> A;
}

#[derive(Clone, Copy)]
struct Keep;

impl<A> Post<A> for Keep {
    #[inline(always)]
    fn post(self, product: A) -> A {
        product
    }
}

#[derive(Clone, Copy)]
struct Shift<A> {
    half: A,
    drop: u32,
}

impl<A: Lane> Post<A> for Shift<A> {
    #[inline(always)]
    fn post(self, product: A) -> A {
        product.plus(self.half).right(self.drop)
    }
}

#[inline(always)]
fn sum<S: Stored, W: Stored, A: Lane, const T: usize>(
    terms: Terms<'_>,
    x: &[S],
    w: &[W],
    acc: &mut [A],
    post: impl Post<A>,
) {
    let lanes = acc.len() / T;
    for run in terms.runs {
        for (element, term, len) in terms.pieces(run) {
            let (x, w) = (&x[element * lanes..(element + len) * lanes], &w[term * T..(term + len) * T]);
            let whole = len / PASS * PASS;
            for (x, w) in x.chunks_exact(PASS * lanes).zip(w.chunks_exact(PASS * T)) {
                add::<S, W, A, T, PASS>(x, w, acc, post);
            }
            for (x, w) in x.chunks_exact(lanes).zip(w.chunks_exact(T)).skip(whole) {
                add::<S, W, A, T, 1>(x, w, acc, post);
            }
        }
    }
}

/// Adds `K` terms to the sums of `T` outputs: `acc[t][lane] += Σ post(x[k][lane] × w[k][t])`. The loop over
/// lanes is innermost, and several terms a pass keep it from waiting for loads and stores of the sums.
#[inline(always)]
fn add<S: Stored, W: Stored, A: Lane, const T: usize, const K: usize>(
    x: &[S],
    w: &[W],
    acc: &mut [A],
    post: impl Post<A>,
) {
    let lanes = acc.len() / T;
    let w: [[A; T]; K] = std::array::from_fn(|k| std::array::from_fn(|t| w[k * T + t].lane()));
    let x: [&[S]; K] = std::array::from_fn(|k| &x[k * lanes..(k + 1) * lanes]);
    let mut rows = acc.chunks_exact_mut(lanes);
    let acc: [&mut [A]; T] = std::array::from_fn(|_| &mut rows.next().unwrap_or_default()[..lanes]);
    for l in 0..lanes {
        for t in 0..T {
            let mut sum = acc[t][l];
            for k in 0..K {
                sum = sum.plus(post.post(x[k][l].lane::<A>().times(w[k][t])));
            }
            acc[t][l] = sum;
        }
    }
}
