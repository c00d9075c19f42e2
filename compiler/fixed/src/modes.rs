//! Rounding and overflow: what a cast does with the bits that do not fit.

use crate::{Format, FormatError};

/// What happens to dropped fraction bits (`AP_…` of the same name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rounding {
    /// Toward minus infinity.
    Trn,
    /// Toward zero.
    TrnZero,
    /// To nearest, ties toward plus infinity.
    Rnd,
    /// To nearest, ties toward zero.
    RndZero,
    /// To nearest, ties toward minus infinity.
    RndMinInf,
    /// To nearest, ties away from zero.
    RndInf,
    /// To nearest, ties to even.
    RndConv,
}

impl Rounding {
    /// Every mode, in the order of the headers' constants.
    pub const ALL: [Self; 7] =
        [Self::Rnd, Self::RndZero, Self::RndMinInf, Self::RndInf, Self::RndConv, Self::Trn, Self::TrnZero];
}

/// What happens to values outside the range (`AP_…` of the same name). It looks at the rounded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Overflow {
    /// Keep the low bits; with `n > 0` the top `n` bits saturate (signed: the sign is kept).
    Wrap {
        /// Saturated bits, at most the width.
        n: u32,
    },
    /// Sign-magnitude wrap with `n` saturated bits. The headers refuse it for unsigned targets; here those
    /// saturate.
    WrapSm {
        /// Saturated bits, at most the width.
        n: u32,
    },
    /// Clip to the range.
    Sat,
    /// Zero.
    SatZero,
    /// Clip to ±(2^(W-1)-1); the most negative code itself is moved up.
    SatSym,
}

impl Overflow {
    /// Plain two's-complement wrap.
    pub const WRAP: Self = Self::Wrap { n: 0 };
    /// The six modes, `WRAP` with `n` saturated bits counting as one of its own.
    pub const ALL: [Self; 6] =
        [Self::Sat, Self::SatZero, Self::SatSym, Self::WRAP, Self::Wrap { n: 3 }, Self::WrapSm { n: 0 }];
}

/// A format and the modes of a cast into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    /// Grid and range.
    pub format: Format,
    /// What a cast into the type does with dropped fraction bits.
    pub rounding: Rounding,
    /// What a cast into the type does with values out of range.
    pub overflow: Overflow,
}

impl Type {
    /// A type of the given format and modes.
    pub const fn new(format: Format, rounding: Rounding, overflow: Overflow) -> Self {
        Self { format, rounding, overflow }
    }

    /// `fixed<width,int,TRN,WRAP>`, or `ufixed` when not `signed`: HLS's default modes.
    pub fn trn_wrap(signed: bool, width: u32, int: i32) -> Result<Self, FormatError> {
        Ok(Self::new(Format::new(signed, width, int)?, Rounding::Trn, Overflow::WRAP))
    }

    /// `fixed<width,int,RND,SAT>`, or `ufixed` when not `signed`: our default modes.
    pub fn rnd_sat(signed: bool, width: u32, int: i32) -> Result<Self, FormatError> {
        Ok(Self::new(Format::new(signed, width, int)?, Rounding::Rnd, Overflow::Sat))
    }

    /// The code that `code` (of format `from`) becomes in this type: shift, rounding increment, overflow,
    /// in that order. `code` must be one of `from`'s.
    pub fn cast(&self, code: i128, from: Format) -> i128 {
        debug_assert!(from.contains(code), "{code} is not a code of {from:?}");
        let drop = from.frac() - self.format.frac();
        if drop > 0 {
            return self.overflow(round(code, drop as u32, self.rounding), code, from, drop);
        }
        let up = (-drop) as u32;
        if code == 0 {
            return 0;
        }
        if up < code.unsigned_abs().leading_zeros() {
            return self.overflow(code << up, code, from, drop);
        }
        // The shifted value needs more than 128 bits, so it is out of any format's range.
        let low = if up >= 128 { 0 } else { ((code as u128) << up) as i128 };
        self.out_of_range(low, code < 0, high_bit(code, from, drop, self.format.width()))
    }

