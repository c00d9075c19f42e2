//! The native C API of XRT (devices, xclbins, kernels, buffers, runs) as a table of functions.
//!
//! Nothing is linked: [`open`] opens a library at run time and finds every function of [`Xrt`] in it, so that a
//! program with this crate starts where XRT is not installed. The API has been the same in all versions of XRT from
//! 2.13 to 2.23; types and constants are those of 2.13's headers.
//!
//! `xrtRunSetArg` and `xrtRunUpdateArg` take any number of arguments: they are fields to call,
//! `(xrt.xrtRunSetArg)(run, index, value)`, with a buffer's handle for a pointer, and for a scalar the type that C
//! promotes it to (`f64` for a `float`).

mod generated;

use std::path::Path;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

pub use generated::xrt::*;
pub use libloading::Error;

/// The file of the library that has these functions.
pub const LIBRARY: &str = "libxrt_coreutil.so.2";

/// Opens the library at `path` (a file name without a folder is searched for as the dynamic linker does) and finds all
/// functions in it; one that is missing is an error.
///
/// # Safety
/// The library's initialisers run, and what it has under the names of XRT's functions is believed to be them.
#[expect(unsafe_code, reason = "opens a shared library")]
pub unsafe fn open(path: &Path) -> Result<Xrt, Error> {
    // SAFETY: the caller vouches for the library. XRT's shims, which it opens itself, need its symbols to be global.
    unsafe { Xrt::from_library(Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL)?) }
}

/// The number of cards that a shim, the library below XRT's for one kind of card, finds.
///
/// # Safety
/// As for [`open`]; the environment must be one in which XRT can be used.
#[expect(unsafe_code, reason = "opens a shared library, calls C")]
pub unsafe fn probe(shim: &Path) -> Result<u32, Error> {
    // SAFETY: the caller's promise.
    let library = unsafe { Library::open(Some(shim), RTLD_NOW | RTLD_GLOBAL) }?;
    // SAFETY: `unsigned xclProbe(void)` in every shim, declared in xrt.h.
    let count = unsafe { library.get::<unsafe extern "C" fn() -> u32>(c"xclProbe") }?;
    // SAFETY: it takes nothing.
    let cards = unsafe { count() };
    // XRT has opened it too, and its threads cannot be taken out of the process.
    std::mem::forget(library);
    Ok(cards)
}
