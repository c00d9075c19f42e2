//! XRT itself, opened once in a process.
#![expect(unsafe_code, reason = "opens a shared library, calls C")]

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::log::Log;
use crate::{Environment, Error, Mode, Unavailable};

/// XRT, open. It stays open until the process ends, so that this can be copied.
#[derive(Clone, Copy)]
pub struct Xrt(&'static Open);

struct Open {
    functions: hs_xrt_sys::Xrt,
    log: Log,
    mode: Mode,
    /// The library below XRT's.
    shim: PathBuf,
}

/// XRT in this process: its threads and handlers cannot be taken out of it again.
static OPEN: Mutex<Option<Xrt>> = Mutex::new(None);

impl Xrt {
    /// Opens XRT, after it was found that it can be; later calls give the same. Nothing that this process has set in
    /// the environment for XRT has an effect after the first success.
    pub fn open() -> Result<Self, Error> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(xrt) = *open {
            return Ok(xrt);
        }
        let environment = Environment::of_process();
        let mode = environment.check()?;
        let root = environment.xilinx_xrt.ok_or(Unavailable::NotSet)?;
        // SAFETY: the library is of the XRT that the user named, under the name that XRT gives it.
        let functions = unsafe { hs_xrt_sys::open(&root.join("lib").join(hs_xrt_sys::LIBRARY)) };
        let functions = functions.map_err(Error::Library)?;
        let log = Log::new().map_err(Error::Log)?;
        let path = CString::new(log.path()).map_err(|_| Error::Name(log.path()))?;
        // SAFETY: both strings end in NUL and outlive the call, which copies them.
        let set = unsafe { functions.xrtIniStringSet(c"Runtime.runtime_log".as_ptr(), path.as_ptr()) };
        let shim = root.join("lib").join(mode.shim());
        let xrt = Self(Box::leak(Box::new(Open { functions, log, mode, shim })));
        xrt.done(set, || "setting XRT's log".to_owned())?;
        Ok(*open.insert(xrt))
    }

    /// What its calls reach.
    pub fn mode(self) -> Mode {
        self.0.mode
    }

    /// How many cards there are, numbered from 0. An emulation opens cards beyond them too.
    pub fn cards(self) -> Result<u32, Error> {
        // SAFETY: the library is of the XRT that is open, and the environment was checked.
        unsafe { hs_xrt_sys::probe(&self.0.shim) }.map_err(Error::Library)
    }

    pub(crate) fn functions(self) -> &'static hs_xrt_sys::Xrt {
        &self.0.functions
    }

    /// XRT's message for the call on this thread that has just failed.
    pub(crate) fn message(self) -> String {
        self.0.log.message()
    }

    /// An error if a call gave something else than zero.
    pub(crate) fn done(self, status: i32, what: impl FnOnce() -> String) -> Result<(), Error> {
        if status == 0 { Ok(()) } else { Err(self.failed(what())) }
    }

    pub(crate) fn failed(self, what: String) -> Error {
        Error::Call { what, message: self.message() }
    }
}

impl std::fmt::Debug for Xrt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xrt").field("mode", &self.0.mode).finish_non_exhaustive()
    }
}

/// Ends the process at once, without destructors: the only safe end where something of XRT's was not freed, a run that
/// was given up or anything that another thread still holds. XRT's destructors would use it; in emulations they can also
/// wait for ever where nothing is held (see the crate's documentation).
pub fn leave(code: i32) -> ! {
    // SAFETY: it has no preconditions; the process is gone.
    unsafe { libc::_exit(code) }
}
