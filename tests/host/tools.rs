//! Compilers, where they are.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Whether a tool answers; says that tests are skipped where it does not.
fn has(tool: &str, argument: &str, what: &str) -> bool {
    let found = Command::new(tool).arg(argument).output().is_ok_and(|out| out.status.success());
    if !found {
        println!("SKIPPED: {what} needs {tool}, which cannot be started");
    }
    found
}

/// Whether C and C++ can be compiled.
pub(crate) fn cxx(what: &str) -> bool {
    has("g++", "--version", what) && has("gcc", "--version", what)
}

/// Whether Rust can be compiled outside of cargo.
pub(crate) fn rustc(what: &str) -> bool {
    has("rustc", "--version", what)
}

/// The headers of XRT.
pub(crate) fn xrt_headers(what: &str) -> Option<PathBuf> {
    let root = std::env::var_os("XILINX_XRT").map(|root| Path::new(&root).join("include"));
    let found =
        root.into_iter().chain(["/usr/include/xrt".into()]).find(|d| d.join("xrt/xrt_device.h").is_file());
    if found.is_none() {
        println!(
            "SKIPPED: {what} needs XRT's headers (Debian: apt-get install libxrt-dev; scripts/setup --test)"
        );
    }
    found
}

/// Runs a command that must succeed; its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// g++ as the bindings ask for it, with every warning an error.
pub(crate) fn gxx() -> Command {
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    command
}

/// A path that no other call gives.
pub(crate) fn fresh(dir: &Path, extension: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    dir.join(format!("{}.{extension}", NEXT.fetch_add(1, Ordering::Relaxed)))
}
