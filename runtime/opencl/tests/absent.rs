//! Where something is missing, it is said what, and XRT is not touched.

#![cfg(target_os = "linux")]

use std::{env, fs, path::Path, process::Command};

use hs_opencl::OpenCl;

/// Set in a child, which opens OpenCL and says what became of it.
const CHILD: &str = "HYPERSONIC_TEST_CHILD";

/// What opening says with these files in XRT's `lib`, and no file of a vendor.
fn said(files: &[&str]) -> String {
    let root = tempfile::tempdir().unwrap();
    let (lib, vendors) = (root.path().join("lib"), root.path().join("vendors"));
    fs::create_dir(&lib).unwrap();
    fs::create_dir(&vendors).unwrap();
    for file in files {
        fs::write(lib.join(file), "").unwrap();
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "what_is_missing_is_said", "--nocapture"]).env(CHILD, "1");
    child.env_remove("XCL_EMULATION_MODE").env("OCL_ICD_VENDORS", &vendors);
    if files.is_empty() {
        child.env_remove("XILINX_XRT");
    } else {
        child.env("XILINX_XRT", root.path());
    }
    let out = child.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stderr).unwrap()
}

fn opencl_is_installed() -> bool {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    folders.iter().any(|folder| Path::new(folder).join("libOpenCL.so.1").exists())
}

#[test]
fn what_is_missing_is_said() {
    if env::var_os(CHILD).is_some() {
        eprintln!("{}", OpenCl::open().unwrap_err());
        return;
    }
    let xrt = ["libxrt_coreutil.so.2", "libxrt_core.so.2"];
    let all = [xrt[0], xrt[1], "libxilinxopencl.so.2"];
    assert!(said(&[]).contains("XILINX_XRT is not set"), "{}", said(&[]));
    assert!(said(&xrt[..1]).contains("has no lib/libxrt_core.so.2"), "{}", said(&xrt[..1]));
    assert!(said(&xrt).contains("has no lib/libxilinxopencl.so.2"), "{}", said(&xrt));
    let last =
        if opencl_is_installed() { "OpenCL has no platform, not Xilinx's" } else { "no libOpenCL.so.1" };
    assert!(said(&all).contains(last), "{}", said(&all));
}
