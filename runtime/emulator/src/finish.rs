//! The end of an op: the exact function, then the cast into the node's type.

use std::sync::Arc;

use hs_fixed::{Format, Interval, Type};
use hs_hw::{Act, range};

use crate::{
    cast::{Cast, Row, bound},
    lane::{Lane, Width},
};
use hs_runtime::isa::Checked;

/// [`Act`] and the node's cast, planned for values in a known range.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    act: ActStep,
    pub(crate) cast: Cast,
}

/// [`Act`] in lanes.
#[derive(Debug, Clone)]
pub(crate) enum ActStep {
    None,
    Clamp { lo: Option<i128>, hi: Option<i128> },
    Slope { codes: Arc<[i64]>, channels: usize, left: u32, product_left: u32 },
}

impl Finish {
    /// For exact values of format `exact` that lie in `range`; `None` when lanes of `width` are too narrow.
    pub(crate) fn plan(
        act: &Act,
        exact: Format,
        range: Interval,
        ty: &Type,
        channels: usize,
        width: Width,
    ) -> Option<Self> {
        if !width.fits(range) {
            return None;
        }
        let format = act.format(exact).ok()?;
        let acted = range::act(act, range)?.refine(format.frac())?;
        let step = match act {
            Act::None => ActStep::None,
            Act::Clamp { lo, hi } => ActStep::Clamp { lo: lo.map(i128::from), hi: hi.map(i128::from) },
            Act::Slope(s) => {
                let fits = |c: &i64| width.holds(i128::from(*c), i128::from(*c));
                if !s.data.iter().all(fits) {
                    return None;
                }
                let left = (format.frac() - exact.frac()) as u32;
                let product_left = (format.frac() - exact.frac() - s.format.frac()) as u32;
                if left.max(product_left) >= width.bits() {
                    return None;
                }
                ActStep::Slope { codes: Arc::clone(&s.data), channels, left, product_left }
            }
        };
        Some(Self { act: step, cast: Cast::plan(format, acted, ty, width)? })
    }

    /// For exact values of which the lanes hold the low bits only.
    pub(crate) fn plan_modular(act: &Act, exact: Format, ty: &Type, width: Width) -> Option<Self> {
        let cast = if *act == Act::None { Cast::plan_modular(exact, ty, width)? } else { return None };
        Some(Self { act: ActStep::None, cast })
    }

    /// Whether every element is treated alike, so that rows of several may be applied as one.
    pub(crate) fn is_uniform(&self) -> bool {
        match &self.act {
            ActStep::None | ActStep::Clamp { .. } => true,
            ActStep::Slope { codes, .. } => codes.len() == 1,
        }
    }

    /// Turns exact values of element `i` of the result into codes.
    pub(crate) fn apply<A: Lane>(&self, isa: Checked, i: usize, row: &mut [A]) {
        A::kernel(isa, Row { before: Some((&self.act, i)), cast: &self.cast, row });
    }
}

impl ActStep {
    #[inline(always)]
    pub(crate) fn apply<A: Lane>(&self, i: usize, row: &mut [A]) {
        match self {
            ActStep::None => {}
            ActStep::Clamp { lo, hi } => {
                if let Some(lo) = lo {
                    let lo = bound::<A>(*lo);
                    for v in row.iter_mut() {
                        *v = (*v).max(lo);
                    }
                }
                if let Some(hi) = hi {
                    let hi = bound::<A>(*hi);
                    for v in row.iter_mut() {
                        *v = (*v).min(hi);
                    }
                }
            }
            ActStep::Slope { codes, channels, left, product_left } => {
                let slope = A::of64(broadcast(codes, i, *channels));
                for v in row.iter_mut() {
                    let scaled = v.times(slope).left(*product_left);
                    *v = if *v >= A::ZERO { v.left(*left) } else { scaled };
                }
            }
        }
    }
}

/// As [`hs_hw::Codes::broadcast`].
#[inline(always)]
pub(crate) fn broadcast(codes: &[i64], i: usize, channels: usize) -> i64 {
    match codes.len() {
        1 => codes[0],
        n if n == channels => codes[i % channels],
        _ => codes[i],
    }
}

/// The narrowest of the widths from `least` on for which `plan` gives a fast form; else the narrowest for which
/// it gives any.
pub(crate) fn narrowest<T>(
    least: Width,
    is_fast: impl Fn(&T) -> bool,
    plan: impl Fn(Width) -> Option<T>,
) -> Option<(Width, T)> {
    let mut slow = None;
    for width in Width::LANES.into_iter().filter(|w| *w >= least) {
        match plan(width) {
            Some(p) if is_fast(&p) => return Some((width, p)),
            Some(p) if slow.is_none() => slow = Some((width, p)),
            _ => {}
        }
    }
    slow
}
