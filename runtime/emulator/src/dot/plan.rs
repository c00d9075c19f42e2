//! Choice of the kernel of a dense layer or convolution.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type, round};
use hs_hw::{Accum, Dot, Node, Order, range};

use super::{DotStep, Free, Product, Shape, Sum, Tile, TileLane, Weights};
use crate::{
    eltwise::codes_range,
    finish::{Finish, narrowest},
    lane::Width,
    sum::StepSum,
    windows::Windows,
};

/// A planned dot product and the reasons for it.
pub(crate) struct Found {
    pub(crate) step: DotStep,
    /// Name of the kernel.
    pub(crate) kernel: &'static str,
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

impl DotStep {
    /// The narrowest kernel that is proved exact; `None` when there is none, which the verifier excludes.
    pub(crate) fn plan(
        node: &Node,
        dot: &Dot,
        shape: &[usize],
        (x, x_range): (Format, Interval),
        (least, stored): (Width, Width),
    ) -> Option<(Width, Found)> {
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
        let (width, c) = narrowest(least.max(stored), is_fast, |width| {
            context.candidate((reorder.as_ref(), sums.as_ref()), width)
        })?;
        let windows = Windows::new(&dot.window, spatial, &node.shape[..node.shape.len() - 1]);
        let shape = Shape { channels, outputs, groups: dot.groups };
        let sum = match c.how {
            How::Free { product, left, keep } => {
                Sum::Free(Box::new(context.free(&windows, &shape, (product, left, keep), (width, stored))?))
            }
            How::Ordered(sum) => Sum::Ordered {
                windows,
                weights: dot.weight.data.iter().copied().collect(),
                start: context.start().map(|s| s.iter().map(|b| *b as i64).collect()),
                sum,
            },
        };
        let step = DotStep { shape, sum, finish: c.finish };
        Some((width, Found { step, kernel: c.kernel, partial: c.partial, why: c.why }))
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

    fn free(
        &self,
        windows: &Windows,
        shape: &Shape,
        (product, left, keep): (Product, u32, Option<(u32, bool)>),
        (width, stored): (Width, Width),
    ) -> Option<Free> {
        let start = self.start();
        let zeros = || vec![0; shape.outputs];
        let (init, late) = match start {
            Some(s) if left > 0 => (zeros(), Some(s.into())),
            Some(s) => (s, None),
            None => (zeros(), None),
        };
        let per_group = shape.outputs / shape.groups;
        let terms = self.dot.weight.len() / shape.outputs;
        let most = match width {
            Width::I32 => <i32 as TileLane>::TILE,
            Width::I64 => <i64 as TileLane>::TILE,
            Width::I128 => <i128 as TileLane>::TILE,
        };
        let mut tiles = Vec::new();
        let mut packed: Vec<i64> = Vec::with_capacity(self.dot.weight.len());
        for group in 0..shape.groups {
            let end = (group + 1) * per_group;
            let mut output = group * per_group;
            while output < end {
                let n = if end - output >= most { most } else { 1 };
                tiles.push(Tile { output, n, group, weights: packed.len() });
                let weight = |t: usize, i: usize| self.dot.weight.data[(output + i) * terms + t];
                packed
                    .extend((0..terms).flat_map(|t| (0..n).map(move |i| (t, i))).map(|(t, i)| weight(t, i)));
                output += n;
            }
        }
        // Modular sums in 32 bits need the weights' low 32 bits only.
        let fitting = width == Width::I64 && stored == Width::I32 && Width::I32.fits(self.weights);
        let narrow = width == Width::I32 || fitting;
        let weights = if narrow {
            Weights::I32(packed.iter().map(|w| *w as i32).collect())
        } else {
            Weights::I64(packed.into())
        };
        let (runs, ends) = windows.runs();
        Some(Free { runs, ends, tiles, weights, product, init: init.into(), left, late, keep })
    }
}
