//! `cargo xtask bench xrt`: what a run on a card costs the host, by XRT's emulation in which kernels take no time.

use std::{path::Path, process::Command};

use super::{BenchError, USAGE, cargo, failed, machine, output, revision, target};

/// Where distributions have XRT's libraries.
const LIBRARIES: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/xilinx/xrt/lib"];
const NOOP: &str = "libxrt_noop.so.2";

/// Builds and runs the example of `hs-xrt` that measures, and prints its table.
#[allow(clippy::print_stdout)]
pub(crate) fn xrt(args: &[String]) -> Result<(), BenchError> {
    if !args.is_empty() {
        return Err(BenchError::Usage(format!("bench xrt takes no options\n{USAGE}")));
    }
    let Some(libraries) = LIBRARIES.iter().find(|l| Path::new(l).join(NOOP).is_file()) else {
        let looked = LIBRARIES.join(", ");
        return Err(BenchError::Usage(format!("no {NOOP} in {looked}: install XRT (Debian: libxrt1)")));
    };
    cargo(&["build", "--release", "--locked", "--quiet", "-p", "hs-xrt", "--example", "overhead"])?;
    // XRT looks for itself in a folder `lib`.
    let root = target().join("xrt-noop");
    std::fs::create_dir_all(&root).map_err(failed(root.display().to_string()))?;
    let link = root.join("lib");
    if !link.exists() {
        std::os::unix::fs::symlink(libraries, &link).map_err(failed(link.display().to_string()))?;
    }
    let mut measure = Command::new(target().join("release/examples/overhead"));
    measure.env("XILINX_XRT", root).env("XCL_EMULATION_MODE", "noop");
    let table = output(&mut measure)?;
    let machine = machine();
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    println!("{}, load {}, revision {}\n\n{table}", text("cpu"), text("load_before"), revision());
    Ok(())
}
