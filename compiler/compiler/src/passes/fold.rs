//! Infers types and shapes, folds what is constant, and reports every node that is not supported.

use std::sync::Arc;

use hs_ir::{Graph, Grid, Node, Tensor, element_count};

use super::PassOptions;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::{Limit, Limits};
use crate::ops::bipolar_quant::BipolarQuant;
use crate::ops::clip::Clip;
use crate::ops::linear;
use crate::ops::quant::{self, Quant};
use crate::ops::reshape::Reshape;
use crate::ops::transpose::Transpose;
use crate::ops::{self, Call, Inferred, OpDef, Stage};

/// What folding has cost so far.
struct Spent {
    limits: Limits,
    /// Elements of constants.
    constants: u64,
    /// Multiplications.
    folding: u64,
}

impl Spent {
    /// Counts the folding of `call` into `results`.
    fn count(&mut self, call: &Call<'_>, results: &[Inferred]) -> Result<(), Diagnostic> {
        let size =
            results.iter().filter_map(|r| element_count(&r.shape)).fold(0, usize::saturating_add) as u64;
        self.constants = self.constants.saturating_add(size);
        self.limits.check(Limit::Constants, self.constants)?;
        self.folding = self.folding.saturating_add(size.saturating_mul(products(call)));
        self.limits.check(Limit::Folding, self.folding)
    }
}

/// Multiplications behind an element of the result of `call`, at most.
fn products(call: &Call<'_>) -> u64 {
    let shape = |i: usize| call.args.get(i).and_then(Option::as_ref).map_or(&[][..], |a| a.shape);
    let product = |shape: &[usize]| element_count(shape).unwrap_or(usize::MAX) as u64;
    match call.node.op.as_str() {
        "MatMul" | "Gemm" | "Dense" => shape(0).iter().copied().max().unwrap_or(1) as u64,
        "Conv" | "ConvTranspose" => product(shape(1).get(1..).unwrap_or_default()).max(1),
        op if op.ends_with("Pool") => {
            let kernel = call.ints("kernel_shape").ok().flatten().unwrap_or_default();
            kernel.iter().fold(1u64, |n, k| n.saturating_mul(k.unsigned_abs()))
        }
        op if op.starts_with("Reduce") => product(shape(0)),
        _ => 1,
    }
}

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    let constants = graph.values.iter().filter_map(|v| v.constant.as_ref()).map(|t| t.len() as u64).sum();
    let mut spent = Spent { limits: options.limits, constants, folding: 0 };
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let folded = step(graph, &node, &mut spent).unwrap_or_else(|error| {
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
fn step(graph: &mut Graph, node: &Node, spent: &mut Spent) -> Result<bool, Option<Diagnostic>> {
    let op = ops::find(node).ok_or_else(|| ops::unsupported(node))?;
    let call = Call::of(graph, node).ok_or(None)?;
    let results = infer(op, &call, graph, &spent.limits)?;
    let constant = call.args.iter().flatten().all(|a| a.tensor.is_some());
    let tensors = if results.iter().all(|r| r.value.is_some()) {
        results.iter().filter_map(|r| r.value.clone()).collect()
    } else if constant {
        spent.count(&call, &results).map_err(|e| e.at_node(node))?;
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
pub(super) fn infer(
    op: &OpDef,
    call: &Call<'_>,
    graph: &Graph,
    limits: &Limits,
) -> Result<Vec<Inferred>, Diagnostic> {
    let results = (op.infer)(call)?;
    for result in &results {
        limits.check_shape(&result.shape).map_err(|e| e.at_node(call.node))?;
    }
    for (index, id) in call.node.outputs.iter().enumerate() {
        let Some(id) = id else { continue };
        let Some(result) = results.get(index) else {
            return Err(call.error(format!("its output {index} is not supported")));
        };
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
