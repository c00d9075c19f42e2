//! Choice of the kernel of a dense layer or convolution.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type, round};
use hs_hw::{Accum, Dot, Node, Order, range};

use super::{
    DotStep, Free, Product, Shape, Sum, Tile, TileLane, Tiles, Vector, Weights,
    tile::{Multiply, most_outputs},
};
use crate::{
    Isa,
    cast::Stage,
    eltwise::codes_range,
    finish::{Finish, narrowest},
    lane::{Packing, Width},
    sum::StepSum,
    windows::Windows,
};

/// A planned dot product and the reasons for it.
pub(crate) struct Found {
    pub(crate) step: DotStep,
    /// Name of the kernel.
    pub(crate) kernel: String,
    /// Range of every partial sum, on the accumulator's grid.
    pub(crate) partial: Interval,
    pub(crate) why: String,
}

/// How the terms of a stepwise sum can be added in any order.
struct Reorder {
    product: Product,
    /// Shift from the terms' grid to the accumulator's.
    left: u32,
    /// Range of the finished sum, and of every partial one; `None` when only its low bits are right.
    proved: Option<(Interval, Interval)>,
}

/// What the candidates of all widths share.
struct Context<'a> {
    node: &'a Node,
    dot: &'a Dot,
    x: Interval,
    weights: Interval,
    product: Format,
    /// Range of every single product, zero included.
    products: Interval,
}

/// A kernel for one width, without the weights.
struct Candidate {
    kernel: &'static str,
    finish: Finish,
    partial: Interval,
    why: String,
    how: How,
}

enum How {
    Free { product: Product, left: u32, keep: Option<(u32, bool)> },
    Ordered(Box<StepSum>),
}

/// A proved way to compute a dot product, before it is known how its input lies in memory.
pub(crate) struct Choice<'a> {
    context: Context<'a>,
    candidate: Candidate,
    pub(crate) width: Width,
    shape: Shape,
    spatial: &'a [usize],
    /// Width that the input is stored in.
    stored: Width,
    isa: Isa,
    /// Most elements of the input that may share a word; `None` where it does not matter.
    pub(crate) group: Option<usize>,
}

impl<'a> Choice<'a> {
    /// The narrowest kernel that is proved exact; `None` when there is none, which the verifier excludes.
    pub(crate) fn new(
        node: &'a Node,
        dot: &'a Dot,
        shape: &'a [usize],
        (x, x_range): (Format, Interval),
        (least, stored): (Width, Width),
        isa: Isa,
    ) -> Option<Self> {
        let (spatial, channels) = shape.split_last().map_or((&[][..], 1), |(c, s)| (s, *c));
        let outputs = node.channels();
        let padded = dot.window.iter().any(|w| w.pad_begin + w.pad_end > 0);
        let zero = |frac| Interval::point(0, frac);
        let range = if padded { x_range.union(zero(x_range.frac))? } else { x_range };
        let weights = codes_range(&dot.weight);
        let products = range.mul(weights)?.union(zero(range.frac + weights.frac))?;
        let product = x.mul(dot.weight.format).ok()?;
        let context = Context { node, dot, x: range, weights, product, products };
        let sums = match dot.accum {
            Accum::Exact(_) => Some(range::dot_sum(dot, outputs, x_range)?),
            Accum::Stepwise { .. } => None,
        };
        let reorder = context.reorder();
        let is_fast = |c: &Candidate| {
            c.finish.cast.is_fast()
                && match &c.how {
                    How::Free { .. } => true,
                    How::Ordered(sum) => sum.is_fast(),
                }
        };
        let (width, candidate) = narrowest(least.max(stored), is_fast, |width| {
            context.candidate((reorder.as_ref(), sums.as_ref()), width)
        })?;
        let shape = Shape { channels, outputs, groups: dot.groups };
        let group = match &candidate.how {
            How::Ordered(_) => None,
            How::Free { product, .. } => {
                let whole = width == Width::I32 && *product == Product::Whole;
                let by = if shape.groups == 1 && spatial.is_empty() { 0 } else { channels / shape.groups };
                let narrow = |(group, multiply): &(usize, Multiply)| {
                    let least_bits = u32::max(8, least.bits());
                    let bits = 32 / *group as u32;
                    let weight = 1i128 << (bits - 1);
                    // What padding adds to a sum must be nothing.
                    let lies = |p: Packing| !padded || p.zero() == 0;
                    whole
                        && least_bits <= bits
                        && multiply.is_available(isa)
                        && by % group == 0
                        && -weight <= weights.lo
                        && weights.hi < weight
                        && Packing::of(*group, x_range).is_some_and(lies)
                };
                let all = [(4, Multiply::Quads), (2, Multiply::Pairs)];
                Some(all.into_iter().find(narrow).map_or(1, |(group, _)| group))
            }
        };
        Some(Self { context, candidate, width, shape, spatial, stored, isa, group })
    }

