//! Turns batch normalisations and arithmetic with channel constants into `Affine`, and chains of them into one.

use hs_ir::{Attr, Graph, Node, Tensor, TensorData, Uses, ValueId};

use super::{Constants, PassOptions, absorb, drop_marked};
use crate::diagnostic::Diagnostics;
use crate::ops::affine::Affine;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::scaler::Scaler;
use crate::ops::{Call, INTERNAL_DOMAIN, ML_DOMAIN, become_internal, find};

/// `x * scale + bias`: each `None` (1 or 0), a single element, or one for each index along the axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaling {
    pub(super) x: ValueId,
    /// `None` when scale and bias are single elements.
    pub(super) axis: Option<usize>,
    pub(super) scale: Option<Vec<f64>>,
    pub(super) bias: Option<Vec<f64>>,
}

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut uses = Uses::of(graph);
    let mut constants = Constants::new(graph);
    let mut dead = vec![false; graph.nodes.len()];
    let mut scalings: Vec<Option<Scaling>> = vec![None; graph.nodes.len()];
    for (index, dead) in dead.iter_mut().enumerate() {
        let Some(mut scaling) = recognise(graph, index) else { continue };
        let before = uses
            .producer(scaling.x)
            .filter(|_| uses.sole_consumer(scaling.x) == Some(index))
            .filter(|p| options.absorbs(&graph.nodes[*p]) && options.folds(&graph.nodes[*p]))
            .filter(|_| options.folds(&graph.nodes[index]))
            .and_then(|p| scalings[p].as_ref().map(|first| (p, first)))
            .and_then(|(p, first)| combine(first, &scaling).map(|both| (p, both)));
        let mut at = index;
        if let Some((first, both)) = before {
            // The first of the chain stays and takes over the result.
            let node = graph.nodes[index].clone();
            absorb(&mut graph.nodes[first], node.sources);
            graph.nodes[first].outputs = node.outputs;
            if let Some(y) = graph.nodes[first].output(0) {
                uses.set_producer(y, first);
            }
            *dead = true;
            (at, scaling) = (first, both);
        }
        scalings[at] = Some(scaling);
    }
    for (index, scaling) in scalings.into_iter().enumerate() {
        if let Some(scaling) = scaling.filter(|_| !dead[index]) {
            write(graph, index, &scaling, &mut constants);
        }
    }
    drop_marked(graph, &dead);
    Ok(())
}

/// The scaling that a node is, if it is one.
pub(super) fn recognise(graph: &Graph, index: usize) -> Option<Scaling> {
    let node = &graph.nodes[index];
    let call = Call::of(graph, node)?;
    find(node)?;
    if node.domain == INTERNAL_DOMAIN && node.op == "Affine" {
        return scaling(graph, index);
    }
    if node.is("BatchNormalization") {
        let norm = BatchNorm::parse(&call).ok()?;
        let x = node.input(0)?;
        return Some(Scaling { x, axis: Some(1), scale: Some(norm.scale), bias: Some(norm.bias) });
    }
    if node.is("Neg") && call.float_arg(0).is_ok() {
        return Some(Scaling { x: node.input(0)?, axis: None, scale: Some(vec![-1.0]), bias: None });
    }
    if node.domain == ML_DOMAIN && node.op == "Scaler" {
        let scaler = Scaler::parse(&call).ok()?;
        let axis = graph.shape(node.input(0)?)?.len().checked_sub(1)?;
        let bias = zip(&Some(scaler.offset), &Some(scaler.scale.clone()), 0.0, |o, s| -o * s);
        return Some(Scaling { x: node.input(0)?, axis: Some(axis), scale: Some(scaler.scale), bias });
    }
    if !node.domain.is_empty() || !matches!(node.op.as_str(), "Add" | "Sub" | "Mul" | "Div") {
        return None;
    }
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (x, constant, constant_first) = match (graph.constant(a), graph.constant(b)) {
        (None, Some(c)) => (a, c, false),
        (Some(c), None) => (b, c, true),
        _ => return None,
    };
    let shape = graph.shape(x)?;
    let axis = channel_axis(shape, constant.shape())?;
    if !constant.dtype().is_float() || graph.shape(node.output(0)?)? != shape {
        return None;
    }
    let c = constant.to_f64();
    let (scale, bias) = match (node.op.as_str(), constant_first) {
        ("Add", _) => (None, Some(c)),
        ("Sub", false) => (None, Some(c.iter().map(|c| -c).collect())),
        ("Sub", true) => (Some(vec![-1.0]), Some(c)),
        ("Mul", _) => (Some(c), None),
        ("Div", false) if c.iter().all(|c| *c != 0.0) => (Some(c.iter().map(|c| 1.0 / c).collect()), None),
        _ => return None,
    };
    Some(Scaling { x, axis, scale, bias })
}

