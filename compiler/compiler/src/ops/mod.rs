//! The operators: an open set, one file each (or a family that differs in one function).
//!
//! An operator's file holds a typed struct that is parsed from a [`Call`] with every attribute checked, its shape
//! inference and its float reference. To add one: write the file, add its definitions to [`REGISTRY`], add a test case.

use std::collections::HashMap;
use std::sync::LazyLock;

use hs_ir::{Attr, Attrs, DType, Node, Tensor};

use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

mod call;
mod layout;

pub mod affine;
pub mod arg_max;
pub mod batch_norm;
pub mod binary;
pub mod bipolar_quant;
pub mod cast;
pub mod clip;
pub mod compare;
pub mod concat;
pub mod constant;
pub mod conv;
pub mod conv_transpose;
pub mod dense;
pub mod depth_space;
pub mod elu;
pub mod expand;
pub mod gather;
pub mod gemm;
pub mod global_pool;
pub mod hard_sigmoid;
pub mod identity;
pub mod leaky_relu;
pub mod linear;
pub mod log_softmax;
pub mod lut;
pub mod matmul;
pub mod normalisation;
pub mod pad;
pub mod pool;
pub mod pow;
pub mod prelu;
mod products;
pub mod quant;
pub mod range;
pub mod reduce;
pub mod reshape;
pub mod resize;
pub mod scaler;
pub mod select;
pub mod self_gated;
pub mod shape;
pub mod slice;
pub mod softmax;
pub mod split;
pub mod thresholded_relu;
pub mod tile;
pub mod transpose;
pub mod unary;
pub mod variadic;
pub mod window;

pub use call::{Arg, Call};
pub(crate) use layout::{
    broadcast_indices, broadcast_shape, permuted_indices, picked_indices, strides, within,
};

/// The domain of operators that only passes produce: `Affine`, `Dense` and `Lut`.
pub const INTERNAL_DOMAIN: &str = "hypersonic";

/// The attribute of an operator of passes that holds the operator type which the model has in its place.
const MODEL_OP: &str = "model_op";

/// The operator type of a node as the model's author knows it.
pub fn model_op(node: &Node) -> String {
    match node.attrs.get(MODEL_OP) {
        Some(Attr::Str(op)) if node.domain == INTERNAL_DOMAIN => op.clone(),
        _ => node.qualified_op(),
    }
}

/// Makes `node` an operator of passes, without attributes but its [`model_op`].
pub(crate) fn become_internal(node: &mut Node, op: &str) {
    let model_op = model_op(node);
    INTERNAL_DOMAIN.clone_into(&mut node.domain);
    op.clone_into(&mut node.op);
    node.attrs = Attrs::from_iter([(MODEL_OP, Attr::Str(model_op))]);
}

/// Domains under which QONNX operators are found: brevitas's old one, QONNX's and FINN's.
pub const QONNX_DOMAINS: &[&str] = &["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"];

/// The domain of ONNX's operators of classical machine learning.
pub const ML_DOMAIN: &str = "ai.onnx.ml";

/// What shape inference knows of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Inferred {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// The elements, where shapes alone determine them.
    pub value: Option<Tensor>,
}

impl Inferred {
    /// A result of which the elements are not known.
    pub fn new(dtype: DType, shape: Vec<usize>) -> Self {
        Self { dtype, shape, value: None }
    }

    /// A known result.
    pub fn known(tensor: Tensor) -> Self {
        Self { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), value: Some(tensor) }
    }
}

/// Types and shapes of a node's results from those of its operands; constants among them are known.
pub type InferFn = fn(&Call<'_>) -> Result<Vec<Inferred>, Diagnostic>;

/// A node's results from its operands, all of which are known. In float: `f32` results, sums in `f64`.
pub type EvalFn = fn(&Call<'_>) -> Result<Vec<Tensor>, Diagnostic>;

/// Adds a node's hardware to a Program in the making, and binds its result.
pub type LowerFn = fn(&mut Lowerer<'_>, &Call<'_>) -> Result<(), Diagnostic>;

/// An exact function that one hardware op applies before its only cast.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` where it is not negative, elsewhere `x` times this.
    Leaky(f64),
    /// The same with slopes of their own: a tensor that broadcasts to `x`.
    Slopes(Tensor),
    /// Bounds.
    Clip {
        /// Lower bound.
        lo: Option<f64>,
        /// Upper bound.
        hi: Option<f64>,
    },
}

/// How an operator reaches hardware.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// By this function.
    Lowers(LowerFn),
    /// A pass removes it or turns it into one that lowers, where its operands allow.
    Rewritten,
    /// It must fold away at compile time.
    FoldOnly,
}

/// An operator.
#[derive(Debug, Clone, Copy)]
pub struct OpDef {
    /// Domains it is found in; the empty one is ONNX's own.
    pub domains: &'static [&'static str],
    /// Its name.
    pub name: &'static str,
    /// Shape inference.
    pub infer: InferFn,
    /// Float reference.
    pub eval: EvalFn,
    /// How it reaches hardware.
    pub stage: Stage,
}

