//! Casts of whole rows.
//!
//! `Type::cast` is the definition. A [`Cast`] is planned for the exact range of the values that reach it: where
//! the range proves that neither shift nor rounding can leave the lane, the cast runs in the lane's own integers
//! (and leaves out an overflow that cannot happen); else it calls the definition, value by value.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};

use crate::{
    finish::ActStep,
    lane::{Lane, Width},
};
use hs_runtime::isa::{Checked, Kernel};

/// A cast of values in a known range, for lanes of a known width.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    ty: Type,
    from: Format,
    how: How,
}

#[derive(Debug, Clone, PartialEq)]
enum How {
    /// `Type::cast`.
    Definition,
    Lanes {
        left: u32,
        drop: u32,
        rounding: Rounding,
        over: Over,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Over {
    /// It cannot.
    Never,
    Clamp {
        lo: i128,
        hi: i128,
    },
    Zero {
        lo: i128,
        hi: i128,
    },
    Wrap {
        bits: u32,
        signed: bool,
    },
}

impl Cast {
    /// The cast of codes of `from` that lie in `range` (on the same grid) into `ty`, for lanes of `width`, which
    /// hold the range. `None` when they cannot hold the result.
    pub(crate) fn plan(from: Format, range: Interval, ty: &Type, width: Width) -> Option<Self> {
        debug_assert_eq!(from.frac(), range.frac);
        let (result, overflows) = range.cast(ty);
        if !width.fits(range) || !width.fits(result) {
            return None;
        }
        let how = lanes(from, range, ty, width, overflows).unwrap_or(How::Definition);
        Some(Self { ty: *ty, from, how })
    }

    /// The cast of codes of `from` of which the lanes hold only the low bits, where those suffice.
    pub(crate) fn plan_modular(from: Format, ty: &Type, width: Width) -> Option<Self> {
        let drop = from.frac() - ty.format.frac();
        let sees_no_sign =
            matches!(ty.rounding, Rounding::Trn | Rounding::Rnd | Rounding::RndMinInf | Rounding::RndConv);
        let kept = i64::from(ty.format.width()) + i64::from(drop.max(0));
        let fits = kept <= i64::from(width.bits()) && width.fits(ty.format.interval());
        if ty.overflow != Overflow::WRAP
            || !(sees_no_sign || drop <= 0)
            || !fits
            || drop.unsigned_abs() >= width.bits()
        {
            return None;
        }
        let over = Over::Wrap { bits: ty.format.width(), signed: ty.format.is_signed() };
        let how =
            How::Lanes { left: (-drop).max(0) as u32, drop: drop.max(0) as u32, rounding: ty.rounding, over };
        Some(Self { ty: *ty, from, how })
    }

    /// Whether it leaves every value as it is.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self.how, How::Lanes { left: 0, drop: 0, over: Over::Never, .. })
    }

    /// Whether it runs in the lanes' integers.
    pub(crate) fn is_fast(&self) -> bool {
        self.how != How::Definition
    }

    /// Casts a row in place.
    pub(crate) fn apply<A: Lane>(&self, isa: Checked, row: &mut [A]) {
        A::kernel(isa, Row { before: None, cast: self, row });
    }

    /// The same within a kernel.
    #[inline(always)]
    pub(crate) fn cast<A: Lane>(&self, row: &mut [A]) {
        match &self.how {
            How::Definition => {
                for v in row.iter_mut() {
                    *v = A::of(self.ty.cast(v.wide(), self.from));
                }
            }
            How::Lanes { left, drop, rounding, over } => {
                if *left > 0 {
                    for v in row.iter_mut() {
                        *v = v.left(*left);
                    }
                }
                if *drop > 0 {
                    round(row, *drop, *rounding);
                }
                over.apply(row);
            }
        }
    }
}

/// A row to be cast, after an exact function; the one kernel for both, so that it is compiled once a lane and
/// instruction set.
pub(crate) struct Row<'a, A> {
    /// The function and the element it is applied to.
    pub(crate) before: Option<(&'a ActStep, usize)>,
    pub(crate) cast: &'a Cast,
    pub(crate) row: &'a mut [A],
}

impl<A: Lane> Kernel for Row<'_, A> {
    #[inline(always)]
    fn run(self) {
        if let Some((act, i)) = self.before {
            act.apply(i, self.row);
        }
        self.cast.cast(self.row);
    }
}

