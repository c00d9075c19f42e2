//! A card, through the library that `make` builds in a package's folder `host` (`NAME_card.cpp`): the one place that
//! knows its functions.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    path::Path,
    ptr::{self, NonNull},
    sync::Mutex,
};

use hs_package::{HOST, Package};
use libloading::Library;

use crate::Error;

/// Version of the library's functions.
const VERSION: c_uint = 1;
/// Longest message that is taken from the library, in bytes.
const MESSAGE: usize = 1024;

type Version = unsafe extern "C" fn() -> c_uint;
type FingerprintText = unsafe extern "C" fn() -> *const c_char;
type Open = unsafe extern "C" fn(
    package: *const c_char,
    device: *const c_char,
    xclbin: *const c_char,
    card: *mut *mut c_void,
    error: *mut c_char,
    error_bytes: usize,
) -> c_int;
type Run = unsafe extern "C" fn(
    card: *mut c_void,
    rows: usize,
    inputs: *const *const u8,
    outputs: *const *mut u8,
    error: *mut c_char,
    error_bytes: usize,
) -> c_int;
type Close = unsafe extern "C" fn(card: *mut c_void);

/// An open card.
#[derive(Debug)]
pub(crate) struct Card {
    handle: Mutex<Handle>,
    run: Run,
    close: Close,
    /// Keeps the functions in memory.
    _library: Library,
}

#[derive(Debug)]
struct Handle(NonNull<c_void>);

// SAFETY: the library may be called from any thread; the mutex has calls follow each other.
unsafe impl Send for Handle {}

impl Card {
    /// Opens the card of index or PCIe address `device` with a bitstream of the package's kernel.
    pub(crate) fn open(package: &Package, device: &str, xclbin: &str) -> Result<Self, Error> {
        let dir = package.dir();
        let Some(kernel) = &package.manifest().kernel else {
            return Err(Error::Device(format!("{} has no kernel; compile the model again", dir.display())));
        };
        if !Path::new(xclbin).is_file() {
            return Err(Error::Device(format!("there is no xclbin '{xclbin}'")));
        }
        let host = dir.join(HOST);
        let path = host.join(hs_package::card_library(&kernel.name));
        if !path.is_file() {
            return Err(Error::Device(format!(
                "there is no {}; build it where XRT is installed: make -C {}",
                path.display(),
                host.display()
            )));
        }
        // A path without a directory would be looked for elsewhere.
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let broken = |e: libloading::Error| {
            Error::Device(format!(
                "cannot load {}: {e}; is XRT installed, and its setup.sh sourced?",
                path.display()
            ))
        };
        // SAFETY: loading runs initialisers of the library and of XRT, which the user built and installed for this.
        let library = unsafe { Library::new(&absolute) }.map_err(broken)?;
        // SAFETY: the names are those of `card.cpp`, of these types in version 1, which is checked first.
        let (version, fingerprint, open, run, close) = unsafe {
            (
                *library.get::<Version>("hypersonic_card_version").map_err(broken)?,
                *library.get::<FingerprintText>("hypersonic_card_fingerprint").map_err(broken)?,
                *library.get::<Open>("hypersonic_card_open").map_err(broken)?,
                *library.get::<Run>("hypersonic_card_run").map_err(broken)?,
                *library.get::<Close>("hypersonic_card_close").map_err(broken)?,
            )
        };
        let rebuild = |what: String| {
            Error::Device(format!("{} is {what}; build it again: make -C {}", path.display(), host.display()))
        };
        // SAFETY: it takes nothing.
        let found = unsafe { version() };
        if found != VERSION {
            return Err(rebuild(format!("of version {found}, not {VERSION}")));
        }
        // SAFETY: a constant text of the library.
        let found = unsafe { CStr::from_ptr(fingerprint()) }.to_string_lossy();
        if found != package.manifest().fingerprint.to_string() {
            return Err(rebuild(format!("for another model, of fingerprint {found}")));
        }
        let text = |text: &str| {
            CString::new(text).map_err(|_| Error::Argument(format!("{text:?} holds a zero byte")))
        };
        let package = text(&dir.to_string_lossy())?;
        let (device, xclbin) = (text(device)?, text(xclbin)?);
        let mut message = [0; MESSAGE];
        let mut card = ptr::null_mut();
        // SAFETY: texts end with a zero byte; `card` and `message` take what the function writes.
        let failed = unsafe {
            open(
                package.as_ptr(),
                device.as_ptr(),
                xclbin.as_ptr(),
                &mut card,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        match NonNull::new(card).filter(|_| failed == 0) {
            Some(card) => Ok(Self { handle: Mutex::new(Handle(card)), run, close, _library: library }),
            None => Err(Error::Device(said(&message))),
        }
    }

    /// Runs packed rows. Buffers have the sizes of so many rows of the model's inputs and outputs.
    pub(crate) fn run(&self, rows: usize, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), Error> {
        let inputs: Vec<*const u8> = inputs.iter().map(|x| x.as_ptr()).collect();
        let outputs: Vec<*mut u8> = outputs.iter_mut().map(|y| y.as_mut_ptr()).collect();
        let mut message = [0; MESSAGE];
        let handle = self.handle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: the card is open; there is a pointer a model input and output, to as many bytes as the caller of
        // this function has checked.
        let failed = unsafe {
            (self.run)(
                handle.0.as_ptr(),
                rows,
                inputs.as_ptr(),
                outputs.as_ptr(),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if failed == 0 { Ok(()) } else { Err(Error::Card(said(&message))) }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let handle = self.handle.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: opened by `open`, closed once.
        unsafe { (self.close)(handle.0.as_ptr()) }
    }
}

/// A message that ends with a zero byte.
fn said(message: &[c_char]) -> String {
    let bytes: Vec<u8> = message.iter().map(|c| *c as u8).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
