//! Runs of kernels.
#![expect(unsafe_code, reason = "calls C")]

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::buffer::Allocated;
use crate::device::Handle;
use crate::kernel::OpenKernel;
use crate::{Buffer, Error};

/// How long a wait looks without a pause: a short run is over by then.
const EAGER: Duration = Duration::from_micros(50);

/// The first pause and the longest: each is a quarter longer than the one before.
const PAUSE: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));

/// A run of a kernel. It keeps the buffers that it was given.
///
/// A run that is dropped while it goes on takes the device with it: XRT can free nothing that a running kernel might
/// use. All of the device then stays as it is, further calls fail with [`Error::Abandoned`], and the process must end
/// by [`leave`](crate::leave).
#[derive(Debug)]
pub struct Run {
    /// Dropped after the run is closed, as are the buffers.
    kernel: Arc<OpenKernel>,
    handle: Handle,
    values: Vec<Value>,
    phase: Phase,
}

/// What an argument was set to.
#[derive(Debug, Clone)]
enum Value {
    Unset,
    Scalar,
    Buffer(#[expect(dead_code, reason = "keeps the buffer while the run has it")] Arc<Allocated>),
}

type SetArg = unsafe extern "C" fn(hs_xrt_sys::xrtRunHandle, i32, ...) -> i32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Started,
    Ended,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not started.
    New,
    /// Handed to the card's scheduler.
    Queued,
    /// The kernel works.
    Running,
    /// The kernel has ended.
    Completed,
    /// It failed.
    Failed,
    /// It was ended from outside.
    Aborted,
    /// Handed to the card, which has not taken it yet.
    Submitted,
    /// The card's scheduler lost patience.
    TimedOut,
    /// The card does not answer.
    NoResponse,
    /// A number that the versions of XRT that are known do not use.
    Unknown(u32),
}

/// The value of an argument that is no pointer, of the type that the kernel's source has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// `int`, or another type of up to 4 bytes.
    I32(i32),
    /// `unsigned`, or another type of up to 4 bytes.
    U32(u32),
    /// A type of 8 bytes.
    I64(i64),
    /// A type of 8 bytes.
    U64(u64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
}

impl Run {
    pub(crate) fn open(kernel: &Arc<OpenKernel>) -> Result<Self, Error> {
        kernel.device.usable()?;
        let xrt = kernel.device.xrt;
        // SAFETY: the kernel is open.
        let handle = unsafe { xrt.functions().xrtRunOpen(kernel.handle().raw()) };
        let what = || format!("making a run of kernel '{}'", kernel.name());
        let handle = Handle::new(handle).ok_or_else(|| xrt.failed(what()))?;
        let values = vec![Value::Unset; kernel.arguments().len()];
        Ok(Self { kernel: Arc::clone(kernel), handle, values, phase: Phase::New })
    }

    /// Sets an argument that is a pointer.
    pub fn set_buffer(&mut self, index: usize, buffer: &Buffer) -> Result<(), Error> {
        let allocated = buffer.allocated();
        let kernel = || self.kernel.name().to_owned();
        match self.argument(index)? {
            None => {
                let (expected, found) = ("a number", "a buffer");
                return Err(Error::ArgumentKind { kernel: kernel(), index, expected, found });
            }
            Some(_) if !Arc::ptr_eq(&allocated.device, &self.kernel.device) => {
                return Err(Error::OtherDevice(index));
            }
            Some(bank) if bank != buffer.bank() => {
                return Err(Error::ArgumentBank {
                    kernel: kernel(),
                    index,
                    expected: bank,
                    found: buffer.bank(),
                });
            }
            Some(_) => {}
        }
        let (set, run, number) = self.setter(index);
        // SAFETY: run and buffer are open, and the argument takes a buffer's handle.
        let status = unsafe { set(run, number, allocated.handle().raw()) };
        self.keep(index, status, Value::Buffer(Arc::clone(allocated)))
    }

    /// Sets an argument that is no pointer. XRT takes its type from the xclbin and not from here: a value of another
    /// type arrives as some other number.
    pub fn set_scalar(&mut self, index: usize, value: impl Into<Scalar>) -> Result<(), Error> {
        if self.argument(index)?.is_some() {
            let (expected, found) = ("a buffer", "a number");
            return Err(Error::ArgumentKind {
                kernel: self.kernel.name().to_owned(),
                index,
                expected,
                found,
            });
        }
        let (set, run, number) = self.setter(index);
        // SAFETY: the run is open. XRT reads the value as a number: scalars given by address were refused with the
        // xclbin, and for a pointer without a bank XRT searches its table of handles.
        let status = unsafe {
            match value.into() {
                Scalar::I32(value) => set(run, number, value),
                Scalar::U32(value) => set(run, number, value),
                Scalar::I64(value) => set(run, number, value),
                Scalar::U64(value) => set(run, number, value),
                Scalar::F32(value) => set(run, number, f64::from(value)),
                Scalar::F64(value) => set(run, number, value),
            }
        };
        self.keep(index, status, Value::Scalar)
    }

    /// Starts the kernel. All arguments must be set; they keep their values for the next start.
    pub fn start(&mut self) -> Result<(), Error> {
        self.at_rest()?;
        if let Some(index) = self.values.iter().position(|value| matches!(value, Value::Unset)) {
            return Err(Error::NotSet { kernel: self.kernel.name().to_owned(), index });
        }
        let xrt = self.kernel.device.xrt;
        // SAFETY: the run is open and not running, its buffers are open.
        let status = unsafe { xrt.functions().xrtRunStart(self.handle.raw()) };
        xrt.done(status, || format!("starting kernel '{}'", self.kernel.name()))?;
        self.phase = Phase::Started;
        Ok(())
    }

