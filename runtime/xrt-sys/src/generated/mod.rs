//! Code that `cargo xtask bindgen-xrt` writes.

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::pedantic
)]
#[rustfmt::skip]
pub mod xrt;
