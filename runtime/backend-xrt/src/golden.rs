//! Rows whose results are known.

use std::{ops::Range, sync::Arc};

use hs_emulator::{Emulator, Options};
use hs_hw::{
    Program, ValueId,
    abi::{BEAT_BYTES, RowLayout, Trailer},
};

/// Rows that a compute unit must get right before it is given others.
const ROWS: usize = 5;

/// Packed rows and the packed rows that a Program makes of them, trailers included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Golden {
    pub(crate) rows: usize,
    pub(crate) inputs: Vec<Vec<u8>>,
    pub(crate) outputs: Vec<Vec<u8>>,
    /// Names of the outputs.
    names: Vec<String>,
    trailer: Trailer,
}

impl Golden {
    /// Rows of codes that look random, at most `most`, and what the emulator makes of them.
    pub(crate) fn of(program: &Arc<Program>, most: usize) -> Result<Self, String> {
        let rows = ROWS.min(most);
        let layouts = |ids: &[ValueId]| -> Vec<RowLayout> {
            ids.iter().map(|id| RowLayout::of(program.node(*id))).collect()
        };
        let (inputs, outputs) = (program.inputs(), program.outputs());
        let codes: Vec<Vec<i64>> = inputs
            .iter()
            .enumerate()
            .map(|(i, id)| {
                let (low, high) = (program.node(*id).format().min(), program.node(*id).format().max());
                let count = rows * program.node(*id).len();
                (0..count).map(|at| within(random(i as u64 + 1, at as u64), low, high)).collect()
            })
            .collect();
        let emulator = Emulator::new(Arc::clone(program), &Options::default()).map_err(|e| e.to_string())?;
        let results = emulator
            .run_codes(&codes.iter().map(Vec::as_slice).collect::<Vec<_>>(), rows)
            .map_err(|e| e.to_string())?;
        let trailer = Trailer::new(rows as u32, &program.fingerprint());
        let pack = |(l, codes): (&RowLayout, &Vec<i64>)| l.pack(codes);
        let with_trailer = |packed: Vec<u8>| [packed, trailer.to_bytes().to_vec()].concat();
        Ok(Self {
            rows,
            inputs: layouts(&inputs).iter().zip(&codes).map(pack).collect(),
            outputs: layouts(&outputs).iter().zip(&results).map(pack).map(with_trailer).collect(),
            names: outputs.iter().map(|id| program.node(*id).name.clone()).collect(),
            trailer,
        })
    }

    /// Compares what a card made of them.
    pub(crate) fn check(&self, results: &[&[u8]]) -> Result<(), String> {
        for ((expected, found), name) in self.outputs.iter().zip(results).zip(&self.names) {
            let end: Range<usize> = expected.len() - BEAT_BYTES..expected.len();
            self.trailer.check(&found[end]).map_err(|e| format!("output '{name}': {e}"))?;
            if let Some(at) = expected.iter().zip(*found).position(|(e, f)| e != f) {
                return Err(format!(
                    "output '{name}' is wrong from byte {at} of known rows on: {:#04x}, not {:#04x}; the card computes \
                     something else than the model, build its bitstream again",
                    found[at], expected[at]
                ));
            }
        }
        Ok(())
    }
}

/// A number that depends on its two alone and looks random.
fn random(stream: u64, at: u64) -> u64 {
    let mut x = stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    for _ in 0..2 {
        x = (x ^ (x >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    }
    x ^ (x >> 29)
}

fn within(x: u64, low: i128, high: i128) -> i64 {
    (low + i128::from(x) % (high - low + 1)) as i64
}