    /// What the run does now.
    pub fn state(&self) -> State {
        // SAFETY: the run is open.
        let state = unsafe { self.kernel.device.xrt.functions().xrtRunState(self.handle.raw()) };
        State::new(state)
    }

    /// Waits until the run that was started last ends. After [`Error::Deadline`] it goes on, and can be waited for
    /// again.
    pub fn wait(&mut self, deadline: Duration) -> Result<(), Error> {
        let kernel = || self.kernel.name().to_owned();
        if self.phase != Phase::Started {
            return Err(Error::NotStarted(kernel()));
        }
        // XRT's own wait with a limit does not keep it in emulation, and without one it waits for ever.
        let begin = Instant::now();
        let mut pause = PAUSE.0;
        let state = loop {
            let state = self.state();
            if state.is_final() {
                break state;
            }
            let waited = begin.elapsed();
            if waited >= deadline {
                return Err(Error::Deadline { kernel: kernel(), deadline, state });
            }
            if waited < EAGER {
                thread::yield_now();
            } else {
                thread::sleep(pause.min(deadline - waited));
                pause = (pause * 5 / 4).min(PAUSE.1);
            }
        };
        self.end();
        if state == State::Completed {
            return Ok(());
        }
        let kernel = self.kernel.name().to_owned();
        Err(Error::Failed { kernel, state, message: self.kernel.device.xrt.message() })
    }

    /// Lets XRT take note that the run has ended.
    fn end(&mut self) {
        // SAFETY: the run is open; it has ended, so that this returns at once.
        unsafe { self.kernel.device.xrt.functions().xrtRunWait(self.handle.raw()) };
        self.phase = Phase::Ended;
    }

    /// The bank of an argument that can be set now; none for a scalar.
    fn argument(&self, index: usize) -> Result<Option<u32>, Error> {
        self.at_rest()?;
        let arguments = self.kernel.arguments();
        let argument = arguments.get(index).ok_or_else(|| Error::NoArgument {
            kernel: self.kernel.name().to_owned(),
            index,
            arguments: arguments.len(),
        })?;
        Ok(argument.bank)
    }

    fn at_rest(&self) -> Result<(), Error> {
        self.kernel.device.usable()?;
        if self.phase == Phase::Started { Err(Error::Running(self.kernel.name().to_owned())) } else { Ok(()) }
    }

    /// What sets an argument, and its first two arguments.
    fn setter(&self, index: usize) -> (SetArg, *mut c_void, i32) {
        let number = i32::try_from(index).unwrap_or(i32::MAX);
        (self.kernel.device.xrt.functions().xrtRunSetArg, self.handle.raw(), number)
    }

    /// Keeps what an argument was set to, if it was.
    fn keep(&mut self, index: usize, status: i32, value: Value) -> Result<(), Error> {
        let what = || format!("setting argument {index} of kernel '{}'", self.kernel.name());
        self.kernel.device.xrt.done(status, what)?;
        self.values[index] = value;
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let device = &self.kernel.device;
        if self.phase == Phase::Started && !device.is_abandoned() {
            if self.state().is_final() {
                self.end();
            } else {
                device.abandon();
            }
        }
        let device = &self.kernel.device;
        if !device.is_abandoned() {
            // SAFETY: the run is open and has ended.
            unsafe { device.xrt.functions().xrtRunClose(self.handle.raw()) };
        }
    }
}

impl State {
    fn new(state: u32) -> Self {
        match state {
            hs_xrt_sys::ERT_CMD_STATE_NEW => Self::New,
            hs_xrt_sys::ERT_CMD_STATE_QUEUED => Self::Queued,
            hs_xrt_sys::ERT_CMD_STATE_RUNNING => Self::Running,
            hs_xrt_sys::ERT_CMD_STATE_COMPLETED => Self::Completed,
            hs_xrt_sys::ERT_CMD_STATE_ERROR
            | hs_xrt_sys::ERT_CMD_STATE_SKERROR
            | hs_xrt_sys::ERT_CMD_STATE_SKCRASHED => Self::Failed,
            hs_xrt_sys::ERT_CMD_STATE_NORESPONSE => Self::NoResponse,
            hs_xrt_sys::ERT_CMD_STATE_ABORT => Self::Aborted,
            hs_xrt_sys::ERT_CMD_STATE_SUBMITTED => Self::Submitted,
            hs_xrt_sys::ERT_CMD_STATE_TIMEOUT => Self::TimedOut,
            other => Self::Unknown(other),
        }
    }

    fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Aborted | Self::TimedOut | Self::NoResponse => true,
            Self::New | Self::Queued | Self::Running | Self::Submitted | Self::Unknown(_) => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Submitted => "submitted",
            Self::TimedOut => "timed out",
            Self::NoResponse => "without an answer of the card",
            Self::Unknown(state) => return write!(f, "unknown ({state})"),
        })
    }
}

impl From<i32> for Scalar {
    fn from(value: i32) -> Self {
        Self::I32(value)
    }
}

impl From<u32> for Scalar {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<i64> for Scalar {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}

impl From<u64> for Scalar {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<f32> for Scalar {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        Self::F64(value)
    }
}
