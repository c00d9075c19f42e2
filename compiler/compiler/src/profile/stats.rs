//! What is counted of one tensor. Everything here merges: the statistics of rows taken together are those of their parts
//! merged in order.

use serde::Serialize;

/// Bins of a [`Linear`] histogram: half of them on each side of 0.
const BINS: i64 = 64;
/// Exponents that a [`Magnitudes`] histogram tells apart, from `2^LEAST` on.
const EXPONENTS: usize = 128;
const LEAST: i32 = -64;

/// Count, extremes and power of finite values; what is not finite is only counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Finite values.
    pub count: u64,
    /// Infinities and NaN.
    pub not_finite: u64,
    /// Zeros.
    pub zeros: u64,
    /// Smallest; infinity when there is none.
    pub min: f64,
    /// Largest; minus infinity when there is none.
    pub max: f64,
    sum: f64,
    squares: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            count: 0,
            not_finite: 0,
            zeros: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            squares: 0.0,
        }
    }
}

impl Spread {
    pub(super) fn add(&mut self, v: f64) {
        if !v.is_finite() {
            self.not_finite += 1;
            return;
        }
        self.count += 1;
        self.zeros += u64::from(v == 0.0);
        self.min = self.min.min(v);
        self.max = self.max.max(v);
        self.sum += v;
        self.squares += v * v;
    }

    pub(super) fn merge(&mut self, o: &Self) {
        self.count += o.count;
        self.not_finite += o.not_finite;
        self.zeros += o.zeros;
        self.min = self.min.min(o.min);
        self.max = self.max.max(o.max);
        self.sum += o.sum;
        self.squares += o.squares;
    }

    /// Mean, 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Mean square, 0 of nothing.
    pub fn power(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.squares / self.count as f64 }
    }
}

/// How far one side is from the other.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distance {
    /// The reference.
    pub signal: Spread,
    squares: f64,
    /// Largest absolute difference.
    pub max: f64,
    /// Row and element (ONNX flat index) of the largest difference.
    pub at: Option<(usize, usize)>,
}

impl Distance {
    pub(super) fn add(&mut self, reference: f64, found: f64, at: (usize, usize)) {
        self.signal.add(reference);
        if !reference.is_finite() {
            return;
        }
        let error = (reference - found).abs();
        self.squares += error * error;
        if error > self.max {
            self.max = error;
            self.at = Some(at);
        }
    }

    pub(super) fn merge(&mut self, o: &Self) {
        self.signal.merge(&o.signal);
        self.squares += o.squares;
        if o.max > self.max {
            self.max = o.max;
            self.at = o.at;
        }
    }

    /// Root of the mean squared difference.
    pub fn rms(&self) -> f64 {
        if self.signal.count == 0 { 0.0 } else { (self.squares / self.signal.count as f64).sqrt() }
    }

    /// Signal power over error power in dB; `None` without an error. A reference of zeros only, with errors, has
    /// minus infinity.
    pub fn sqnr(&self) -> Option<f64> {
        let noise = self.rms();
        (noise > 0.0).then(|| 10.0 * (self.signal.power() / (noise * noise)).log10())
    }
}

/// Values by the exponent of their magnitude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnitudes(Box<[u64; EXPONENTS]>);

impl Default for Magnitudes {
    fn default() -> Self {
        Self(Box::new([0; EXPONENTS]))
    }
}

impl Magnitudes {
    pub(super) fn add(&mut self, v: f64) {
        if v != 0.0 && v.is_finite() {
            let e = exponent(v) - LEAST;
            self.0[e.clamp(0, EXPONENTS as i32 - 1) as usize] += 1;
        }
    }

    pub(super) fn merge(&mut self, o: &Self) {
        for (a, b) in self.0.iter_mut().zip(o.0.iter()) {
            *a += b;
        }
    }

    /// Exponents e with the number of values in [2^e, 2^(e+1)), from the first to the last that has any.
    pub fn bins(&self) -> Vec<(i32, u64)> {
        let (Some(first), Some(last)) =
            (self.0.iter().position(|n| *n > 0), self.0.iter().rposition(|n| *n > 0))
        else {
            return Vec::new();
        };
        (first..=last).map(|i| (i as i32 + LEAST, self.0[i])).collect()
    }
}

/// floor(log2 |v|), exact.
fn exponent(v: f64) -> i32 {
    let biased = (v.abs().to_bits() >> 52) as i32;
    if biased == 0 { -1074 } else { biased - 1023 }
}

/// Values in bins of equal width, a power of two that grows with the data: neighbours are joined, so that the result does
/// not depend on the order of the values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linear {
    /// Bin b holds [b, b + 1) × 2^scale; from -BINS/2.
    counts: Vec<u64>,
    scale: i32,
}

