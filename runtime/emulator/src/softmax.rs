//! Softmax.

use hs_fixed::{Format, Interval};
use hs_hw::{Node, Softmax, SoftmaxKind, SoftmaxTables};

use crate::{
    cast::Cast,
    finish::narrowest,
    lane::{Buf, Cx, Lane, Width},
    lut::Map,
    pool::Sum,
};
use hs_runtime::isa::{Checked, Kernel};

/// Softmax over the last axis, by tables.
#[derive(Debug)]
pub(crate) struct SoftmaxStep {
    kind: SoftmaxKind,
    channels: usize,
    exp: Map,
    inv: Map,
    casts: Casts,
    /// Of the exact result, which is computed in integers of its own width.
    out: (Width, Cast),
}

/// Casts on the way to the reciprocal, in lanes.
#[derive(Debug)]
struct Casts {
    delta: Cast,
    sum: Sum,
    inv_in: Cast,
}

/// Lanes whose exact results are computed at a time.
const PIECE: usize = 64;

impl SoftmaxStep {
    pub(crate) fn plan(
        node: &Node,
        s: &SoftmaxTables,
        (x, x_range): (Format, Interval),
        least: Width,
    ) -> Option<(Width, Self)> {
        let channels = node.channels();
        let arg = s.kind.argument(x).ok()?;
        let spread = x_range.hi - x_range.lo;
        let arg_range = match s.kind {
            SoftmaxKind::Stable => Interval::new(0, spread, x_range.frac),
            SoftmaxKind::Latency => x_range,
            SoftmaxKind::Legacy => Interval::new(-spread, spread, x_range.frac),
        };
        let exp = Map::plan(&s.exp, arg_range.cast(&s.delta).0, &s.exp_ty)?;
        // Its range does not depend on the width, so any that holds everything will do.
        let (_, sum_range) = Sum::plan(&s.sum, s.exp_ty.format, exp.range, channels, Width::I128)?;
        let inv = Map::plan(&s.inv, sum_range.cast(&s.inv_in).0, &s.inv_ty)?;
        let exact = s.exact_format().ok()?;
        let exact_range = match s.kind {
            SoftmaxKind::Stable | SoftmaxKind::Latency => exp.range.mul(inv.range)?,
            SoftmaxKind::Legacy => inv.range,
        };
        let result = |width: Width| {
            let fits = [exp.range, inv.range].into_iter().all(|r| width.fits(r));
            Cast::plan(exact, exact_range, &node.ty, width).filter(|_| fits)
        };
        let out = narrowest(least, Cast::is_fast, result)?;
        let ranges = [x_range, exp.range, inv.range, exact_range.cast(&node.ty).0];
        let plan = |width: Width| {
            let fits = ranges.into_iter().all(|r| width.fits(r));
            let (sum, sum_range) = Sum::plan(&s.sum, s.exp_ty.format, exp.range, channels, width)?;
            let casts = Casts {
                delta: Cast::plan(arg, arg_range, &s.delta, width)?,
                sum,
                inv_in: Cast::plan(s.sum.format(), sum_range, &s.inv_in, width)?,
            };
            fits.then_some(casts)
        };
        let is_fast = |c: &Casts| c.delta.is_fast() && c.sum.is_fast() && c.inv_in.is_fast();
        let (width, casts) = narrowest(least, is_fast, plan)?;
        Some((width, Self { kind: s.kind, channels, exp, inv, casts, out }))
    }

    /// What the tables do, for the plan.
    pub(crate) fn describe(&self) -> String {
        let bits = self.out.0.bits();
        format!("exp: {}; 1/x: {}; results in {bits} bits", self.exp.describe(), self.inv.describe())
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, len: usize, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let n = self.channels;
        let casts = &self.casts;
        let rows = cx.temps.get::<A>((n + 2 + casts.sum.scratch(n)) * lanes);
        let (pixel, rows) = rows.split_at_mut(n * lanes);
        let (row, rows) = rows.split_at_mut(lanes);
        let (acc, scratch) = rows.split_at_mut(lanes);
        let exponential = |row: &mut [A]| {
            casts.delta.apply(isa, row);
            self.exp.apply(isa, row);
        };
        let mut reciprocal = |term: &dyn Fn(usize, &mut [A]), acc: &mut [A]| {
            casts.sum.run(isa, n, term, acc, scratch);
            casts.inv_in.apply(isa, acc);
            self.inv.apply(isa, acc);
        };
        for first in (0..len).step_by(n) {
            for (c, v) in pixel.chunks_exact_mut(lanes).enumerate() {
                x.load(isa, first + c, v);
            }
            match self.kind {
                SoftmaxKind::Stable => A::kernel(isa, BelowLargest { pixel, largest: acc }),
                SoftmaxKind::Latency => {}
                SoftmaxKind::Legacy => {
                    for (i, from) in pixel.chunks_exact(lanes).enumerate() {
                        let term = |j: usize, row: &mut [A]| {
                            let v = &pixel[j * lanes..(j + 1) * lanes];
                            for ((r, v), from) in row.iter_mut().zip(v).zip(from) {
                                *r = v.minus(*from);
                            }
                            exponential(row);
                        };
                        reciprocal(&term, acc);
                        self.result(isa, None, acc, row);
                        out.store(isa, first + i, row);
                    }
                    continue;
                }
            }
            exponential(pixel);
            let exp = &*pixel;
            reciprocal(&|j, row| row.copy_from_slice(&exp[j * lanes..(j + 1) * lanes]), acc);
            for (c, e) in exp.chunks_exact(lanes).enumerate() {
                self.result(isa, Some(e), acc, row);
                out.store(isa, first + c, row);
            }
        }
    }

