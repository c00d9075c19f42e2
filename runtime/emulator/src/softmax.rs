//! Softmax.

use hs_fixed::{Format, Interval};
use hs_hw::{Node, Softmax, SoftmaxKind};

use crate::{
    cast::Cast,
    finish::narrowest,
    lane::{Buf, Cx, Lane, Width},
    lut::Map,
    pool::Sum,
};

/// Softmax over the last axis.
#[derive(Debug)]
pub(crate) struct SoftmaxStep {
    stable: bool,
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
        s: &Softmax,
        (x, x_range): (Format, Interval),
        least: Width,
    ) -> Option<(Width, Self)> {
        let stable = s.kind == SoftmaxKind::Stable;
        let channels = node.channels();
        let (arg, arg_range) = if stable {
            (x.sub(x).ok()?, Interval::new(0, x_range.hi - x_range.lo, x_range.frac))
        } else {
            (x, x_range)
        };
        let exp = Map::plan(&s.exp, arg_range.cast(&s.delta).0, &s.exp_ty)?;
        // Its range does not depend on the width, so any that holds everything will do.
        let (_, sum_range) = Sum::plan(&s.sum, s.exp_ty.format, exp.range, channels, Width::I128)?;
        let inv = Map::plan(&s.inv, sum_range.cast(&s.inv_in).0, &s.inv_ty)?;
        let product = s.exp_ty.format.mul(s.inv_ty.format).ok()?;
        let plan = |width: Width| {
            let fits = [x_range, exp.range, inv.range].into_iter().all(|r| width.fits(r));
            let (sum, sum_range) = Sum::plan(&s.sum, s.exp_ty.format, exp.range, channels, width)?;
            let casts = Casts {
                delta: Cast::plan(arg, arg_range, &s.delta, width)?,
                sum,
                inv_in: Cast::plan(s.sum.format(), sum_range, &s.inv_in, width)?,
                out: Cast::plan(product, exp.range.mul(inv.range)?, &node.ty, width)?,
            };
            fits.then_some(casts)
        };
        let is_fast =
            |c: &Casts| c.delta.is_fast() && c.sum.is_fast() && c.inv_in.is_fast() && c.out.is_fast();
        let (width, casts) = narrowest(least, is_fast, plan)?;
        Some((width, Self { stable, channels, exp, inv, casts }))
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
        let (exp, rows) = rows.split_at_mut(n * lanes);
        let (row, rows) = rows.split_at_mut(lanes);
        let (acc, scratch) = rows.split_at_mut(lanes);
        for first in (0..len).step_by(n) {
            for (c, e) in exp.chunks_exact_mut(lanes).enumerate() {
                x.load(first + c, e);
            }
            if self.stable {
                acc.copy_from_slice(&exp[..lanes]);
                for e in exp.chunks_exact(lanes).skip(1) {
                    acc.iter_mut().zip(e).for_each(|(a, v)| *a = (*a).max(*v));
                }
                for e in exp.chunks_exact_mut(lanes) {
                    e.iter_mut().zip(&*acc).for_each(|(v, a)| *v = a.minus(*v));
                }
            }
            for e in exp.chunks_exact_mut(lanes) {
                casts.delta.apply(isa, e);
                self.exp.apply(e);
            }
            let term = |i: usize, row: &mut [A]| row.copy_from_slice(&exp[i * lanes..(i + 1) * lanes]);
            casts.sum.run(isa, n, term, acc, scratch);
            casts.inv_in.apply(isa, acc);
            self.inv.apply(acc);
            for (c, e) in exp.chunks_exact(lanes).enumerate() {
                for ((r, e), inv) in row.iter_mut().zip(e).zip(&*acc) {
                    *r = e.times(*inv);
                }
                casts.out.apply(isa, row);
                out.store(first + c, row);
            }
        }
    }
}
