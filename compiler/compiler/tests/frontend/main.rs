//! ONNX in, normal graph out: real exporters' files, single operators, passes and bad input.

mod bad_input;
mod calibration;
mod export_bits;
mod exporters;
mod exports;
mod hls4ml;
mod layouts;
mod lowering;
mod onnxruntime;
mod operators;
mod passes;
mod quantised;
mod quantisers;
mod support;
