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

/// Softmax over the last axis, by tables.
#[derive(Debug)]
pub(crate) struct SoftmaxStep {
    kind: SoftmaxKind,
    channels: usize,
    exp: Map,
    inv: Map,
    casts: Casts,
}

#[derive(Debug)]
struct Casts {
    delta: Cast,
    sum: Sum,
    inv_in: Cast,
    out: Cast,
}

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
        let plan = |width: Width| {
            let fits = [x_range, exp.range, inv.range].into_iter().all(|r| width.fits(r));
            let (sum, sum_range) = Sum::plan(&s.sum, s.exp_ty.format, exp.range, channels, width)?;
            let casts = Casts {
                delta: Cast::plan(arg, arg_range, &s.delta, width)?,
                sum,
                inv_in: Cast::plan(s.sum.format(), sum_range, &s.inv_in, width)?,
                out: Cast::plan(exact, exact_range, &node.ty, width)?,
            };
            fits.then_some(casts)
        };
        let is_fast =
            |c: &Casts| c.delta.is_fast() && c.sum.is_fast() && c.inv_in.is_fast() && c.out.is_fast();
        let (width, casts) = narrowest(least, is_fast, plan)?;
        Some((width, Self { kind: s.kind, channels, exp, inv, casts }))
    }

    /// What the tables do, for the plan.
    pub(crate) fn describe(&self) -> String {
        format!("exp: {}; 1/x: {}", self.exp.describe(), self.inv.describe())
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
                SoftmaxKind::Stable => {
                    acc.copy_from_slice(&pixel[..lanes]);
                    for v in pixel.chunks_exact(lanes).skip(1) {
                        acc.iter_mut().zip(v).for_each(|(a, v)| *a = (*a).max(*v));
                    }
                    for v in pixel.chunks_exact_mut(lanes) {
                        v.iter_mut().zip(&*acc).for_each(|(v, a)| *v = a.minus(*v));
                    }
                }
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
                        casts.out.apply(isa, acc);
                        out.store(isa, first + i, acc);
                    }
                    continue;
                }
            }
            for v in pixel.chunks_exact_mut(lanes) {
                exponential(v);
            }
            let exp = &*pixel;
            reciprocal(&|j, row| row.copy_from_slice(&exp[j * lanes..(j + 1) * lanes]), acc);
            for (c, e) in exp.chunks_exact(lanes).enumerate() {
                for ((r, e), inv) in row.iter_mut().zip(e).zip(&*acc) {
                    *r = e.times(*inv);
                }
                casts.out.apply(isa, row);
                out.store(isa, first + c, row);
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
