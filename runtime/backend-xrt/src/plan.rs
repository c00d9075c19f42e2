//! What a worker is to open, and where things lie in the shared memory.

use std::{ops::Range, path::PathBuf};

use hs_hw::abi::{BEAT_BYTES, RowLayout};
use serde::{Deserialize, Serialize};

/// Buffers begin at a multiple of it: a page, which the card's driver can take as it is.
const ALIGNMENT: usize = 4096;

/// What of XRT a worker calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Api {
    /// Its native API.
    #[default]
    Native,
    /// Its OpenCL.
    OpenCl,
}

/// What a worker opens, and how. Arguments of the kernel are, in order: inputs, outputs, the number of rows, weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Index of the card.
    pub(crate) device: u32,
    /// Its address on the bus, where it is known; it is more certain than the index.
    pub(crate) address: Option<String>,
    pub(crate) api: Api,
    pub(crate) xclbin: PathBuf,
    /// Of the file as it was checked.
    pub(crate) sha256: String,
    pub(crate) kernel: String,
    /// Names of its compute units.
    pub(crate) units: Vec<String>,
    /// Buffer slots of each.
    pub(crate) slots: usize,
    /// Rows that a slot holds.
    pub(crate) rows: usize,
    /// Bytes from row to row of each input.
    pub(crate) inputs: Vec<usize>,
    /// Bytes from row to row of each output.
    pub(crate) outputs: Vec<usize>,
    /// File of the weights that the kernel reads from memory.
    pub(crate) weights: Option<PathBuf>,
}

/// Strides of the ports of a model.
pub(crate) fn strides(layouts: &[RowLayout]) -> Vec<usize> {
    layouts.iter().map(|l| l.stride).collect()
}

fn padded(stride: usize, rows: usize) -> usize {
    (stride * rows).next_multiple_of(BEAT_BYTES)
}

impl Plan {
    /// The bitstream, if it is still the file that was checked.
    pub(crate) fn bitstream(&self) -> Result<Vec<u8>, String> {
        let file = std::fs::read(&self.xclbin).map_err(|e| format!("{}: {e}", self.xclbin.display()))?;
        if hs_package::sha256(&file) == self.sha256 {
            return Ok(file);
        }
        Err(format!("{} is not the file that was checked; load the model again", self.xclbin.display()))
    }

    /// The weights, where the kernel reads some from memory.
    pub(crate) fn weights(&self) -> Result<Option<Vec<u8>>, String> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        self.weights.as_ref().map(read).transpose()
    }

    /// Bytes of an input buffer that holds `rows` rows.
    pub(crate) fn input_bytes(&self, input: usize, rows: usize) -> usize {
        padded(self.inputs[input], rows)
    }

    /// Bytes of an output buffer that holds `rows` rows and their trailer.
    pub(crate) fn output_bytes(&self, output: usize, rows: usize) -> usize {
        padded(self.outputs[output], rows) + BEAT_BYTES
    }

    /// Bytes of the shared memory.
    pub(crate) fn bytes(&self) -> usize {
        self.start(self.units.len(), 0)
    }

    /// Where in the shared memory an input's rows lie.
    pub(crate) fn input(&self, unit: usize, slot: usize, input: usize, rows: usize) -> Range<usize> {
        let start = self.start(unit, slot) + self.before(input, 0);
        start..start + self.input_bytes(input, rows)
    }

    /// Where in the shared memory an output's rows and trailer lie.
    pub(crate) fn output(&self, unit: usize, slot: usize, output: usize, rows: usize) -> Range<usize> {
        let start = self.start(unit, slot) + self.before(self.inputs.len(), output);
        start..start + self.output_bytes(output, rows)
    }

    fn start(&self, unit: usize, slot: usize) -> usize {
        self.before(self.inputs.len(), self.outputs.len()) * (unit * self.slots + slot)
    }

    /// Bytes of a slot's first buffers.
    fn before(&self, inputs: usize, outputs: usize) -> usize {
        let inputs = (0..inputs).map(|i| self.input_bytes(i, self.rows));
        let outputs = (0..outputs).map(|o| self.output_bytes(o, self.rows));
        inputs.chain(outputs).map(|bytes| bytes.next_multiple_of(ALIGNMENT)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            device: 0,
            address: None,
            api: Api::Native,
            xclbin: PathBuf::from("a.xclbin"),
            sha256: String::new(),
            kernel: "k".to_owned(),
            units: vec!["k_1".to_owned(), "k_2".to_owned()],
            slots: 2,
            rows: 100,
            inputs: vec![4, 64],
            outputs: vec![8],
            weights: None,
        }
    }

    #[test]
    fn buffers_do_not_overlap_and_begin_at_pages() {
        let plan = plan();
        let mut ranges = Vec::new();
        for (unit, slot) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            ranges.extend((0..2).map(|i| plan.input(unit, slot, i, 100)));
            ranges.push(plan.output(unit, slot, 0, 100));
        }
        assert_eq!(ranges[0].len(), 448);
        assert_eq!(ranges[2].len(), 832 + 64);
        for pair in ranges.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?}");
        }
        assert!(ranges.iter().all(|r| r.start % ALIGNMENT == 0));
        assert!(ranges.last().unwrap().end <= plan.bytes());
    }
}
