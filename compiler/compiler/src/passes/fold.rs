//! Infers types and shapes, folds what is constant, and reports every node that is not supported.

use std::sync::Arc;

use hs_ir::{Graph, Grid, Node, Tensor, element_count};

use super::PassOptions;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ops::bipolar_quant::BipolarQuant;
use crate::ops::clip::Clip;
use crate::ops::linear;
use crate::ops::quant::{self, Quant};
use crate::ops::reshape::Reshape;
use crate::ops::transpose::Transpose;
use crate::ops::{self, Call, Inferred, OpDef, Stage};

/// Most elements a tensor may have.
const MAX_ELEMENTS: usize = 1 << 31;
/// Most elements that all folded constants may have together.
const MAX_FOLDED: usize = 1 << 27;

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    let mut room = MAX_FOLDED;
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let folded = step(graph, &node, &mut room).unwrap_or_else(|error| {
            for id in node.outputs.iter().flatten() {
                graph.value_mut(*id).shape = None;
            }
            errors.0.extend(error);
            false
        });
        if !folded {
            graph.nodes.push(node);
        }
    }
    errors.into_result()
}

/// Infers `node`'s results and folds it where possible; whether it folded. `Err(None)` when an operand is unknown, which
/// has been reported where it arose.
fn step(graph: &mut Graph, node: &Node, room: &mut usize) -> Result<bool, Option<Diagnostic>> {
    let op = ops::find(node).ok_or_else(|| ops::unsupported(node))?;
    let call = Call::of(graph, node).ok_or(None)?;
    let results = infer(op, &call, graph)?;
    let constant = call.args.iter().flatten().all(|a| a.tensor.is_some());
    let tensors = if results.iter().all(|r| r.value.is_some()) {
        results.iter().filter_map(|r| r.value.clone()).collect()
    } else if constant {
        let size = results.iter().filter_map(|r| element_count(&r.shape)).fold(0, usize::saturating_add);
        *room = room
            .checked_sub(size)
            .ok_or_else(|| call.error(format!("computes too large a constant, of {size} elements")))?;
        (op.eval)(&call)?
    } else if matches!(op.stage, Stage::FoldOnly) {
        return Err(Some(not_folded(&call)));
    } else {
        for (id, result) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                let value = graph.value_mut(*id);
                (value.dtype, value.shape) = (Some(result.dtype), Some(result.shape));
            }
        }
        return Ok(false);
    };
    let grid = grid(&call)?.map(Arc::new);
    set_constants(graph, node, tensors, grid);
    Ok(true)
}

fn set_constants(graph: &mut Graph, node: &Node, tensors: Vec<Tensor>, grid: Option<Arc<Grid>>) {
    for (id, tensor) in node.outputs.iter().zip(tensors) {
        if let Some(id) = id {
            let value = graph.value_mut(*id);
            (value.dtype, value.shape) = (Some(tensor.dtype()), Some(tensor.shape().to_vec()));
            value.constant = Some(Arc::new(tensor));
            value.grid.clone_from(&grid);
        }
    }
}

/// The types and shapes of the results, checked against each other and against what the graph's outputs declare.
pub(super) fn infer(op: &OpDef, call: &Call<'_>, graph: &Graph) -> Result<Vec<Inferred>, Diagnostic> {
    let results = (op.infer)(call)?;
    for (index, id) in call.node.outputs.iter().enumerate() {
        let Some(id) = id else { continue };
        let Some(result) = results.get(index) else {
            return Err(call.error(format!("its output {index} is not supported")));
        };
        if !ops::within(&result.shape, MAX_ELEMENTS) {
            return Err(
                call.error(format!("its result has the shape {:?}, which is too large", result.shape))
            );
        }
        let value = graph.value(*id);
        if let Some(declared) = &value.shape
            && (declared.len() != result.shape.len()
                || declared.iter().zip(&result.shape).skip(1).any(|(a, b)| a != b))
        {
            return Err(call
                .error(format!(
                    "computes the shape {:?} for '{}', which the model declares as {declared:?}",
                    result.shape, value.name
                ))
                .help(
                    "the model contradicts itself: export it again, or correct the output's declared shape",
                ));
        }
    }
    Ok(results)
}

fn not_folded(call: &Call<'_>) -> Diagnostic {
    let inputs: Vec<_> =
        call.args.iter().flatten().filter(|a| a.tensor.is_none()).map(|a| format!("'{}'", a.name)).collect();
    call.error(format!(
        "this operator is supported on constants and shapes only, but {} depends on the model's inputs",
        inputs.join(", ")
    ))
    .help(
        "express the layer with supported operators, or cut the model there with onnx.utils.extract_model and \
         compute the rest on the host",
    )
}

/// The grid of a folded constant: a quantiser makes one, and what only moves elements keeps it.
fn grid(call: &Call<'_>) -> Result<Option<Grid>, Diagnostic> {
    let node = call.node;
    if node.op == "Quant" && quant::by_element(call) {
        return Ok(None);
    }
    if node.op == "Quant" {
        return Quant::parse(call).map(|q| Some(q.grid));
    }
    if node.op == "BipolarQuant" {
        return BipolarQuant::parse(call).map(|q| Some(q.grid()));
    }
    if matches!(node.op.as_str(), "QuantizeLinear" | "DequantizeLinear") {
        return linear::grid(call);
    }
    let Some(grid) = call.optional(0).and_then(|a| a.grid) else { return Ok(None) };
    let moved = |axis: Option<usize>| Some(Grid { axis, ..grid.clone() });
    Ok(match (node.op.as_str(), grid.axis) {
        ("Identity" | "Dropout" | "Cast" | "CastLike", _) => Some(grid.clone()),
        ("Transpose", Some(axis)) => {
            let perm = Transpose::parse(call)?.perm;
            perm.iter().position(|p| *p == axis).and_then(|axis| moved(Some(axis)))
        }
        ("Clip", _) if !call.arg(0)?.dtype.is_float() => {
            let clip = Clip::parse(call)?;
            Some(linear::clipped(grid, clip.min, clip.max))
        }
        ("Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze", None) => moved(None),
        ("Unsqueeze", Some(axis)) => {
            let axes = Reshape::parse(call)?.axes;
            let rank = call.arg(0)?.shape.len() + axes.len();
            (0..rank).filter(|a| !axes.contains(a)).nth(axis).and_then(|axis| moved(Some(axis)))
        }
        ("Squeeze", Some(axis)) => {
            let axes = Reshape::parse(call)?.axes;
            if axes.contains(&axis) {
                None
            } else {
                moved(Some(axis - axes.iter().filter(|a| **a < axis).count()))
            }
        }
        _ => None,
    })
}
