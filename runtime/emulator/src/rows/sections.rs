//! Sums of the weights' low parts that do not fit 32 bits at once: sections of terms, each summed on its own. What of
//! a section's sum is above the low part is carried into the sum of the high parts.

use std::ops::Range;

use hs_fixed::Interval;
use hs_hw::Dot;

use super::{close::Constants, kernel::VECTOR};
use crate::dot::{PARTS, SPLIT, holds};
use hs_runtime::isa::Kernel;

/// The sections of a dot product.
#[derive(Debug)]
pub(super) struct Sections {
    /// Words of each, at least one.
    pub(super) words: Vec<Range<usize>>,
    /// For each, where there are several, what its sums of low parts start with: a line for each line of sums of all
    /// tiles, of which only those of low parts are used.
    pub(super) starts: Vec<Vec<Constants>>,
}

/// Whether sums of low parts fit for inputs in `x` where a section is a single word, whatever the weights. A word of two
/// terms has 16 bits for each, of which any two do.
pub(super) fn any_word_fits(x: Interval) -> bool {
    let most = x.lo.abs().max(x.hi.abs()) << (SPLIT - 1);
    holds((-most - (1 << SPLIT), most + (1 << SPLIT)))
}

/// Sections of words of terms, given as the range of each, such that sums of low parts fit for inputs in `x`.
pub(super) fn sections(dot: &Dot, outputs: usize, x: Interval, words: &[Range<usize>]) -> Vec<Range<usize>> {
    let terms = dot.weight.len() / outputs;
    let mut sections = Vec::new();
    let mut first = 0;
    // Each output's sum with what it starts with, of which any low part is less.
    let nothing = || vec![(-1i128 << SPLIT, 1i128 << SPLIT); outputs];
    let mut sums = nothing();
    for (at, word) in words.iter().enumerate() {
        let with = |o: usize, (lo, hi): (i128, i128)| {
            let products = dot.weight.data[o * terms..][word.clone()].iter().map(|w| {
                let low = i128::from(PARTS[1](*w));
                let (a, b) = (low * x.lo, low * x.hi);
                (a.min(b).min(0), a.max(b).max(0))
            });
            products.fold((lo, hi), |(lo, hi), (a, b)| (lo + a, hi + b))
        };
        let add = |sums: &[(i128, i128)]| -> Vec<_> {
            sums.iter().enumerate().map(|(o, sum)| with(o, *sum)).collect()
        };
        let next = add(&sums);
        if next.iter().all(|sum| holds(*sum)) || at == first {
            sums = next;
        } else {
            sections.push(first..at);
            first = at;
            sums = add(&nothing());
        }
    }
    sections.push(first..words.len());
    sections
}

/// Adds the sums of a section to those of the sections before.
pub(super) struct Carry<'a> {
    /// Lines of each pixel: those of the high parts, then those of the low ones.
    pub(super) acc: &'a [i32],
    pub(super) totals: &'a mut [i32],
    /// What the lines of a pixel start with.
    pub(super) starts: &'a [Constants],
}

impl Kernel for Carry<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { acc, totals, starts } = self;
        let (size, half) = (starts.len() * VECTOR, starts.len() / 2 * VECTOR);
        let starts = starts[starts.len() / 2..].as_flattened();
        for (acc, totals) in acc.chunks_exact(size).zip(totals.chunks_exact_mut(size)) {
            let (high, low) = acc.split_at(half);
            let (total_high, total_low) = totals.split_at_mut(half);
            for i in 0..half {
                let low = low[i].wrapping_add(starts[i]);
                total_high[i] = total_high[i].wrapping_add(high[i]).wrapping_add(low >> SPLIT);
                total_low[i] = total_low[i].wrapping_add(low & ((1 << SPLIT) - 1));
            }
        }
    }
}
