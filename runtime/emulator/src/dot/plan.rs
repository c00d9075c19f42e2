//! Choice of the kernel of a dense layer or convolution.

use hs_fixed::{Format, Interval, Type};
use hs_hw::{Accum, Dot, Node, range};

use super::{
    DotStep, Free, Product, Shape, Sum, Tiles,
    proof::{Context, Narrow, Reorder},
    tail::Stage,
    tile::Multiply,
};
use crate::{
    Isa,
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
    Narrow(Box<Narrow>),
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
                Some(narrow) => Chosen::Narrow(Box::new(narrow)),
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
        if choice.is_split() && choice.most_elements(Product::Whole) == 1 {
            choice.fall_back()?;
        }
        choice.group = choice.demand();
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

    /// Whether sums are kept in two parts, for which the input must lie in pairs.
    pub(crate) fn is_split(&self) -> bool {
        matches!(&self.chosen, Chosen::Narrow(n) if n.split.is_some())
    }

    /// Without the narrow sums.
    pub(crate) fn fall_back(&mut self) -> Option<()> {
        let sums = (self.reorder.as_ref(), self.sums.as_ref());
        self.chosen = self.context.lanes(sums, self.least.max(self.stored))?;
        self.group = self.demand();
        Some(())
    }

    /// Most elements of the input that may share a word; `None` where it does not matter.
    fn demand(&self) -> Option<usize> {
        match &self.chosen {
            Chosen::Narrow(n) if n.split.is_some() => Some(self.most_elements(Product::Whole).min(2)),
            Chosen::Narrow(n) => Some(self.most_elements(n.product)),
            Chosen::Lanes(_, c) => match &c.how {
                How::Ordered(_) => None,
                How::Free { product, .. } if self.explicit() => Some(self.most_elements(*product)),
                How::Free { .. } => Some(1),
            },
        }
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
    pub(crate) fn build(self, packing: Packing, more: &[Stage]) -> Option<Found> {
        let explicit = self.explicit();
        let Self { context, shape, spatial, stored, isa, chosen, .. } = self;
        let node = context.node;
        let windows = Windows::new(&context.dot.window, spatial, &node.shape[..node.shape.len() - 1]);
        let (width, candidate) = match chosen {
            Chosen::Narrow(n) if n.split.is_some() && packing.group() != 2 => return None,
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
        // What is behind would be lost.
        if !more.is_empty() {
            return None;
        }
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
}