impl OpDef {
    /// An operator of ONNX's own domain that lowers.
    pub const fn new(name: &'static str, infer: InferFn, eval: EvalFn, lower: LowerFn) -> Self {
        Self { domains: &[""], name, infer, eval, stage: Stage::Lowers(lower) }
    }

    /// An operator of use only where its result is known at compile time.
    pub const fn fold_only(name: &'static str, infer: InferFn, eval: EvalFn) -> Self {
        Self { domains: &[""], name, infer, eval, stage: Stage::FoldOnly }
    }

    /// An operator that passes remove, or turn into one that lowers.
    pub const fn rewritten(name: &'static str, infer: InferFn, eval: EvalFn) -> Self {
        Self { domains: &[""], name, infer, eval, stage: Stage::Rewritten }
    }

    /// The same operator in other domains.
    pub const fn in_domains(self, domains: &'static [&'static str]) -> Self {
        Self { domains, ..self }
    }
}

/// Every operator. The one list.
pub static REGISTRY: &[&[OpDef]] = &[
    affine::OPS,
    arg_max::OPS,
    batch_norm::OPS,
    binary::OPS,
    bipolar_quant::OPS,
    cast::OPS,
    clip::OPS,
    compare::OPS,
    concat::OPS,
    constant::OPS,
    conv::OPS,
    conv_transpose::OPS,
    dense::OPS,
    depth_space::OPS,
    elu::OPS,
    expand::OPS,
    gather::OPS,
    gemm::OPS,
    global_pool::OPS,
    hard_sigmoid::OPS,
    identity::OPS,
    leaky_relu::OPS,
    linear::OPS,
    log_softmax::OPS,
    lut::OPS,
    matmul::OPS,
    normalisation::OPS,
    pad::OPS,
    pool::OPS,
    pow::OPS,
    prelu::OPS,
    quant::OPS,
    range::OPS,
    reduce::OPS,
    reshape::OPS,
    resize::OPS,
    scaler::OPS,
    select::OPS,
    self_gated::OPS,
    shape::OPS,
    slice::OPS,
    softmax::OPS,
    split::OPS,
    thresholded_relu::OPS,
    tile::OPS,
    transpose::OPS,
    unary::OPS,
    variadic::OPS,
];

/// The operator of a node, when it is supported.
pub fn find(node: &Node) -> Option<&'static OpDef> {
    static INDEX: LazyLock<HashMap<(&str, &str), &OpDef>> = LazyLock::new(|| {
        let ops = REGISTRY.iter().flat_map(|family| family.iter());
        ops.flat_map(|op| op.domains.iter().map(move |domain| ((*domain, op.name), op))).collect()
    });
    INDEX.get(&(node.domain.as_str(), node.op.as_str())).copied()
}

/// Lowers one node of a normalised graph.
pub(crate) fn lower(lw: &mut Lowerer<'_>, node: &Node) -> Result<(), Diagnostic> {
    let Some(OpDef { stage: Stage::Lowers(lower), .. }) = find(node) else { return Err(unsupported(node)) };
    let call = Call::of(lw.graph, node)
        .ok_or_else(|| Diagnostic::error("the type or shape of an operand is unknown").at_node(node))?;
    lower(lw, &call)
}

/// The activation that `node` is, if it is one.
pub(crate) fn activation(graph: &hs_ir::Graph, node: &Node) -> Result<Option<Activation>, Diagnostic> {
    let Some(call) = Call::of(graph, node).filter(|_| node.domain.is_empty()) else { return Ok(None) };
    Ok(match node.op.as_str() {
        "Relu" => Some(Activation::Relu),
        "LeakyRelu" => Some(leaky_relu::activation(&call)?),
        "Clip" => Some(clip::activation(&call)?),
        "PRelu" => Some(prelu::activation(&call)?),
        _ => None,
    })
}

/// The error that a node's operator is not supported, with what to do about it.
pub fn unsupported(node: &Node) -> Diagnostic {
    let help = match node.op.as_str() {
        "ArrayFeatureExtractor" | "ZipMap" | "LabelEncoder" => {
            "this computes labels for the host: keep only the scores as output, with onnx.utils.extract_model(model, \
             out, inputs, [scores])"
        }
        "DynamicQuantizeLinear" | "MatMulInteger" | "ConvInteger" | "DynamicQuantizeMatMul" => {
            "quantise with fixed scales: onnxruntime.quantization.quantize_static with calibration data"
        }
        "If" | "Loop" | "Scan" => {
            "control flow cannot be compiled: export with fixed control flow (torch: dynamo=True)"
        }
        "LSTM" | "GRU" | "RNN" => {
            "recurrent layers cannot be compiled yet: unroll the layer before the export"
        }
        _ if !node.domain.is_empty() => {
            "only ONNX's own operators and QONNX's Quant, BipolarQuant and Trunc without zero point are read: export with standard operators"
        }
        _ => {
            "express the layer with supported operators, or cut the model there with onnx.utils.extract_model and \
             compute the rest on the host"
        }
    };
    Diagnostic::error("this operator is not supported").at_node(node).help(help)
}
