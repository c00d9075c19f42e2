//! What goes wrong.

use opencl3::error_codes::ClError;

/// Why something could not be done on a card.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// XRT, which is below Xilinx's OpenCL, cannot be used here.
    #[error(transparent)]
    Unavailable(#[from] hs_xrt::Unavailable),
    /// There is no OpenCL.
    #[error("there is no libOpenCL.so.1 here; install OpenCL's loader (Debian's package ocl-icd-libopencl1)")]
    NoLibrary,
    /// There is no OpenCL of Xilinx.
    #[error(
        "OpenCL has {}, not Xilinx's: the file that names libxilinxopencl.so must be in /etc/OpenCL/vendors, or in the \
         folder that OCL_ICD_VENDORS names",
        if found.is_empty() { "no platform".to_owned() } else { format!("the platforms {}", found.join(", ")) }
    )]
    NoPlatform {
        /// The platforms that are there.
        found: Vec<String>,
    },
    /// A card that is not there.
    #[error("there is no card {index}: OpenCL has {found} of Xilinx's, counted from 0")]
    NoCard {
        /// The card asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
    /// A file that XRT must not see.
    #[error(transparent)]
    Xclbin(#[from] hs_xrt::XclbinError),
    /// A kernel that the xclbin does not have.
    #[error("the xclbin has no kernel '{kernel}', it has: {}", found.join(", "))]
    NoKernel {
        /// The kernel asked for.
        kernel: String,
        /// Those that are there.
        found: Vec<String>,
    },
    /// A compute unit that the kernel does not have.
    #[error("kernel '{kernel}' has no compute unit '{unit}', it has: {}", found.join(", "))]
    NoUnit {
        /// The kernel.
        kernel: String,
        /// The compute unit asked for.
        unit: String,
        /// Those that are there.
        found: Vec<String>,
    },
    /// The kernel takes something else.
    #[error("kernel '{kernel}' takes {found}, not {expected}; build the bitstream of this package")]
    Arguments {
        /// The kernel.
        kernel: String,
        /// What it takes.
        found: String,
        /// What was to be passed.
        expected: String,
    },
    /// Bytes that are not those of the slot's buffers.
    #[error("{found} bytes for {what}, which has {expected}")]
    Length {
        /// The buffer.
        what: String,
        /// Bytes given.
        found: usize,
        /// Bytes of the buffer, at most as many are copied.
        expected: usize,
    },
    /// Other buffers than the slot has.
    #[error("{found} {what}, and the slot has {expected}")]
    Count {
        /// Inputs or outputs.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many the slot has.
        expected: usize,
    },
    /// A call of OpenCL failed.
    #[error("{what}: {error}")]
    Call {
        /// What was to be done.
        what: String,
        /// What OpenCL says.
        error: ClError,
    },
}

/// Names what was to be done when a call failed.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(ClError) -> Error {
    let what = what.into();
    move |error| Error::Call { what, error }
}