    /// The step that reads an input which lies as `packing`.
    pub(crate) fn build(self, packing: Packing) -> Option<Found> {
        let Self { context, candidate: c, width, shape, spatial, stored, isa, .. } = self;
        let node = context.node;
        let windows = Windows::new(&context.dot.window, spatial, &node.shape[..node.shape.len() - 1]);
        let mut kernel = c.kernel.to_owned();
        let sum = match c.how {
            How::Free { product, left, keep } => {
                let (runs, ends) = windows.runs();
                let start = context.start();
                let zeros = || vec![0; shape.outputs];
                let (init, late) = match start {
                    Some(s) if left > 0 => (zeros(), Some(s.into())),
                    Some(s) => (s, None),
                    None => (zeros(), None),
                };
                let multiply = Some(match (packing, product) {
                    (Packing::Quads { .. }, _) => Multiply::Quads,
                    (Packing::Pairs { .. }, _) => Multiply::Pairs,
                    (Packing::Single, Product::Whole) => Multiply::Whole,
                    (Packing::Single, Product::Shifted { half, drop }) => {
                        Multiply::Shifted { half: half as i32, drop }
                    }
                });
                let multiply =
                    multiply.filter(|m| width == Width::I32 && stored == Width::I32 && m.is_available(isa));
                let (tiles, how) = if let Some(multiply) = multiply {
                    let mut stages = None;
                    if left == 0 || late.is_none() {
                        let first = Stage { left, ..Stage::keep(32, true) };
                        let first = (left > 0).then_some(Stage { wrap: None, ..first });
                        let keep = keep.map(|(bits, signed)| Stage::keep(bits, signed));
                        stages = c.finish.stage().map(|s| first.into_iter().chain(keep).chain([s]).collect());
                    }
                    let (tiles, vector) = context.vector(&shape, multiply, packing, &init, (isa, stages));
                    kernel = multiply.describe(isa).to_owned();
                    if vector.stages.is_none() {
                        kernel.push_str(", casts apart");
                    }
                    (tiles, Tiles::Vector(vector))
                } else {
                    let (tiles, weights) = context.portable(&shape, (width, stored));
                    (tiles, Tiles::Portable { weights, product, init: init.into() })
                };
                Sum::Free(Box::new(Free { runs, ends, tiles, how, left, late, keep }))
            }
            How::Ordered(sum) => Sum::Ordered {
                windows,
                weights: context.dot.weight.data.iter().copied().collect(),
                start: context.start().map(|s| s.iter().map(|b| *b as i64).collect()),
                sum,
            },
        };
        let step = DotStep { shape, sum, finish: c.finish };
        Some(Found { step, kernel, partial: c.partial, why: c.why })
    }
}

