//! What follows a sum, as a few instructions on 32-bit lanes.

use std::sync::Arc;

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};
use hs_hw::{Act, Codes, Node, range};

use crate::cast::wrap;

/// Instructions on a value, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// What each output is multiplied with, and what is added to it then.
    pub(crate) scale: Option<Arc<[i32]>>,
    pub(crate) bias: Option<Arc<[i32]>>,
    /// Bits shifted to the left.
    pub(crate) left: u32,
    /// What is added then.
    pub(crate) add: i32,
    /// Bits dropped then.
    pub(crate) drop: u32,
    /// Bounds.
    pub(crate) clamp: Option<(i32, i32)>,
    /// Bits kept, and whether the top one is a sign.
    pub(crate) wrap: Option<(u32, bool)>,
}

impl Stage {
    /// Keeps the low `bits` of a value.
    pub(crate) fn keep(bits: u32, signed: bool) -> Self {
        Self { scale: None, bias: None, left: 0, add: 0, drop: 0, clamp: None, wrap: Some((bits, signed)) }
    }

    /// Whether it leaves every value as it is.
    pub(crate) fn is_nothing(&self) -> bool {
        self.scale.is_none()
            && self.bias.is_none()
            && (self.left, self.add, self.drop) == (0, 0, 0)
            && self.clamp.is_none()
            && self.wrap.is_none()
    }

    /// What it does to each value after scale and bias.
    #[inline(always)]
    pub(crate) fn apply_to(&self, values: &mut [i32]) {
        for v in &mut *values {
            *v = v.wrapping_shl(self.left).wrapping_add(self.add).wrapping_shr(self.drop);
        }
        if let Some((lo, hi)) = self.clamp {
            values.iter_mut().for_each(|v| *v = (*v).max(lo).min(hi));
        }
        if let Some((bits, signed)) = self.wrap {
            wrap(values, bits, signed);
        }
    }

    /// An exact function and a cast of values of `from` in `range`; `None` where it takes more than a stage.
    pub(crate) fn plan(act: &Act, from: Format, range: Interval, ty: &Type) -> Option<Self> {
        let tail = Tail::plan(act, from, range, ty, (0, &[0]))?;
        let fits = holds(tail.sum) && holds((range.lo, range.hi));
        fits.then(|| Self { add: tail.add[0] as i32, ..tail.stage })
    }

    /// The affine function of `node`, for values of `from` in `range` of so many channels; `None` where it takes more
    /// than a stage.
    pub(crate) fn affine(
        node: &Node,
        (scale, bias, act): (&Codes, &Codes, &Act),
        (from, range): (Format, Interval),
    ) -> Option<Self> {
        let channels = node.channels();
        let product = from.mul(scale.format).ok()?;
        let exact = product.add(bias.format).ok()?;
        let total = range::exact(node, &[range])?.refine(exact.frac())?;
        let shift = |f: Format| u32::try_from(exact.frac() - f.frac()).ok().filter(|s| *s < 64);
        let (left, bias_left) = (shift(product)?, shift(bias.format)?);
        let of = |codes: &Codes| -> Option<Vec<i128>> {
            let one = codes.len() == 1 || codes.len() == channels;
            one.then(|| (0..channels).map(|o| codes.broadcast(o, channels)).collect())
        };
        let add: Vec<i128> = of(bias)?.into_iter().map(|b| b << bias_left).collect();
        let tail = Tail::plan(act, exact, total, &node.ty, (left, &add))?;
        let low = |v: &[i128]| -> Arc<[i32]> { v.iter().map(|v| *v as i32).collect() };
        let scale = of(scale)?;
        let right = holds(tail.sum) || tail.low.is_some_and(|low| low <= 32);
        right.then(|| Self {
            scale: scale.iter().any(|s| *s != 1).then(|| low(&scale)),
            bias: tail.add.iter().any(|b| *b != 0).then(|| low(&tail.add)),
            ..tail.stage
        })
    }
}

/// What turns a sum of terms into a result: an addition for each output, then a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// What is added to each output's sum.
    pub(crate) add: Vec<i128>,
    /// Smallest and largest sum after the addition.
    pub(crate) sum: (i128, i128),
    pub(crate) stage: Stage,
    /// Low bits of the sum on which the result depends, where it does not depend on all.
    pub(crate) low: Option<u32>,
}

/// Whether 32 bits hold both.
pub(crate) fn holds((lo, hi): (i128, i128)) -> bool {
    i128::from(i32::MIN) <= lo && hi <= i128::from(i32::MAX)
}

