//! Hosts in C++: the bindings that a package brings, and one that knows nothing of ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hs_hw::testing::Rng;
use hs_package::HOST;
use hs_runtime::{Executable, Tensor};
use hs_xrt_emu::bed::End;

use crate::{
    digits,
    native::Model,
    rig::{PACKAGE, Rig, XCLBIN, succeed},
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

fn bindings(units: u32) {
    let Some(rig) = Rig::new(digits, units, 2) else { return };
    let model = Model::open(&rig.at(PACKAGE));
    let top = fs::read_dir(rig.at(PACKAGE).join(HOST))
        .unwrap()
        .find_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix("_xrt.hpp").map(str::to_owned));
    let top = top.unwrap();
    let header = rig.at(PACKAGE).join(HOST).join(format!("{top}_xrt.hpp"));
    let arguments = ["-include".to_owned(), header.display().to_string(), format!("-DMODEL={top}")];
    let Some(host) = compiled(&rig, "bindings.cpp", &arguments) else { return };
    for (card, rows) in [("0", 1), ("1", 17), ("0", 4097)] {
        let mut rng = Rng::new(rows as u64);
        let row: usize = model.emulator.inputs()[0].shape.iter().map(|d| d.unwrap()).product();
        let x: Vec<f32> = (0..rows * row).map(|_| rng.int(-1000..=1000) as f32 / 64.0).collect();
        let shape: Vec<usize> =
            [rows].into_iter().chain(model.emulator.inputs()[0].shape.iter().map(|d| d.unwrap())).collect();
        fs::write(rig.at("x"), x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        let expected = model.emulator.run(&[Tensor::of(shape, x).unwrap()]).unwrap();
        let expected: Vec<u8> =
            expected[0].as_slice::<f32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
        let rows = rows.to_string();
        ends_well(&rig, Command::new(&host).args([card, XCLBIN, PACKAGE, &rows, "x", "y"]));
        assert!(fs::read(rig.at("y")).unwrap() == expected, "{rows} rows on card {card}");
    }
}

#[test]
fn xrt_bindings_run_on_one_unit() {
    bindings(1);
}

#[test]
fn xrt_bindings_run_on_four_units() {
    bindings(4);
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