/// One bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Lower edge.
    pub from: f64,
    /// Upper edge.
    pub to: f64,
    /// Values.
    pub count: u64,
}

impl Linear {
    pub(super) fn add(&mut self, v: f64) {
        if !v.is_finite() {
            return;
        }
        // |v| < 2^(e+1) falls into the half of the bins on its side.
        let needed = if v == 0.0 { LEAST } else { exponent(v).max(LEAST) } + 1 - BINS.ilog2() as i32 + 1;
        self.widen(needed);
        let bin = (v * 2f64.powi(-self.scale)).floor() as i64;
        self.counts[(bin + BINS / 2) as usize] += 1;
    }

    pub(super) fn merge(&mut self, o: &Self) {
        if o.counts.is_empty() {
            return;
        }
        let mut o = o.clone();
        self.widen(o.scale);
        o.widen(self.scale);
        for (a, b) in self.counts.iter_mut().zip(&o.counts) {
            *a += b;
        }
    }

    fn widen(&mut self, scale: i32) {
        if self.counts.is_empty() {
            (self.counts, self.scale) = (vec![0; BINS as usize], scale);
        }
        if scale <= self.scale {
            return;
        }
        let by = (scale - self.scale).min(63);
        let mut counts = vec![0; BINS as usize];
        for (i, n) in self.counts.iter().enumerate() {
            let bin = (i as i64 - BINS / 2) >> by;
            counts[(bin + BINS / 2) as usize] += n;
        }
        (self.counts, self.scale) = (counts, scale);
    }

    /// The bins from the first to the last that has any value.
    pub fn bins(&self) -> Vec<Bin> {
        let (Some(first), Some(last)) =
            (self.counts.iter().position(|n| *n > 0), self.counts.iter().rposition(|n| *n > 0))
        else {
            return Vec::new();
        };
        let edge = |i: usize| (i as i64 - BINS / 2) as f64 * 2f64.powi(self.scale);
        (first..=last).map(|i| Bin { from: edge(i), to: edge(i + 1), count: self.counts[i] }).collect()
    }
}

/// Elements, and rows that have at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// Elements.
    pub elements: u64,
    /// Rows.
    pub rows: u64,
}

impl Count {
    /// Notes a row with `elements` of them.
    pub(super) fn row(&mut self, elements: u64) {
        self.elements += elements;
        self.rows += u64::from(elements > 0);
    }

    pub(super) fn merge(&mut self, o: Self) {
        self.elements += o.elements;
        self.rows += o.rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_bins_join_to_the_same_whatever_the_order() {
        let values = [0.0, -0.01, 3.9, -4.0, 0.5, 1.0, 1.0, 100.0, -0.75];
        let of = |v: &[f64]| {
            let mut h = Linear::default();
            v.iter().for_each(|v| h.add(*v));
            h
        };
        let all = of(&values);
        let mut back = values;
        back.reverse();
        assert_eq!(of(&back), all);
        for cut in 0..=values.len() {
            let mut merged = of(&values[..cut]);
            merged.merge(&of(&values[cut..]));
            assert_eq!(merged, all, "cut at {cut}");
        }
        let bins = all.bins();
        assert_eq!(bins.iter().map(|b| b.count).sum::<u64>(), values.len() as u64);
        // 100 < 128 = 32 bins of 4.
        assert_eq!((bins[0].from, bins[0].to), (-4.0, 0.0));
        assert_eq!(bins[0].count, 3);
        assert_eq!(bins.last().map(|b| (b.from, b.to, b.count)), Some((100.0, 104.0, 1)));
    }

    #[test]
    fn magnitudes_by_exponent() {
        let mut m = Magnitudes::default();
        for v in [1.0, -1.5, 0.0, 4.0, 1e-300, f64::INFINITY] {
            m.add(v);
        }
        let bins = m.bins();
        assert_eq!((bins[0], bins.len()), ((-64, 1), 67));
        assert_eq!(bins.iter().filter(|b| b.1 > 0).skip(1).copied().collect::<Vec<_>>(), [(0, 2), (2, 1)]);
    }

    #[test]
    fn decibels() {
        let mut d = Distance::default();
        d.add(1.0, 1.1, (0, 0));
        d.add(-1.0, -1.1, (0, 1));
        assert!((d.sqnr().unwrap() - 20.0).abs() < 1e-6);
        // Of equals the first.
        assert_eq!(d.at, Some((0, 0)));
        assert_eq!(Distance::default().sqnr(), None);
        let mut zero = Distance::default();
        zero.add(0.0, 0.5, (0, 0));
        assert_eq!(zero.sqnr(), Some(f64::NEG_INFINITY));
    }
}
