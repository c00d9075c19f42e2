//! Cards.
#![expect(unsafe_code, reason = "calls C")]

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::xclbin::Bank;
use crate::{Buffer, Error, Kernel, Xclbin, Xrt};

/// What XRT gives for an open thing: a key of its tables, never followed here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle(NonNull<c_void>);

// SAFETY: a handle is looked up in tables that are behind a mutex in XRT; it belongs to no thread.
unsafe impl Send for Handle {}
// SAFETY: as above. Two calls on the same thing at a time are made only where its type says why they may be.
unsafe impl Sync for Handle {}

impl Handle {
    /// None for the null pointer, with which XRT says that a call failed.
    pub(crate) fn new(handle: *mut c_void) -> Option<Self> {
        NonNull::new(handle).map(Self)
    }

    pub(crate) fn raw(self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// A card, open; the last of it, its kernels, buffers and runs closes it.
#[derive(Debug)]
pub struct Device(Arc<Opened>);

/// What a device, and all that belongs to it, share.
pub(crate) struct Opened {
    pub(crate) xrt: Xrt,
    handle: Handle,
    /// As it was opened, for messages.
    name: String,
    loaded: Option<Loaded>,
    /// A run did not end, so that nothing of this device may be freed.
    abandoned: AtomicBool,
}

struct Loaded {
    uuid: [u8; 16],
    banks: Vec<Bank>,
}

impl Xrt {
    /// Opens the card with this index.
    pub fn device(self, index: u32) -> Result<Device, Error> {
        // SAFETY: it takes any number; the environment was checked before.
        let handle = unsafe { self.functions().xrtDeviceOpen(index) };
        Device::new(self, handle, index.to_string())
    }

    /// Opens the card at a place of the PCIe bus, `0000:03:00.1` (domain, bus, device and function).
    pub fn device_at(self, bdf: &str) -> Result<Device, Error> {
        let place = c_string(bdf)?;
        // SAFETY: the string ends in NUL and outlives the call.
        let handle = unsafe { self.functions().xrtDeviceOpenByBDF(place.as_ptr()) };
        Device::new(self, handle, bdf.to_owned())
    }
}

impl Device {
    fn new(xrt: Xrt, handle: *mut c_void, name: String) -> Result<Self, Error> {
        let handle = Handle::new(handle).ok_or_else(|| xrt.failed(format!("opening device {name}")))?;
        Ok(Self(Arc::new(Opened { xrt, handle, name, loaded: None, abandoned: AtomicBool::new(false) })))
    }

    /// Loads an xclbin, in the place of the one before. Not while there are kernels, buffers or runs.
    pub fn load(&mut self, xclbin: &Xclbin) -> Result<(), Error> {
        let Some(device) = Arc::get_mut(&mut self.0) else {
            self.0.usable()?;
            return Err(Error::InUse(self.0.name.clone()));
        };
        device.usable()?;
        device.loaded = None;
        let (functions, name) = (device.xrt.functions(), &device.name);
        // SAFETY: the image begins with an `axlf`, is aligned as one, and all offsets in it are inside of it, which
        // `Xclbin` has checked; it outlives the call, which copies it.
        let status =
            unsafe { functions.xrtDeviceLoadXclbin(device.handle.raw(), xclbin.image().as_ptr().cast()) };
        device.xrt.done(status, || format!("loading the xclbin on device {name}"))?;
        let mut uuid = [0; 16];
        // SAFETY: the call writes 16 bytes.
        let status = unsafe { functions.xrtDeviceGetXclbinUUID(device.handle.raw(), uuid.as_mut_ptr()) };
        device.xrt.done(status, || format!("asking device {name} for its xclbin"))?;
        device.loaded = Some(Loaded { uuid, banks: xclbin.banks().to_vec() });
        Ok(())
    }

    /// The UUID of the xclbin that is loaded.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        self.0.loaded.as_ref().map(|loaded| loaded.uuid)
    }

    /// Opens a kernel, with all its compute units.
    pub fn kernel(&self, name: &str) -> Result<Kernel, Error> {
        Kernel::open(&self.0, name, &[])
    }

    /// Opens a kernel on some of its compute units: a run goes to a free one of them.
    pub fn compute_units(&self, kernel: &str, units: &[&str]) -> Result<Kernel, Error> {
        Kernel::open(&self.0, kernel, units)
    }

    /// Allocates bytes in a memory bank, the `bank` of a kernel's argument. Both sides are aligned to pages; the
    /// host's is zero.
    pub fn buffer(&self, size: usize, bank: u32) -> Result<Buffer, Error> {
        Buffer::new(&self.0, size, bank)
    }
}

impl Opened {
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The UUID of what is loaded.
    pub(crate) fn loaded(&self) -> Result<[u8; 16], Error> {
        self.usable()?;
        let loaded = self.loaded.as_ref().ok_or_else(|| Error::NotLoaded(self.name.clone()))?;
        Ok(loaded.uuid)
    }

    /// Checks that buffers can be allocated in a bank.
    pub(crate) fn check_bank(&self, bank: u32) -> Result<(), Error> {
        self.loaded()?;
        let banks = self.loaded.as_ref().map_or(&[][..], |loaded| &loaded.banks);
        match usize::try_from(bank).ok().and_then(|index| banks.get(index)) {
            None => Err(Error::NoBank { bank, banks: banks.len() }),
            Some(Bank::Host) => Err(Error::HostBank(bank)),
            Some(Bank::Card) => Ok(()),
        }
    }

    /// From now on nothing of this device is freed.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.is_abandoned() { Err(Error::Abandoned(self.name.clone())) } else { Ok(()) }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.is_abandoned() {
            // SAFETY: the handle is open, and whatever belongs to the device has been closed: it holds an `Arc` of this.
            unsafe { self.xrt.functions().xrtDeviceClose(self.handle.raw()) };
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.name).finish()
    }
}

pub(crate) fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Name(text.to_owned()))
}
