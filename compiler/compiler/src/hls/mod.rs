//! HLS C++ from a Program and its Schedule.
//!
//! [`emit`] is pure: it validates everything first and then yields the files of a project; the caller writes them.
//! The C++ computes with `ap_fixed` types whose typedefs carry the modes, so the vendor's headers do the rounding.

mod bench;
mod config;
pub mod csim;
pub(crate) mod design;
mod files;
pub(crate) mod kernel;
pub mod layout;
mod link;
mod many;
pub(crate) mod moves;
pub mod names;
pub(crate) mod network;
pub(crate) mod top;
pub(crate) mod words;

use hs_hw::{Program, Schedule, VerifyError};

use crate::platform::Target;

pub use link::CONNECTIVITY;
pub use many::{Many, emit_many};

use design::Design;

/// A file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmittedFile {
    /// Path below the project's directory, `/` between its parts.
    pub path: String,
    /// Contents.
    pub bytes: Vec<u8>,
}

impl EmittedFile {
    fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), bytes: text.into().into_bytes() }
    }
}

/// A project and the kernel that it builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Name of the network's top function.
    pub top: String,
    /// What a host and the linker call.
    pub kernel: Kernel,
    /// The files, by path in ascending order.
    pub files: Vec<EmittedFile>,
}

/// Names of a kernel and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its function.
    pub name: String,
    /// Pointer arguments of the model inputs, in order.
    pub inputs: Vec<String>,
    /// Pointer arguments of the model outputs, in order.
    pub outputs: Vec<String>,
    /// Pointer argument of the weights, where they are read from memory; its bytes are the file [`KERNEL_WEIGHTS`].
    pub weights: Option<String>,
}

/// Argument of a kernel that counts rows.
pub const KERNEL_ROWS: &str = "rows";
/// File of a project: what a kernel's pointer to weights points to.
pub const KERNEL_WEIGHTS: &str = "weights/kernel.bin";

/// Why no project can be emitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The Program breaks a rule of the hardware IR.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The Schedule is not one of this Program.
    #[error("the schedule does not fit the program: {0}")]
    Schedule(String),
    /// A node that cannot be built this way.
    #[error("node '{node}': {message}")]
    Node {
        /// Its name.
        node: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The Target is not one of this Program.
    #[error("the target does not fit the program: {0}")]
    Target(String),
    /// The emitted text breaks one of the rules that it must keep: a bug of the generator.
    #[error("generator bug: {0}")]
    Lint(crate::lint::Finding),
}

macro_rules! kernels {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../../../hls_templates/hypersonic/", $name)))),*]
    };
}

/// The kernel headers.
pub(crate) const KERNELS: &[(&str, &str)] = kernels![
    "accum.h",
    "dot.h",
    "load.h",
    "map.h",
    "move.h",
    "pool.h",
    "rows.h",
    "softmax.h",
    "table.h",
    "task.h",
    "types.h",
    "window.h"
];

/// Headers of the test bench. What lies in `tb/sim` stands in for the vendor's own and is for g++ alone.
const BENCH: &[(&str, &str)] = &[
    ("tb/hs_bench.h", include_str!("../../../../hls_templates/sim/hs_bench.h")),
    ("tb/sim/ap_shift_reg.h", include_str!("../../../../hls_templates/sim/ap_shift_reg.h")),
    ("tb/sim/hls_stream.h", include_str!("../../../../hls_templates/sim/hls_stream.h")),
];

macro_rules! project {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../../../hls_templates/project/", $name)))),*]
    };
}

/// Scripts and configurations of a project; names, part and clock are put in.
const PROJECT: &[(&str, &str)] = project![
    "Makefile",
    "README.md",
    "compile.cfg",
    "cosim.tcl",
    "csim.tcl",
    "csynth.tcl",
    "hls_config.cfg",
    "link.cfg",
    "options.tcl",
    "package.cfg",
    "project.tcl",
    "xo.tcl"
];

/// The HLS project of a Program, laid out by `schedule`, with top function `name` (made safe for C++).
///
/// Paths are relative to the project's directory. All problems found are returned together.
pub fn emit(
    program: &Program,
    schedule: &Schedule,
    name: &str,
    target: &Target,
) -> Result<Project, Vec<EmitError>> {
    let design = Design::new(program, schedule, name)?;
    let rows = bench::data_rows(program);
    let mut emitted = firmware(&design, rows);
    emitted.extend(shared_headers());
    let top = &design.top;
    let kernel = kernel::names(&design);
    emitted.push(EmittedFile::text(format!("tb/{top}_kernel_test.cpp"), bench::test(&design)));
    emitted.extend(bench::data(&design, rows));
    for (path, template) in PROJECT {
        let text = template
            .replace("@TOP@", top)
            .replace("@KERNEL@", &kernel.name)
            .replace("@PART@", &target.part)
            .replace("@PLATFORM@", target.platform.as_deref().unwrap_or_default())
            .replace("@CLOCK_MHZ@", &target.clock_mhz.to_string())
            .replace("@CLOCK_PERIOD@", &target.clock_period_ns())
            .replace("@MODEL@", &names::comment(&program.name))
            .replace("@LAYERS@", &files::layers(&design));
        emitted.push(EmittedFile::text(*path, text));
    }
    emitted.extend(link::connectivity(&kernel, target).map_err(|e| vec![e])?);
    emitted.sort_by(|a, b| a.path.cmp(&b.path));
    let findings = crate::lint::lint(&emitted);
    if !findings.is_empty() {
        return Err(findings.into_iter().map(EmitError::Lint).collect());
    }
    Ok(Project { top: top.clone(), kernel, files: emitted })
}

/// The model's own files: firmware, weights, bench. `rows`: of the bench's data.
fn firmware(design: &Design<'_>, rows: usize) -> Vec<EmittedFile> {
    let top = &design.top;
    let mut emitted = vec![
        EmittedFile::text(format!("firmware/{top}_kernel.cpp"), kernel::source(design, rows)),
        EmittedFile::text(format!("firmware/{top}_kernel.h"), kernel::header(design)),
        EmittedFile::text("firmware/defines.h", files::defines(design)),
        EmittedFile::text("firmware/parameters.h", files::parameters(design)),
        EmittedFile::text(format!("tb/{top}_kernel_bench.h"), bench::bench(design, rows)),
    ];
    for array in design.arrays.values() {
        let path = format!("firmware/weights/{}.h", array.name);
        emitted.push(EmittedFile::text(path, files::weights(design, array)));
    }
    emitted.extend(words::weights(design));
    emitted
}

fn shared_headers() -> Vec<EmittedFile> {
    let kernels =
        KERNELS.iter().map(|(name, text)| EmittedFile::text(format!("firmware/hypersonic/{name}"), *text));
    let bench = BENCH.iter().map(|(path, text)| EmittedFile::text(*path, *text));
    kernels.chain(bench).collect()
}
