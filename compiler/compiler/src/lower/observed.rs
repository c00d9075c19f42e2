//! What calibration data make of a tensor, and the integer bits that follow.

use std::collections::BTreeMap;

/// What calibration data made of each tensor, by its ONNX name.
pub type ObservedRanges = BTreeMap<String, Observed>;

/// Magnitudes from 2^(i - 1) to below 2^i are counted together, for i from `-BINS` to `BINS`; beyond, at the ends.
const BINS: i32 = 64;
/// Integer bits that clipping may save.
const CLIPPED: i32 = 6;
/// A guard bit is taken where the noise of rounding stays below this share of the signal's power: 60 dB.
const GUARDED: f64 = 1e-6;

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Smallest value.
    pub lo: f64,
    /// Largest value.
    pub hi: f64,
    /// By magnitude; empty when only the range is known.
    bins: Vec<Bin>,
}

/// Values of one magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Bin {
    count: f64,
    /// Of magnitudes.
    sum: f64,
    squares: f64,
}

impl Default for Observed {
    fn default() -> Self {
        Self { lo: f64::INFINITY, hi: f64::NEG_INFINITY, bins: Vec::new() }
    }
}

/// A range of which nothing else is known.
impl From<(f64, f64)> for Observed {
    fn from((lo, hi): (f64, f64)) -> Self {
        Self { lo, hi, bins: Vec::new() }
    }
}

impl Extend<f64> for Observed {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        self.bins.resize(2 * BINS as usize + 1, Bin::default());
        for v in values {
            (self.lo, self.hi) = (self.lo.min(v), self.hi.max(v));
            if v != 0.0 {
                let bin = &mut self.bins[(integer_bits(v.abs()) + BINS) as usize];
                bin.count += 1.0;
                bin.sum += v.abs();
                bin.squares += v * v;
            }
        }
    }
}

impl Observed {
    /// Takes in what was seen elsewhere.
    pub fn merge(&mut self, other: &Self) {
        (self.lo, self.hi) = (self.lo.min(other.lo), self.hi.max(other.hi));
        self.bins.resize(self.bins.len().max(other.bins.len()), Bin::default());
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += more.count;
            bin.sum += more.sum;
            bin.squares += more.squares;
        }
    }

    /// Bits left of the binary point, without a sign, of a type of `magnitude` bits without a sign.
    ///
    /// Where values that do not fit saturate, as many as make the squared error of rounding and clipping least. Other data
    /// may reach further, so that there is one more where that costs little, or where too large values would wrap.
    pub fn integer_bits(&self, magnitude: u32, saturates: bool) -> i32 {
        let most = integer_bits(self.lo.abs().max(self.hi.abs()));
        if self.bins.is_empty() || !saturates {
            return most + 1;
        }
        let signal: f64 = self.bins.iter().map(|b| b.squares).sum();
        let error = |int: i32| self.error(int, magnitude);
        if error(most + 1) <= GUARDED * signal {
            return most + 1;
        }
        // The most bits among equals.
        (most - CLIPPED..most).rev().fold(most, |best, int| if error(int) < error(best) { int } else { best })
    }

    /// The squared error of rounding to `magnitude` bits of which `int` are left of the binary point, and of clipping at
    /// 2^`int`.
    fn error(&self, int: i32, magnitude: u32) -> f64 {
        let (bound, step) = (2f64.powi(int), 2f64.powi(int - magnitude as i32));
        let bins = self.bins.iter().zip(-BINS..);
        bins.map(|(bin, i)| {
            if i > int {
                bin.squares - 2.0 * bound * bin.sum + bound * bound * bin.count
            } else {
                (bin.count * step * step / 12.0).min(bin.squares)
            }
        })
        .sum()
    }
}

/// Bits left of the binary point that magnitude `m` needs, from `-BINS` to `BINS`.
pub(super) fn integer_bits(m: f64) -> i32 {
    if m > 0.0 { (m.log2().floor() as i32 + 1).clamp(-BINS, BINS) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: impl IntoIterator<Item = f64>) -> Observed {
        let mut o = Observed::default();
        o.extend(values);
        o
    }

    #[test]
    fn a_range_alone_gets_a_guard_bit() {
        assert_eq!(Observed::from((-3.0, 1.0)).integer_bits(15, true), 3);
        assert_eq!(Observed::from((0.0, 0.2)).integer_bits(7, true), -1);
    }

    #[test]
    fn a_guard_bit_is_taken_where_it_is_cheap() {
        let o = seen((0..1000).map(|i| f64::from(i) / 160.0 - 3.0));
        assert_eq!(o.integer_bits(15, true), 3);
        assert_eq!(o.integer_bits(7, true), 2);
        assert_eq!(o.integer_bits(7, false), 3);
    }

    /// By hand: 10,000 values about 1 and one of 40, with 4 bits. To hold 40, steps are 4 wide: 1 becomes 0. Clipped at 8,
    /// steps are 1/2 wide: 10,000 / 4 / 12 + 32², less than at 4 (10,000 / 16 / 12 + 36²) and at 16 (10,000 / 12 + 24²).
    #[test]
    fn an_outlier_is_clipped_where_that_is_less_than_the_rounding() {
        let mut values = vec![1.0; 10_000];
        values.push(40.0);
        let o = seen(values.iter().copied());
        assert_eq!(o.integer_bits(4, true), 3);
        assert!((o.error(3, 4) - (10_000.0 / 4.0 / 12.0 + 32.0 * 32.0)).abs() < 1e-6);
        assert_eq!(o.integer_bits(12, true), 6);
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let values = || (0..500).map(|i| f64::from(i * i) * 0.25 - 70.0);
        let mut parts = seen(values().take(100));
        parts.merge(&seen(values().skip(100)));
        let whole = seen(values());
        assert_eq!((parts.lo, parts.hi), (whole.lo, whole.hi));
        assert!((parts.error(8, 7) / whole.error(8, 7) - 1.0).abs() < 1e-12);
    }
}
