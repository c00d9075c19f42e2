//! Choice of the kernel of a dense layer or convolution.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type, round};
use hs_hw::{Accum, Dot, Node, Order, range};

use super::{
    DotStep, Free, Product, Shape, Sum, Tile, TileLane, Tiles, Vector, Weights,
    tail::{PARTS, SPLIT, Stage, Tail, holds},
    tile::{Multiply, most_outputs},
};
use crate::{
    Isa,
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
    kernel: String,
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
    shape: Shape,
    spatial: &'a [usize],
    x: Interval,
    padded: bool,
    least: Width,
    /// Width that the input is stored in.
    stored: Width,
    isa: Isa,
    sums: Option<range::SumRange>,
    reorder: Option<Reorder>,
    chosen: Chosen,
    /// Most elements of the input that may share a word; `None` where it does not matter.
    pub(crate) group: Option<usize>,
}

enum Chosen {
    Narrow(Narrow),
    Lanes(Width, Box<Candidate>),
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
        let (context, sums, padded) = Context::new(node, dot, (x, x_range))?;
        let reorder = context.reorder();
        let shape = Shape { channels, outputs, groups: dot.groups };
        let explicit = isa != Isa::Generic && least <= Width::I32 && stored == Width::I32;
        let narrow = || Narrow::plan(&context, (reorder.as_ref(), sums.as_ref())).filter(|n| n.low_fits);
        let narrow = explicit.then(narrow).flatten();
        let mut choice = Self {
            group: None,
            chosen: match narrow {
                Some(narrow) => Chosen::Narrow(narrow),
                None => context.lanes((reorder.as_ref(), sums.as_ref()), least.max(stored))?,
            },
            context,
            shape,
            spatial,
            x: x_range,
            padded,
            least,
            stored,
            isa,
            sums,
            reorder,
        };
        choice.group = match &choice.chosen {
            Chosen::Narrow(n) if n.split.is_some() => {
                let group = choice.most_elements(Product::Whole);
                if group == 1 {
                    choice.fall_back()?;
                }
                Some(group.min(2))
            }
            Chosen::Narrow(n) => Some(choice.most_elements(n.product)),
            Chosen::Lanes(_, c) => match &c.how {
                How::Ordered(_) => None,
                How::Free { product, .. } if choice.explicit() => Some(choice.most_elements(*product)),
                How::Free { .. } => Some(1),
            },
        };
        Some(choice)
    }

    /// Width that it is computed in.
    pub(crate) fn width(&self) -> Width {
        match &self.chosen {
            Chosen::Narrow(_) => Width::I32,
            Chosen::Lanes(width, _) => *width,
        }
    }

    /// Whether explicit vectors sum the terms.
    fn explicit(&self) -> bool {
        self.width() == Width::I32 && self.stored == Width::I32 && self.isa != Isa::Generic
    }

    /// Without the narrow sums.
    fn fall_back(&mut self) -> Option<()> {
        let sums = (self.reorder.as_ref(), self.sums.as_ref());
        self.chosen = self.context.lanes(sums, self.least.max(self.stored))?;
        Some(())
    }

    /// Most elements of the input that the kernel can take from a word.
    fn most_elements(&self, product: Product) -> usize {
        let Shape { channels, groups, .. } = self.shape;
        let aligned = if groups == 1 && self.spatial.is_empty() { 0 } else { channels / groups };
        let fits = |(group, multiply): &(usize, Multiply)| {
            let bits = 32 / *group as u32;
            // What is stored where the window is padded must stand for zero.
            let lies = |p: Packing| !self.padded || p.zero() == 0;
            self.least.bits() <= bits
                && multiply.is_available(self.isa)
                && aligned.is_multiple_of(*group)
                && self.weights_fit(bits)
                && Packing::of(*group, self.x).is_some_and(lies)
        };
        match product {
            Product::Whole => {
                let all = [(4, Multiply::Quads), (2, Multiply::Pairs)];
                all.into_iter().find(fits).map_or(1, |(group, _)| group)
            }
            // Bits are dropped from products of codes, not of codes less a zero.
            Product::Shifted { drop, .. } => {
                let exact = Packing::of(2, self.x).is_some_and(|p| p.zero() == 0);
                let sixteen = matches!(&self.chosen, Chosen::Narrow(n) if n.sixteen.is_some());
                if sixteen && exact && fits(&(2, Multiply::Sixteen { drop })) { 2 } else { 1 }
            }
        }
    }

    fn weights_fit(&self, bits: u32) -> bool {
        let end = 1i128 << (bits - 1);
        -end <= self.context.weights.lo && self.context.weights.hi < end
    }

    /// The step that reads an input which lies as `packing`, followed by `more`.
    pub(crate) fn build(mut self, packing: Packing, more: &[Stage]) -> Option<Found> {
        if let Chosen::Narrow(n) = &self.chosen
            && n.split.is_some()
            && packing.group() != 2
        {
            self.fall_back()?;
        }
        let explicit = self.explicit();
        let Self { context, shape, spatial, stored, isa, chosen, .. } = self;
        let node = context.node;
        let windows = Windows::new(&context.dot.window, spatial, &node.shape[..node.shape.len() - 1]);
        let (width, candidate) = match chosen {
            Chosen::Narrow(n) => {
                let multiply = Multiply::of(packing, n.product, n.split.is_some());
                let kernel = multiply.describe(isa).to_owned();
                let short = matches!(multiply, Multiply::Sixteen { .. });
                let first = n.sixteen.flatten().filter(|_| short);
                let stages = first.into_iter().chain(n.stages).chain(more.iter().cloned()).collect();
                let (tiles, vector) = context.vector(&shape, multiply, packing, &n.add, (isa, Some(stages)));
                let (runs, ends) = windows.runs();
                let how = Tiles::Vector(vector);
                let free = Free { runs, ends, tiles, how, left: 0, late: None, keep: None };
                let step = DotStep { shape, sum: Sum::Free(Box::new(free)), finish: None };
                return Some(Found { step, kernel, partial: n.partial, why: n.why });
            }
            Chosen::Lanes(width, candidate) => (width, *candidate),
        };
        debug_assert!(more.is_empty());
        let Candidate { mut kernel, finish, partial, why, how } = candidate;
        let sum = match how {
            How::Free { product, left, keep } => {
                let (runs, ends) = windows.runs();
                let start = context.start();
                let zeros = || vec![0; shape.outputs];
                let (init, late) = match start {
                    Some(s) if left > 0 => (zeros(), Some(s.into())),
                    Some(s) => (s, None),
                    None => (zeros(), None),
                };
                let (tiles, how) = if explicit {
                    let multiply = Multiply::of(packing, product, false);
                    kernel = format!("{}, casts apart", multiply.describe(isa));
                    let (tiles, vector) = context.vector(&shape, multiply, packing, &init, (isa, None));
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
        Some(Found { step: DotStep { shape, sum, finish: Some(finish) }, kernel, partial, why })
    }

    /// Whether a stage can follow it without a tensor in between.
    pub(crate) fn takes_stage(&self) -> bool {
        matches!(self.chosen, Chosen::Narrow(_))
    }
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
    sixteen: Option<Option<Stage>>,
    pub(crate) partial: Interval,
    pub(crate) why: String,
}

impl Narrow {
    /// For inputs of a format and range; `None` where the sums need more.
    pub(crate) fn new(node: &Node, dot: &Dot, x: (Format, Interval)) -> Option<Self> {
        let (context, sums, _) = Context::new(node, dot, x)?;
        Self::plan(&context, (context.reorder().as_ref(), sums.as_ref()))
    }

    fn plan(
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
            let add = tail.add;
            return Some(Self {
                product: kind,
                add,
                stages,
                split: None,
                low_fits: true,
                sixteen,
                partial,
                why,
            });
        }
        // In two parts: high × 2^8 + low, the weights' own parts. What is left of the sum fits 32 bits, so that of the
        // high parts may wrap; that of the low ones is shifted first.
        let drop = tail.stage.drop.checked_sub(SPLIT)?;
        let parts = |part: fn(i64) -> i64| {
            let terms = dot.weight.len() / node.channels();
            dot.weight.data.chunks(terms).zip(&tail.add).try_fold((0i128, 0i128), |(lo, hi), (w, add)| {
                let sum = |end: fn(i128, i128) -> i128| {
                    w.iter().try_fold(i128::from(part(*add as i64)), |sum, w| {
                        let w = i128::from(part(*w));
                        sum.checked_add(end(w * x.lo, w * x.hi))
                    })
                };
                Some((lo.min(sum(i128::min)?), hi.max(sum(i128::max)?)))
            })
        };
        let whole = (tail.sum.0 >> SPLIT, tail.sum.1 >> SPLIT);
        let small = |v: &i128| i64::try_from(*v).is_ok();
        let fits = kind == Product::Whole && tail.add.iter().all(small) && holds(whole);
        let low_fits = holds(parts(PARTS[1])?);
        let why = format!("the sum needs {} bits: high and low parts of the weights apart", bits(tail.sum));
        let stages = vec![Stage { drop, ..tail.stage }];
        let split = Some(SPLIT);
        let add = tail.add;
        fits.then_some(Self { product: kind, add, stages, split, low_fits, sixteen: None, partial, why })
    }

    /// An accumulator that wraps: the low bits of the sum are kept, then cast.
    fn wrapping(context: &Context<'_>, r: &Reorder, ty: &Type, starts: Vec<i128>) -> Option<Self> {
        let acc = ty.format;
        let (width, range) = (acc.width(), acc.interval());
        if width > 32 || !holds((range.lo, range.hi)) || starts.iter().any(|s| s & ((1 << r.left) - 1) != 0) {
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
    fn new(
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
    /// The narrowest kernel that casts row by row.
    fn lanes(&self, sums: (Option<&Reorder>, Option<&range::SumRange>), least: Width) -> Option<Chosen> {
        let is_fast = |c: &Candidate| {
            c.finish.cast.is_fast()
                && match &c.how {
                    How::Free { .. } => true,
                    How::Ordered(sum) => sum.is_fast(),
                }
        };
        let (width, candidate) = narrowest(least, is_fast, |width| self.candidate(sums, width))?;
        Some(Chosen::Lanes(width, Box::new(candidate)))
    }

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
                    return Some(Candidate {
                        kernel: "tiled".to_owned(),
                        finish: finish(total)?,
                        partial,
                        why,
                        how,
                    });
                }
                let finish = Finish::plan_modular(act, accum, ty, width)?;
                let why = format!(
                    "partial sums need {} bits, but the result wraps: it depends on the low {} only",
                    bits(partial),
                    i64::from(ty.format.width()) + i64::from((f.frac() - ty.format.frac()).max(0))
                );
                Some(Candidate { kernel: "tiled, modular".to_owned(), finish, partial, why, how })
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
                    kernel: "ordered".to_owned(),
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
            return Some(Candidate {
                kernel: "tiled".to_owned(),
                finish: finish(total)?,
                partial,
                why,
                how: how(None),
            });
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
            kernel: "tiled, modular".to_owned(),
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

    /// Weights for explicit vectors: words of as many terms as a word of the input has elements, of each output; of
    /// a split kernel first of the tile's high parts, then of the low ones.
    fn vector(
        &self,
        shape: &Shape,
        multiply: Multiply,
        packing: Packing,
        add: &[i128],
        (isa, stages): (Isa, Option<Vec<Stage>>),
    ) -> (Vec<Tile>, Vector) {
        let group = multiply.group();
        let terms = self.dot.weight.len() / shape.outputs;
        let of = |output: usize| &self.dot.weight.data[output * terms..(output + 1) * terms];
        let bits = 32 / group as u32;
        let parts: &[fn(i64) -> i64] = match multiply {
            Multiply::Split => &PARTS,
            _ => &[|v| v],
        };
        let word = |terms: &[i64], part: fn(i64) -> i64| {
            let low = |w: i64| part(w) as u32 & (u32::MAX >> (32 - bits));
            terms.iter().rev().fold(0u64, |word, w| word << bits | u64::from(low(*w))) as i32
        };
        let mut tiles = self.tiles(shape, most_outputs(isa) / parts.len(), false);
        let mut words = Vec::with_capacity(self.dot.weight.len().div_ceil(group) * parts.len());
        let mut init = Vec::with_capacity(shape.outputs * parts.len());
        for tile in &mut tiles {
            tile.weights = words.len();
            let outputs = tile.output..tile.output + tile.n;
            for t in (0..terms).step_by(group) {
                for part in parts {
                    let end = terms.min(t + group);
                    words.extend(outputs.clone().map(|o| word(&of(o)[t..end], *part)));
                }
            }
            // Elements are stored less the packing's zero; sums are right modulo 2^32.
            for part in parts {
                init.extend(outputs.clone().map(|o| {
                    let weights = of(o).iter().fold(0i32, |sum, w| sum.wrapping_add(part(*w) as i32));
                    let start =
                        (part(add[o] as i64) as i32).wrapping_add(weights.wrapping_mul(packing.zero()));
                    if let Multiply::Sixteen { .. } = multiply { start & 0xffff } else { start }
                }));
            }
        }
        let stages = stages.map(Vec::into_boxed_slice);
        (tiles, Vector { weights: words.into(), init: init.into(), multiply, stages })
    }
}
