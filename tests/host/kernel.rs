//! Floats through the bindings and the C simulation of the whole kernel, against the emulator.

use std::sync::Arc;

use hs_compiler::{
    hls::{
        self,
        csim::{self, Bench, CsimOptions},
    },
    platform::Target,
    schedule::{ScheduleOptions, schedule},
};
use hs_hw::{
    Io, Program, Schedule,
    testing::{Config, Rng, random_program},
};
use hs_runtime::{Executable, Tensor, codes::Layout};

use crate::{
    common,
    rows::{Task, bytes, drivers, run, values},
};

/// Models of the one translation unit.
const MODELS: usize = 5;
const OPTIONS: CsimOptions<'_> =
    CsimOptions { ap_types: None, optimise: Some(0), rows_a_call: None, progress: None };

/// Programs that can be built, with both io types.
fn cases() -> Vec<(String, Program, Schedule)> {
    let config = Config { max_width: 24, odd_names: false, ..Config::default() };
    let mut cases = Vec::new();
    for seed in 100.. {
        let program = random_program(seed, &config);
        let io = if cases.len() % 2 == 0 { Io::Stream } else { Io::Parallel };
        let options = ScheduleOptions { io: Some(io), ..ScheduleOptions::default() };
        let Ok((schedule, _)) = schedule(&program, &options) else { continue };
        if hls::emit(&program, &schedule, "net", &Target::default()).is_ok() {
            cases.push((format!("random{seed}"), program, schedule));
        }
        if cases.len() == MODELS {
            break;
        }
    }
    cases
}

#[test]
fn floats_through_the_kernel_are_the_emulators() {
    if let Err(why) = csim::find_ap_types(None) {
        println!("SKIPPED: simulating kernels: {why}");
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let cases = cases();
    let models: Vec<(String, Program)> = cases.iter().map(|(n, p, _)| (n.clone(), p.clone())).collect();
    let drivers = drivers(dir, &models, "simulating kernels");
    if !drivers.iter().any(|(language, _)| *language == "C++") {
        return;
    }
    let refs: Vec<(&Program, &Schedule)> = cases.iter().map(|(_, p, s)| (p, s)).collect();
    let many = hls::emit_many(&refs).unwrap();
    let project = dir.join("many");
    csim::write(&many.files, &project).unwrap();
    let bench = Bench::build(&project, &OPTIONS).unwrap();
    let mut rng = Rng::new(3);
    for ((name, program, _), kernel) in cases.iter().zip(&many.models) {
        for rows in [0, 1, 17] {
            let inputs: Vec<(Layout, Vec<f32>)> = program
                .inputs()
                .into_iter()
                .map(|id| {
                    let layout = Layout::of(program.node(id)).unwrap();
                    let x = values(&mut rng, *layout.ty(), rows * layout.row_len());
                    (layout, x)
                })
                .collect();
            let tensors = inputs.iter().map(|(layout, x)| {
                let shape: Vec<usize> = [&[rows], layout.onnx_shape()].concat();
                Tensor::of(shape, x.clone()).unwrap()
            });
            let tensors: Vec<Tensor> = tensors.collect();
            let program = Arc::new(program.clone());
            let mut ways = common::emulators(&program, rows)
                .map(Result::unwrap)
                .map(|(way, emulator)| (way, emulator.run(&tensors).unwrap()));
            let (_, expected) = ways.next().unwrap();
            ways.for_each(|(way, found)| assert_eq!(found, expected, "{name}, {rows} rows: {way}"));
            let task = |what, tensor, input| Task { what, model: name.clone(), tensor, rows, input };
            for (language, driver) in &drivers {
                let packing = inputs.iter().enumerate().map(|(i, (_, x))| task("pack", i, bytes(x)));
                let packed = run(driver, dir, &packing.collect::<Vec<_>>());
                let packed: Vec<Vec<u8>> = packed.into_iter().map(Result::unwrap).collect();
                let results = bench.run_packed(kernel, &packed, rows).unwrap();
                let unpacking = results.into_iter().enumerate().map(|(i, y)| task("unpack", i, y));
                let found = run(driver, dir, &unpacking.collect::<Vec<_>>());
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let expected = bytes(expected.as_slice::<f32>().unwrap());
                    assert_eq!(found.as_ref(), Ok(&expected), "{language}: {name}, {rows} rows, output {i}");
                }
            }
        }
    }
}
