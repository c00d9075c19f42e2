//! Hosts in C++: the bindings that a package brings, and one that knows nothing of ours.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use hs_hw::testing::Rng;
use hs_package::HOST;
use hs_runtime::{Executable, Tensor, TensorInfo};
use hs_xrt_emu::bed::End;

use crate::{
    digits, exported,
    native::Model,
    random,
    rig::{PACKAGE, Rig, XCLBIN, succeed},
    with_weights,
};

/// The headers of XRT.
fn headers() -> Option<PathBuf> {
    let installed = std::env::var_os("XILINX_XRT").map(|root| Path::new(&root).join("include"));
    let found = installed
        .into_iter()
        .chain(["/usr/include/xrt".into()])
        .find(|d| d.join("xrt/xrt_device.h").is_file());
    if found.is_none() {
        println!("SKIPPED: compiling hosts needs XRT's headers (Debian: apt-get install libxrt-dev)");
    }
    found
}

/// Compiles a driver; none, and it is said why, without headers.
fn compiled(rig: &Rig, driver: &str, arguments: &[String]) -> Option<PathBuf> {
    let headers = headers()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulated/drivers").join(driver);
    let program = rig.at("host");
    let mut compiler = Command::new("g++");
    compiler.args(["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror"]).args(arguments);
    compiler.arg("-isystem").arg(&headers).arg(source).arg("-o").arg(&program);
    succeed(compiler.args(["-lxrt_coreutil", "-pthread"]));
    Some(program)
}

#[track_caller]
fn ends_well(rig: &Rig, host: &mut Command) {
    let (end, said) = rig.run(host);
    assert_eq!(end, End::Exit(0), "{said}");
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Random floats for each input.
fn values(model: &Model, rows: usize) -> Vec<Tensor> {
    let mut rng = Rng::new(rows as u64);
    let tensor = |info: &TensorInfo| {
        let shape: Vec<usize> = [rows].into_iter().chain(info.shape.iter().map(|d| d.unwrap())).collect();
        let x = (0..shape.iter().product()).map(|_| rng.int(-1000..=1000) as f32 / 64.0).collect();
        Tensor::of(shape, x).unwrap()
    };
    model.emulator.inputs().iter().map(tensor).collect()
}

fn all(tensors: &[Tensor]) -> Vec<u8> {
    tensors.iter().flat_map(|tensor| bytes(tensor.as_slice::<f32>().unwrap())).collect()
}

fn bindings(rig: Option<Rig>) {
    let Some(rig) = rig else { return };
    let model = Model::open(&rig.at(PACKAGE));
    let host = rig.at(PACKAGE).join(HOST);
    let header = |entry: io::Result<fs::DirEntry>| {
        entry.unwrap().file_name().to_str()?.strip_suffix("_xrt.hpp").map(str::to_owned)
    };
    let top = fs::read_dir(&host).unwrap().find_map(header).unwrap();
    let header = host.join(format!("{top}_xrt.hpp")).display().to_string();
    let Some(host) =
        compiled(&rig, "bindings.cpp", &["-include".to_owned(), header, format!("-DMODEL={top}")])
    else {
        return;
    };
    for (card, rows) in [("0", 1), ("1", 17), ("0", 4097), ("1", 16_384), ("0", 16_385)] {
        let x = values(&model, rows);
        fs::write(rig.at("x"), all(&x)).unwrap();
        let expected = all(&model.emulator.run(&x).unwrap());
        let rows = rows.to_string();
        ends_well(&rig, Command::new(&host).args([card, XCLBIN, PACKAGE, &rows, "x", "y"]));
        assert!(fs::read(rig.at("y")).unwrap() == expected, "{rows} rows on card {card}");
    }
}

#[test]
fn xrt_bindings_run_images() {
    bindings(Rig::new(|out| exported("digits_cnn", out), 2, 2));
}

#[test]
fn xrt_bindings_run_random_packages() {
    for seed in 100..103 {
        bindings(Rig::new(|out| random(seed, out), 1 + seed as u32 % 3, 2));
    }
}

#[test]
fn xrt_bindings_run_on_one_unit() {
    bindings(Rig::new(digits, 1, 2));
}

#[test]
fn xrt_bindings_run_on_four_units() {
    bindings(Rig::new(digits, 4, 2));
}

#[test]
fn xrt_bindings_load_weights() {
    bindings(Rig::new(with_weights, 2, 2));
}

#[test]
fn xrt_c_interface_runs() {
    let (Some(rig), Some(headers)) = (Rig::new(digits, 2, 1), headers()) else { return };
    let model = Model::open(&rig.at(PACKAGE));
    // libhypersonic.so, which cargo built for these tests.
    let library = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let host = rig.at(PACKAGE).join(HOST);
    let mut make = Command::new("make");
    make.arg("-C").arg(&host).args(["all", "example_c", "CXXFLAGS=-O0"]);
    make.arg(format!("XRT_CXXFLAGS=-isystem {}", headers.display()));
    succeed(make.arg(format!("HYPERSONIC_LIB={}", library.display())));
    for rows in [1, 17, 4097, 16_385] {
        let x = values(&model, rows);
        fs::write(rig.at("x"), all(&x)).unwrap();
        let expected = all(&model.emulator.run(&x).unwrap());
        let (card, rows) = (format!("card:0,{XCLBIN}"), rows.to_string());
        ends_well(&rig, Command::new(host.join("example_c")).args([PACKAGE, &card, &rows, "x", "y"]));
        assert!(fs::read(rig.at("y")).unwrap() == expected, "{rows} rows");
    }
}

#[test]
fn xrt_host_of_others_runs() {
    let Some(rig) = Rig::new(digits, 3, 1) else { return };
    let model = Model::open(&rig.at(PACKAGE));
    let Some(host) = compiled(&rig, "foreign.cpp", &[]) else { return };
    let kernel = model.package.manifest().kernel.as_ref().unwrap().name.clone();
    for rows in [1, 17, 200] {
        let (inputs, expected) = model.packed(5, rows);
        fs::write(rig.at("x"), &inputs[0]).unwrap();
        let (rows, bytes) = (rows.to_string(), expected[0].len().to_string());
        ends_well(&rig, Command::new(&host).args([XCLBIN, &kernel, "3", &rows, "x", "y", &bytes]));
        assert!(fs::read(rig.at("y")).unwrap() == expected[0].repeat(3), "{rows} rows");
    }
}
