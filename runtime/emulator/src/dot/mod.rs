//! Dense layers and convolutions.

mod kernel;
mod plan;
#[cfg(target_arch = "x86_64")]
mod simd;

use kernel::{Product, Terms, TileJob};

use crate::{
    cast::wrap,
    finish::Finish,
    lane::{Buf, Cx, Lane},
    sum::StepSum,
    windows::{Run, Windows},
};

pub(crate) use kernel::{CHUNK, TileLane};
pub(crate) use plan::Found;

/// A planned [`hs_hw::Dot`].
#[derive(Debug)]
pub(crate) struct DotStep {
    shape: Shape,
    sum: Sum,
    finish: Finish,
}

#[derive(Debug)]
struct Shape {
    channels: usize,
    outputs: usize,
    groups: usize,
}

#[derive(Debug)]
enum Sum {
    /// The order does not show: tiles of outputs.
    Free(Box<Free>),
    /// Term after term, with the casts between.
    Ordered { windows: Windows, weights: Box<[i64]>, start: Option<Box<[i64]>>, sum: Box<StepSum> },
}

#[derive(Debug)]
struct Free {
    runs: Vec<Run>,
    ends: Vec<usize>,
    tiles: Vec<Tile>,
    weights: Weights,
    product: Product,
    /// Start of each output's sum.
    init: Box<[i128]>,
    /// Shift of the finished sum to the accumulator's grid, and what is added after it.
    left: u32,
    late: Option<Box<[i128]>>,
    /// Bits that the accumulator keeps, and whether the top one is its sign.
    keep: Option<(u32, bool)>,
}

impl Free {
    /// What is left to do to the sums of outputs `first…` before the activation.
    fn complete<A: Lane>(&self, first: usize, lanes: usize, acc: &mut [A]) {
        if self.left > 0 {
            acc.iter_mut().for_each(|v| *v = v.left(self.left));
        }
        if let Some(late) = &self.late {
            for (row, late) in acc.chunks_exact_mut(lanes).zip(&late[first..]) {
                let late = A::of(*late);
                row.iter_mut().for_each(|v| *v = v.plus(late));
            }
        }
        if let Some((bits, signed)) = self.keep {
            wrap(acc, bits, signed);
        }
    }
}

/// Outputs that are summed together.
#[derive(Debug, Clone, Copy)]
struct Tile {
    output: usize,
    /// 1 or the lane's [`TileLane::TILE`].
    n: usize,
    group: usize,
    /// Where its weights begin.
    weights: usize,
}

/// Weights tile after tile, term after term, output after output.
#[derive(Debug)]
pub(crate) enum Weights {
    I32(Box<[i32]>),
    I64(Box<[i64]>),
}

impl DotStep {
    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, cx: &mut Cx<'_>) {
        match &self.sum {
            Sum::Free(f) => self.free::<A>(f, x, out, cx),
            Sum::Ordered { windows, weights, start, sum } => {
                self.ordered::<A>((windows, weights, start.as_deref(), sum), x, out, cx);
            }
        }
    }

    fn free<A: Lane>(&self, f: &Free, x: &Buf, out: &mut Buf, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let group = self.shape.channels / self.shape.groups;
        let (init, acc) = cx.temps.get::<A>(A::TILE * (1 + lanes)).split_at_mut(A::TILE);
        let mut first_run = 0;
        for (p, end) in f.ends.iter().enumerate() {
            let runs = &f.runs[first_run..*end];
            first_run = *end;
            for t in &f.tiles {
                let init = &mut init[..t.n];
                init.iter_mut().zip(&f.init[t.output..]).for_each(|(to, from)| *to = A::of(*from));
                let acc = &mut acc[..t.n * lanes];
                let terms = Terms { runs, channels: self.shape.channels, group, first: t.group * group };
                let job = TileJob { terms, weights: t.weights, init, product: f.product, acc: &mut *acc };
                A::tile(isa, x, &f.weights, job);
                f.complete(t.output, lanes, acc);
                let e = p * self.shape.outputs + t.output;
                if self.finish.is_uniform() {
                    self.finish.apply(isa, e, acc);
                } else {
                    let rows = acc.chunks_exact_mut(lanes).enumerate();
                    rows.for_each(|(i, row)| self.finish.apply(isa, e + i, row));
                }
                out.store_at(e * lanes, acc);
            }
        }
    }

    fn ordered<A: Lane>(
        &self,
        (windows, weights, start, sum): (&Windows, &[i64], Option<&[i64]>, &StepSum),
        x: &Buf,
        out: &mut Buf,
        cx: &mut Cx<'_>,
    ) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let Shape { channels, outputs, groups } = self.shape;
        let group = channels / groups;
        let n = windows.kernel() * group;
        let (acc, scratch) = cx.temps.get::<A>((1 + sum.scratch(n)) * lanes).split_at_mut(lanes);
        for p in 0..windows.pixels() {
            let (covered, positions) = (windows.covered(p), windows.positions(p));
            for o in 0..outputs {
                let first = o / (outputs / groups) * group;
                let weights = &weights[o * n..(o + 1) * n];
                let term = |i: usize, row: &mut [A]| {
                    // Padding counts as zeros, each of them a term.
                    let Ok(at) = positions.binary_search(&((i / group) as u32)) else {
                        row.fill(A::ZERO);
                        return;
                    };
                    x.load(covered[at] as usize * channels + first + i % group, row);
                    let weight = A::of64(weights[i]);
                    row.iter_mut().for_each(|v| *v = v.times(weight));
                };
                sum.run(isa, (n, start.map(|s| A::of64(s[o]))), term, acc, scratch);
                let e = p * outputs + o;
                self.finish.apply(isa, e, acc);
                out.store(e, acc);
            }
        }
    }

    /// Multiplications of a row.
    pub(crate) fn macs(&self) -> u64 {
        let group = self.shape.channels / self.shape.groups;
        let (covered, pixels) = match &self.sum {
            Sum::Free(f) => (f.runs.iter().map(|r| r.n as usize).sum::<usize>(), f.ends.len()),
            Sum::Ordered { windows, .. } => {
                ((0..windows.pixels()).map(|p| windows.covered(p).len()).sum(), windows.pixels())
            }
        };
        debug_assert!(pixels > 0);
        (covered * group * self.shape.outputs) as u64
    }
}
