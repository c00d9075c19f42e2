//! Sums that are cast after every addition, in the order that the Program gives.

use std::ops::Range;

use hs_fixed::{Format, Interval, Type};
use hs_hw::Order;

use crate::{
    cast::Cast,
    lane::{Lane, Width},
};
use hs_runtime::isa::Checked;

/// Addition of a term to an accumulator, then the accumulator's cast.
#[derive(Debug, Clone)]
struct Add {
    left: u32,
    term_left: u32,
    cast: Cast,
}

impl Add {
    fn plan(ty: &Type, term: Format, range: Interval, width: Width) -> Option<Self> {
        let exact = ty.format.add(term).ok()?;
        let a = ty.format.interval().refine(exact.frac())?;
        let b = range.refine(exact.frac())?;
        let left = (exact.frac() - ty.format.frac()) as u32;
        let term_left = (exact.frac() - term.frac()) as u32;
        if !width.fits(a) || !width.fits(b) || left.max(term_left) >= width.bits() {
            return None;
        }
        Some(Self { left, term_left, cast: Cast::plan(exact, a.add(b)?, ty, width)? })
    }

    fn apply<A: Lane>(&self, isa: Checked, acc: &mut [A], term: &[A]) {
        for (acc, term) in acc.iter_mut().zip(term) {
            *acc = acc.left(self.left).plus(term.left(self.term_left));
        }
        self.cast.apply(isa, acc);
    }
}

/// A stepwise accumulation ([`hs_hw::Accum::Stepwise`]).
#[derive(Debug, Clone)]
pub(crate) struct StepSum {
    product: Option<Cast>,
    order: Order,
    add: Add,
    add_partial: Add,
    leaf: Cast,
}

impl StepSum {
    /// For terms of `format` in `range`; `None` when lanes of `width` are too narrow.
    pub(crate) fn plan(
        (product, ty, order): (Option<&Type>, &Type, Order),
        format: Format,
        range: Interval,
        width: Width,
    ) -> Option<Self> {
        if !width.fits(range) {
            return None;
        }
        let (format_after, range_after) = product.map_or((format, range), |p| (p.format, range.cast(p).0));
        let product = match product {
            Some(p) => Some(Cast::plan(format, range, p, width)?),
            None => None,
        };
        Some(Self {
            product,
            order,
            add: Add::plan(ty, format_after, range_after, width)?,
            add_partial: Add::plan(ty, ty.format, ty.format.interval(), width)?,
            leaf: Cast::plan(format_after, range_after, ty, width)?,
        })
    }

    pub(crate) fn is_fast(&self) -> bool {
        let casts = [&self.add.cast, &self.add_partial.cast, &self.leaf];
        casts.into_iter().chain(&self.product).all(Cast::is_fast)
    }

    /// Rows of scratch memory for a sum of `n` terms.
    pub(crate) fn scratch(&self, n: usize) -> usize {
        match self.order {
            Order::Any | Order::Sequential | Order::Strided { .. } => 1,
            Order::Blocked { .. } => 2,
            // A row for each level on the path to a leaf, and the leaf's.
            Order::Tree => n.next_power_of_two().ilog2() as usize + 2,
        }
    }

    /// Sums `n` terms onto `start` (a code of the accumulator) into `acc`. `term` writes the exact term of an
    /// index into a row.
    pub(crate) fn run<A: Lane>(
        &self,
        isa: Checked,
        (n, start): (usize, Option<A>),
        mut term: impl FnMut(usize, &mut [A]),
        acc: &mut [A],
        scratch: &mut [A],
    ) {
        let lanes = acc.len();
        let mut cast_term = |i: usize, row: &mut [A]| {
            term(i, row);
            if let Some(p) = &self.product {
                p.apply(isa, row);
            }
        };
        acc.fill(start.unwrap_or(A::ZERO));
        match self.order {
            Order::Any | Order::Sequential => {
                let row = &mut scratch[..lanes];
                for i in 0..n {
                    cast_term(i, row);
                    self.add.apply(isa, acc, row);
                }
            }
            Order::Strided { rf } => {
                let row = &mut scratch[..lanes];
                for i in (0..rf).flat_map(|first| (first..n).step_by(rf)) {
                    cast_term(i, row);
                    self.add.apply(isa, acc, row);
                }
            }
            Order::Blocked { rf } => {
                let (row, partial) = scratch[..2 * lanes].split_at_mut(lanes);
                for first in (0..n).step_by(rf) {
                    partial.fill(A::ZERO);
                    for i in first..n.min(first + rf) {
                        cast_term(i, row);
                        self.add.apply(isa, partial, row);
                    }
                    self.add_partial.apply(isa, acc, partial);
                }
            }
            Order::Tree => {
                if n == 0 {
                    return;
                }
                self.tree(isa, 0..n, &mut cast_term, lanes, scratch);
                let sum = &scratch[..lanes];
                if start.is_some() {
                    self.add_partial.apply(isa, acc, sum);
                } else {
                    acc.copy_from_slice(sum);
                }
            }
        }
    }

    /// The sum of the terms of `range` into the first row of `scratch`.
    fn tree<A: Lane>(
        &self,
        isa: Checked,
        range: Range<usize>,
        term: &mut impl FnMut(usize, &mut [A]),
        lanes: usize,
        scratch: &mut [A],
    ) {
        let n = range.len();
        if n == 1 {
            let row = &mut scratch[..lanes];
            term(range.start, row);
            self.leaf.apply(isa, row);
            return;
        }
        // The largest power of two strictly below n.
        let middle = range.start + (1 << (n - 1).ilog2());
        self.tree(isa, range.start..middle, term, lanes, scratch);
        let (sum, rest) = scratch.split_at_mut(lanes);
        self.tree(isa, middle..range.end, term, lanes, rest);
        self.add_partial.apply(isa, sum, &rest[..lanes]);
    }
}
