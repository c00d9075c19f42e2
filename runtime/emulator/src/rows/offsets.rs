//! Distances in memory whose largest is known, so that a check of it serves for all.

use std::ops::Range;

use hs_runtime::isa::{Checked, Kernel};

/// Distances in bytes.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    all: Vec<usize>,
    /// None is larger.
    most: usize,
}

/// Some of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    all: &'a [usize],
    most: usize,
}

impl Offsets {
    pub(super) fn new(all: Vec<usize>) -> Self {
        let most = all.iter().max().map_or(0, |most| *most);
        Self { all, most }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Becomes those of a row for each of `rows`, `stride` bytes apart, and `more` times the last.
    ///
    /// # Panics
    /// When they do not fit an address.
    pub(super) fn repeat(&mut self, isa: Checked, row: &Self, (rows, stride): (usize, usize), more: usize) {
        let last = stride.checked_mul(rows.saturating_sub(1)).and_then(|last| last.checked_add(row.most));
        self.most = last.expect("a tensor in memory");
        self.all.resize(rows * row.len() + more, 0);
        let (to, rest) = self.all.split_at_mut(rows * row.len());
        isa.run(Repeat { row: &row.all, stride, to });
        rest.fill(to.last().map_or(0, |last| *last));
    }

    /// Those of a range.
    pub(super) fn get(&self, range: Range<usize>) -> Part<'_> {
        Part { all: &self.all[range], most: self.most }
    }
}

impl<'a> Part<'a> {
    pub(super) fn all(self) -> &'a [usize] {
        self.all
    }

    /// None of them is larger.
    pub(super) fn most(self) -> usize {
        self.most
    }
}

struct Repeat<'a> {
    row: &'a [usize],
    stride: usize,
    to: &'a mut [usize],
}

impl Kernel for Repeat<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { row, stride, to } = self;
        // The caller has checked that the sums fit.
        for (r, to) in to.chunks_exact_mut(row.len().max(1)).enumerate() {
            let base = r.wrapping_mul(stride);
            to.iter_mut().zip(row).for_each(|(to, at)| *to = at.wrapping_add(base));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_repeat() {
        let mut all = Offsets::default();
        all.repeat(Checked::best(), &Offsets::new(vec![4, 0, 8]), (3, 100), 2);
        assert_eq!(all.get(0..11).all(), [4, 0, 8, 104, 100, 108, 204, 200, 208, 208, 208]);
        assert_eq!(all.get(0..2).most(), 208);
        all.repeat(Checked::best(), &Offsets::new(vec![7]), (2, 1), 1);
        assert_eq!((all.get(0..3).all(), all.get(0..3).most()), (&[7, 8, 8][..], 8));
    }
}
