//! `libhypersonic.so`: from C and from Rust, on the emulator and on libraries that play a card.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hs_fixed::Type;
use hs_hw::Program;
use hs_package::{Arithmetic, HOST, Kernel, Overwrite, PackageWriter};
use hs_runtime::npy;

use crate::{bindings, pass_through, project, tools};

/// The folder of the library that cargo built for these tests.
pub(crate) fn library() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(folder.join("libhypersonic.so").is_file(), "no libhypersonic.so in {}", folder.display());
    folder
}

/// A package of a Program, with its bindings.
pub(crate) fn package(program: &Program, name: &str, out: &Path) {
    let schedule = hs_compiler::schedule::schedule(program, &Default::default()).unwrap().0;
    let hs_compiler::hls::Kernel { name: kernel, inputs, outputs, .. } = project(name, program).kernel;
    let mut writer = PackageWriter::new(program, &schedule, Arithmetic::Native).unwrap().kernel(Kernel {
        name: kernel,
        inputs,
        outputs,
        rows: "rows".to_owned(),
        weights: None,
        part: "part".to_owned(),
        platform: None,
        clock_mhz: 250,
        compute_units: 1,
    });
    for file in bindings(name, program) {
        writer = writer.file(&format!("{HOST}/{}", file.path), file.bytes);
    }
    writer.finish(out, Overwrite::Never).unwrap();
}

/// A Program of one input `x` and one output `y`, handed on, its axes swapped.
pub(crate) fn swap() -> Program {
    let ty: Type = "fixed<12,4>".parse().unwrap();
    let mut program = pass_through("swap", &[(ty, vec![3, 2], vec![1, 0])]);
    for node in &mut program.nodes {
        if let hs_hw::Op::Input { tensor, .. } | hs_hw::Op::Output { tensor, .. } = &mut node.op {
            *tensor = tensor[..1].to_owned();
        }
    }
    program
}

/// gcc for programs that use the library.
fn gcc() -> Command {
    let library = library();
    let mut command = Command::new("gcc");
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    command.arg(format!("-L{}", library.display())).arg(format!("-Wl,-rpath,{}", library.display()));
    command
}

/// Digits as floats, a package of the model that reads them, and what `hypersonic emulate` makes of them.
struct Digits {
    package: PathBuf,
    rows: usize,
    x: PathBuf,
    expected: Vec<u8>,
}

fn digits(dir: &Path) -> Digits {
    let fixture = |what: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/exports/torch_legacy-digits_mlp")
            .with_extension(what)
    };
    let (package, y) = (dir.join("digits"), dir.join("y.npy"));
    let hypersonic = || assert_cmd::Command::cargo_bin("hypersonic").unwrap();
    hypersonic().arg("compile").arg(fixture("onnx")).arg("-o").arg(&package).assert().success();
    let x = fixture("x.npy");
    hypersonic()
        .arg("emulate")
        .arg(&package)
        .arg("--input")
        .arg(&x)
        .arg("--output")
        .arg(&y)
        .assert()
        .success();
    let bytes = |path: &Path| {
        let tensor = npy::load(path).unwrap();
        let values = tensor.to_f64().into_iter().flat_map(|v| (v as f32).to_le_bytes());
        (tensor.rows(), values.collect::<Vec<u8>>())
    };
    let (rows, values) = bytes(&x);
    let x = dir.join("x.f32");
    fs::write(&x, values).unwrap();
    let (found, expected) = bytes(&y);
    assert_eq!(found, rows);
    Digits { package, rows, x, expected }
}