    /// The code nearest to `value` under this type's modes, as the headers convert a double: the exact
    /// binary value is cast. Infinities saturate whatever the mode; `None` for NaN.
    pub fn quantize(&self, value: f64) -> Option<i128> {
        if value.is_nan() {
            return None;
        }
        if value.is_infinite() {
            return Some(self.clip(value < 0.0) + i128::from(value < 0.0 && self.symmetric()));
        }
        if value == 0.0 {
            return Some(0);
        }
        let bits = value.abs().to_bits();
        let biased = (bits >> 52) as i32;
        let fraction = i128::from(bits & ((1 << 52) - 1));
        let (mantissa, exp) =
            if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let code = if value < 0.0 { -mantissa } else { mantissa };
        // Only the largest doubles have their last bit beyond 2^970; one more bit of width holds them.
        let frac = (-exp).max(-970);
        let code = code << (frac + exp);
        let from = Format::new(true, 55, 55 - frac).expect("55 bits, I from -1019 to 1025");
        Some(self.cast(code, from))
    }

    fn overflow(&self, rounded: i128, source: i128, from: Format, drop: i32) -> i128 {
        let f = self.format;
        if f.contains(rounded) {
            let lowest = f.is_signed() && rounded == f.min();
            return rounded + i128::from(lowest && self.overflow == Overflow::SatSym);
        }
        self.out_of_range(rounded, rounded < 0, high_bit(source, from, drop, f.width()))
    }

    /// `low` holds the low bits of a value outside the range, `negative` its sign, `deleted` the bit just
    /// above the kept ones.
    fn out_of_range(&self, low: i128, negative: bool, deleted: bool) -> i128 {
        let f = self.format;
        let w = f.width();
        match self.overflow {
            Overflow::SatZero => 0,
            Overflow::Sat => self.clip(negative),
            Overflow::SatSym => self.clip(negative) + i128::from(negative && self.symmetric()),
            Overflow::WrapSm { .. } if !f.is_signed() => self.clip(negative),
            Overflow::Wrap { n } => {
                let mut v = low;
                if n > 0 && f.is_signed() {
                    v = with_sign_and_top(v, w, n, negative);
                } else if n > 0 {
                    v |= field(w - n.min(w), w);
                }
                self.keep(v)
            }
            Overflow::WrapSm { n: 0 } => {
                let sign = bit(low, w - 1);
                let v = if deleted == sign { low } else { set_bit(!low, w - 1, deleted) };
                self.keep(v)
            }
            Overflow::WrapSm { n } => {
                let mut v = low;
                if n == 1 && negative != bit(low, w - 1) || n > 1 && bit(low, w - n.min(w)) == negative {
                    v = !v;
                }
                self.keep(with_sign_and_top(v, w, n, negative))
            }
        }
    }

    /// Whether the most negative code is out of reach.
    fn symmetric(&self) -> bool {
        self.overflow == Overflow::SatSym && self.format.is_signed()
    }

    fn clip(&self, negative: bool) -> i128 {
        if negative { self.format.min() } else { self.format.max() }
    }

    /// The low `width` bits of `v`, sign-extended when the format is signed.
    fn keep(&self, v: i128) -> i128 {
        let gap = 128 - self.format.width();
        let top = (v as u128) << gap;
        if self.format.is_signed() { (top as i128) >> gap } else { (top >> gap) as i128 }
    }
}

/// `code / 2^drop` rounded to an integer. The one place in the workspace where a fraction is dropped.
pub fn round(code: i128, drop: u32, mode: Rounding) -> i128 {
    if drop == 0 {
        return code;
    }
    let negative = code < 0;
    // Beyond 128 bits only the sign is left: the dropped half bit is the sign bit.
    let (kept, half, rest) = if drop > 128 {
        (-i128::from(negative), negative, code != 0)
    } else {
        let kept = if drop == 128 { -i128::from(negative) } else { code >> drop };
        let half = (code >> (drop - 1)) & 1 == 1;
        let rest = drop > 1 && code & (((1u128 << (drop - 1)) - 1) as i128) != 0;
        (kept, half, rest)
    };
    let up = match mode {
        Rounding::Trn => false,
        Rounding::TrnZero => negative && (half || rest),
        Rounding::Rnd => half,
        Rounding::RndZero => half && (negative || rest),
        Rounding::RndMinInf => half && rest,
        Rounding::RndInf => half && (!negative || rest),
        Rounding::RndConv => half && (kept & 1 == 1 || rest),
    };
    kept + i128::from(up)
}

/// `code` moved to a grid of `drop` fraction bits less (more when negative); `None` beyond 128 bits.
pub fn round_to(code: i128, drop: i32, mode: Rounding) -> Option<i128> {
    if drop >= 0 {
        return Some(round(code, drop as u32, mode));
    }
    code.checked_mul(1i128.checked_shl(drop.unsigned_abs()).filter(|f| *f > 0)?)
}

