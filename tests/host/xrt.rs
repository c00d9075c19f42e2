//! What needs XRT: it compiles, and in XRT's `noop` emulation, which computes nothing, the missing trailer is noticed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{capi, tools, xclbin::xclbin};

/// The folder of XRT's libraries where `noop` emulation can run.
fn noop() -> Option<PathBuf> {
    let roots = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/xilinx/xrt/lib"];
    let found = roots.iter().map(PathBuf::from).find(|d| d.join("libxrt_noop.so.2").is_file());
    if found.is_none() {
        println!(
            "SKIPPED: running XRT's noop emulation needs libxrt_noop.so.2 (Debian: apt-get install libxrt1)"
        );
    }
    found
}

/// A package with the compiled example and card library, and a folder that looks like an installed XRT.
struct Bench {
    dir: tempfile::TempDir,
    xclbin: PathBuf,
}

impl Bench {
    fn new(what: &str) -> Option<Self> {
        if !tools::cxx(what) {
            return None;
        }
        let headers = tools::xrt_headers(what)?;
        let dir = tempfile::tempdir().unwrap();
        capi::package(&capi::swap(), "swap", &dir.path().join("pkg"));
        let mut make = Command::new("make");
        make.arg("-C").arg(dir.path().join("pkg/host")).args(["all", "example_c", "CXXFLAGS=-O0"]);
        make.arg("WARNINGS=-Wall -Wextra -Wpedantic -Werror");
        make.arg(format!("XRT_CXXFLAGS=-isystem {}", headers.display()));
        tools::run(make.arg(format!("HYPERSONIC_LIB={}", capi::library().display())));
        let xclbin_path = dir.path().join("swap.xclbin");
        fs::write(&xclbin_path, xclbin("swap_kernel", &["x_0".to_owned(), "y_0".to_owned()])).unwrap();
        Some(Self { dir, xclbin: xclbin_path })
    }

    /// The C++ example on a file, in `noop` emulation.
    fn example(&self, libraries: &Path, xclbin: &Path) -> Output {
        let mut example = self.command("example", libraries);
        example.arg("0").arg(xclbin).arg(self.dir.path().join("pkg")).arg("5").output().unwrap()
    }

    fn command(&self, program: &str, libraries: &Path) -> Command {
        let root = self.dir.path().join("xrt");
        if !root.exists() {
            fs::create_dir(&root).unwrap();
            #[cfg(unix)]
            std::os::unix::fs::symlink(libraries, root.join("lib")).unwrap();
        }
        let mut command = Command::new(self.dir.path().join("pkg/host").join(program));
        command.current_dir(self.dir.path()).env("XILINX_XRT", root).env("XCL_EMULATION_MODE", "noop");
        command
    }
}

fn refused(out: &Output, part: &str) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains(part), "{}: {said}", out.status);
}

#[test]
fn a_card_that_computes_nothing_is_noticed() {
    let Some(bench) = Bench::new("compiling the XRT binding") else { return };
    let Some(libraries) = noop() else { return };
    refused(&bench.example(&libraries, &bench.xclbin), "output 'y': there is no trailer behind the rows");

    let x = bench.dir.path().join("x.f32");
    fs::write(&x, [0; 5 * 6 * 4]).unwrap();
    let mut c = bench.command("example_c", &libraries);
    c.arg("pkg").arg(format!("card:0,{}", bench.xclbin.display())).arg("5").arg(&x).arg("y.f32");
    refused(&c.output().unwrap(), "output 'y': there is no trailer behind the rows");
}

#[test]
fn what_would_crash_xrt_is_refused_before() {
    let Some(bench) = Bench::new("checking xclbin files") else { return };
    let Some(libraries) = noop() else { return };
    let good = fs::read(&bench.xclbin).unwrap();
    let bad = bench.dir.path().join("bad.xclbin");
    let with = |bytes: &[u8], part: &str| {
        fs::write(&bad, bytes).unwrap();
        refused(&bench.example(&libraries, &bad), part);
    };
    with(&good[..300], "is cut off after 300 bytes");
    with(&good[..good.len() - 1], "its header says");
    with(b"", "is cut off after 0 bytes");
    with(&[b'x'; 5000], "is no xclbin");
    let mut beyond = good.clone();
    beyond[456 + 32 + 5] = 1;
    with(&beyond, "has a section beyond its end");
    refused(&bench.example(&libraries, &bench.dir.path().join("none")), "cannot read the xclbin");

    let arguments = ["0", "swap.xclbin", "pkg"];
    let mut unset = bench.command("example", &libraries);
    refused(&unset.args(arguments).env_remove("XILINX_XRT").output().unwrap(), "XILINX_XRT is not set");
    let mut elsewhere = bench.command("example", &libraries);
    refused(
        &elsewhere.args(arguments).env("XILINX_XRT", "/nowhere").output().unwrap(),
        "no libxrt_noop.so in",
    );
    // No card: XRT's own words, behind ours.
    let mut card = bench.command("example", &libraries);
    refused(
        &card.args(arguments).env_remove("XCL_EMULATION_MODE").output().unwrap(),
        "device 0, swap.xclbin:",
    );
    // A kernel of another name.
    fs::write(&bad, xclbin("other_kernel", &["x_0".to_owned(), "y_0".to_owned()])).unwrap();
    refused(&bench.example(&libraries, &bad), "swap_kernel");
}
