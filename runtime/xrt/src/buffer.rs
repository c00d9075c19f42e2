//! Memory that host and card exchange.
#![expect(unsafe_code, reason = "calls C, and reads what it maps")]

use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use crate::Error;
use crate::device::{Handle, Opened};

/// Bytes in a bank of a card, and as many of the host's. [`copy_to_card`](Self::copy_to_card) and
/// [`copy_from_card`](Self::copy_from_card) copy between the two; nothing else does.
#[derive(Debug)]
pub struct Buffer(Arc<Allocated>);

pub(crate) struct Allocated {
    /// Dropped after the buffer is freed.
    pub(crate) device: Arc<Opened>,
    handle: Handle,
    /// The host's bytes. Read and written through the one `Buffer` only: runs keep the allocation, and never look.
    bytes: NonNull<u8>,
    size: usize,
    bank: u32,
}

// SAFETY: the bytes belong to no thread, and are reached through the `Buffer` only, which follows Rust's rules.
unsafe impl Send for Allocated {}
// SAFETY: as above.
unsafe impl Sync for Allocated {}

impl Buffer {
    pub(crate) fn new(device: &Arc<Opened>, size: usize, bank: u32) -> Result<Self, Error> {
        device.check_bank(bank)?;
        if size == 0 {
            return Err(Error::Empty);
        }
        let (xrt, owner) = (device.xrt, device.handle().raw());
        let flags = hs_xrt_sys::xrtBufferFlags::from(hs_xrt_sys::XCL_BO_FLAGS_NONE);
        // SAFETY: the device is open.
        let handle = unsafe { xrt.functions().xrtBOAlloc(owner, size, flags, bank) };
        let what = || format!("allocating {size} bytes in bank {bank} of device {}", device.name());
        let handle = Handle::new(handle).ok_or_else(|| xrt.failed(what()))?;
        let device = Arc::clone(device);
        let mut buffer = Allocated { device, handle, bytes: NonNull::dangling(), size, bank };
        // SAFETY: the buffer is open.
        let bytes = unsafe { xrt.functions().xrtBOMap(handle.raw()) };
        buffer.bytes = NonNull::new(bytes.cast()).ok_or_else(|| xrt.failed("mapping a buffer".to_owned()))?;
        // SAFETY: XRT has mapped `size` bytes for writing, and nobody has seen them yet. They may never have been
        // written, which a slice of them must have been.
        unsafe { buffer.bytes.write_bytes(0, size) };
        Ok(Self(Arc::new(buffer)))
    }

    /// The host's bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `size` bytes are mapped while the allocation lives, and they were written. They change by
        // `bytes_mut` and `copy_from_card` only, which borrow this buffer exclusively; the card writes its own memory:
        // banks in the host's are refused.
        unsafe { slice::from_raw_parts(self.0.bytes.as_ptr(), self.0.size) }
    }

    /// The host's bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and this buffer is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.0.bytes.as_ptr(), self.0.size) }
    }

    /// The bank that it is in.
    pub fn bank(&self) -> u32 {
        self.0.bank
    }

    /// Copies bytes to the card; returns when they are there.
    pub fn copy_to_card(&self, range: Range<usize>) -> Result<(), Error> {
        self.sync(hs_xrt_sys::XCL_BO_SYNC_BO_TO_DEVICE, range, "to")
    }

    /// Copies bytes from the card; returns when they are here.
    pub fn copy_from_card(&mut self, range: Range<usize>) -> Result<(), Error> {
        self.sync(hs_xrt_sys::XCL_BO_SYNC_BO_FROM_DEVICE, range, "from")
    }

    fn sync(
        &self,
        direction: hs_xrt_sys::xclBOSyncDirection,
        range: Range<usize>,
        toward: &str,
    ) -> Result<(), Error> {
        let Allocated { device, size, .. } = &*self.0;
        device.usable()?;
        if range.start > range.end || range.end > *size {
            return Err(Error::Range { range, size: *size });
        }
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: the buffer is open and the range inside of it; what is written to is borrowed exclusively.
        let status = unsafe {
            device.xrt.functions().xrtBOSync(self.0.handle.raw(), direction, range.len(), range.start)
        };
        device.xrt.done(status, || format!("copying {} bytes {toward} device {}", range.len(), device.name()))
    }

    pub(crate) fn allocated(&self) -> &Arc<Allocated> {
        &self.0
    }
}

impl Allocated {
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        if !self.device.is_abandoned() {
            // SAFETY: the handle is open, and no run has it: each holds an `Arc` of this.
            unsafe { self.device.xrt.functions().xrtBOFree(self.handle.raw()) };
        }
    }
}

impl std::fmt::Debug for Allocated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("size", &self.size).field("bank", &self.bank).finish_non_exhaustive()
    }
}
