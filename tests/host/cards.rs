//! The class `Card` over a stand-in for XRT, which copies rows: launches, padding, trailers, time limits.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hs_compiler::{
    hls::{EmittedFile, KERNEL_WEIGHTS},
    host,
};

use crate::{capi, project, tools, write, xclbin::xclbin};

/// A compiled driver in a folder with an xclbin and something that looks like XRT, for a kernel that reads so many bytes
/// of weights.
fn driver(dir: &Path, weights: usize) -> PathBuf {
    let program = capi::swap();
    let mut project = project("swap", &program);
    if weights > 0 {
        let bytes: Vec<u8> = (0..weights).map(|i| (7 * i) as u8).collect();
        let file = EmittedFile { path: KERNEL_WEIGHTS.to_owned(), bytes };
        write(std::slice::from_ref(&file), &dir.join("hls"));
        project.kernel.weights = Some("weights".to_owned());
        project.files.push(file);
    }
    write(&host::emit(&program, &project, "hls"), dir);
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/drivers");
    let program = dir.join("driver");
    let mut gxx = tools::gxx();
    gxx.arg("-I").arg(drivers.join("xrt")).arg("-I").arg(dir).arg(drivers.join("card.cpp"));
    tools::run(gxx.arg("-pthread").arg("-o").arg(&program));
    fs::write(dir.join("swap.xclbin"), xclbin("swap_kernel", &[])).unwrap();
    fs::create_dir_all(dir.join("xrt/lib")).unwrap();
    fs::write(dir.join("xrt/lib/libxrt_core.so.2"), "").unwrap();
    program
}

fn call(driver: &Path, arguments: [&str; 3], fault: &str) -> Output {
    let dir = driver.parent().unwrap();
    let mut command = Command::new(driver);
    command.args(arguments).current_dir(dir).env("XILINX_XRT", dir.join("xrt"));
    command.env_remove("XCL_EMULATION_MODE").env("FAULT", fault).output().unwrap()
}

#[test]
fn rows_are_split_and_put_together() {
    if !tools::cxx("the class Card") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let driver = driver(dir.path(), 0);
    for (rows, launch, launches) in [
        (0, 4096, vec![0]),
        (1, 4096, vec![1]),
        (17, 5, vec![5, 5, 5, 2]),
        (16, 16, vec![16]),
        (4097, 4096, vec![4096, 1]),
    ] {
        let out = call(&driver, [&rows.to_string(), &launch.to_string(), "0000:3b:00.1"], "");
        let said = String::from_utf8(out.stdout).unwrap();
        let once: String = launches.iter().map(|n| format!("launch {n}\n")).collect();
        let whole = format!("{once}ok\n{once}").repeat(2);
        let rest = said.strip_prefix(&whole).unwrap_or_else(|| panic!("{rows} rows: {said}"));
        let refusals: Vec<&str> = rest.lines().collect();
        assert_eq!(refusals[0], "there are no values for input 'x'");
        assert_eq!(refusals[1], "the model has no input 'z'; it has 'x'");
        assert_eq!(refusals[2], format!("input 'x' has 1 values; {rows} rows have {}", 6 * rows));
        assert_eq!((refusals.len(), out.status.code()), (3, Some(0)), "{said}");
    }
}

#[test]
fn faults_of_a_card_are_told() {
    if !tools::cxx("the class Card") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let driver = driver(dir.path(), 0);
    let hangs = "the kernel did not finish 5 rows within 50 ms";
    for (fault, first, second) in [
        ("silent", "there is no trailer behind the rows", "there is no trailer behind the rows"),
        ("second", "there is no trailer behind the rows", "there is no trailer behind the rows"),
        ("model", "computes another model, of fingerprint 01020300", "computes another model"),
        ("tail", "the kernel did 4 of 5 rows", "the kernel did 4 of 5 rows"),
        ("error", "the run ended in state 5", "the run ended in state 5"),
        ("hang", hangs, "the kernel hangs since an earlier call"),
    ] {
        let out = call(&driver, ["17", "5", "0"], fault);
        let said = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<&str> = said.lines().filter(|l| !l.starts_with("launch")).collect();
        assert!(lines[0].contains(first) && lines[1].contains(second), "{fault}: {said}");
        assert_eq!(out.status.code(), Some(2), "{fault}: {said}");
    }
    for (arguments, part) in [
        (["1", "0", "0"], "0 rows a launch; expected 1 to"),
        (["1", "1", "1"], "device 1, swap.xclbin: no such device"),
        (["1", "1", "99999999999"], "there is no device 99999999999"),
        (["1", "1", ""], "no device is named"),
    ] {
        let out = call(&driver, arguments, "");
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.code() == Some(1) && said.contains(part), "{said}");
    }
}

#[test]
fn weights_are_uploaded() {
    if !tools::cxx("the class Card") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let driver = driver(dir.path(), 1000);
    let out = call(&driver, ["9", "4", "0"], "");
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && said.starts_with("launch 4\nlaunch 4\nlaunch 1\nok\n"), "{said}");

    fs::write(dir.path().join("hls").join(KERNEL_WEIGHTS), "short").unwrap();
    let out = call(&driver, ["9", "4", "0"], "");
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.code() == Some(1) && said.contains("have 5 bytes, expected 1000"), "{said}");
}
