//! ONNX in, normal graph out: real exporters' files, single operators, passes and bad input.

mod bad_input;
mod exports;
mod hls4ml;
mod layouts;
mod lowering;
mod operators;
mod passes;
mod quantisers;
mod support;
