//! Code that `cargo xtask codegen` writes.

#[rustfmt::skip]
pub(crate) mod descriptor;
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod inference;
