//! The graph IR: what an ONNX model says, before any number is quantised.
//!
//! A [`Graph`] is a list of [`Node`]s in topological order over a list of [`Value`]s. Operators are an open set: a node
//! holds its operator's name and attributes, and the compiler's operator registry gives them meaning. Semantics are
//! those of float arithmetic. The IR prints and parses (see [`Graph::to_text`]), and [`Graph::verify`] checks what
//! every pass must preserve.

mod attr;
mod dtype;
mod edit;
mod graph;
mod tensor;
mod text;
mod verify;

pub use attr::{Attr, Attrs};
pub use dtype::DType;
pub use edit::{Names, Uses};
pub use graph::{Graph, Grid, Node, Value, ValueId};
pub use tensor::{Tensor, TensorData, TensorError, element_count};
pub use text::ParseError;
pub use verify::VerifyError;
