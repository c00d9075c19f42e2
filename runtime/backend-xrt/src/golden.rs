//! Rows whose results are known.

use std::{fmt::Display, ops::Range, path::Path, sync::Arc};

use hs_emulator::{Emulator, Options};
use hs_hw::{
    Program, ValueId,
    abi::{BEAT_BYTES, RowLayout, Trailer},
};
use hs_runtime::{Tensor, codes::Layout};

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
        let codes: Vec<Vec<i64>> = program
            .inputs()
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
        let pack = |(id, codes): (&ValueId, &Vec<i64>)| RowLayout::of(program.node(*id)).pack(codes);
        let packed = |ids: Vec<ValueId>, codes: &[Vec<i64>]| ids.iter().zip(codes).map(pack).collect();
        let (inputs, outputs) = (packed(program.inputs(), &codes), packed(program.outputs(), &results));
        Ok(Self::new(program, rows, inputs, outputs))
    }

    /// The first rows, at most `most`, of the golden vectors in a file.
    pub(crate) fn load(path: &Path, program: &Program, most: usize) -> Result<Self, String> {
        let wrong = |e: &dyn Display| format!("{}: {e}", path.display());
        let vectors = hs_runtime::golden::Golden::load(path).map_err(|e| e.to_string())?;
        vectors.check_program(program).map_err(|e| wrong(&e))?;
        let rows = vectors.about.rows.min(most);
        if rows == 0 {
            return Err(wrong(&"there are no rows in it"));
        }
        let side = |ids: Vec<ValueId>, tensors: &[Tensor]| -> Result<Vec<Vec<u8>>, String> {
            let pack = |(id, tensor): (&ValueId, &Tensor)| {
                let layout = Layout::of(program.node(*id)).ok_or_else(|| wrong(&"it is of another model"))?;
                layout.rows(tensor).map_err(|e| wrong(&e))?;
                let mut packed = vec![0; layout.packed().bytes(rows)];
                layout.pack_raw(tensor, 0..rows, &mut packed).map_err(|e| wrong(&e))?;
                Ok(packed)
            };
            ids.iter().zip(tensors).map(pack).collect()
        };
        let inputs = side(program.inputs(), &vectors.inputs)?;
        let outputs = side(program.outputs(), &vectors.outputs)?;
        Ok(Self::new(program, rows, inputs, outputs))
    }

    fn new(program: &Program, rows: usize, inputs: Vec<Vec<u8>>, outputs: Vec<Vec<u8>>) -> Self {
        let trailer = Trailer::new(rows as u32, &program.fingerprint());
        let ended = |mut packed: Vec<u8>| {
            packed.extend(trailer.to_bytes());
            packed
        };
        let outputs = outputs.into_iter().map(ended).collect();
        let names = program.outputs().iter().map(|id| program.node(*id).name.clone()).collect();
        Self { rows, inputs, outputs, names, trailer }
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
