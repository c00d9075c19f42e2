//! From an ONNX model to a fixed-point program and its FPGA project.
//!
//! [`onnx::import`] reads a model into the graph IR; [`passes::normalise`] fixes every shape, folds what is constant and
//! leaves only operators that can be lowered; [`reference::eval`] runs any graph in float.

mod calibrate;
pub mod config;
pub mod diagnostic;
pub mod driver;
pub mod estimate;
pub mod evidence;
pub mod hls;
pub mod host;
pub mod limits;
pub mod lint;
pub mod lower;
pub mod onnx;
pub mod ops;
pub mod passes;
pub mod platform;
pub mod profile;
pub mod reference;
pub mod schedule;
