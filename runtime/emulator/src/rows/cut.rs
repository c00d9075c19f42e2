//! Where the rows of a block stop to go through the network one by one.
//!
//! Early layers of an image network have large tensors and few weights: a row that goes through alone finds its tensors
//! in the cache. Late ones have small tensors and many weights, which are read from far away: several rows that go
//! through together share that.

use super::{CACHE, MOST_ROWS, Operation, Rows, Scratch, Step, storage::Storage};
use crate::{compile::Slot, run::Inputs};
use hs_runtime::isa::Checked;

/// Weights, in bytes, that stay in the second-level cache from row to row.
const NEAR: usize = 1 << 20;
/// Rows that go through the late steps together: as many as a tile of a dense layer has.
const TOGETHER: usize = 6;

/// What a step reads and writes.
pub(super) struct Traffic {
    /// Bytes of weights.
    pub(super) weights: usize,
    /// Bytes of a row's tensors.
    pub(super) tensors: usize,
}

/// A tensor that an early step gives to late ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Elements of a row.
    pub(super) len: usize,
}

/// The early steps of a program, and what the late ones get of them.
#[derive(Debug)]
pub(super) struct Cut {
    /// How many steps and buffers are early.
    pub(super) steps: usize,
    pub(super) slots: usize,
    pub(super) carried: Vec<Carried>,
}

/// The number of early steps; `None` where all rows of a block had better go through all steps together.
///
/// For each row of several that go through together, a step reads its weights only in part, but its tensors are not in
/// the cache any more: the late steps are those for which that saves most.
pub(super) fn choose(steps: &[Traffic]) -> Option<usize> {
    if steps.iter().map(|s| s.weights).sum::<usize>() <= NEAR {
        return None;
    }
    let (mut saved, mut best, mut cut) = (0, 0, None);
    for (i, step) in steps.iter().enumerate().rev() {
        saved += (step.weights - step.weights / TOGETHER) as i128 - step.tensors as i128;
        if saved > best {
            (best, cut) = (saved, Some(i));
        }
    }
    cut
}

impl Rows {
    /// Rows of a block: so many that its tensors stay in the cache, and where there are late steps as many as share
    /// their weights.
    pub(crate) fn block(&self) -> usize {
        self.fitting(&self.slots).max(if self.cut.is_some() { TOGETHER } else { 1 })
    }

    /// Rows that go through the early steps together.
    fn early(&self) -> usize {
        self.fitting(&self.slots[..self.cut.as_ref().map_or(0, |cut| cut.slots)])
    }

    /// Rows of which some buffers stay in the cache.
    fn fitting(&self, slots: &[Slot<Storage>]) -> usize {
        (CACHE / (bytes(slots) + self.scratch).max(1)).clamp(1, MOST_ROWS)
    }

    /// Bytes of all buffers for a block of so many rows.
    pub(crate) fn block_bytes(&self, rows: usize) -> usize {
        let (early, late) = self.slots.split_at(self.cut.as_ref().map_or(0, |cut| cut.slots));
        bytes(early) * self.early().min(rows) + (bytes(late) + self.scratch) * rows
    }

    /// Runs the rows of a block.
    pub(crate) fn run(&self, isa: Checked, inputs: &mut Inputs<'_>, scratch: &mut Scratch) {
        let rows = inputs.rows.len();
        let Some(cut) = &self.cut else {
            self.reserve(&self.slots, 0, rows, scratch);
            return self.steps(&self.steps, 0..rows, isa, inputs, scratch);
        };
        let (early, (few, many)) = (self.early(), self.slots.split_at(cut.slots));
        self.reserve(few, 0, early.min(rows), scratch);
        self.reserve(many, cut.slots, rows, scratch);
        let (first, then) = self.steps.split_at(cut.steps);
        for start in (0..rows).step_by(early) {
            let here = start..rows.min(start + early);
            self.steps(first, here.clone(), isa, inputs, scratch);
            for c in &cut.carried {
                let [from, to] = scratch.tensors.get_disjoint_mut([c.from, c.to]).expect("two buffers");
                to.take(start * c.len, from, here.len() * c.len);
            }
        }
        self.steps(then, 0..rows, isa, inputs, scratch);
    }
}

fn bytes(slots: &[Slot<Storage>]) -> usize {
    slots.iter().map(|s| s.len * s.width.bytes()).sum()
}

impl Step {
    /// What it reads and writes; `stored`: bytes of an element of each input, and of the result.
    pub(super) fn traffic(&self, stored: (impl Iterator<Item = usize>, usize)) -> Traffic {
        let inputs: usize = self.lens.iter().zip(stored.0).map(|(len, bytes)| len * bytes).sum();
        let (weights, scratch) = match &self.operation {
            Operation::Dot(d) => (d.weight_bytes(), d.scratch()),
            Operation::Input(_)
            | Operation::Each(_)
            | Operation::Pool(_)
            | Operation::Gather(_)
            | Operation::Concat(_)
            | Operation::Lanes(_) => (0, 0),
        };
        Traffic { weights, tensors: inputs + self.len * stored.1 + scratch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(steps: &[(usize, usize)]) -> Option<usize> {
        let all: Vec<_> = steps.iter().map(|(w, t)| Traffic { weights: w << 10, tensors: t << 10 }).collect();
        choose(&all)
    }

    #[test]
    fn late_steps_have_more_weights_than_tensors() {
        assert_eq!(cut(&[]), None);
        // All weights are near.
        assert_eq!(cut(&[(10, 800), (1000, 1)]), None);
        assert_eq!(cut(&[(10, 800), (1200, 1)]), Some(1));
        assert_eq!(cut(&[(1200, 1), (100, 1)]), Some(0));
        // An addition among them does no harm, nor do a few weights at the begin.
        assert_eq!(cut(&[(40, 30), (10, 800), (2000, 100), (0, 300), (2000, 100)]), Some(2));
        assert_eq!(cut(&[(2000, 3000), (2000, 3000)]), None);
    }
}
