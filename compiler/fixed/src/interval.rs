//! Exact ranges of fixed-point values.

use crate::{Format, FormatError, Overflow, Type, modes::round};

/// All values from `lo` to `hi` on the grid 2^-`frac`; never empty. Operations return `None` when a bound
/// leaves 127 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Smallest code.
    pub lo: i128,
    /// Largest code, at least `lo`.
    pub hi: i128,
    /// Fraction bits of both.
    pub frac: i32,
}

impl Interval {
    /// The interval `lo..=hi`; panics when it is empty.
    pub fn new(lo: i128, hi: i128, frac: i32) -> Self {
        assert!(lo <= hi, "empty interval {lo}..={hi}");
        Self { lo, hi, frac }
    }

    /// One value.
    pub fn point(code: i128, frac: i32) -> Self {
        Self { lo: code, hi: code, frac }
    }

    /// The same values on a grid of `frac` bits, which must be at least as fine.
    pub fn refine(self, frac: i32) -> Option<Self> {
        let up = u32::try_from(frac.checked_sub(self.frac)?).ok()?;
        let shl = |v: i128| {
            if v == 0 {
                return Some(0);
            }
            let factor = 1i128.checked_shl(up).filter(|f| *f > 0)?;
            v.checked_mul(factor)
        };
        Some(Self { lo: shl(self.lo)?, hi: shl(self.hi)?, frac })
    }

    fn align(self, other: Self) -> Option<(Self, Self)> {
        let frac = self.frac.max(other.frac);
        Some((self.refine(frac)?, other.refine(frac)?))
    }

    /// Range of a sum.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn add(self, other: Self) -> Option<Self> {
        let (a, b) = self.align(other)?;
        Some(Self { lo: a.lo.checked_add(b.lo)?, hi: a.hi.checked_add(b.hi)?, frac: a.frac })
    }

    /// Range of a difference.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn sub(self, other: Self) -> Option<Self> {
        let (a, b) = self.align(other)?;
        Some(Self { lo: a.lo.checked_sub(b.hi)?, hi: a.hi.checked_sub(b.lo)?, frac: a.frac })
    }

    /// Range of a product of independent values.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn mul(self, other: Self) -> Option<Self> {
        let p = [
            self.lo.checked_mul(other.lo)?,
            self.lo.checked_mul(other.hi)?,
            self.hi.checked_mul(other.lo)?,
            self.hi.checked_mul(other.hi)?,
        ];
        let lo = p.into_iter().min()?;
        let hi = p.into_iter().max()?;
        Some(Self { lo, hi, frac: self.frac + other.frac })
    }

    /// Smallest interval with the values of both.
    pub fn union(self, other: Self) -> Option<Self> {
        let (a, b) = self.align(other)?;
        Some(Self { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi), frac: a.frac })
    }

    /// Range after max(x, 0).
    pub fn relu(self) -> Self {
        Self { lo: self.lo.max(0), hi: self.hi.max(0), frac: self.frac }
    }

    /// Range after a cast into `to`, and whether any value overflows there.
    pub fn cast(self, to: &Type) -> (Self, bool) {
        let f = to.format;
        let full = f.interval();
        let drop = self.frac - f.frac();
        let rounded = if drop >= 0 {
            Some((round(self.lo, drop as u32, to.rounding), round(self.hi, drop as u32, to.rounding)))
        } else {
            self.refine(f.frac()).map(|i| (i.lo, i.hi))
        };
        let Some((lo, hi)) = rounded else { return (full, true) };
        let clipped =
            |lo: i128, hi: i128| Self::new(lo.clamp(f.min(), f.max()), hi.clamp(f.min(), f.max()), f.frac());
        if f.contains(lo) && f.contains(hi) {
            let lowest = to.overflow == Overflow::SatSym && f.is_signed() && lo == f.min();
            let bump = i128::from(lowest);
            return (Self::new(lo + bump, hi.max(lo + bump), f.frac()), lowest);
        }
        let range = match to.overflow {
            Overflow::Sat => clipped(lo, hi),
            Overflow::SatSym => {
                let bump = i128::from(f.is_signed());
                let c = clipped(lo, hi);
                Self::new(c.lo.max(f.min() + bump), c.hi.max(f.min() + bump), f.frac())
            }
            Overflow::SatZero => {
                let c = clipped(lo, hi);
                Self::new(c.lo.min(0), c.hi.max(0), f.frac())
            }
            Overflow::Wrap { .. } | Overflow::WrapSm { .. } => full,
        };
        (range, true)
    }

    /// Smallest format that holds the interval.
    pub fn format(self) -> Result<Format, FormatError> {
        Format::holding(self.lo, self.hi, self.frac)
    }

    /// Whether every value lies in `format`'s range and on its grid or a coarser one.
    pub fn fits(self, format: Format) -> bool {
        self.frac <= format.frac()
            && self.refine(format.frac()).is_some_and(|i| format.contains(i.lo) && format.contains(i.hi))
    }
}
