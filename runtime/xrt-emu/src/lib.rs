//! Cards that are not there, for any program that uses XRT: XRT's software emulation (`XCL_EMULATION_MODE=sw_emu`) without
//! the vendor's tools.
//!
//! In that mode XRT starts a process in the place of a card, and sends it what it would do to the card over a unix socket:
//! allocations, copies, writes and reads of registers. The crate has both ends of it:
//!
//! * [`serve()`] is that process's part: it answers, and a [`Kernel`] computes;
//! * [`bed`] is where hosts run: a private folder that looks like an installed XRT and Vitis, and processes that end with
//!   it.
//!
//! XRT's side can be told of little. If the process exits while a call is open, the host waits for ever; if it dies by a
//! signal, the host ends too. So a process that gets an error from [`serve()`] must `abort`.
//!
//! Messages are those of XRT 2.13 to 2.23: proto2 messages behind a header, one call at a time.

pub mod bed;
mod call;
mod card;
mod serve;
mod wire;

pub use card::{Image, Kernel, Memory, Registers, UNIT_BYTES};
pub use serve::{Error, connect, serve, socket};
