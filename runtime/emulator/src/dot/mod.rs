//! Dense layers and convolutions.

mod kernel;
mod plan;

use kernel::{Product, TILE, Terms, tile};

use crate::{
    cast::wrap,
    finish::Finish,
    lane::{Buf, Lane, Stored, Temps},
    sum::StepSum,
    windows::{Run, Windows},
};

pub(crate) use kernel::CHUNK;
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
    Free(Free),
    /// Term after term, with the casts between.
    Ordered { windows: Windows, weights: Box<[i64]>, start: Option<Box<[i64]>>, sum: StepSum },
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

/// Outputs that are summed together.
#[derive(Debug, Clone, Copy)]
struct Tile {
    output: usize,
    /// `TILE` or 1.
    n: usize,
    group: usize,
    /// Where its weights begin.
    weights: usize,
}

/// Weights tile after tile, term after term, output after output.
#[derive(Debug)]
enum Weights {
    I32(Box<[i32]>),
    I64(Box<[i64]>),
}

impl DotStep {
    #[inline(always)]
    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, lanes: usize, temps: &mut Temps) {
        match &self.sum {
            Sum::Free(f) => match (x, &f.weights) {
                (Buf::I32(x), Weights::I32(w)) => self.free::<i32, i32, A>(f, x, w, out, lanes, temps),
                (Buf::I32(x), Weights::I64(w)) => self.free::<i32, i64, A>(f, x, w, out, lanes, temps),
                (Buf::I64(x), Weights::I32(w)) => self.free::<i64, i32, A>(f, x, w, out, lanes, temps),
                (Buf::I64(x), Weights::I64(w)) => self.free::<i64, i64, A>(f, x, w, out, lanes, temps),
            },
            Sum::Ordered { windows, weights, start, sum } => {
                self.ordered::<A>((windows, weights, start.as_deref(), sum), x, out, lanes, temps);
            }
        }
    }

    #[inline(always)]
    fn free<S: Stored, W: Stored, A: Lane>(
        &self,
        f: &Free,
        x: &[S],
        w: &[W],
        out: &mut Buf,
        lanes: usize,
        temps: &mut Temps,
    ) {
        let group = self.shape.channels / self.shape.groups;
        let acc = temps.get::<A>(TILE * lanes);
        let mut first_run = 0;
        for (p, end) in f.ends.iter().enumerate() {
            let runs = &f.runs[first_run..*end];
            first_run = *end;
            for t in &f.tiles {
                let terms = Terms { runs, channels: self.shape.channels, group, first: t.group * group };
                let init = |i: usize| A::of(f.init[t.output + i]);
                if t.n == TILE {
                    let init: [A; TILE] = std::array::from_fn(init);
                    tile(terms, x, &w[t.weights..], init, f.product, acc);
                } else {
                    tile(terms, x, &w[t.weights..], [init(0)], f.product, &mut acc[..lanes]);
                }
                for (i, row) in acc.chunks_exact_mut(lanes).take(t.n).enumerate() {
                    let o = t.output + i;
                    if f.left > 0 {
                        row.iter_mut().for_each(|v| *v = v.left(f.left));
                    }
                    if let Some(late) = &f.late {
                        let late = A::of(late[o]);
                        row.iter_mut().for_each(|v| *v = v.plus(late));
                    }
                    if let Some((bits, signed)) = f.keep {
                        wrap(row, bits, signed);
                    }
                    let e = p * self.shape.outputs + o;
                    self.finish.apply(e, row);
                    out.store(e, row);
                }
            }
        }
    }

    #[inline(always)]
    fn ordered<A: Lane>(
        &self,
        (windows, weights, start, sum): (&Windows, &[i64], Option<&[i64]>, &StepSum),
        x: &Buf,
        out: &mut Buf,
        lanes: usize,
        temps: &mut Temps,
    ) {
        let Shape { channels, outputs, groups } = self.shape;
        let group = channels / groups;
        let n = windows.kernel() * group;
        let (acc, scratch) = temps.get::<A>((1 + sum.scratch(n)) * lanes).split_at_mut(lanes);
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
                sum.run(n, start.map(|s| A::of64(s[o])), term, acc, scratch);
                let e = p * outputs + o;
                self.finish.apply(e, acc);
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