/// Bit `drop + width` of the source, where it exists: the first one that the target cannot keep.
fn high_bit(source: i128, from: Format, drop: i32, width: u32) -> bool {
    let pos = i64::from(drop) + i64::from(width);
    (0..i64::from(from.width())).contains(&pos) && bit(source, pos as u32)
}

fn bit(v: i128, pos: u32) -> bool {
    (v >> pos.min(127)) & 1 == 1
}

fn set_bit(v: i128, pos: u32, to: bool) -> i128 {
    let mask = 1i128 << pos;
    if to { v | mask } else { v & !mask }
}

/// Ones at positions `from..to`.
fn field(from: u32, to: u32) -> i128 {
    let ones = |n: u32| if n >= 128 { -1 } else { (1i128 << n) - 1 };
    ones(to) & !ones(from)
}

/// Sign bit = `negative`, the `n - 1` bits below it the opposite.
fn with_sign_and_top(v: i128, w: u32, n: u32, negative: bool) -> i128 {
    let v = set_bit(v, w - 1, negative);
    let top = if n > 1 { field(w - n.min(w), w - 1) } else { 0 };
    if negative { v & !top } else { v | top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(signed: bool, w: u32, i: i32, r: Rounding, o: Overflow) -> Type {
        Type::new(Format::new(signed, w, i).unwrap(), r, o)
    }

    #[test]
    fn rounding_of_halves() {
        let from = Format::new(true, 8, 6).unwrap();
        let all = |code: i128| Rounding::ALL.map(|r| ty(true, 6, 6, r, Overflow::Sat).cast(code, from));
        // order: RND, RND_ZERO, RND_MIN_INF, RND_INF, RND_CONV, TRN, TRN_ZERO
        assert_eq!(all(6), [2, 1, 1, 2, 2, 1, 1]); // 1.5
        assert_eq!(all(-6), [-1, -1, -2, -2, -2, -2, -1]); // -1.5
        assert_eq!(all(10), [3, 2, 2, 3, 2, 2, 2]); // 2.5
        assert_eq!(all(-1), [0, 0, 0, 0, 0, -1, 0]); // -0.25
        assert_eq!(all(-3), [-1, -1, -1, -1, -1, -1, 0]); // -0.75
    }

    #[test]
    fn overflow_looks_at_the_rounded_value() {
        let from = Format::new(true, 9, 5).unwrap();
        let sat = ty(true, 4, 4, Rounding::Rnd, Overflow::Sat);
        assert_eq!(sat.cast(7 * 16 + 8, from), 7);
        let wrap = ty(true, 4, 4, Rounding::Rnd, Overflow::WRAP);
        assert_eq!(wrap.cast(7 * 16 + 8, from), -8);
        let zero = ty(true, 4, 4, Rounding::Rnd, Overflow::SatZero);
        assert_eq!(zero.cast(7 * 16 + 8, from), 0);
        let sym = ty(true, 4, 4, Rounding::Rnd, Overflow::SatSym);
        assert_eq!(sym.cast(-8 * 16, from), -7);
        assert_eq!(sym.cast(-16 * 16, from), -7);
    }

    #[test]
    fn doubles() {
        let t = ty(true, 16, 6, Rounding::Rnd, Overflow::Sat);
        assert_eq!(t.quantize(1.5), Some(1536));
        assert_eq!(t.quantize(-1e300), Some(-32768));
        assert_eq!(t.quantize(f64::MAX), Some(32767));
        assert_eq!(t.quantize(f64::INFINITY), Some(32767));
        assert_eq!(t.quantize(f64::NAN), None);
        assert_eq!(t.quantize(5e-324), Some(0));
        assert_eq!(ty(true, 16, 6, Rounding::Trn, Overflow::WRAP).quantize(-5e-324), Some(-1));
        assert_eq!(ty(true, 8, 8, Rounding::Trn, Overflow::WRAP).quantize(257.9), Some(1));
        assert_eq!(ty(true, 64, 64, Rounding::Trn, Overflow::WRAP).quantize(2f64.powi(90)), Some(0));
    }

    #[test]
    fn far_shifts_do_not_panic() {
        let wide = Format::new(true, 128, 64).unwrap();
        for r in Rounding::ALL {
            for o in Overflow::ALL {
                for int in [-1000, -100, 0, 64, 200, 1000] {
                    for code in [i128::MIN, -1, 0, 1, i128::MAX] {
                        let t = ty(true, 8, int, r, o);
                        assert!(t.format.contains(t.cast(code, wide)));
                    }
                }
            }
        }
    }
}
