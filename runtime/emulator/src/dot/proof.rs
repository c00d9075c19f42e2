//! What is proved of sums of products: where order does not show, and where 32 bits do.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type, round};
use hs_hw::{Accum, Dot, Node, Order, range};

use super::{
    Product,
    tail::{PARTS, SPLIT, Stage, Tail, holds},
};
use crate::{eltwise::codes_range, lane::Width};

/// How the terms of a stepwise sum can be added in any order.
pub(super) struct Reorder {
    pub(super) product: Product,
    /// Shift from the terms' grid to the accumulator's.
    pub(super) left: u32,
    /// Range of the finished sum, and of every partial one; `None` when only its low bits are right.
    pub(super) proved: Option<(Interval, Interval)>,
}

/// What the candidates of all widths share.
pub(super) struct Context<'a> {
    pub(super) node: &'a Node,
    pub(super) dot: &'a Dot,
    pub(super) x: Interval,
    pub(super) weights: Interval,
    pub(super) product: Format,
    /// Range of every single product, zero included.
    pub(super) products: Interval,
}

/// Whether 16 bits of each product can be had.
fn is_short(product: Product) -> bool {
    matches!(product, Product::Shifted { half: 0, drop: 1..=15 })
}

/// Sums of 32 bits whose casts are stages.
pub(crate) struct Narrow {
    pub(crate) product: Product,
    /// What each output's sum starts with.
    pub(crate) add: Vec<i128>,
    pub(crate) stages: Vec<Stage>,
    /// Bits of the lower part where a sum is kept in two.
    pub(crate) split: Option<u32>,
    /// Whether 32 bits hold every sum of lower parts.
    pub(crate) low_fits: bool,
    /// What comes first where 16 bits of the sum and of each shifted product are enough.
    pub(super) sixteen: Option<Option<Stage>>,
    pub(crate) partial: Interval,
    pub(crate) why: String,
}

impl Narrow {
    /// For inputs of a format and range; `None` where the sums need more.
    pub(crate) fn new(node: &Node, dot: &Dot, x: (Format, Interval)) -> Option<Self> {
        let (context, sums, _) = Context::new(node, dot, x)?;
        Self::plan(&context, (context.reorder().as_ref(), sums.as_ref()))
    }

    pub(super) fn plan(
        context: &Context<'_>,
        (reorder, sums): (Option<&Reorder>, Option<&range::SumRange>),
    ) -> Option<Self> {
        let Context { node, dot, x, weights, product, products } = context;
        let zeros = || vec![0; node.channels()];
        let starts = context.start().unwrap_or_else(zeros);
        let bits = |i: (i128, i128)| Interval::new(i.0, i.1, 0).format().map_or(128, Format::width);
        if !Width::I32.fits(*x) || !Width::I32.fits(*weights) {
            return None;
        }
        let (kind, from, total, left) = match dot.accum {
            Accum::Exact(f) => {
                let total = sums?.total.refine(f.frac())?;
                (Product::Whole, f, total, (f.frac() - product.frac()) as u32)
            }
            Accum::Stepwise { ty, .. } => {
                let r = reorder?;
                if let Product::Shifted { half, .. } = r.product {
                    let most = products.hi.checked_add(i128::from(half))?;
                    if !holds((products.lo, most)) || i32::try_from(half).is_err() {
                        return None;
                    }
                }
                let Some((total, _)) = r.proved else {
                    return Self::wrapping(context, r, &ty, starts);
                };
                (r.product, ty.format, total, r.left)
            }
        };
        let tail = Tail::plan(&dot.act, from, total, &node.ty, (left, &starts))?;
        let modular = tail.low.is_some_and(|low| low <= 32);
        let partial = Interval::new(tail.sum.0, tail.sum.1, from.frac() - left as i32);
        if holds(tail.sum) || modular {
            let why = if holds(tail.sum) {
                format!("the sum needs {} bits", bits(tail.sum))
            } else {
                format!("the result depends on the low {} bits of the sum", tail.low.unwrap_or(32))
            };
            let least = i128::from(i16::MIN)..=i128::from(i16::MAX);
            let sixteen = is_short(kind) && least.contains(&tail.sum.0) && least.contains(&tail.sum.1);
            let sixteen = sixteen.then(|| Some(Stage::keep(16, true)));
            let stages = vec![tail.stage];
            let (add, split, low_fits) = (tail.add, None, true);
            return Some(Self { product: kind, add, stages, split, low_fits, sixteen, partial, why });
        }
        // In two parts: high × 2^8 + low, the weights' own parts. What is left of the sum fits 32 bits, so that of the
        // high parts may wrap; that of the low ones is shifted first.
        let drop = tail.stage.drop.checked_sub(SPLIT)?;
        let terms = dot.weight.len() / node.channels();
        let [_, part] = PARTS;
        let mut low = (0i128, 0i128);
        for (w, add) in dot.weight.data.chunks(terms).zip(&tail.add) {
            let sum = |end: fn(i128, i128) -> i128| {
                w.iter().try_fold(i128::from(part(*add as i64)), |sum, w| {
                    let w = i128::from(part(*w));
                    sum.checked_add(end(w * x.lo, w * x.hi))
                })
            };
            low = (low.0.min(sum(i128::min)?), low.1.max(sum(i128::max)?));
        }
        let whole = (tail.sum.0 >> SPLIT, tail.sum.1 >> SPLIT);
        let small = |v: &i128| i64::try_from(*v).is_ok();
        let fits = kind == Product::Whole && tail.add.iter().all(small) && holds(whole);
        let why = format!("the sum needs {} bits: high and low parts of the weights apart", bits(tail.sum));
        let stages = vec![Stage { drop, ..tail.stage }];
        let (add, split, low_fits) = (tail.add, Some(SPLIT), holds(low));
        fits.then_some(Self { product: kind, add, stages, split, low_fits, sixteen: None, partial, why })
    }

