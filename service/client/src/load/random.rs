//! Random numbers that are the same on every machine.

/// SplitMix64: a counter, mixed.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// A sequence for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), a multiple of 2^-24: exact as a single-precision float, too.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / f64::from(1 << 24)
    }

    /// The distance to the next of events that happen once a unit of time, at random.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let found = [(); 3].map(|()| random.bits());
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn distances_have_mean_one() {
        let mut random = Random::new(7);
        let n = 100_000;
        let mean = (0..n).map(|_| random.exponential()).sum::<f64>() / f64::from(n);
        // Five standard deviations.
        assert!((mean - 1.0).abs() < 5.0 / f64::from(n).sqrt(), "{mean}");
    }
}
