//! `libhypersonic.so`: packages from C.
//!
//! The interface is `hypersonic.h`, which every package has in its folder `host`. [`Model`] is what stands behind it: a
//! package opened on a device, in safe Rust. `exports` checks what C hands over; nothing that goes wrong, a panic
//! included, leaves it otherwise than as a status and a message.

#[expect(unsafe_code, reason = "calls into the library that a package's `host` builds")]
mod card;
mod error;
#[expect(unsafe_code, reason = "pointers from C")]
mod exports;
mod model;

pub use error::Error;
pub use model::{Model, Tensor};
