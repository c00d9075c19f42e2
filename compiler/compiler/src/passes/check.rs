//! Checks that a graph can be lowered as it is, and infers its shapes anew.

use hs_ir::Graph;

use super::{PassOptions, fold};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::Limits;
use crate::ops::softmax::Softmax;
use crate::ops::{self, Call, Stage};

/// Operators that mean the same of integers and truth values as of the numbers that hardware has for them.
const INTEGERS: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "Cast",
    "CastLike",
    "Equal",
    "Flatten",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Xor",
];

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    if let Err(error) = graph.verify() {
        return Err(Diagnostic::error(format!("the graph is malformed: {error}")).into());
    }
    for id in &graph.inputs {
        let value = graph.value(*id);
        if value.dtype.is_none() || value.shape.is_none() {
            errors
                .push(Diagnostic::error(format!("the graph's input '{}' has no type or shape", value.name)));
        }
    }
    for index in 0..graph.nodes.len() {
        if let Err(error) = step(graph, index) {
            for id in graph.nodes[index].outputs.clone().into_iter().flatten() {
                graph.value_mut(id).shape = None;
            }
            errors.0.extend(error);
        }
    }
    errors.into_result()
}

fn step(graph: &mut Graph, index: usize) -> Result<(), Option<Diagnostic>> {
    let node = &graph.nodes[index];
    let op = ops::find(node).ok_or_else(|| ops::unsupported(node))?;
    let call = Call::of(graph, node).ok_or(None)?;
    if !matches!(op.stage, Stage::Lowers(_)) {
        return Err(Some(not_lowered(&call)));
    }
    if node.is("Softmax") || node.is("LogSoftmax") {
        Softmax::parse(&call)?.refuse_batch(&call)?;
    }
    if !node.is("Clip") {
        finite(&call)?;
    }
    let results = fold::infer(op, &call, graph, &Limits::NONE)?;
    let integers = node.domain.is_empty() && INTEGERS.contains(&node.op.as_str());
    if let Some(result) = results.iter().find(|r| !r.dtype.is_float() && !integers) {
        let error =
            call.error(format!("computes {} from the model's inputs; floats are expected", result.dtype));
        return Err(Some(error.help("export the model with float inputs and float arithmetic")));
    }
    for (id, result) in graph.nodes[index].outputs.clone().into_iter().zip(results) {
        if let Some(id) = id {
            let value = graph.value_mut(id);
            (value.dtype, value.shape) = (Some(result.dtype), Some(result.shape));
        }
    }
    Ok(())
}

fn finite(call: &Call<'_>) -> Result<(), Diagnostic> {
    for arg in call.args.iter().flatten() {
        if let Some((at, x)) = arg.tensor.and_then(hs_ir::Tensor::first_non_finite) {
            return Err(call.error(format!("its constant '{}' holds {x} at element {at}", arg.name)));
        }
    }
    Ok(())
}

/// Why no pass could rewrite the node.
fn not_lowered(call: &Call<'_>) -> Diagnostic {
    let node = call.node;
    let (message, help) = match node.op.as_str() {
        "Gemm" => (
            "is supported only with a constant weight, a constant bias of one row, and without transA",
            "export the layer as a dense layer with fixed weights",
        ),
        "QuantizeLinear" => (
            "is supported only where a DequantizeLinear with the same constant scale and zero point follows",
            "let the model give floats: end it with DequantizeLinear (onnxruntime.quantization.quantize_static does)",
        ),
        "DequantizeLinear" => (
            "is supported only on constants, and behind a QuantizeLinear with the same scale and zero point",
            "let the model take floats: begin it with QuantizeLinear (onnxruntime.quantization.quantize_static does)",
        ),
        _ => ("cannot be lowered in this form", "express the layer with supported operators"),
    };
    call.error(message).help(help)
}
