//! Turns `Gemm` and `MatMul` by a constant into `hypersonic::Dense`, with weights `[outputs, inputs]` and `alpha` and
//! `beta` worked in.

use std::sync::Arc;

use hs_ir::{Attr, Attrs, Graph, Grid, Names, Node, Tensor, Value, ValueId};

use super::{Constants, PassOptions};
use crate::diagnostic::Diagnostics;
use crate::lower::Arithmetic;
use crate::ops::gemm::Gemm;
use crate::ops::{Call, become_internal, broadcast_indices, find, permuted_indices};

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

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut constants = Constants::new(graph);
    if options.arithmetic == Arithmetic::Native {
        split(graph, &mut constants);
    }
    for index in 0..graph.nodes.len() {
        if let Some(plan) = plan(graph, index) {
            apply(graph, index, &plan, &mut constants);
        }
    }
    Ok(())
}

/// Writes each `Gemm` that is no dense layer (its input is transposed, its weights are computed, its bias is a matrix) as the
/// operators that it stands for.
fn split(graph: &mut Graph, constants: &mut Constants) {
    if graph.nodes.iter().all(|node| !node.is("Gemm") || gemm(graph, node).is_some()) {
        return;
    }
    let mut names = Names::new();
    for node in &graph.nodes {
        names.take(&node.name);
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        if !node.is("Gemm") || gemm(graph, &node).is_some() {
            graph.nodes.push(node);
            continue;
        }
        let gemm = Call::of(graph, &node).and_then(|call| Gemm::parse(&call).ok());
        let operands = (node.input(0), node.input(1), node.output(0));
        let (Some(gemm), (Some(a), Some(b), Some(y))) = (gemm, operands) else {
            graph.nodes.push(node);
            continue;
        };
        let mut parts = Parts { graph, constants, names: &mut names, node: &node };
        let a = if gemm.trans_a { parts.transposed(a) } else { a };
        let b = if gemm.trans_b { parts.transposed(b) } else { b };
        let c = node.input(2).filter(|_| gemm.beta != 0.0);
        let mut sum = parts.chained("MatMul", vec![a, b], (gemm.alpha == 1.0 && c.is_none()).then_some(y));
        if gemm.alpha != 1.0 {
            let alpha = parts.scalar("alpha", gemm.alpha);
            sum = parts.chained("Mul", vec![sum, alpha], c.is_none().then_some(y));
        }
        if let Some(mut c) = c {
            if gemm.beta != 1.0 {
                let beta = parts.scalar("beta", gemm.beta);
                c = parts.scaled(c, gemm.beta, beta);
            }
            parts.chained("Add", vec![sum, c], Some(y));
        }
    }
}

/// The operators that a `Gemm` is written as.
struct Parts<'a> {
    graph: &'a mut Graph,
    constants: &'a mut Constants,
    names: &'a mut Names,
    node: &'a Node,
}

impl Parts<'_> {
    /// Adds the operator `op`, whose result is `y` or a new value.
    fn chained(&mut self, op: &str, inputs: Vec<ValueId>, y: Option<ValueId>) -> ValueId {
        let call = Node {
            name: self.names.fresh(&format!("{}/{}", self.node.name, op.to_lowercase())),
            domain: String::new(),
            op: op.to_owned(),
            attrs: Attrs::new(),
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: Vec::new(),
            sources: self.node.sources.clone(),
        };
        self.add(call, y)
    }

    fn add(&mut self, mut node: Node, y: Option<ValueId>) -> ValueId {
        let inferred = find(&node).and_then(|op| (op.infer)(&Call::of(self.graph, &node)?).ok());
        let inferred = inferred.and_then(|all| all.into_iter().next());
        let y = y.unwrap_or_else(|| {
            let name = self.constants.names.fresh(&node.name);
            self.graph.add_value(match inferred {
                Some(result) => Value::typed(name, result.dtype, result.shape),
                None => Value::named(name),
            })
        });
        node.outputs = vec![Some(y)];
        self.graph.nodes.push(node);
        y
    }

    /// The transpose of the matrix `x`.
    fn transposed(&mut self, x: ValueId) -> ValueId {
        let value = self.graph.value(x);
        if let (Some(tensor), Some(&[rows, columns])) =
            (&value.constant, self.graph.shape(x).and_then(|s| s.as_array()))
        {
            let axis = |g: &Arc<Grid>| Arc::new(Grid { axis: g.axis.map(|a| 1 - a), ..(**g).clone() });
            let grid = value.grid.as_ref().map(axis);
            let places = permuted_indices(&[rows, columns], &[1, 0]);
            if let Ok(turned) = tensor.gathered(vec![columns, rows], &places) {
                let name = format!("{}_transposed", value.name);
                return self.constants.add(self.graph, &name, turned, grid);
            }
        }
        let node = Node {
            name: self.names.fresh(&format!("{}/transpose", self.node.name)),
            domain: String::new(),
            op: "Transpose".to_owned(),
            attrs: Attrs::from_iter([("perm", Attr::Ints(vec![1, 0]))]),
            inputs: vec![Some(x)],
            outputs: Vec::new(),
            sources: self.node.sources.clone(),
        };
        self.add(node, None)
    }

    fn scalar(&mut self, what: &str, value: f64) -> ValueId {
        let name = format!("{}_{what}", self.node.name);
        self.constants.add(self.graph, &name, Tensor::scalar_f32(value as f32), None)
    }

    /// `beta` times `c`.
    fn scaled(&mut self, c: ValueId, beta: f64, by: ValueId) -> ValueId {
        let Some(tensor) = self.graph.constant(c) else { return self.chained("Mul", vec![c, by], None) };
        let data = tensor.to_f64().into_iter().map(|c| (c * beta) as f32).collect();
        match Tensor::from_f32(tensor.shape().to_vec(), data) {
            Ok(scaled) => self.constants.add(self.graph, &format!("{}_bias", self.node.name), scaled, None),
            Err(_) => c,
        }
    }
}

fn plan(graph: &Graph, index: usize) -> Option<Plan> {
    let node = &graph.nodes[index];
    if node.is("Gemm") {
        return gemm(graph, node);
    }
    let (x, weight) = (node.input(0)?, node.input(1)?);
    if graph.constant(x).is_some() || !node.is("MatMul") {
        return None;
    }
    let matrix = graph.constant(weight)?;
    let [leading @ .., inputs, outputs] = matrix.shape() else { return None };
    if leading.iter().any(|d| *d != 1) || matrix.shape().len() > graph.shape(x)?.len().max(2) {
        return None;
    }
    Some(Plan { x, weight, transpose: true, alpha: 1.0, bias: None, inputs: *inputs, outputs: *outputs })
}

/// The layer that the `Gemm` `node` is, if it is one.
fn gemm(graph: &Graph, node: &Node) -> Option<Plan> {
    let (x, weight) = (node.input(0)?, node.input(1)?);
    graph.constant(weight)?;
    let gemm = Gemm::parse(&Call::of(graph, node)?).ok()?;
    if graph.constant(x).is_some() || gemm.trans_a {
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
    Some(Plan { x, weight, transpose: !gemm.trans_b, alpha: gemm.alpha, bias, inputs, outputs })
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
