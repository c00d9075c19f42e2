//! Ops that treat every element alike.

use std::sync::Arc;

use hs_fixed::{Format, Interval};
use hs_hw::{Act, BinaryOp, Codes, Node, range};

use crate::{
    dot::Stage,
    finish::{Finish, broadcast, narrowest},
    lane::{Buf, Cx, Lane, Width},
    step::Source,
};
use hs_runtime::isa::Kernel;

/// Range of a constant's codes.
pub(crate) fn codes_range(c: &Codes) -> Interval {
    let lo = c.data.iter().copied().min().unwrap_or(0);
    let hi = c.data.iter().copied().max().unwrap_or(0);
    Interval::new(i128::from(lo), i128::from(hi), c.format.frac())
}

/// x × scale + bias.
#[derive(Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Arc<[i64]>,
    pub(crate) bias: Arc<[i64]>,
    pub(crate) channels: usize,
    pub(crate) product_left: u32,
    pub(crate) bias_left: u32,
    pub(crate) finish: Finish,
}

impl Affine {
    /// Whether its casts run in the lanes.
    pub(crate) fn is_fast(&self) -> bool {
        self.finish.cast.is_fast()
    }

    pub(crate) fn plan(
        node: &Node,
        (scale, bias, act): (&Codes, &Codes, &Act),
        (x, x_range): (Format, Interval),
        least: Width,
    ) -> Option<(Width, Self)> {
        let product = x.mul(scale.format).ok()?;
        let exact = product.add(bias.format).ok()?;
        let p = x_range.mul(codes_range(scale))?.refine(exact.frac())?;
        let b = codes_range(bias).refine(exact.frac())?;
        let sum = range::exact(node, &[x_range])?.refine(exact.frac())?;
        let product_left = (exact.frac() - product.frac()) as u32;
        let bias_left = (exact.frac() - bias.format.frac()) as u32;
        narrowest(least, Self::is_fast, |width| {
            let fits = width.fits(p) && width.fits(b) && width.fits(codes_range(scale));
            let shifts = product_left.max(bias_left) < width.bits();
            let finish =
                (fits && shifts).then(|| Finish::plan(act, exact, sum, &node.ty, node.channels(), width));
            Some(Self {
                scale: Arc::clone(&scale.data),
                bias: Arc::clone(&bias.data),
                channels: node.channels(),
                product_left,
                bias_left,
                finish: finish.flatten()?,
            })
        })
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, len: usize, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let row = cx.temps.get::<A>(lanes);
        for e in 0..len {
            x.load(isa, e, row);
            let scale = A::of64(broadcast(&self.scale, e, self.channels));
            let bias = A::of64(broadcast(&self.bias, e, self.channels)).left(self.bias_left);
            let left = self.product_left;
            A::kernel(isa, Scale { row, scale, left, bias });
            self.finish.apply(isa, e, row);
            out.store(isa, e, row);
        }
    }
}

/// A row of x × scale × 2^left + bias.
struct Scale<'a, A> {
    row: &'a mut [A],
    scale: A,
    left: u32,
    bias: A,
}

impl<A: Lane> Kernel for Scale<'_, A> {
    #[inline(always)]
    fn run(self) {
        for v in self.row {
            *v = v.times(self.scale).left(self.left).plus(self.bias);
        }
    }
}

/// Two rows, shifted left each, into the first.
struct Pair<'a, A> {
    op: BinaryOp,
    a: &'a mut [A],
    b: &'a [A],
    left: [u32; 2],
}

impl<A: Lane> Kernel for Pair<'_, A> {
    #[inline(always)]
    fn run(self) {
        let Self { op, a, b, left } = self;
        // Not closures: those would be compiled for the build's target.
        macro_rules! each {
            (|$a:ident, $b:ident| $f:expr) => {
                for (to, b) in a.iter_mut().zip(b) {
                    let ($a, $b) = (to.left(left[0]), b.left(left[1]));
                    *to = $f;
                }
            };
        }
        match op {
            BinaryOp::Add => each!(|a, b| a.plus(b)),
            BinaryOp::Sub => each!(|a, b| a.minus(b)),
            BinaryOp::Mul => each!(|a, b| a.times(b)),
            BinaryOp::Max => each!(|a, b| a.max(b)),
            BinaryOp::Min => each!(|a, b| a.min(b)),
        }
    }
}

/// A cast, after an exact function.
#[derive(Debug)]
pub(crate) struct Requant {
    pub(crate) finish: Finish,
}

impl Requant {
    /// Whether its casts run in the lanes.
    pub(crate) fn is_fast(&self) -> bool {
        self.finish.cast.is_fast()
    }

    pub(crate) fn plan(
        node: &Node,
        act: &Act,
        (x, x_range): (Format, Interval),
        least: Width,
    ) -> Option<(Width, Self)> {
        narrowest(least, Self::is_fast, |width| {
            Some(Self { finish: Finish::plan(act, x, x_range, &node.ty, node.channels(), width)? })
        })
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, len: usize, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let row = cx.temps.get::<A>(lanes);
        for e in 0..len {
            x.load(isa, e, row);
            self.finish.apply(isa, e, row);
            out.store(isa, e, row);
        }
    }
}

/// Two tensors.
#[derive(Debug)]
pub(crate) struct Binary {
    op: BinaryOp,
    pub(crate) left: [u32; 2],
    pub(crate) finish: Finish,
    /// What is done to sums of 32 bits, where it is a sum and that is a shift and bounds.
    pub(crate) sum: Option<Stage>,
}

impl Binary {
    /// Whether its casts run in the lanes.
    pub(crate) fn is_fast(&self) -> bool {
        self.finish.cast.is_fast()
    }

    pub(crate) fn plan(
        node: &Node,
        (op, act): (BinaryOp, &Act),
        formats: [Format; 2],
        ranges: [Interval; 2],
        least: Width,
    ) -> Option<(Width, Self)> {
        let exact = op.format(formats[0], formats[1]).ok()?;
        let result = range::exact(node, &ranges)?.refine(exact.frac())?;
        let aligned = op != BinaryOp::Mul;
        let left = formats.map(|f| if aligned { (exact.frac() - f.frac()) as u32 } else { 0 });
        narrowest(least, Self::is_fast, |width| {
            let fits = |(r, left): (Interval, u32)| {
                left < width.bits() && r.refine(r.frac + left as i32).is_some_and(|r| width.fits(r))
            };
            let fit = ranges.into_iter().zip(left).all(fits);
            let finish = fit.then(|| Finish::plan(act, exact, result, &node.ty, node.channels(), width));
            let sum = (op == BinaryOp::Add && width == Width::I32)
                .then(|| Stage::plan(act, exact, result, &node.ty))
                .flatten()
                .filter(|s| s.wrap.is_none() && s.drop < 32);
            Some(Self { op, left, finish: finish.flatten()?, sum })
        })
    }

    /// The exact values of neighbouring elements into `a`.
    #[inline(always)]
    pub(crate) fn combine<A: Lane>(&self, a: &mut [A], b: &[A]) {
        Pair { op: self.op, a, b, left: self.left }.run();
    }

    pub(crate) fn run<A: Lane>(&self, x: [Source<'_>; 2], out: &mut Buf, len: usize, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let (a, b) = cx.temps.get::<A>(2 * lanes).split_at_mut(lanes);
        for e in 0..len {
            x[0].load(isa, e, a);
            x[1].load(isa, e, b);
            A::kernel(isa, Pair { op: self.op, a, b, left: self.left });
            self.finish.apply(isa, e, a);
            out.store(isa, e, a);
        }
    }
}
