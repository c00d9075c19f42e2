//! Compiled C++ against the reference interpreter.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;

use hs_compiler::hls::csim::{self, Bench, CsimError, CsimOptions};
use hs_compiler::hls::{self, EmitError};
use hs_compiler::platform::Target;
use hs_compiler::schedule::{ScheduleOptions, schedule};
use hs_hw::testing::random_inputs;
use hs_hw::{Io, Program, Schedule, interp};

/// Whether C++ can be compiled here; says why not.
pub(crate) fn can_simulate() -> bool {
    if let Err(why) = csim::find_ap_types(None) {
        eprintln!("skipped: {why}");
        return false;
    }
    if std::process::Command::new("g++").arg("--version").output().is_err() {
        eprintln!("skipped: no g++");
        return false;
    }
    true
}

/// The layout of a program for an io type, with a reuse factor that depends on `salt`.
pub(crate) fn laid_out(program: &Program, io: Io, salt: u64) -> Schedule {
    let reuse = match salt % 3 {
        0 => None,
        1 => Some(2 + (salt / 3 % 4) as usize),
        _ => Some(1 << (salt / 3 % 8)),
    };
    let options = ScheduleOptions { io: Some(io), reuse, ..ScheduleOptions::default() };
    schedule(program, &options).unwrap_or_else(|e| panic!("no schedule: {e:?}\n{program}")).0
}

/// A program with its layout.
pub(crate) type Case = (Program, Schedule);

/// What the vendor's headers cannot express, so that no project is emitted.
pub(crate) fn is_inexpressible(errors: &[EmitError]) -> bool {
    errors.iter().all(|e| e.to_string().contains("the vendor's headers have no"))
}

/// Rows of codes as the bench reads them, one vector a model input.
pub(crate) fn columns(rows: &[Vec<Vec<i128>>], inputs: usize) -> Vec<Vec<i64>> {
    (0..inputs).map(|k| rows.iter().flat_map(|r| r[k].iter().map(|c| *c as i64)).collect()).collect()
}

/// What the interpreter says, one vector a model output.
pub(crate) fn expected(program: &Program, rows: &[Vec<Vec<i128>>]) -> Vec<Vec<i64>> {
    let results: Vec<Vec<Vec<i128>>> = rows.iter().map(|r| interp::run(program, r)).collect();
    columns(&results, program.outputs().len())
}

/// Compiles all cases as one translation unit below `dir` and runs each. The result: for each case what differs from
/// the interpreter.
pub(crate) fn differences(cases: &[Case], dir: &Path, seed: u64) -> Result<Vec<Option<String>>, String> {
    let refs: Vec<(&Program, &Schedule)> = cases.iter().map(|(p, s)| (p, s)).collect();
    let many = hls::emit_many(&refs).map_err(|(k, e)| format!("case {k}: {e:?}"))?;
    let _ = std::fs::remove_dir_all(dir);
    csim::write(&many.files, dir).map_err(|e| e.to_string())?;
    let bench = Bench::build(dir, &QUICK).map_err(|e| e.to_string())?;
    let difference = |(k, (program, schedule)): (usize, &Case)| {
        let rows = random_inputs(program, seed, 6);
        let inputs = columns(&rows, program.inputs().len());
        match bench.run(&many.models[k], &inputs, rows.len(), &QUICK) {
            Err(e) => Some(format!("{:?}: {e}", schedule.io)),
            Ok(found) => {
                compare(program, &expected(program, &rows), &found).map(|d| format!("{:?}: {d}", schedule.io))
            }
        }
    };
    let result = cases.iter().enumerate().map(difference).collect();
    let _ = std::fs::remove_dir_all(dir);
    Ok(result)
}

fn compare(program: &Program, expected: &[Vec<i64>], found: &[Vec<i64>]) -> Option<String> {
    for (k, (e, f)) in expected.iter().zip(found).enumerate() {
        if e.len() != f.len() {
            return Some(format!("output {k} has {} codes, not {}", f.len(), e.len()));
        }
        if let Some(i) = (0..e.len()).find(|i| e[*i] != f[*i]) {
            let len = program.node(program.outputs()[k]).len();
            let (row, at) = (i / len, i % len);
            return Some(format!("output {k}, row {row}, element {at}: {} instead of {}", f[i], e[i]));
        }
    }
    (expected.len() != found.len()).then(|| format!("{} outputs, not {}", found.len(), expected.len()))
}

/// For tests, compiling counts more than running.
pub(crate) const QUICK: CsimOptions<'static> =
    CsimOptions { ap_types: None, optimise: Some(0), rows_a_call: None, progress: None };

/// Builds one project below `dir` and runs it.
pub(crate) fn simulate(
    program: &Program,
    schedule: &Schedule,
    dir: &Path,
    inputs: &[Vec<i64>],
    rows: usize,
) -> Result<Vec<Vec<i64>>, CsimError> {
    let project = hls::emit(program, schedule, "net", &Target::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let files = project.files;
    csim::write(&files, dir)?;
    csim::build_and_run(dir, inputs, rows, &QUICK)
}
