//! Cards through XRT's native C API, opened at run time.
//!
//! ```no_run
//! use std::time::Duration;
//! use hs_xrt::{Xclbin, Xrt};
//!
//! # fn main() -> Result<(), hs_xrt::Error> {
//! let mut device = Xrt::open()?.device(0)?;
//! device.load(&Xclbin::read("digits.xclbin")?)?;
//! let kernel = device.kernel("digits_kernel")?;
//! let bank = kernel.arguments()[0].bank.unwrap();
//! let mut x = device.buffer(4096, bank)?;
//! x.bytes_mut().fill(1);
//! x.copy_to_card(0..4096)?;
//! let mut run = kernel.run()?;
//! run.set_buffer(0, &x)?;
//! run.set_scalar(1, 64_u32)?;
//! run.start()?;
//! run.wait(Duration::from_secs(1))?;
//! # Ok(())
//! # }
//! ```
//!
//! XRT ends the process that it runs in where other libraries return an error. What is known to do so is refused before
//! XRT sees it: an environment in which XRT aborts ([`Unavailable`]), an xclbin that is not whole ([`Xclbin`]), a range
//! outside a buffer, an argument that is not there. What is left is the card: while a run does not end, nothing that
//! belongs to its device can be freed. [`Run`] then keeps all of it, and the process must end by [`leave`]. So a program
//! that must live opens XRT in a process of its own, in its own process group: in the `sw_emu` and `hw_emu` emulations
//! XRT's signal handlers end the group.
//!
//! A process that has opened a device in an emulation should end by [`leave`] in any case: XRT 2.13's destructors tell a
//! thread of its own to stop without holding the lock under which that thread looks, and then wait for it. Where the
//! process ends within microseconds of the thread's beginning, it misses the word and both wait for ever.
//!
//! Errors carry XRT's own message. XRT gives it to its log only, so that [`Xrt::open`] sends the log to a file without a
//! name; `runtime_log` in `xrt.ini` has no effect then.

mod buffer;
mod device;
mod environment;
mod error;
mod kernel;
mod library;
mod log;
pub mod pcie;
mod run;
mod xclbin;

pub use buffer::Buffer;
pub use device::Device;
pub use environment::{Environment, Mode, Unavailable};
pub use error::Error;
pub use kernel::{Argument, Kernel};
pub use library::{Xrt, leave};
pub use run::{Run, Scalar, State};
pub use xclbin::{Xclbin, XclbinError};
