//! From ONNX to a fixed-point program.
