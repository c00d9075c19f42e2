//! Kernels.
#![expect(unsafe_code, reason = "calls C")]

use std::sync::Arc;

use crate::device::{Handle, Opened, c_string};
use crate::{Error, Run};

/// More arguments than any kernel has: where the count ends if XRT ends it nowhere.
const MOST_ARGUMENTS: usize = 1024;

/// A kernel of the xclbin that is loaded, on one or more of its compute units.
#[derive(Debug, Clone)]
pub struct Kernel(Arc<OpenKernel>);

pub(crate) struct OpenKernel {
    /// Dropped after the kernel is closed.
    pub(crate) device: Arc<Opened>,
    handle: Handle,
    name: String,
    arguments: Vec<Argument>,
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// Its offset in the compute unit's register file, in bytes.
    pub offset: u32,
    /// The memory bank that it is connected to; none for a scalar.
    pub bank: Option<u32>,
}

impl Kernel {
    pub(crate) fn open(device: &Arc<Opened>, name: &str, units: &[&str]) -> Result<Self, Error> {
        let uuid = device.loaded()?;
        let units = if units.is_empty() { String::new() } else { format!(":{{{}}}", units.join(",")) };
        let name = format!("{name}{units}");
        let text = c_string(&name)?;
        let xrt = device.xrt;
        // SAFETY: the device is open, the UUID has 16 bytes, the name ends in NUL, and both outlive the call.
        let handle =
            unsafe { xrt.functions().xrtPLKernelOpen(device.handle().raw(), uuid.as_ptr(), text.as_ptr()) };
        let what = || format!("opening kernel '{name}' of device {}", device.name());
        let handle = Handle::new(handle).ok_or_else(|| xrt.failed(what()))?;
        let device = Arc::clone(device);
        let mut kernel = OpenKernel { device, handle, name, arguments: Vec::new() };
        kernel.arguments = (0..MOST_ARGUMENTS).map_while(|index| kernel.argument(index)).collect();
        xrt.message();
        Ok(Self(Arc::new(kernel)))
    }

    /// Its name, and its compute units where some were chosen.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its arguments, by their ids.
    pub fn arguments(&self) -> &[Argument] {
        &self.0.arguments
    }

    /// A run of this kernel, which can be started any number of times, one after another.
    pub fn run(&self) -> Result<Run, Error> {
        Run::open(&self.0)
    }
}

impl OpenKernel {
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// An argument as XRT describes it; none after the last.
    fn argument(&self, index: usize) -> Option<Argument> {
        let index = i32::try_from(index).ok()?;
        let functions = self.device.xrt.functions();
        // SAFETY: the kernel is open; both calls take any index.
        let (offset, bank) = unsafe {
            let offset = functions.xrtKernelArgOffset(self.handle.raw(), index);
            if offset == u32::MAX {
                return None;
            }
            (offset, functions.xrtKernelArgGroupId(self.handle.raw(), index))
        };
        Some(Argument { offset, bank: u32::try_from(bank).ok() })
    }
}

impl Drop for OpenKernel {
    fn drop(&mut self) {
        if !self.device.is_abandoned() {
            // SAFETY: the handle is open, and its runs have been closed: each holds an `Arc` of this.
            unsafe { self.device.xrt.functions().xrtKernelClose(self.handle.raw()) };
        }
    }
}

impl std::fmt::Debug for OpenKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("name", &self.name)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}
