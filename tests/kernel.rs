//! A real model's whole kernel in C simulation against the emulator: any number of rows in one call, both arithmetics,
//! both io types.

#![allow(clippy::print_stdout, reason = "a test that has not the tools says so")]

mod common;

use std::{path::Path, sync::Arc};

use hs_compiler::{
    driver::{self, CompileOptions, Compiled},
    hls::{
        self,
        csim::{self, Bench, CsimOptions},
    },
    lower::Arithmetic,
};
use hs_hw::{Io, Program, Schedule, testing::random_inputs};

fn compiled(arithmetic: Arithmetic, io: Io) -> Compiled {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports/torch_legacy-digits_mlp.onnx");
    let options = CompileOptions {
        arithmetic: Some(arithmetic),
        precision: Some("fixed<12,5>".to_owned()),
        io: Some(io),
        ..CompileOptions::default()
    };
    driver::compile(&model, &options, &mut |_| ()).unwrap()
}

#[test]
fn the_kernel_of_a_real_model_is_the_emulator() {
    if let Err(why) = csim::find_ap_types(None) {
        println!("SKIPPED: simulating kernels: {why}");
        return;
    }
    let mut cases = Vec::new();
    for arithmetic in [Arithmetic::Native, Arithmetic::Hls4ml] {
        for io in [Io::Parallel, Io::Stream] {
            cases.push(compiled(arithmetic, io));
        }
    }
    let refs: Vec<(&Program, &Schedule)> = cases.iter().map(|c| (&c.program, &c.schedule)).collect();
    let many = hls::emit_many(&refs).unwrap();
    let dir = tempfile::tempdir().unwrap();
    csim::write(&many.files, dir.path()).unwrap();
    let options = CsimOptions { rows_a_call: Some(usize::MAX), ..CsimOptions::default() };
    let bench = Bench::build(dir.path(), &options).unwrap();
    for (case, model) in cases.iter().zip(&many.models) {
        let program = Arc::new(case.program.clone());
        for rows in [0, 1, 17, 4097] {
            let input: Vec<i64> = random_inputs(&case.program, 9, rows)
                .iter()
                .flat_map(|row| row[0].iter().map(|code| i64::try_from(*code).unwrap()))
                .collect();
            let simulated = bench.run(model, std::slice::from_ref(&input), rows, &options).unwrap();
            for emulator in common::emulators(&program, rows) {
                let (way, emulator) = emulator.unwrap();
                let emulated = emulator.run_codes(&[&input], rows).unwrap();
                let (arithmetic, io) = (case.arithmetic, case.schedule.io);
                assert!(emulated == simulated, "{arithmetic:?}, {io:?}, {rows} rows: {way}");
            }
        }
    }
    // The two arithmetics differ, or comparing both would show nothing.
    assert_ne!(cases[0].program.fingerprint(), cases[2].program.fingerprint());
}
