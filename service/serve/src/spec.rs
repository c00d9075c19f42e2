//! A model's configuration, checked and typed: what the rest of the crate reads.

use std::sync::Arc;

use hs_model_config::ModelConfig;
use hs_runtime::Datatype;

use crate::scheduler::Policy;

/// An input or output as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// ONNX name.
    pub name: Arc<str>,
    /// Element type.
    pub datatype: Datatype,
    /// Shape without the batch axis; -1: any size.
    pub dims: Vec<i64>,
    /// Shape that the executable takes or gives instead, without the batch axis, where the configuration reshapes.
    pub reshape: Option<Vec<i64>>,
    /// Whether a request may leave it out.
    pub optional: bool,
    /// Names of the classes along the output's elements, from its `label_filename`; empty: none.
    pub labels: Vec<String>,
}

/// A model's configuration: complete and consistent.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name it is served under.
    pub name: Arc<str>,
    /// The whole configuration, as clients may read it.
    pub config: ModelConfig,
    /// Rows of a request at most; 0: there is no batch axis.
    pub max_batch: usize,
    /// Inputs in the model's order.
    pub inputs: Vec<Port>,
    /// Outputs in the model's order.
    pub outputs: Vec<Port>,
    /// How requests wait and are put together.
    pub policy: Policy,
}