impl Context<'_> {
    fn candidate(
        &self,
        (reorder, sums): (Option<&Reorder>, Option<&range::SumRange>),
        width: Width,
    ) -> Option<Candidate> {
        let accum = self.dot.accum.format();
        let (ty, act, outputs) = (&self.node.ty, &self.dot.act, self.node.channels());
        let operands = width.fits(self.x) && width.fits(self.weights);
        let finish = |range| Finish::plan(act, accum, range, ty, outputs, width);
        let bits = |i: Interval| i.format().map_or(128, Format::width);
        match self.dot.accum {
            Accum::Exact(f) => {
                let left = (f.frac() - self.product.frac()) as u32;
                if left >= width.bits() {
                    return None;
                }
                let sums = sums?;
                let partial = sums.partial.refine(f.frac())?;
                let how = How::Free { product: Product::Whole, left, keep: None };
                if operands && width.fits(partial) && width.fits(self.products) {
                    let total = sums.total.refine(f.frac())?;
                    let why = format!("every partial sum needs {} bits", bits(partial));
                    return Some(Candidate { kernel: "tiled", finish: finish(total)?, partial, why, how });
                }
                let finish = Finish::plan_modular(act, accum, ty, width)?;
                let why = format!(
                    "partial sums need {} bits, but the result wraps: it depends on the low {} only",
                    bits(partial),
                    i64::from(ty.format.width()) + i64::from((f.frac() - ty.format.frac()).max(0))
                );
                Some(Candidate { kernel: "tiled, modular", finish, partial, why, how })
            }
            Accum::Stepwise { product, ty: acc, order } => {
                if let Some(r) = reorder
                    && let Some(c) = self.reordered(r, &acc, width, operands)
                {
                    return Some(c);
                }
                let range = acc.format.interval();
                let sum = StepSum::plan((product.as_ref(), &acc, order), self.product, self.products, width)?;
                let why = format!(
                    "casts after each addition show in the result: {}-bit accumulator in source order",
                    acc.format.width()
                );
                let finish = finish(range).filter(|_| operands)?;
                Some(Candidate {
                    kernel: "ordered",
                    finish,
                    partial: range,
                    why,
                    how: How::Ordered(Box::new(sum)),
                })
            }
        }
    }

    fn reordered(&self, r: &Reorder, acc: &Type, width: Width, operands: bool) -> Option<Candidate> {
        let (half, drop) = match r.product {
            Product::Whole => (0, 0),
            Product::Shifted { half, drop } => (i128::from(half), drop),
        };
        let products = Interval::new(self.products.lo, self.products.hi.checked_add(half)?, 0);
        if r.left.max(drop) >= width.bits() {
            return None;
        }
        let finish = |range| {
            Finish::plan(&self.dot.act, acc.format, range, &self.node.ty, self.node.channels(), width)
        };
        let dropped = if drop > 0 { format!("; each product drops {drop} bits") } else { String::new() };
        let how = |keep| How::Free { product: r.product, left: r.left, keep };
        if let Some((total, partial)) = r.proved {
            if !operands || !width.fits(partial) || !width.fits(products) {
                return None;
            }
            let why = format!(
                "no partial sum in any order leaves the {}-bit accumulator{dropped}",
                acc.format.width()
            );
            return Some(Candidate { kernel: "tiled", finish: finish(total)?, partial, why, how: how(None) });
        }
        // A sum of which only the low bits count; a product must be whole before bits are dropped from it.
        let whole = r.product == Product::Whole || operands && width.fits(products);
        let range = acc.format.interval();
        if !whole || acc.format.width() > width.bits() || !width.fits(range) {
            return None;
        }
        let keep = Some((acc.format.width(), acc.format.is_signed()));
        let why = format!("the {}-bit accumulator wraps, so the order is free{dropped}", acc.format.width());
        Some(Candidate {
            kernel: "tiled, modular",
            finish: finish(range)?,
            partial: range,
            why,
            how: how(keep),
        })
    }

    /// Each output's bias as the stepwise accumulator starts with it.
    fn start(&self) -> Option<Vec<i128>> {
        let bias = self.dot.bias.as_ref()?;
        let start = |b: &i64| match &self.dot.accum {
            Accum::Exact(f) => i128::from(*b) << (f.frac() - bias.format.frac()),
            Accum::Stepwise { ty, .. } => ty.cast(i128::from(*b), bias.format),
        };
        Some(bias.data.iter().map(start).collect())
    }

    /// Whether a stepwise sum is the sum, in any order, of terms that are rounded one by one.
    fn reorder(&self) -> Option<Reorder> {
        let Accum::Stepwise { product, ty, order } = &self.dot.accum else { return None };
        let from = self.product.frac();
        let cast_drop = product.map_or(0, |p| (from - p.format.frac()).max(0));
        // The grid that the sum sees; a cast to a finer grid changes nothing.
        let grid = from - cast_drop;
        let sum_drop = (grid - ty.format.frac()).max(0);
        let (drop, mode) = match (cast_drop, sum_drop) {
            (0, 0) => (0, Rounding::Trn),
            (d, 0) => (d, product.as_ref()?.rounding),
            (0, d) => {
                // Rounding the sum of a whole accumulator and a term is rounding the term, in these modes only;
                // a tree rounds the terms themselves.
                let shifts = matches!(ty.rounding, Rounding::Trn | Rounding::Rnd | Rounding::RndMinInf);
                if !shifts && *order != Order::Tree {
                    return None;
                }
                (d, ty.rounding)
            }
            (a, b) if product.as_ref()?.rounding == Rounding::Trn && ty.rounding == Rounding::Trn => {
                (a + b, Rounding::Trn)
            }
            _ => return None,
        };
        let drop = u32::try_from(drop).ok().filter(|d| *d <= 62)?;
        let half = match mode {
            _ if drop == 0 => 0,
            Rounding::Trn => 0,
            Rounding::Rnd => 1i64 << (drop - 1),
            Rounding::RndMinInf => (1i64 << (drop - 1)) - 1,
            Rounding::TrnZero | Rounding::RndZero | Rounding::RndInf | Rounding::RndConv => return None,
        };
        let left = u32::try_from(ty.format.frac() - (from - drop as i32)).ok()?;
        let product_cast = match product {
            Some(p) if !self.product_overflows(p) => None,
            Some(p) => {
                // Bits above those that the accumulator keeps are lost either way.
                let kept = i64::from(p.format.width()) + i64::from(ty.format.frac() - p.format.frac());
                let wraps = p.overflow == Overflow::WRAP && ty.overflow == Overflow::WRAP;
                Some(()).filter(|()| wraps && kept >= i64::from(ty.format.width()))?;
                Some(())
            }
            None => None,
        };
        let product = if drop == 0 { Product::Whole } else { Product::Shifted { half, drop } };
        let proved = if product_cast.is_none() { self.prove(ty, (drop, mode), left) } else { None };
        if proved.is_none() && ty.overflow != Overflow::WRAP {
            return None;
        }
        Some(Reorder { product, left, proved })
    }

    fn product_overflows(&self, p: &Type) -> bool {
        self.products.cast(p).1
    }

    /// Ranges of the finished and of every partial sum of rounded terms, when no step can overflow `ty`.
    fn prove(&self, ty: &Type, (drop, mode): (u32, Rounding), left: u32) -> Option<(Interval, Interval)> {
        let outputs = self.node.channels();
        let terms = self.dot.weight.len() / outputs;
        let starts = self.start().unwrap_or_else(|| vec![0; outputs]);
        let term = |code: i128| round(code, drop, mode).checked_mul(1i128.checked_shl(left)?);
        let (mut total, mut partial): (Option<Interval>, Option<Interval>) = (None, None);
        let frac = ty.format.frac();
        for (weights, start) in self.dot.weight.data.chunks(terms).zip(starts) {
            let (mut lo, mut hi, mut below, mut above) = (start, start, start.min(0), start.max(0));
            for w in weights {
                let ends = [self.x.lo, self.x.hi].map(|x| term(x * i128::from(*w)));
                let (a, b) = (ends[0]?, ends[1]?);
                lo = lo.checked_add(a.min(b))?;
                hi = hi.checked_add(a.max(b))?;
                below = below.checked_add(a.min(b).min(0))?;
                above = above.checked_add(a.max(b).max(0))?;
            }
            let join = |all: Option<Interval>, one: Interval| all.map_or(Some(one), |a| a.union(one));
            total = join(total, Interval::new(lo, hi, frac));
            partial = join(partial, Interval::new(below, above, frac));
        }
        let (total, partial) = (total?, partial?);
        let stays = !partial.cast(ty).1;
        stays.then_some((total, partial))
    }

    /// Tiles of at most `most` outputs of one group each, without their weights.
    fn tiles(&self, shape: &Shape, most: usize, only_whole: bool) -> Vec<Tile> {
        let per_group = shape.outputs / shape.groups;
        let mut tiles = Vec::new();
        for group in 0..shape.groups {
            let end = (group + 1) * per_group;
            let mut output = group * per_group;
            while output < end {
                let left = end - output;
                let n = if left >= most {
                    most
                } else if only_whole {
                    1
                } else {
                    left
                };
                tiles.push(Tile { output, n, group, weights: 0 });
                output += n;
            }
        }
        tiles
    }

    /// Weights for the loops over lanes of any width.
    fn portable(&self, shape: &Shape, (width, stored): (Width, Width)) -> (Vec<Tile>, Weights) {
        let most = match width {
            Width::I8 | Width::I16 | Width::I32 => <i32 as TileLane>::TILE,
            Width::I64 => <i64 as TileLane>::TILE,
            Width::I128 => <i128 as TileLane>::TILE,
        };
        let terms = self.dot.weight.len() / shape.outputs;
        let mut tiles = self.tiles(shape, most, true);
        let mut packed: Vec<i64> = Vec::with_capacity(self.dot.weight.len());
        for tile in &mut tiles {
            tile.weights = packed.len();
            let weight = |t: usize, i: usize| self.dot.weight.data[(tile.output + i) * terms + t];
            packed.extend((0..terms).flat_map(|t| (0..tile.n).map(move |i| weight(t, i))));
        }
        // Modular sums in 32 bits need the weights' low 32 bits only.
        let fitting = width == Width::I64 && stored == Width::I32 && Width::I32.fits(self.weights);
        let narrow = width == Width::I32 || fitting;
        let weights = if narrow {
            Weights::I32(packed.iter().map(|w| *w as i32).collect())
        } else {
            Weights::I64(packed.into())
        };
        (tiles, weights)
    }

    /// Weights for explicit vectors: words of as many terms as a word of the input has elements.
    fn vector(
        &self,
        shape: &Shape,
        multiply: Multiply,
        packing: Packing,
        init: &[i128],
        (isa, stages): (Isa, Option<Vec<Stage>>),
    ) -> (Vec<Tile>, Vector) {
        let group = multiply.group();
        let terms = self.dot.weight.len() / shape.outputs;
        let of = |output: usize| &self.dot.weight.data[output * terms..(output + 1) * terms];
        let bits = 32 / group as u32;
        let word = |terms: &[i64]| {
            let place = |(i, w): (usize, &i64)| (*w as u32 & (u32::MAX >> (32 - bits))) << (i as u32 * bits);
            terms.iter().enumerate().map(place).fold(0, |word, w| word | w) as i32
        };
        let mut tiles = self.tiles(shape, most_outputs(isa), false);
        let mut words = Vec::with_capacity(self.dot.weight.len().div_ceil(group));
        for tile in &mut tiles {
            tile.weights = words.len();
            let rows: Vec<_> = (tile.output..tile.output + tile.n).map(|o| of(o).chunks(group)).collect();
            for t in 0..terms.div_ceil(group) {
                words.extend(rows.iter().map(|row| row.clone().nth(t).map_or(0, word)));
            }
        }
        // Elements are stored less the packing's zero; sums are right modulo 2^32.
        let mut stages = stages;
        let mut add = 0;
        if let Some(first) = stages.as_mut().and_then(|s| s.first_mut())
            && first.left == 0
        {
            add = std::mem::take(&mut first.add);
        }
        let start = |(o, init): (usize, &i128)| {
            let weights = of(o).iter().fold(0i32, |sum, w| sum.wrapping_add(*w as i32));
            (*init as i32).wrapping_add(add).wrapping_add(weights.wrapping_mul(packing.zero()))
        };
        let init = init.iter().enumerate().map(start).collect();
        let stages = stages.map(Vec::into_boxed_slice);
        (tiles, Vector { weights: words.into(), init, multiply, stages })
    }
}
