//! A request and its answer, as every frontend forms them.

use std::{sync::Arc, time::Duration};

use hs_runtime::{Buffer, Datatype, Payload};

use crate::scheduler::Times;

/// One inference request. Nothing in it has been checked against the model.
#[derive(Debug, Clone, Default)]
pub struct InferRequest {
    /// Name of the model.
    pub model: String,
    /// Version in decimal; empty: the latest that is ready.
    pub version: String,
    /// The client's name for the request, for messages; empty: none.
    pub id: String,
    /// Its inputs, in any order.
    pub inputs: Vec<InputTensor>,
    /// Outputs wanted; empty: all.
    pub outputs: Vec<RequestedOutput>,
    /// 1 is the highest; 0: the model's default.
    pub priority: u64,
    /// How long it may wait in the queue, where the model allows to say so.
    pub timeout: Option<Duration>,
}

/// An input of a request.
#[derive(Debug, Clone)]
pub struct InputTensor {
    /// ONNX name.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Shape, the batch axis included.
    pub shape: Vec<i64>,
    /// Little-endian elements; strings each after their 32-bit length.
    pub data: Payload,
}

/// An output that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// ONNX name.
    pub name: String,
    /// Number of best classes wanted instead of the values; 0: the values.
    pub classes: usize,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct InferResponse {
    /// Name of the model.
    pub model: Arc<str>,
    /// Version that answered.
    pub version: u64,
    /// Outputs, in the order requested, else in the model's.
    pub outputs: Vec<OutputTensor>,
    /// Name of the backend that answered.
    pub backend: Arc<str>,
    /// Whether the outputs are bit for bit what the compiled model gives on any device.
    pub exact: bool,
    /// When it was run.
    pub times: Times,
}

/// An output of an answer.
#[derive(Debug, Clone)]
pub struct OutputTensor {
    /// ONNX name.
    pub name: Arc<str>,
    /// The values, the batch axis first where the model has one.
    pub buffer: Buffer,
}
