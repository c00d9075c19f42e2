//! What goes wrong.

use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::{State, Unavailable, XclbinError};

/// Why something could not be done on a card.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// XRT cannot be used here.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// XRT's library cannot be opened, or it lacks a function.
    #[error("XRT cannot be opened: {0}")]
    Library(hs_xrt_sys::Error),
    /// The file that XRT logs to cannot be made.
    #[error("no temporary file for XRT's log: {0}")]
    Log(#[source] io::Error),
    /// A call of XRT failed.
    #[error("{what}: {message}")]
    Call {
        /// What was to be done.
        what: String,
        /// XRT's message.
        message: String,
    },
    /// A name with a byte that ends it in C.
    #[error("'{}' has a NUL byte; no name of a kernel or device has one", .0.escape_debug())]
    Name(String),
    /// An xclbin that XRT must not see.
    #[error(transparent)]
    Xclbin(#[from] XclbinError),
    /// Another xclbin cannot be loaded under what is in use.
    #[error(
        "device {0} has kernels, buffers or runs of the xclbin that it has; drop them before another one is loaded"
    )]
    InUse(String),
    /// A device without an xclbin.
    #[error("device {0} has no xclbin loaded; load one first")]
    NotLoaded(String),
    /// A bank that the xclbin does not have.
    #[error("the xclbin has {banks} memory banks; there is no bank {bank}")]
    NoBank {
        /// The bank asked for.
        bank: u32,
        /// How many there are.
        banks: usize,
    },
    /// A bank that lies in the host's memory.
    #[error("bank {0} is memory of the host, which kernels write at any time; use a bank of the card")]
    HostBank(u32),
    /// A buffer of no bytes.
    #[error("a buffer on a card has at least one byte")]
    Empty,
    /// Outside a buffer.
    #[error("bytes {} to {} are not all in a buffer of {size}", range.start, range.end)]
    Range {
        /// The bytes asked for.
        range: Range<usize>,
        /// Bytes of the buffer.
        size: usize,
    },
    /// An argument that the kernel does not have.
    #[error("kernel '{kernel}' has {arguments} arguments; there is no argument {index}")]
    NoArgument {
        /// The kernel.
        kernel: String,
        /// The argument asked for.
        index: usize,
        /// How many there are.
        arguments: usize,
    },
    /// A buffer for a scalar, or a scalar for a pointer.
    #[error("argument {index} of kernel '{kernel}' takes {expected}, not {found}")]
    ArgumentKind {
        /// The kernel.
        kernel: String,
        /// The argument.
        index: usize,
        /// What it takes.
        expected: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// A buffer that the kernel cannot reach.
    #[error(
        "argument {index} of kernel '{kernel}' is connected to bank {expected}, and the buffer is in bank {found}"
    )]
    ArgumentBank {
        /// The kernel.
        kernel: String,
        /// The argument.
        index: usize,
        /// The argument's bank.
        expected: u32,
        /// The buffer's.
        found: u32,
    },
    /// A buffer of another device.
    #[error("the buffer for argument {0} belongs to another device than the kernel")]
    OtherDevice(usize),
    /// Not all arguments are set.
    #[error("argument {index} of kernel '{kernel}' is not set")]
    NotSet {
        /// The kernel.
        kernel: String,
        /// The first argument without a value.
        index: usize,
    },
    /// A run that goes on.
    #[error("the run of kernel '{0}' has not ended; wait for it first")]
    Running(String),
    /// A run that was not started.
    #[error("the run of kernel '{0}' was not started")]
    NotStarted(String),
    /// The deadline has passed.
    #[error("kernel '{kernel}' did not end within {deadline:?}, its state is {state}")]
    Deadline {
        /// The kernel.
        kernel: String,
        /// The time that it had.
        deadline: Duration,
        /// The last state seen.
        state: State,
    },
    /// A run ended otherwise than by completing.
    #[error("the run of kernel '{kernel}' ended as {state}: {message}")]
    Failed {
        /// The kernel.
        kernel: String,
        /// Its last state.
        state: State,
        /// XRT's message.
        message: String,
    },
    /// A run was given up while it went on.
    #[error(
        "a run on device {0} did not end and was given up; the card can be used again by another process only"
    )]
    Abandoned(String),
}