impl Over {
    #[inline(always)]
    fn apply<A: Lane>(&self, row: &mut [A]) {
        match *self {
            Self::Never => {}
            Self::Clamp { lo, hi } => {
                let (lo, hi) = (bound::<A>(lo), bound::<A>(hi));
                for v in row.iter_mut() {
                    *v = (*v).max(lo).min(hi);
                }
            }
            Self::Zero { lo, hi } => {
                let (lo, hi) = (bound::<A>(lo), bound::<A>(hi));
                for v in row.iter_mut() {
                    *v = if *v < lo || *v > hi { A::ZERO } else { *v };
                }
            }
            Self::Wrap { bits, signed } => wrap(row, bits, signed),
        }
    }
}

/// The nearest value that a lane holds.
#[inline(always)]
pub(crate) fn bound<A: Lane>(v: i128) -> A {
    let max = i128::MAX >> (128 - A::BITS);
    A::of(v.clamp(!max, max))
}

/// The low `bits` of each value, sign-extended if `signed`. Unsigned needs `bits` below the lane's.
#[inline(always)]
pub(crate) fn wrap<A: Lane>(row: &mut [A], bits: u32, signed: bool) {
    if signed {
        let gap = A::BITS - bits;
        for v in row.iter_mut() {
            *v = v.left(gap).right(gap);
        }
    } else {
        let mask = A::of((1i128 << bits) - 1);
        for v in row.iter_mut() {
            *v = v.and(mask);
        }
    }
}

/// Drops `drop` bits, fewer than a lane has. `kept + increment` stays in the lane, since `drop > 0`.
#[inline(always)]
fn round<A: Lane>(row: &mut [A], drop: u32, mode: Rounding) {
    let one = A::of(1);
    let rest_mask = A::of((1i128 << (drop - 1)) - 1);
    // Not closures: those would be compiled for the build's target.
    macro_rules! up_if {
        (|$negative:ident, $half:ident, $rest:ident, $odd:ident| $up:expr) => {
            for v in row.iter_mut() {
                let kept = v.right(drop);
                let $half = v.right(drop - 1).and(one) != A::ZERO;
                let $rest = v.and(rest_mask) != A::ZERO;
                let ($negative, $odd) = (*v < A::ZERO, kept.and(one) != A::ZERO);
                *v = kept.plus(if $up { one } else { A::ZERO });
            }
        };
    }
    match mode {
        Rounding::Trn => {
            for v in row.iter_mut() {
                *v = v.right(drop);
            }
        }
        Rounding::Rnd => {
            for v in row.iter_mut() {
                *v = v.right(drop).plus(v.right(drop - 1).and(one));
            }
        }
        Rounding::TrnZero => up_if!(|negative, half, rest, _odd| negative && (half || rest)),
        Rounding::RndZero => up_if!(|negative, half, rest, _odd| half && (negative || rest)),
        Rounding::RndMinInf => up_if!(|_negative, half, rest, _odd| half && rest),
        Rounding::RndInf => up_if!(|negative, half, rest, _odd| half && (!negative || rest)),
        Rounding::RndConv => up_if!(|_negative, half, rest, odd| half && (odd || rest)),
    }
}

