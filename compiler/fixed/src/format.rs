//! Grids and the exact types of expressions.

use crate::Interval;

/// Widest format an expression may have, in bits.
pub const MAX_WIDTH: u32 = 128;
/// Largest magnitude of the integer-bit count `I`.
pub const MAX_INT: i32 = 1100;

/// A format that cannot exist, or an expression too wide to be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Width outside 1..=128 (127 when unsigned).
    #[error("a width of {0} bits is outside 1..={MAX_WIDTH} (unsigned: {max})", max = MAX_WIDTH - 1)]
    Width(i64),
    /// Integer bits outside ±1100.
    #[error("{0} integer bits are outside -{MAX_INT}..={MAX_INT}")]
    Int(i64),
}

/// The grid and range of a fixed-point number: `width` bits, of which `int` lie left of the binary point
/// (for a signed format the sign is one of them). `int` may be negative or exceed `width`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Format {
    signed: bool,
    width: u32,
    int: i32,
}

impl Format {
    /// A format of `width` bits (1..=128, unsigned 1..=127) with `int` integer bits (within ±1100).
    pub fn new(signed: bool, width: u32, int: i32) -> Result<Self, FormatError> {
        Self::checked(signed, i64::from(width), i64::from(int))
    }

    fn checked(signed: bool, width: i64, int: i64) -> Result<Self, FormatError> {
        let widest = i64::from(MAX_WIDTH) - i64::from(!signed);
        if !(1..=widest).contains(&width) {
            return Err(FormatError::Width(width));
        }
        if int.abs() > i64::from(MAX_INT) {
            return Err(FormatError::Int(int));
        }
        Ok(Self { signed, width: width as u32, int: int as i32 })
    }

    /// Whether codes can be negative.
    pub fn is_signed(self) -> bool {
        self.signed
    }

    /// Width in bits.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Integer bits, the sign included.
    pub fn int(self) -> i32 {
        self.int
    }

    /// Fraction bits: `width - int`; negative when the grid is coarser than 1.
    pub fn frac(self) -> i32 {
        self.width as i32 - self.int
    }

    /// Smallest code.
    pub fn min(self) -> i128 {
        if self.signed { -1i128 << (self.width - 1) } else { 0 }
    }

    /// Largest code.
    pub fn max(self) -> i128 {
        let bits = self.width - u32::from(self.signed);
        if bits >= 127 { i128::MAX } else { (1i128 << bits) - 1 }
    }

    /// Whether `code` is one of this format's.
    pub fn contains(self, code: i128) -> bool {
        self.min() <= code && code <= self.max()
    }

    /// All codes of the format.
    pub fn interval(self) -> Interval {
        Interval::new(self.min(), self.max(), self.frac())
    }

    /// The real value of `code`; exact up to 53 significant bits, correctly rounded beyond.
    pub fn value(self, code: i128) -> f64 {
        scale(code, -self.frac())
    }

    /// Exact type of a product.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn mul(self, other: Self) -> Result<Self, FormatError> {
        Self::checked(
            self.signed || other.signed,
            i64::from(self.width) + i64::from(other.width),
            i64::from(self.int) + i64::from(other.int),
        )
    }

    /// Exact type of a sum.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn add(self, other: Self) -> Result<Self, FormatError> {
        self.sum(other, self.signed || other.signed)
    }

    /// Exact type of a difference; always signed.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn sub(self, other: Self) -> Result<Self, FormatError> {
        self.sum(other, true)
    }

    fn sum(self, other: Self, signed: bool) -> Result<Self, FormatError> {
        let mixed = self.signed != other.signed;
        let need = |f: Self| i64::from(f.int) + i64::from(mixed && !f.signed);
        let int = need(self).max(need(other)) + 1;
        Self::checked(signed, int + i64::from(self.frac().max(other.frac())), int)
    }

    /// The smallest format that holds every value of both.
    pub fn union(self, other: Self) -> Result<Self, FormatError> {
        let signed = self.signed || other.signed;
        let need = |f: Self| i64::from(f.int) + i64::from(signed && !f.signed);
        let int = need(self).max(need(other));
        Self::checked(signed, int + i64::from(self.frac().max(other.frac())), int)
    }

    /// The smallest format with `frac` fraction bits that holds codes `lo..=hi`; unsigned when `lo >= 0`.
    pub fn holding(lo: i128, hi: i128, frac: i32) -> Result<Self, FormatError> {
        let signed = lo < 0;
        let magnitude = |v: i128| 128 - (if v < 0 { !v } else { v }).leading_zeros();
        let bits = magnitude(lo).max(magnitude(hi)) + u32::from(signed);
        let width = i64::from(bits.max(1));
        Self::checked(signed, width, width - i64::from(frac))
    }
}

/// `code × 2^exp`, correctly rounded to nearest even for codes beyond 53 bits.
pub(crate) fn scale(code: i128, exp: i32) -> f64 {
    let v = code as f64;
    // Two steps keep the factors finite when exp is beyond f64's exponent range.
    let half = exp / 2;
    v * 2f64.powi(half) * 2f64.powi(exp - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(w: u32, i: i32) -> Format {
        Format::new(true, w, i).unwrap()
    }
    fn u(w: u32, i: i32) -> Format {
        Format::new(false, w, i).unwrap()
    }

    #[test]
    fn expression_types_follow_ap_fixed() {
        assert_eq!(s(16, 6).mul(s(8, 2)).unwrap(), s(24, 8));
        assert_eq!(u(8, 0).mul(s(8, 1)).unwrap(), s(16, 1));
        assert_eq!(s(16, 6).add(s(16, 6)).unwrap(), s(17, 7));
        assert_eq!(u(8, 4).add(s(8, 4)).unwrap(), s(10, 6));
        assert_eq!(u(8, 4).sub(u(8, 4)).unwrap(), s(9, 5));
        assert_eq!(s(8, 4).add(s(8, -2)).unwrap(), s(15, 5));
    }

    #[test]
    fn too_wide_is_an_error() {
        assert_eq!(s(100, 6).mul(s(29, 2)), Err(FormatError::Width(129)));
        assert!(Format::new(false, 128, 0).is_err());
        assert!(Format::new(true, 0, 0).is_err());
    }

    #[test]
    fn holding_is_tight() {
        assert_eq!(Format::holding(-128, 127, 0).unwrap(), s(8, 8));
        assert_eq!(Format::holding(-129, 127, 4).unwrap(), s(9, 5));
        assert_eq!(Format::holding(0, 255, 8).unwrap(), u(8, 0));
        assert_eq!(Format::holding(0, 0, 3).unwrap(), u(1, -2));
        for f in [s(1, 1), s(128, 4), u(127, 4), u(1, 0), s(64, 64)] {
            assert_eq!(Format::holding(f.min(), f.max(), f.frac()).unwrap(), f);
        }
    }
}
