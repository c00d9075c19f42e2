//! Every operator's lowering, at several widths: the emulator gives the interpreter's bits.

use std::path::{Path, PathBuf};

use hs_compiler::{
    lower::{LowerOptions, lower},
    onnx,
    passes::normalise,
};
use hs_emulator::{Emulator, Isa, Options};
use hs_hw::{Program, interp, testing::random_inputs};

/// Types of everything.
const PRECISIONS: [&str; 4] = ["fixed<8,4>", "fixed<16,6>", "fixed<32,12>", "fixed<48,16>"];

/// Rows of a run.
const ROWS: usize = 9;

/// The first difference between emulator and interpreter.
fn difference(program: &Program, options: &Options) -> Option<String> {
    let rows = random_inputs(program, 7, ROWS);
    let expected: Vec<Vec<Vec<i128>>> = rows.iter().map(|row| interp::run(program, row)).collect();
    let emulator = match Emulator::new(program.clone(), options) {
        Ok(emulator) => emulator,
        Err(e) => return Some(e.to_string()),
    };
    let column = |i: usize| rows.iter().flat_map(|r| &r[i]).map(|c| *c as i64).collect::<Vec<_>>();
    let inputs: Vec<Vec<i64>> = (0..program.inputs().len()).map(column).collect();
    let slices: Vec<&[i64]> = inputs.iter().map(Vec::as_slice).collect();
    let found = emulator.run_codes(&slices, ROWS).unwrap();
    for (o, found) in found.iter().enumerate() {
        let wanted: Vec<i64> = expected.iter().flat_map(|r| &r[o]).map(|c| *c as i64).collect();
        if let Some(at) = found.iter().zip(&wanted).position(|(a, b)| a != b) {
            return Some(format!("element {at} is {} instead of {}", found[at], wanted[at]));
        }
    }
    None
}

#[test]
fn lowered_operators_have_the_same_bits_in_the_emulator() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ops");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    let baseline = Isa::ALL
        .into_iter()
        .filter(|isa| isa.is_available())
        .map(|isa| Options { isa: Some(isa), ..Options::default() });
    let all: Vec<Options> = baseline.collect();
    let (mut compared, mut failures) = (0, Vec::new());
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let graph = normalise(onnx::import(&path).unwrap().0).unwrap();
        for precision in PRECISIONS {
            let options =
                LowerOptions { precision: Some(precision.parse().unwrap()), ..LowerOptions::default() };
            // Constants that 8 bits cannot hold and products beyond 128 bits are refused.
            let Ok(lowered) = lower(&graph, &options) else { continue };
            for options in &all {
                compared += 1;
                if let Some(why) = difference(&lowered.program, options) {
                    failures.push(format!("{name} at {precision}, {:?}: {why}", options.isa));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ:\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 700, "{compared} compared");
}