#[test]
fn c_and_rust_run_the_emulator_as_the_binary_does() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let digits = digits(dir);
    let host = digits.package.join(HOST);
    if tools::cxx("the C example") {
        let libraries = format!("HYPERSONIC_LIB={}", library().display());
        let flags = "WARNINGS=-Wall -Wextra -Wpedantic -Werror";
        tools::run(Command::new("make").arg("-C").arg(&host).args(["example_c", &libraries, flags]));
        let y = dir.join("y_c.f32");
        let mut example = Command::new(host.join("example_c"));
        example.arg(&digits.package).arg("emulator");
        let listed = tools::run(&mut example);
        assert!(listed.starts_with("input ") && listed.contains("\noutput "), "{listed}");
        tools::run(example.arg(digits.rows.to_string()).arg(&digits.x).arg(&y));
        assert!(fs::read(y).unwrap() == digits.expected, "the C example differs from hypersonic emulate");
    }
    if tools::rustc("the Rust module of the C interface") {
        fs::write(host.join("main.rs"), include_str!("drivers/capi.rs")).unwrap();
        let (program, y) = (dir.join("from_rust"), dir.join("y_rust.f32"));
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2021", "-D", "warnings"]).arg("-L").arg(library());
        rustc.arg(format!("-Clink-arg=-Wl,-rpath,{}", library().display()));
        tools::run(rustc.arg(host.join("main.rs")).arg("-o").arg(&program));
        let mut driver = Command::new(&program);
        driver.arg(&digits.package).arg(digits.rows.to_string()).arg(&digits.x).arg(&y);
        let said = tools::run(&mut driver);
        assert!(said.contains("[64]"), "{said}");
        assert!(fs::read(y).unwrap() == digits.expected, "Rust differs from hypersonic emulate");
    }
}

#[test]
fn what_c_gets_wrong_is_refused() {
    if !tools::cxx("calling libhypersonic.so from C") {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    package(&swap(), "swap", &dir.join("pkg"));
    fs::write(dir.join("driver.c"), include_str!("drivers/faults.c")).unwrap();
    let program = dir.join("driver");
    let mut gcc = gcc();
    gcc.arg("-I").arg(dir.join("pkg/host")).arg(dir.join("driver.c"));
    tools::run(gcc.args(["-lhypersonic", "-lm", "-o"]).arg(&program));
    tools::run(Command::new(&program).current_dir(dir).arg("pkg"));
}

#[test]
fn a_card_library_is_checked_and_its_results_are() {
    if !tools::cxx("playing a card") {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let program = swap();
    let fingerprint = program.fingerprint();
    fs::write(dir.join("card.c"), include_str!("drivers/card.c")).unwrap();
    fs::write(dir.join("x.xclbin"), "no bits").unwrap();
    let half: Vec<String> = fingerprint.0[..16].iter().map(ToString::to_string).collect();
    let xclbin = dir.join("x.xclbin");
    let device = format!("card:0000:3b:00.1,{}", xclbin.display());
    let values: Vec<u8> = (0..18).flat_map(|i| (i as f32 / 4.0).to_le_bytes()).collect();
    let attempt = |fault: u32| -> Result<Vec<f32>, (u32, String)> {
        let pkg = dir.join(format!("pkg{fault}"));
        package(&program, "swap", &pkg);
        let mut gcc = gcc();
        gcc.args(["-shared", "-fPIC"]).arg(format!("-DFAULT={fault}"));
        gcc.arg(format!("-DFINGERPRINT=\"{fingerprint}\""))
            .arg(format!("-DFINGERPRINT_BYTES={}", half.join(",")));
        tools::run(gcc.arg(dir.join("card.c")).arg("-o").arg(pkg.join("host/libswap_card.so")));
        let model = hypersonic::Model::open(pkg.to_str().unwrap(), &device);
        let mut y = vec![0.0; 18];
        let run = |model: hypersonic::Model| model.run(3, &[&values], &mut [&mut y]);
        model.and_then(run).map_err(|e| (e.status(), e.to_string()))?;
        Ok(y)
    };
    assert_eq!(attempt(0).unwrap(), (0..18).map(|i| i as f32 / 4.0).collect::<Vec<f32>>());
    for (fault, status, part) in [
        (1, 3, "is of version 2, not 1; build it again: make -C"),
        (2, 3, "is for another model, of fingerprint 0123; build it again"),
        (3, 3, "cannot open 0000:3b:00.1 with"),
        (4, 4, "the fan stands still"),
        (5, 4, "output 'y': the output ends without a trailer"),
    ] {
        let (found, message) = attempt(fault).unwrap_err();
        assert!(found == status && message.contains(part), "{fault}: status {found}, {message}");
    }
    // A file that is no library.
    let pkg = dir.join("broken");
    package(&program, "swap", &pkg);
    fs::write(pkg.join("host/libswap_card.so"), "no library").unwrap();
    let error = hypersonic::Model::open(pkg.to_str().unwrap(), &device).err().unwrap();
    assert!(error.status() == 3 && error.to_string().contains("is XRT installed"), "{error}");
}
