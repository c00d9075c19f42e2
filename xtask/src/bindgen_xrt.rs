//! Bindings of XRT's native C API, from the headers of an installed XRT, by bindgen and libclang.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bindgen::{Builder, EnumVariation};

/// The generated file, relative to the workspace's root.
const RUST: &str = "runtime/xrt-sys/src/generated/xrt.rs";

const HEADERS: &str = "\
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include \"xrt/xrt_bo.h\"
#include \"xrt/xrt_device.h\"
#include \"xrt/xrt_kernel.h\"
#include \"experimental/xrt_ini.h\"
#include \"experimental/xrt_xclbin.h\"
#include \"ert.h\"
";

/// The functions of devices, xclbins, kernels, buffers, runs and settings. Those of AIE graphs, of profiling and of the
/// API before this one are left out.
const FUNCTIONS: &str = "xrt(BO|Device|Ini|Kernel|PLKernel|Run|Xclbin)[A-Z][A-Za-z]*";

/// What is declared and in no library, what is older than its successor here, and conversions to handles of the API before this one.
const NOT: &str =
    "xrt(KernelRun|XclbinAllocAxlf|XclbinUUID|XclbinGetData|[A-Za-z]+FromXcl|DeviceToXclDevice)";

/// Why there are no bindings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindgenError {
    /// XRT's headers are not installed.
    #[error("no {} (Debian: apt-get install libxrt-dev)", .0.display())]
    NoHeaders(PathBuf),
    /// libclang cannot be opened, or lacks its own headers.
    #[error("{0} (Debian: apt-get install libclang-dev)")]
    NoClang(String),
    /// bindgen or libclang could not read the headers.
    #[error("{0}")]
    Bindgen(#[from] bindgen::BindgenError),
    /// The file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Generates and writes the bindings; returns the file written.
pub(crate) fn write() -> Result<PathBuf, BindgenError> {
    let path = path();
    fs::write(&path, generate()?).map_err(|source| BindgenError::Io { path: path.clone(), source })?;
    Ok(path)
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(RUST)
}

/// Where XRT's headers are: in the XRT that `XILINX_XRT` names, else where Debian has them.
fn include() -> Result<PathBuf, BindgenError> {
    let xilinx = std::env::var_os("XILINX_XRT").map(|root| Path::new(&root).join("include"));
    let debian = PathBuf::from("/usr/include/xrt");
    [xilinx, Some(debian.clone())]
        .into_iter()
        .flatten()
        .find(|folder| folder.join("xrt/xrt_device.h").is_file())
        .ok_or(BindgenError::NoHeaders(debian.join("xrt/xrt_device.h")))
}

fn generate() -> Result<String, BindgenError> {
    let include = include()?;
    clang_sys::load().map_err(BindgenError::NoClang)?;
    let bindings = Builder::default()
        .header_contents("xrt.h", HEADERS)
        .clang_arg("-std=c11")
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_function(FUNCTIONS)
        .blocklist_function(NOT)
        .allowlist_type("xclBOSyncDirection|ert_cmd_state")
        .allowlist_var("XCL_BO_FLAGS_NONE")
        .opaque_type("axlf")
        .default_enum_style(EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate_comments(false)
        .dynamic_library_name("Xrt")
        .dynamic_link_require_all(true)
        .disable_header_comment()
        .generate()
        .map_err(|error| match error.to_string() {
            // libclang can be there without the headers that belong to a compiler.
            text if text.contains("file not found") => BindgenError::NoClang(text),
            _ => error.into(),
        })?;
    Ok(format!("// Generated from XRT's headers by `cargo xtask bindgen-xrt`; do not edit.\n{bindings}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_bindings_of_xrt_are_current() {
        let fresh = match generate() {
            Ok(fresh) => fresh,
            Err(why @ (BindgenError::NoHeaders(_) | BindgenError::NoClang(_))) => {
                println!("SKIPPED: generating XRT's bindings: {why}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let checked_in = fs::read_to_string(path()).unwrap();
        assert!(checked_in == fresh, "{RUST} is stale: run `cargo xtask bindgen-xrt`");
    }
}
