//! Turns `Gemm` and `MatMul` by a constant into `hypersonic::Dense`, with weights `[outputs, inputs]` and `alpha` and
//! `beta` worked in.

use std::sync::Arc;

use hs_ir::{Graph, Grid, Tensor, ValueId};

use super::{Constants, PassOptions};
use crate::diagnostic::Diagnostics;
use crate::ops::gemm::Gemm;
use crate::ops::{Call, become_internal, broadcast_indices, permuted_indices};

/// Operands of the `Dense` that a node becomes: the weight value, what to do with it, and the bias.
struct Plan {
    x: ValueId,
    weight: ValueId,
    /// Columns of the weight's matrix come first, so that it must be transposed.
    transpose: bool,
    alpha: f64,
    /// The bias and its factor.
    bias: Option<(ValueId, f64)>,
    inputs: usize,
    outputs: usize,
}

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let mut constants = Constants::new(graph);
    for index in 0..graph.nodes.len() {
        if let Some(plan) = plan(graph, index) {
            apply(graph, index, &plan, &mut constants);
        }
    }
    Ok(())
}

fn plan(graph: &Graph, index: usize) -> Option<Plan> {
    let node = &graph.nodes[index];
    let (x, weight) = (node.input(0)?, node.input(1)?);
    if graph.constant(x).is_some() {
        return None;
    }
    let matrix = graph.constant(weight)?;
    if node.is("Gemm") {
        let gemm = Gemm::parse(&Call::of(graph, node)?).ok()?;
        if gemm.trans_a {
            return None;
        }
        let bias = match node.input(2) {
            None => None,
            Some(c) => {
                // One row of bias for all rows.
                let shape = graph.constant(c)?.shape();
                let rows = shape.len().checked_sub(2).map_or(1, |at| shape[at]);
                (rows == 1).then_some(())?;
                Some((c, gemm.beta))
            }
        };
        let (inputs, outputs) = (gemm.inner, gemm.columns);
        return Some(Plan { x, weight, transpose: !gemm.trans_b, alpha: gemm.alpha, bias, inputs, outputs });
    }
    if !node.is("MatMul") {
        return None;
    }
    let [leading @ .., inputs, outputs] = matrix.shape() else { return None };
    if leading.iter().any(|d| *d != 1) || matrix.shape().len() > graph.shape(x)?.len().max(2) {
        return None;
    }
    Some(Plan { x, weight, transpose: true, alpha: 1.0, bias: None, inputs: *inputs, outputs: *outputs })
}

fn apply(graph: &mut Graph, index: usize, plan: &Plan, constants: &mut Constants) {
    let name = graph.nodes[index].name.clone();
    let Some(weight) = weight(graph, plan, &name, constants) else { return };
    let bias = plan.bias.and_then(|(c, beta)| {
        let tensor = graph.constant(c)?;
        if beta == 0.0 {
            return None;
        }
        if beta == 1.0 && tensor.shape() == [plan.outputs] {
            return Some(c);
        }
        let values = tensor.to_f64();
        let picks = broadcast_indices(tensor.shape(), &[1, plan.outputs]);
        let data = picks.iter().map(|i| (values[*i] * beta) as f32).collect();
        // The grid survives if the elements do.
        let grid = graph.value(c).grid.clone().filter(|g| beta == 1.0 && g.axis.is_none());
        Some(constants.add(graph, &format!("{name}_bias"), Tensor::vec_f32(data), grid))
    });
    let node = &mut graph.nodes[index];
    become_internal(node, "Dense");
    node.inputs = vec![Some(plan.x), Some(weight), bias];
}

fn weight(graph: &mut Graph, plan: &Plan, name: &str, constants: &mut Constants) -> Option<ValueId> {
    let value = graph.value(plan.weight);
    let tensor = value.constant.as_ref()?;
    if !plan.transpose && plan.alpha == 1.0 {
        return Some(plan.weight);
    }
    let rank = tensor.shape().len();
    let grid = value.grid.as_deref().and_then(|grid| {
        let axis = match grid.axis.map(|axis| rank - axis) {
            None => None,
            // The last axis but one, or the last.
            Some(from_end @ 1..=2) if plan.transpose => Some(from_end - 1),
            Some(from_end @ 1..=2) => Some(2 - from_end),
            Some(_) => return None,
        };
        let scale = grid.scale.iter().map(|s| s * plan.alpha).collect();
        (plan.alpha > 0.0).then(|| Arc::new(Grid { scale, axis, ..grid.clone() }))
    });
    let mut values = tensor.to_f64();
    if plan.transpose {
        let picks = permuted_indices(&[plan.inputs, plan.outputs], &[1, 0]);
        values = picks.iter().map(|i| values[*i]).collect();
    }
    let data = values.iter().map(|w| (w * plan.alpha) as f32).collect();
    let tensor = Tensor::from_f32(vec![plan.outputs, plan.inputs], data).ok()?;
    Some(constants.add(graph, &format!("{name}_weight"), tensor, grid))
}
