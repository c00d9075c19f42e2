//! Triton's model configuration (`config.pbtxt`).

mod generated;

pub use generated::inference::*;
