//! XRT itself, with emulated cards: what hosts get from them is what the emulator computes, bit for bit.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a test that has not XRT says so")]

mod engine;
mod faults;
mod hosts;
mod native;
mod opencl;
mod rig;
mod serving;

use std::path::{Path, PathBuf};

use hs_compiler::{
    hls::{self, EmittedFile, KERNEL_WEIGHTS, Project},
    host,
    schedule::schedule,
};
use hs_hw::{
    Program,
    testing::{Config, random_program},
};
use hs_package::{Arithmetic, HLS, HOST, Kernel, KernelWeights, Overwrite, PackageWriter};

/// A package of a Program, with bindings and without an HLS project, whose kernel loads such weights.
fn package(program: &Program, weights: Option<&[u8]>, out: &Path) {
    let schedule = schedule(program, &Default::default()).unwrap().0;
    let arguments = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}_{i}")).collect();
    let files: Vec<EmittedFile> = weights
        .map(|bytes| EmittedFile { path: KERNEL_WEIGHTS.to_owned(), bytes: bytes.to_vec() })
        .into_iter()
        .collect();
    let project = Project {
        top: "net".to_owned(),
        kernel: hls::Kernel {
            name: "net_kernel".to_owned(),
            inputs: arguments("x", program.inputs().len()),
            outputs: arguments("y", program.outputs().len()),
            weights: weights.map(|_| "weights".to_owned()),
        },
        files,
    };
    let hls::Kernel { name, inputs, outputs, weights: argument } = project.kernel.clone();
    let kernel = Kernel {
        name,
        inputs,
        outputs,
        rows: "rows".to_owned(),
        weights: argument.zip(weights).map(|(argument, bytes)| KernelWeights {
            argument,
            path: format!("{HLS}/{KERNEL_WEIGHTS}"),
            bytes: bytes.len() as u64,
        }),
        part: "part".to_owned(),
        platform: None,
        clock_mhz: 250,
        compute_units: 1,
    };
    let mut writer = PackageWriter::new(program, &schedule, Arithmetic::Native).unwrap().kernel(kernel);
    for file in host::emit(program, &project, HLS) {
        writer = writer.file(&format!("{HOST}/{}", file.path), file.bytes);
    }
    for file in project.files {
        writer = writer.file(&format!("{HLS}/{}", file.path), file.bytes);
    }
    writer.finish(out, Overwrite::Never).unwrap();
}

/// A package of a random Program with some inputs and outputs.
fn random(seed: u64, out: &Path) {
    package(&random_program(seed, &Config::default()), None, out);
}

/// A random Program whose kernel loads weights.
fn with_weights(out: &Path) {
    let weights: Vec<u8> = (0..5000).map(|i| (7 * i) as u8).collect();
    package(&random_program(21, &Config::default()), Some(&weights), out);
}

/// The digits model as `hypersonic compile` makes it.
fn digits(out: &Path) {
    exported("digits_mlp", out);
}

/// A model of the fixtures as `hypersonic compile` makes it.
fn exported(name: &str, out: &Path) {
    let mut compile = rig::hypersonic();
    compile.arg("compile").arg(fixture(name, "onnx")).arg("-o").arg(out);
    rig::succeed(compile.args(["--precision", "fixed<12,4>"]));
}

/// A file of a model of the fixtures.
fn fixture(name: &str, end: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports");
    folder.join(format!("torch_legacy-{name}.{end}"))
}
