//! XRT itself, with emulated cards: what hosts get from them is what the emulator computes, bit for bit.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a test that has not XRT says so")]

mod engine;
mod faults;
mod hosts;
mod native;
mod rig;
mod serving;

use std::path::Path;

use hs_compiler::schedule::schedule;
use hs_hw::{
    Program,
    testing::{Config, random_program},
};
use hs_package::{Arithmetic, Kernel, KernelWeights, Overwrite, PackageWriter};

/// A package of a Program, whose kernel loads such weights, without HLS project and bindings.
fn package(program: &Program, weights: Option<&[u8]>, out: &Path) {
    let schedule = schedule(program, &Default::default()).unwrap().0;
    let arguments = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}_{i}")).collect();
    let path = "hls/weights/kernel.bin".to_owned();
    let kernel = Kernel {
        name: "net_kernel".to_owned(),
        inputs: arguments("x", program.inputs().len()),
        outputs: arguments("y", program.outputs().len()),
        rows: "rows".to_owned(),
        weights: weights.map(|bytes| KernelWeights {
            argument: "weights".to_owned(),
            path: path.clone(),
            bytes: bytes.len() as u64,
        }),
        part: "part".to_owned(),
        platform: None,
        clock_mhz: 250,
        compute_units: 1,
    };
    let mut writer = PackageWriter::new(program, &schedule, Arithmetic::Native).unwrap().kernel(kernel);
    if let Some(bytes) = weights {
        writer = writer.file(&path, bytes);
    }
    writer.finish(out, Overwrite::Never).unwrap();
}

/// A package of a random Program with some inputs and outputs.
fn random(seed: u64, out: &Path) {
    package(&random_program(seed, &Config::default()), None, out);
}

/// The digits model as `hypersonic compile` makes it.
fn digits(out: &Path) {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports/torch_legacy-digits_mlp.onnx");
    let mut compile = rig::hypersonic();
    rig::succeed(compile.arg("compile").arg(model).arg("-o").arg(out).args(["--precision", "fixed<12,4>"]));
}