fn lanes(from: Format, range: Interval, ty: &Type, width: Width, overflows: bool) -> Option<How> {
    let f = ty.format;
    let shift = from.frac() - f.frac();
    let (left, drop) = ((-shift).max(0) as u32, shift.max(0) as u32);
    if drop >= width.bits() || left >= width.bits() {
        return None;
    }
    let shifted = range.refine(range.frac + left as i32).filter(|r| width.fits(*r));
    if shifted.is_none() {
        // Bits are lost on the left, which only a wrap does not mind.
        return Cast::plan_modular(from, ty, width).map(|c| c.how);
    }
    let bump = i128::from(f.is_signed());
    let over = match ty.overflow {
        _ if !overflows => Over::Never,
        Overflow::Sat => Over::Clamp { lo: f.min(), hi: f.max() },
        Overflow::SatSym => Over::Clamp { lo: f.min() + bump, hi: f.max() },
        Overflow::SatZero => Over::Zero { lo: f.min(), hi: f.max() },
        Overflow::Wrap { n: 0 } if f.width() <= width.bits() => {
            Over::Wrap { bits: f.width(), signed: f.is_signed() }
        }
        Overflow::Wrap { .. } | Overflow::WrapSm { .. } => return None,
    };
    Some(How::Lanes { left, drop, rounding: ty.rounding, over })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn types() -> impl Strategy<Value = Type> {
        (any::<bool>(), 1u32..=64, -20i32..70, 0usize..7, 0usize..6).prop_map(
            |(signed, width, frac, r, o)| {
                let width = if signed { width } else { width.min(63) };
                let mut overflow = Overflow::ALL[o];
                if let Overflow::Wrap { n } = &mut overflow {
                    *n = (*n).min(width);
                }
                Type::new(
                    Format::new(signed, width, width as i32 - frac).unwrap(),
                    Rounding::ALL[r],
                    overflow,
                )
            },
        )
    }

    fn check<A: Lane>(cast: &Cast, from: Format, ty: &Type, codes: &[i128]) {
        let mut row: Vec<A> = codes.iter().map(|c| A::of(*c)).collect();
        cast.apply(Checked::new(crate::Isa::best()).unwrap(), &mut row);
        let got: Vec<i128> = row.iter().map(|v| v.wide()).collect();
        let want: Vec<i128> = codes.iter().map(|c| ty.cast(*c, from)).collect();
        assert_eq!(got, want, "{ty} of {codes:?} in {from}: {cast:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6000))]
        #[test]
        fn rows_equal_the_definition(
            ty in types(), signed: bool, width in 1u32..=96, frac in -10i32..60, seed: u128, cut in 0u32..90,
        ) {
            let from = Format::new(signed, width, width as i32 - frac).unwrap();
            // Codes all over the format or all over a part of it, its ends and the target's ends included.
            let within = |c: i128| c.clamp(from.min(), from.max());
            let part = (from.max() >> cut.min(width - 1)).max(1);
            let mut codes = vec![0, 1, part, -part, -1, part - 1].into_iter().map(within).collect::<Vec<_>>();
            let mut s = seed | 1;
            for _ in 0..12 {
                s = s.wrapping_mul(0x2545_F491_4F6C_DD1D_5851_F42D_4C95_7F2D).wrapping_add(1442695040888963407);
                let c = (s >> 1) as i128 % (part + 1);
                codes.push(within(if s & 1 == 1 { -c } else { c }));
            }
            let (lo, hi) = (*codes.iter().min().unwrap(), *codes.iter().max().unwrap());
            let range = Interval::new(lo, hi, frac);
            for w in Width::LANES {
                if let Some(cast) = Cast::plan(from, range, &ty, w) {
                    match w {
                        Width::I8 | Width::I16 | Width::I32 => check::<i32>(&cast, from, &ty, &codes),
                        Width::I64 => check::<i64>(&cast, from, &ty, &codes),
                        Width::I128 => check::<i128>(&cast, from, &ty, &codes),
                    }
                }
                if let Some(cast) = Cast::plan_modular(from, &ty, w) {
                    match w {
                        Width::I8 | Width::I16 | Width::I32 => check::<i32>(&cast, from, &ty, &codes),
                        Width::I64 => check::<i64>(&cast, from, &ty, &codes),
                        Width::I128 => check::<i128>(&cast, from, &ty, &codes),
                    }
                }
            }
        }
    }

    #[test]
    fn common_casts_stay_in_the_lanes() {
        let acc = Format::new(true, 38, 16).unwrap();
        let ty: Type = "fixed<16,6,RND,SAT>".parse().unwrap();
        let small = Interval::new(-(1 << 30), 1 << 30, acc.frac());
        assert!(Cast::plan(acc, small, &ty, Width::I32).unwrap().is_fast());
        assert!(Cast::plan(acc, acc.interval(), &ty, Width::I32).is_none());
        assert!(Cast::plan(acc, acc.interval(), &ty, Width::I64).unwrap().is_fast());
        let wrapping: Type = "fixed<16,6,TRN,WRAP>".parse().unwrap();
        assert!(Cast::plan_modular(acc, &wrapping, Width::I32).is_some());
        assert!(Cast::plan_modular(acc, &"fixed<30,14,TRN,WRAP>".parse().unwrap(), Width::I32).is_none());
    }
}
