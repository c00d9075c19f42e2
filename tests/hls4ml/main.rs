//! hls4ml bit for bit: recorded outputs of its C simulation against our interpreter, emulator and compiled C++.
//!
//! Each case is a directory with `model.onnx`, `x.npy`, `y.npy` and `config.json`, which is translated into our
//! configuration and nothing else. `HLS4ML_VECTORS=DIR` names another directory of cases. Run by
//! `cargo test --release --workspace hls4ml -- --nocapture`.

#![allow(clippy::print_stdout, reason = "a line a case is what this test is for")]

#[path = "../common/mod.rs"]
mod common;
mod import;
mod known;
mod translate;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use hs_compiler::{
    hls::{
        self,
        csim::{Bench, CsimOptions},
    },
    lower, onnx, passes,
    schedule::{self, ScheduleOptions},
};
use hs_hw::{Program, Schedule, interp};
use hs_runtime::{codes::Layout, npy};

/// Models a translation unit: more would take g++ more memory, fewer more time.
const TOGETHER: usize = 6;

struct Case {
    name: String,
    program: Arc<Program>,
    schedule: Schedule,
    rows: usize,
    /// Codes of the one input.
    input: Vec<i64>,
    /// Codes of the one output, in hardware order, as hls4ml has them.
    expected: Vec<i64>,
}

