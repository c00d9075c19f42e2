//! A small random number generator (SplitMix64), so that seeds mean the same everywhere.

use std::ops::RangeInclusive;

use hs_fixed::Format;

/// Random numbers from a seed.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the range, which is not empty.
    pub fn int(&mut self, range: RangeInclusive<i64>) -> i64 {
        self.wide(i128::from(*range.start())..=i128::from(*range.end())) as i64
    }

    /// A number of the range, which is not empty.
    pub fn size(&mut self, range: RangeInclusive<usize>) -> usize {
        self.int(*range.start() as i64..=*range.end() as i64) as usize
    }

    /// A number of the range, which is not empty and spans less than 2^127.
    pub fn wide(&mut self, range: RangeInclusive<i128>) -> i128 {
        let span = (range.end() - range.start()) as u128 + 1;
        let random = u128::from(self.bits()) << 64 | u128::from(self.bits());
        range.start() + (random % span) as i128
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    /// An element of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.size(0..=list.len() - 1)]
    }

    /// A random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut p: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            p.swap(i, self.size(0..=i));
        }
        p
    }

    /// A code of `format` (at most 64 bits): edges and zeros often, otherwise of any magnitude.
    pub fn code(&mut self, format: Format) -> i128 {
        let code = match self.size(0..=11) {
            0 | 1 => 0,
            2 => format.min(),
            3 => format.max(),
            4 => 1,
            5 => -1,
            6 => (1i128 << self.size(0..=format.width() as usize)) - 1,
            7 | 8 => self.wide(format.min()..=format.max()),
            _ => {
                let bits = self.size(1..=format.width() as usize);
                self.wide(-(1i128 << bits)..=1i128 << bits)
            }
        };
        code.clamp(format.min(), format.max())
    }
}
