//! Code that `cargo xtask codegen` writes.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod inference;
