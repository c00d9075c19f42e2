//! Spot checks: now and then a row that a card computed is computed again, by the emulator.
//!
//! A trailer tells another model from the right one, not a card whose bits flip. So a row of a launch is compared, any
//! row, as long as this takes at most a fiftieth of the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use hs_emulator::{Emulator, Options};
use hs_hw::Program;
use hs_runtime::codes::Layout;

/// The part of the time that checks may take: one in so many.
const SHARE: u128 = 50;

/// What checks rows.
pub(crate) struct SpotCheck {
    emulator: Emulator,
    begin: Instant,
    /// Nanoseconds in checks.
    spent: AtomicU64,
    /// Launches looked at.
    launches: AtomicU64,
}

impl SpotCheck {
    pub(crate) fn new(program: &Arc<Program>) -> Result<Self, String> {
        let options = Options { threads: Some(1), ..Options::default() };
        let emulator = Emulator::new(Arc::clone(program), &options).map_err(|e| e.to_string())?;
        let (spent, launches) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { emulator, begin: Instant::now(), spent, launches })
    }

    /// Checks a row of a launch of `rows`, if there is time: packed rows of each input, and of each output.
    pub(crate) fn check(
        &self,
        rows: usize,
        inputs: &[(&Layout, &[u8])],
        outputs: &[(&Layout, &[u8])],
    ) -> Result<(), String> {
        let launch = self.launches.fetch_add(1, Ordering::Relaxed);
        if u128::from(self.spent.load(Ordering::Relaxed)) * SHARE > self.begin.elapsed().as_nanos() {
            return Ok(());
        }
        let begin = Instant::now();
        // Any row, spread evenly, the first one of the first launch.
        let row = (launch.wrapping_mul(0x9e37_79b9) % rows.max(1) as u64) as usize;
        let result = self.compare(row, inputs, outputs);
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.spent.fetch_add(took, Ordering::Relaxed);
        result
    }

    fn compare(
        &self,
        row: usize,
        inputs: &[(&Layout, &[u8])],
        outputs: &[(&Layout, &[u8])],
    ) -> Result<(), String> {
        let codes = inputs.iter().map(|(layout, packed)| {
            let layout = layout.packed();
            let mut one = vec![0; layout.bytes(1)];
            one[..layout.row_bytes].copy_from_slice(&packed[row * layout.stride..][..layout.row_bytes]);
            layout.unpack(&one, 1).map_err(|e| e.to_string())
        });
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        let codes: Vec<&[i64]> = codes.iter().map(Vec::as_slice).collect();
        let expected = self.emulator.run_codes(&codes, 1).map_err(|e| e.to_string())?;
        for ((layout, packed), codes) in outputs.iter().zip(&expected) {
            let (name, layout) = (layout.tensor(), layout.packed());
            let expected = layout.pack(codes);
            let found = &packed[row * layout.stride..][..layout.row_bytes];
            if found != &expected[..layout.row_bytes] {
                return Err(format!(
                    "row {row} of output '{name}' is wrong; the card's rows are not used any more"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hs_hw::testing::{Config, random_program};

    use super::*;
    use crate::golden::Golden;

    #[test]
    fn a_wrong_bit_of_a_row_is_seen() {
        let program = Arc::new(random_program(5, &Config::default()));
        let golden = Golden::of(&program, 5).unwrap();
        let layouts = |ids: Vec<hs_hw::ValueId>| -> Vec<Layout> {
            ids.iter().filter_map(|id| Layout::of(program.node(*id))).collect()
        };
        let (inputs, outputs) = (layouts(program.inputs()), layouts(program.outputs()));
        let spot = SpotCheck::new(&program).unwrap();
        let mut found = golden.outputs.clone();
        let compare = |found: &[Vec<u8>], row| {
            let inputs: Vec<_> = inputs.iter().zip(golden.inputs.iter().map(Vec::as_slice)).collect();
            let outputs: Vec<_> = outputs.iter().zip(found.iter().map(Vec::as_slice)).collect();
            spot.compare(row, &inputs, &outputs)
        };
        for row in 0..golden.rows {
            compare(&found, row).unwrap();
        }
        found[0][3 * outputs[0].packed().stride] ^= 1;
        compare(&found, 2).unwrap();
        let why = compare(&found, 3).unwrap_err();
        assert!(why.contains("row 3 of output"), "{why}");
    }
}