#[test]
fn hls4ml_vectors() {
    let dir = std::env::var_os("HLS4ML_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hls4ml"), PathBuf::from);
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.join("config.json").is_file())
        .collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "{} holds no case", dir.display());

    let loaded: Vec<(String, Result<Case, String>)> = dirs
        .iter()
        .map(|d| {
            let name = d.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let case = load(d, &name);
            (name, case)
        })
        .collect();
    let cases: Vec<&Case> = loaded.iter().filter_map(|(_, c)| c.as_ref().ok()).collect();
    let simulated = simulate(&cases);

    let (mut passed, mut failed) = (0, 0);
    for (name, case) in &loaded {
        let outcome = case.as_ref().map_err(Clone::clone).and_then(|case| {
            interpreter(case)?;
            emulated(&case.program, (&case.input, case.rows), &case.expected)?;
            match simulated.iter().find(|(n, _)| *n == case.name) {
                Some((_, Ok(output))) => same("compiled C++", output, &case.expected).map(|()| "C++"),
                Some((_, Err(e))) => Err(format!("compiled C++: {e}")),
                None => Ok("C++ skipped"),
            }
        });
        match outcome {
            Ok(cpp) => {
                passed += 1;
                println!("{name}: exact (interpreter, emulator, {cpp})");
            }
            Err(e) => {
                failed += 1;
                println!("{name}: FAILED: {e}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    assert_eq!(failed, 0, "{failed} of {} cases differ from hls4ml", loaded.len());
}

fn load(dir: &Path, name: &str) -> Result<Case, String> {
    let text = std::fs::read(dir.join("config.json")).map_err(|e| format!("config.json: {e}"))?;
    let config: serde_json::Value = serde_json::from_slice(&text).map_err(|e| format!("config.json: {e}"))?;
    let (graph, _) = onnx::import(&dir.join("model.onnx")).map_err(|e| e.to_string())?;
    let translated = translate::options(&config, &graph)?;
    let graph = passes::normalise_with(graph, &translated.passes).map_err(|e| e.to_string())?;
    let program = lower::lower(&graph, &translated.lower).map_err(|e| e.to_string())?.program;
    let wishes = ScheduleOptions { io: translated.lower.io, ..ScheduleOptions::default() };
    let (schedule, _) = schedule::schedule(&program, &wishes)
        .map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let read = |file: &str| npy::load(dir.join(file)).map_err(|e| format!("{file}: {e}"));
    let (x, y) = (read("x.npy")?, read("y.npy")?);
    let port = |ids: Vec<hs_hw::ValueId>| match ids[..] {
        [id] => Layout::of(program.node(id)).ok_or_else(|| "no layout".to_owned()),
        _ => Err(format!("{} inputs or outputs, not 1", ids.len())),
    };
    let (inputs, outputs) = (port(program.inputs())?, port(program.outputs())?);
    let rows = x.rows();
    let mut input = vec![0; rows * inputs.row_len()];
    inputs.encode(&x, 0..rows, &mut input).map_err(|e| e.to_string())?;
    // Every value of y lies on the output's grid, so that its cast there is exact.
    let mut expected = vec![0; rows * outputs.row_len()];
    outputs.encode(&y, 0..rows, &mut expected).map_err(|e| e.to_string())?;
    let mut back = vec![0f64; expected.len()];
    outputs.decode_f64(&expected, &mut back);
    if back != y.to_f64() {
        return Err(format!("y.npy is off the grid of our output type {}", outputs.ty()));
    }
    Ok(Case { name: name.to_owned(), program: Arc::new(program), schedule, rows, input, expected })
}

fn same(what: &str, found: &[i64], expected: &[i64]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{what}: {} codes, not {}", found.len(), expected.len()));
    }
    let wrong = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(i) => Err(format!(
            "{what}: {wrong} of {} codes differ, first element {i}: {}, not {}",
            found.len(),
            found[i],
            expected[i]
        )),
    }
}

fn interpreter(case: &Case) -> Result<(), String> {
    let len = case.input.len() / case.rows.max(1);
    let rows: Vec<&[i64]> = case.input.chunks(len.max(1)).collect();
    let half = rows.len().div_ceil(2).max(1);
    let run = |rows: &[&[i64]]| -> Vec<i64> {
        rows.iter()
            .flat_map(|row| {
                interp::run(&case.program, &[row.iter().map(|c| i128::from(*c)).collect()]).remove(0)
            })
            .map(|c| i64::try_from(c).expect("a tensor has at most 64 bits"))
            .collect()
    };
    let found: Vec<i64> = thread::scope(|s| {
        let workers: Vec<_> = rows.chunks(half).map(|part| s.spawn(|| run(part))).collect();
        workers.into_iter().flat_map(|w| w.join().expect("the interpreter does not panic")).collect()
    });
    same("interpreter", &found, &case.expected)
}

/// Every way to run the emulator on the `rows` rows of the one input gives the codes that are expected.
fn emulated(program: &Arc<Program>, (input, rows): (&[i64], usize), expected: &[i64]) -> Result<(), String> {
    common::emulators(program, rows).try_for_each(|emulator| {
        let (way, emulator) = emulator?;
        let found = emulator.run_codes(&[input], rows).map_err(|e| format!("{way}: {e}"))?;
        same(&way, &found[0], expected)
    })
}

/// The compiled C++'s outputs by case; empty when it cannot be compiled here, which is said.
fn simulate<'a>(cases: &[&'a Case]) -> Vec<(&'a str, Result<Vec<i64>, String>)> {
    if let Err(e) = hls::csim::find_ap_types(None) {
        println!("compiled C++ skipped: {e}");
        return Vec::new();
    }
    let batches: Vec<&[&Case]> = cases.chunks(TOGETHER).collect();
    let half = batches.len().div_ceil(2).max(1);
    thread::scope(|s| {
        let workers: Vec<_> = batches
            .chunks(half)
            .map(|part| {
                s.spawn(move || part.iter().flat_map(|batch| simulate_batch(batch)).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().expect("the simulation does not panic")).collect()
    })
}

fn simulate_batch<'a>(batch: &[&'a Case]) -> Vec<(&'a str, Result<Vec<i64>, String>)> {
    let all = |e: String| batch.iter().map(|c| (c.name.as_str(), Err(e.clone()))).collect();
    let programs: Vec<_> = batch.iter().map(|c| (&*c.program, &c.schedule)).collect();
    let many = match hls::emit_many(&programs) {
        Ok(many) => many,
        Err((at, e)) => return all(format!("'{}' cannot be emitted: {e:?}", batch[at].name)),
    };
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(e) => return all(e.to_string()),
    };
    let options = CsimOptions::default();
    let bench = hls::csim::write(&many.files, dir.path()).and_then(|()| Bench::build(dir.path(), &options));
    let bench = match bench {
        Ok(bench) => bench,
        Err(e) => return all(e.to_string()),
    };
    batch
        .iter()
        .zip(&many.models)
        .map(|(case, model)| {
            let output = bench.run(model, std::slice::from_ref(&case.input), case.rows, &options);
            (case.name.as_str(), output.map(|mut o| o.remove(0)).map_err(|e| e.to_string()))
        })
        .collect()
}