impl Tail {
    /// For `act` and the cast into `ty` of exact values of format `from` in `total`, each the sum of terms, shifted
    /// `left`, and the output's bias. `None` where it takes more.
    ///
    /// A shift to the right rounds down, so two of them are one, and what is added before the first can be shifted
    /// alone: (s·2^l + b) >> d = (s + (b >> l)) >> (d - l). Bounds go behind a monotone function as its values.
    pub(crate) fn plan(
        act: &Act,
        from: Format,
        total: Interval,
        ty: &Type,
        (left, bias): (u32, &[i128]),
    ) -> Option<Self> {
        debug_assert_eq!(from.frac(), total.frac);
        let drop = from.frac() - ty.format.frac();
        let up = i32::try_from(left).ok().filter(|up| *up <= 63)?;
        let shift = drop - up;
        if !(-31..=31 + SPLIT as i32).contains(&shift) {
            return None;
        }
        let half = match ty.rounding {
            _ if drop <= 0 => 0,
            Rounding::Trn => 0,
            Rounding::Rnd => 1i128 << (drop - 1),
            Rounding::RndMinInf => (1i128 << (drop - 1)) - 1,
            Rounding::TrnZero | Rounding::RndZero | Rounding::RndInf | Rounding::RndConv => return None,
        };
        let (add, sum): (Vec<i128>, _) = if shift >= 0 {
            let down = |v: i128| v.checked_add(half).map(|v| v >> left);
            let add = bias.iter().map(|b| down(*b)).collect::<Option<_>>()?;
            (add, (down(total.lo)?, down(total.hi)?))
        } else {
            if bias.iter().any(|b| *b & ((1i128 << left) - 1) != 0) {
                return None;
            }
            (bias.iter().map(|b| b >> left).collect(), (total.lo >> left, total.hi >> left))
        };
        let result = |v: i128| {
            if drop > 0 {
                v.checked_add(half).map(|v| v >> drop)
            } else {
                v.checked_mul(1i128.checked_shl(-drop as u32)?)
            }
        };
        let (mut clamp, acted) = match act {
            Act::None => (None, total),
            Act::Clamp { lo, hi } => {
                let lo = lo.map_or(Some(i128::MIN), |lo| result(i128::from(lo)))?;
                let hi = hi.map_or(Some(i128::MAX), |hi| result(i128::from(hi)))?;
                (Some((lo, hi)), range::act(act, total)?)
            }
            Act::Slope(_) => return None,
        };
        let f = ty.format;
        let symmetric = f.min() + i128::from(f.is_signed());
        let (mut wrap, mut low) = (None, None);
        if acted.cast(ty).1 {
            let mut bound = |lo: i128, hi: i128| {
                let (a, b) = clamp.unwrap_or((i128::MIN, i128::MAX));
                clamp = Some((a.max(lo).min(hi), b.max(lo).min(hi)));
            };
            match ty.overflow {
                Overflow::Sat => bound(f.min(), f.max()),
                Overflow::SatSym => bound(symmetric, f.max()),
                Overflow::Wrap { n: 0 } if f.width() <= 32 => {
                    wrap = Some((f.width(), f.is_signed()));
                    if clamp.is_none() {
                        low = u32::try_from(i32::try_from(f.width()).ok()? + shift.max(0)).ok();
                    }
                }
                Overflow::SatZero | Overflow::Wrap { .. } | Overflow::WrapSm { .. } => return None,
            }
        }
        let result = acted.cast(ty).0;
        if !holds((result.lo, result.hi)) {
            return None;
        }
        let to32 = |v: i128| v.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32;
        if wrap.is_some_and(|(bits, signed)| bits == 32 && !signed) {
            return None;
        }
        // Nothing may be lost on the left, unless only low bits count.
        let shifted = |v: i128| v.checked_mul(1 << (-shift).max(0));
        if low.is_none() && !(holds((shifted(sum.0)?, shifted(sum.1)?)) || shift > 0) {
            return None;
        }
        let stage = Stage {
            scale: None,
            bias: None,
            left: (-shift).max(0) as u32,
            add: 0,
            drop: shift.max(0) as u32,
            clamp: clamp.map(|(lo, hi)| (to32(lo), to32(hi))),
            wrap,
        };
        Some(Self { add, sum, stage, low })
    }
}

/// Bits of the lower part of a sum that is kept in two.
pub(crate) const SPLIT: u32 = 8;

/// The parts of a number, high × 2^[`SPLIT`] + low. The lower one has a sign, so that sums of it grow less.
pub(crate) const PARTS: [fn(i64) -> i64; 2] =
    [|v| (v >> SPLIT) + (v >> (SPLIT - 1) & 1), |v| i64::from(v as i8)];