    /// The codes of `exp × inv`, or of `inv`.
    fn result<A: Lane>(&self, isa: Checked, exp: Option<&[A]>, inv: &[A], row: &mut [A]) {
        let (width, cast) = &self.out;
        match width {
            Width::I8 | Width::I16 | Width::I32 => {
                A::kernel(isa, Product { exp, inv, cast, exact: [0i32; PIECE], row });
            }
            Width::I64 => A::kernel(isa, Product { exp, inv, cast, exact: [0i64; PIECE], row }),
            Width::I128 => A::kernel(isa, Product { exp, inv, cast, exact: [0i128; PIECE], row }),
        }
    }
}

/// How far each element of a pixel is below its largest one.
struct BelowLargest<'a, A> {
    /// `[channel][lane]`.
    pixel: &'a mut [A],
    largest: &'a mut [A],
}

impl<A: Lane> Kernel for BelowLargest<'_, A> {
    #[inline(always)]
    fn run(self) {
        let Self { pixel, largest } = self;
        let lanes = largest.len();
        largest.copy_from_slice(&pixel[..lanes]);
        for row in pixel.chunks_exact(lanes).skip(1) {
            for (largest, v) in largest.iter_mut().zip(row) {
                *largest = (*largest).max(*v);
            }
        }
        for row in pixel.chunks_exact_mut(lanes) {
            for (v, largest) in row.iter_mut().zip(&*largest) {
                *v = largest.minus(*v);
            }
        }
    }
}

/// Codes of at most 64 bits, multiplied and cast in integers that hold the product.
struct Product<'a, A, E> {
    exp: Option<&'a [A]>,
    inv: &'a [A],
    cast: &'a Cast,
    exact: [E; PIECE],
    row: &'a mut [A],
}

impl<A: Lane, E: Lane> Kernel for Product<'_, A, E> {
    #[inline(always)]
    fn run(mut self) {
        for (i, (inv, row)) in self.inv.chunks(PIECE).zip(self.row.chunks_mut(PIECE)).enumerate() {
            let exact = &mut self.exact[..row.len()];
            if let Some(exp) = self.exp {
                for ((exact, inv), exp) in exact.iter_mut().zip(inv).zip(&exp[i * PIECE..]) {
                    *exact = E::of64(exp.to64()).times(E::of64(inv.to64()));
                }
            } else {
                for (exact, inv) in exact.iter_mut().zip(inv) {
                    *exact = E::of64(inv.to64());
                }
            }
            self.cast.cast(exact);
            for (row, exact) in row.iter_mut().zip(&*exact) {
                *row = A::of64(exact.to64());
            }
        }
    }
}

/// 1 for the first of the largest elements of the last axis, 0 for the others.
#[derive(Debug)]
pub(crate) struct ArgmaxStep {
    channels: usize,
    /// The code of 1.
    one: i128,
}

impl ArgmaxStep {
    pub(crate) fn plan(node: &Node, x_range: Interval, least: Width) -> Option<(Width, Self)> {
        let one = Softmax::one(&node.ty);
        let fits = |w: &Width| *w >= least && w.fits(x_range) && w.holds(one.min(0), one.max(0));
        let width = Width::LANES.into_iter().find(fits)?;
        Some((width, Self { channels: node.channels(), one }))
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, len: usize, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let one = A::of(self.one);
        let rows = cx.temps.get::<A>(3 * lanes);
        let (largest, rows) = rows.split_at_mut(lanes);
        let (first, row) = rows.split_at_mut(lanes);
        for pixel in (0..len).step_by(self.channels) {
            x.load(isa, pixel, largest);
            first.fill(A::ZERO);
            for c in 1..self.channels {
                x.load(isa, pixel + c, row);
                let at = A::of64(c as i64);
                for ((v, largest), first) in row.iter().zip(&mut *largest).zip(&mut *first) {
                    *first = if *v > *largest { at } else { *first };
                    *largest = (*largest).max(*v);
                }
            }
            for c in 0..self.channels {
                let at = A::of64(c as i64);
                for (r, first) in row.iter_mut().zip(&*first) {
                    *r = if *first == at { one } else { A::ZERO };
                }
                out.store(isa, pixel + c, row);
            }
        }
    }
}