/// The scaling of an `Affine` node.
pub(super) fn scaling(graph: &Graph, index: usize) -> Option<Scaling> {
    let node = &graph.nodes[index];
    if node.domain != INTERNAL_DOMAIN || node.op != "Affine" {
        return None;
    }
    let affine = Affine::parse(&Call::of(graph, node)?).ok()?;
    let single = |v: &Option<Vec<f64>>| v.as_ref().is_none_or(|v| v.len() == 1);
    let axis = if single(&affine.scale) && single(&affine.bias) { None } else { Some(affine.axis) };
    Some(Scaling { x: node.input(0)?, axis, scale: affine.scale, bias: affine.bias })
}

/// The axis of `shape` that a constant runs along: `Some(None)` for a single element, `None` when it runs along several
/// or would broadcast the tensor.
fn channel_axis(shape: &[usize], constant: &[usize]) -> Option<Option<usize>> {
    let long: Vec<_> = constant.iter().enumerate().filter(|(_, d)| **d != 1).collect();
    match long[..] {
        [] => Some(None),
        [(at, len)] => {
            let axis = (shape.len() + at).checked_sub(constant.len())?;
            (shape[axis] == *len).then_some(Some(axis))
        }
        _ => None,
    }
}

/// One scaling for `first` and then `second`, when they run along one axis.
fn combine(first: &Scaling, second: &Scaling) -> Option<Scaling> {
    let axis = match (first.axis, second.axis) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b),
    };
    let scale = zip(&first.scale, &second.scale, 1.0, |a, b| a * b);
    let moved = match &first.bias {
        None => None,
        some => zip(some, &second.scale, 1.0, |a, b| a * b),
    };
    let bias = zip(&moved, &second.bias, 0.0, |a, b| a + b);
    Some(Scaling { x: first.x, axis, scale, bias })
}

/// `f` of two lists of which each may be a single element or `None` for `default`.
pub(super) fn zip(
    a: &Option<Vec<f64>>,
    b: &Option<Vec<f64>>,
    default: f64,
    f: impl Fn(f64, f64) -> f64,
) -> Option<Vec<f64>> {
    if a.is_none() && b.is_none() {
        return None;
    }
    let one = [default];
    let (a, b) = (a.as_deref().unwrap_or(&one), b.as_deref().unwrap_or(&one));
    let at = |v: &[f64], i: usize| if v.len() == 1 { v[0] } else { v[i] };
    Some((0..a.len().max(b.len())).map(|i| f(at(a, i), at(b, i))).collect())
}

/// Makes the node `index` the `Affine` of `scaling`.
fn write(graph: &mut Graph, index: usize, scaling: &Scaling, constants: &mut Constants) {
    let name = graph.nodes[index].name.clone();
    let mut operand = |graph: &mut Graph, what: &str, values: &Option<Vec<f64>>, neutral: f64| {
        let values = values.as_ref().filter(|v| v.iter().any(|x| *x != neutral))?;
        let data = TensorData::F64(values.clone());
        let tensor = Tensor::new(hs_ir::DType::F64, vec![values.len()], data).ok()?;
        Some(constants.add(graph, &format!("{name}_{what}"), tensor, None))
    };
    let scale = operand(graph, "scale", &scaling.scale, 1.0);
    let bias = operand(graph, "bias", &scaling.bias, 0.0);
    become_affine(&mut graph.nodes[index], scaling.axis, [Some(scaling.x), scale, bias]);
}

/// Makes `node` an `Affine` with the operands input, scale and bias.
pub(super) fn become_affine(node: &mut Node, axis: Option<usize>, operands: [Option<ValueId>; 3]) {
    become_internal(node, "Affine");
    node.attrs.set("axis", Attr::Int(axis.unwrap_or(0) as i64));
    node.inputs = operands.to_vec();
}
