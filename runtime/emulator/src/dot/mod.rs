//! Dense layers and convolutions.

mod kernel;
mod pack;
mod plan;
mod proof;
#[cfg(target_arch = "x86_64")]
mod simd;
mod tail;
mod tile;
#[cfg(target_arch = "x86_64")]
mod vector;

use kernel::{Terms, TileJob};
use tile::{MOST_OUTPUTS, Multiply, VectorTile};

use crate::{
    cast::wrap,
    finish::Finish,
    lane::{Buf, Cx, Lane, Packing},
    sum::StepSum,
    windows::{Run, Windows},
};

use hs_runtime::isa::Checked;

pub(crate) use kernel::{Product, TileLane};
pub(crate) use plan::{Choice, Found};
pub(crate) use proof::Narrow;
pub(crate) use tail::{PARTS, SPLIT, Stage, holds};
pub(crate) use tile::{CHUNK, Piece};

#[cfg(target_arch = "x86_64")]
use vector::run as run_vectors;

/// Elsewhere nothing is planned to run so.
#[cfg(not(target_arch = "x86_64"))]
fn run_vectors(_: Checked, _: VectorTile<'_>) {
    unreachable!("planned: this machine has explicit vectors")
}

/// A planned [`hs_hw::Dot`].
#[derive(Debug)]
pub(crate) struct DotStep {
    shape: Shape,
    sum: Sum,
    /// What follows the sum; `None` where stages do it.
    finish: Option<Finish>,
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
    how: Tiles,
    /// Shift of the finished sum to the accumulator's grid, and what is added after it.
    left: u32,
    late: Option<Box<[i128]>>,
    /// Bits that the accumulator keeps, and whether the top one is its sign.
    keep: Option<(u32, bool)>,
}

/// How tiles are summed.
#[derive(Debug)]
enum Tiles {
    /// By loops for lanes of any width, from these starts of each output's sum.
    Portable { weights: Weights, product: Product, init: Box<[i128]> },
    /// By explicit vectors of 32-bit sums.
    Vector(Vector),
}

#[derive(Debug)]
struct Vector {
    /// Tile after tile, word of terms after word of terms, output after output.
    weights: Box<[i32]>,
    /// Start of each output's sum.
    init: Box<[i32]>,
    multiply: Multiply,
    /// All that follows the sum; `None` where it takes more than stages.
    stages: Option<Box<[Stage]>>,
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
    /// How many.
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
            Sum::Free(f) => match &f.how {
                Tiles::Portable { weights, product, init } => {
                    self.portable::<A>((f, weights, *product, init), x, out, cx);
                }
                Tiles::Vector(v) => self.vectors((f, v), x, out, cx),
            },
            Sum::Ordered { windows, weights, start, sum } => {
                self.ordered::<A>((windows, weights, start.as_deref(), sum), x, out, cx);
            }
        }
    }

    /// Calls `each` with every tile of every output pixel: its first result element, the tile and its terms.
    fn tiles(&self, f: &Free, mut each: impl FnMut(usize, &Tile, Terms<'_>)) {
        let Shape { channels, outputs, groups } = self.shape;
        let group = channels / groups;
        let mut start = 0;
        for (p, end) in f.ends.iter().enumerate() {
            let runs = &f.runs[start..*end];
            start = *end;
            for t in &f.tiles {
                each(p * outputs + t.output, t, Terms { runs, channels, group, first: t.group * group });
            }
        }
    }

    fn portable<A: Lane>(
        &self,
        (f, weights, product, starts): (&Free, &Weights, Product, &[i128]),
        x: &Buf,
        out: &mut Buf,
        cx: &mut Cx<'_>,
    ) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let (init, acc) = cx.temps.get::<A>(A::TILE * (1 + lanes)).split_at_mut(A::TILE);
        self.tiles(f, |e, t, terms| {
            let init = &mut init[..t.n];
            init.iter_mut().zip(&starts[t.output..]).for_each(|(to, from)| *to = A::of(*from));
            let acc = &mut acc[..t.n * lanes];
            A::tile(isa, x, weights, TileJob { terms, weights: t.weights, init, product, acc: &mut *acc });
            self.finish_tile(f, (e, t), acc, out, (isa, lanes));
        });
    }

    fn vectors(&self, (f, v): (&Free, &Vector), x: &Buf, out: &mut Buf, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let Buf::I32 { words: x, .. } = x else { unreachable!("planned: 32-bit words") };
        let end = f.ends.len() * self.shape.outputs;
        let (acc, pieces) = cx.temps.tile(MOST_OUTPUTS * lanes);
        let parts = if v.multiply == Multiply::Split { 2 } else { 1 };
        let mut of = None;
        self.tiles(f, |e, t, terms| {
            // The tiles of a pixel and a group have the same terms.
            if of.replace((e - t.output, t.group)) != Some((e - t.output, t.group)) {
                pieces.clear();
                pieces.extend(Piece::all(terms, v.multiply.group()));
            }
            let tile = |stages, to, packing| VectorTile {
                x,
                pieces: &*pieces,
                w: &v.weights[t.weights..],
                first: t.output,
                init: &v.init[t.output * parts..(t.output + t.n) * parts],
                multiply: v.multiply,
                stages,
                to,
                packing,
                lanes,
            };
            if let (Some(stages), Buf::I32 { words, packing }) = (&v.stages, &mut *out) {
                let group = packing.group();
                // A tile that shares no word with another.
                if e.is_multiple_of(group) && (t.n.is_multiple_of(group) || e + t.n == end) {
                    run_vectors(isa, tile(stages, &mut words[e / group * lanes..], *packing));
                    return;
                }
            }
            let acc = &mut acc[..t.n * lanes];
            let stages = v.stages.as_deref().unwrap_or_default();
            run_vectors(isa, tile(stages, &mut *acc, Packing::Single));
            self.finish_tile(f, (e, t), acc, out, (isa, lanes));
        });
    }

    /// From the sums of a tile to its results.
    fn finish_tile<A: Lane>(
        &self,
        f: &Free,
        (e, t): (usize, &Tile),
        acc: &mut [A],
        out: &mut Buf,
        (isa, lanes): (Checked, usize),
    ) {
        if let Some(finish) = &self.finish {
            f.complete(t.output, lanes, acc);
            if finish.is_uniform() {
                finish.apply(isa, e, acc);
            } else {
                let rows = acc.chunks_exact_mut(lanes).enumerate();
                rows.for_each(|(i, row)| finish.apply(isa, e + i, row));
            }
        }
        out.store_rows(isa, e, lanes, acc);
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
                    x.load(isa, covered[at] as usize * channels + first + i % group, row);
                    let weight = A::of64(weights[i]);
                    row.iter_mut().for_each(|v| *v = v.times(weight));
                };
                sum.run(isa, (n, start.map(|s| A::of64(s[o]))), term, acc, scratch);
                let e = p * outputs + o;
                if let Some(finish) = &self.finish {
                    finish.apply(isa, e, acc);
                }
                out.store(isa, e, acc);
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
