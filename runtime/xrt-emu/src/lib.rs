//! The device's side of XRT's software emulation (`XCL_EMULATION_MODE=sw_emu`).
//!
//! XRT starts a process in the place of a card, and sends it what it would do to the card over a unix socket:
//! allocations, copies, writes and reads of registers. [`serve`] answers; the [`Kernel`] computes.
//!
//! XRT's side has no way to be told of an error. If this process exits while a call is open, the host waits for ever; if
//! it dies by a signal, the host ends too. So a process that gets an error from [`serve`] must `abort`.
//!
//! Messages are those of XRT 2.13 to 2.23: proto2 messages behind a header, one call at a time.

mod call;
mod card;
mod serve;
mod wire;

pub use card::{Image, Kernel, Memory, Registers, UNIT_BYTES};
pub use serve::{Error, connect, serve, socket};