    /// An accumulator that wraps: the low bits of the sum are kept, then cast.
    fn wrapping(context: &Context<'_>, r: &Reorder, ty: &Type, starts: Vec<i128>) -> Option<Self> {
        let acc = ty.format;
        let (width, range) = (acc.width(), acc.interval());
        // Shifts are of fewer bits than a lane has.
        if r.left > 31
            || width > 32
            || !holds((range.lo, range.hi))
            || starts.iter().any(|s| s & ((1 << r.left) - 1) != 0)
        {
            return None;
        }
        let keep = Stage { left: r.left, ..Stage::keep(width, acc.is_signed()) };
        let cast = Stage::plan(&context.dot.act, acc, range, &context.node.ty)?;
        let why = format!("the {width}-bit accumulator wraps, so the order is free");
        Some(Self {
            product: r.product,
            add: starts.iter().map(|s| s >> r.left).collect(),
            stages: vec![keep, cast],
            split: None,
            low_fits: true,
            sixteen: (is_short(r.product) && width <= 16).then_some(None),
            partial: range,
            why,
        })
    }
}

impl<'a> Context<'a> {
    /// And the ranges of exact sums, and whether windows reach into padding.
    pub(super) fn new(
        node: &'a Node,
        dot: &'a Dot,
        (x, x_range): (Format, Interval),
    ) -> Option<(Self, Option<range::SumRange>, bool)> {
        let padded = dot.window.iter().any(|w| w.pad_begin + w.pad_end > 0);
        let zero = |frac| Interval::point(0, frac);
        let range = if padded { x_range.union(zero(x_range.frac))? } else { x_range };
        let weights = codes_range(&dot.weight);
        let products = range.mul(weights)?.union(zero(range.frac + weights.frac))?;
        let product = x.mul(dot.weight.format).ok()?;
        let sums = match dot.accum {
            Accum::Exact(_) => Some(range::dot_sum(dot, node.channels(), x_range)?),
            Accum::Stepwise { .. } => None,
        };
        Some((Self { node, dot, x: range, weights, product, products }, sums, padded))
    }
}

impl Context<'_> {
    /// Each output's bias as the stepwise accumulator starts with it.
    pub(super) fn start(&self) -> Option<Vec<i128>> {
        let bias = self.dot.bias.as_ref()?;
        let start = |b: &i64| match &self.dot.accum {
            Accum::Exact(f) => i128::from(*b) << (f.frac() - bias.format.frac()),
            Accum::Stepwise { ty, .. } => ty.cast(i128::from(*b), bias.format),
        };
        Some(bias.data.iter().map(start).collect())
    }

    /// Whether a stepwise sum is the sum, in any order, of terms that are rounded one by one.
    pub(super) fn reorder(&self) -> Option<Reorder> {
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
}
