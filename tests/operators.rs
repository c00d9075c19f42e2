//! Every operator's lowering, at several widths: the emulator gives the interpreter's bits.

#![allow(clippy::print_stdout, reason = "an instruction set that is not there is said to be skipped")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hs_compiler::{
    lower::{LowerOptions, lower},
    onnx,
    passes::normalise,
};
use hs_emulator::Emulator;
use hs_hw::{Program, interp, testing::random_inputs};

/// Types of everything.
const PRECISIONS: [&str; 4] = ["fixed<8,4>", "fixed<16,6>", "fixed<32,12>", "fixed<48,16>"];

/// Rows of a run.
const ROWS: usize = 9;

/// The ways to run the emulator that differ from the interpreter, and where.
fn differences(program: &Arc<Program>) -> Vec<String> {
    let rows = random_inputs(program, 7, ROWS);
    let expected: Vec<Vec<Vec<i128>>> = rows.iter().map(|row| interp::run(program, row)).collect();
    let column = |i: usize| rows.iter().flat_map(|r| &r[i]).map(|c| *c as i64).collect::<Vec<_>>();
    let inputs: Vec<Vec<i64>> = (0..program.inputs().len()).map(column).collect();
    let slices: Vec<&[i64]> = inputs.iter().map(Vec::as_slice).collect();
    let difference = |emulator: Result<(String, Emulator), String>| {
        let (way, emulator) = match emulator {
            Ok(emulator) => emulator,
            Err(e) => return Some(e),
        };
        let found = emulator.run_codes(&slices, ROWS).unwrap();
        found.iter().enumerate().find_map(|(o, found)| {
            let wanted: Vec<i64> = expected.iter().flat_map(|r| &r[o]).map(|c| *c as i64).collect();
            let at = found.iter().zip(&wanted).position(|(a, b)| a != b)?;
            Some(format!("{way}: element {at} of output {o} is {} instead of {}", found[at], wanted[at]))
        })
    };
    common::emulators(program, ROWS).filter_map(difference).collect()
}

#[test]
fn lowered_operators_have_the_same_bits_in_the_emulator() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ops");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    let (mut compared, mut failures) = (0, Vec::new());
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let graph = normalise(onnx::import(&path).unwrap().0).unwrap();
        for precision in PRECISIONS {
            let options =
                LowerOptions { precision: Some(precision.parse().unwrap()), ..LowerOptions::default() };
            // Constants that 8 bits cannot hold and products beyond 128 bits are refused.
            let Ok(lowered) = lower(&graph, &options) else { continue };
            compared += 1;
            let found = differences(&Arc::new(lowered.program));
            failures.extend(found.into_iter().map(|why| format!("{name} at {precision}, {why}")));
        }
    }
    assert!(
        failures.is_empty(),
        "{} ways of {compared} models differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(compared > 900, "{compared} compared");
}
