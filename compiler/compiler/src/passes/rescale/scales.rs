//! Scalings by one positive number, moved to where they meet others.
//!
//! Such a scaling moves behind what it alone scales, up to and including the next layer, into the scaling that a quantiser
//! begins with, or into a softmax, whose table then has an entry for each integer. The scaling behind a sum moves in front of it, where both operands are scaled already: then ties
//! between two steps of a quantiser stay ties.

use std::collections::BTreeMap;

use hs_ir::{Graph, Node, Uses, ValueId};

use super::{RESCALE, State, is_layer};
use crate::ops::pad::Pad;
use crate::ops::{Call, INTERNAL_DOMAIN};
use crate::passes::affine;

/// Operators f of one tensor with f(s·x) = s·f(x) for each s > 0.
const HOMOGENEOUS: &[&str] = &[
    "AveragePool",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "MaxPool",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

pub(super) fn run(graph: &mut Graph, state: &mut State) {
    forward(graph, state);
    before_sums(graph, state);
}

/// The factor of a node that multiplies everything by one positive number and does nothing else.
fn factor(graph: &Graph, index: usize) -> Option<f64> {
    let scaling = affine::scaling(graph, index)?;
    match (scaling.scale.as_deref(), scaling.bias) {
        (Some([s]), None) if *s > 0.0 => Some(*s),
        _ => None,
    }
}

/// Whether the second operand of `node` is the factor of its first.
fn takes_factor(node: &Node) -> bool {
    node.is("Softmax") || node.domain == INTERNAL_DOMAIN && node.op == "Affine"
}

/// Whether the result of `node` is scaled when its operand `slot` is.
fn homogeneous(graph: &Graph, node: &Node, slot: usize) -> bool {
    if !node.domain.is_empty() {
        return false;
    }
    match node.op.as_str() {
        "MatMul" | "Mul" => true,
        "Pad" => {
            let pad = Call::of(graph, node).and_then(|call| Pad::parse(&call).ok());
            slot == 0 && pad.is_some_and(|pad| pad.value == 0.0)
        }
        op => slot == 0 && HOMOGENEOUS.contains(&op),
    }
}

/// The layers, and scalings and softmaxes where `into_scalings`, that take over a factor of operand `slot` of the node `index`; `None`
/// where something else would see it.
fn targets(
    graph: &Graph,
    uses: &Uses,
    (index, slot): (usize, usize),
    into_scalings: bool,
) -> Option<Vec<usize>> {
    let node = &graph.nodes[index];
    if slot == 0 && (is_layer(node) || takes_factor(node) && into_scalings) {
        return Some(vec![index]);
    }
    let y = node.output(0).filter(|y| !uses.is_output(*y))?;
    if !homogeneous(graph, node, slot) || uses.consumers(y).is_empty() {
        return None;
    }
    let mut all = Vec::new();
    for edge in edges(graph, uses, y) {
        all.extend(targets(graph, uses, edge, into_scalings)?);
    }
    Some(all)
}

/// The readers of `id` and the places where they read it.
fn edges(graph: &Graph, uses: &Uses, id: ValueId) -> Vec<(usize, usize)> {
    let mut readers = uses.consumers(id).to_vec();
    readers.dedup();
    let slots = |at: usize| (0..graph.nodes[at].inputs.len()).map(move |slot| (at, slot));
    readers
        .into_iter()
        .flat_map(slots)
        .filter(|(at, slot)| graph.nodes[*at].input(*slot) == Some(id))
        .collect()
}

fn forward(graph: &mut Graph, state: &mut State) {
    let uses = Uses::of(graph);
    let mut moved: BTreeMap<usize, f64> = BTreeMap::new();
    let mut rewired: Vec<(usize, usize, ValueId)> = Vec::new();
    let mut gone = vec![false; graph.nodes.len()];
    for (index, gone) in gone.iter_mut().enumerate() {
        let Some(s) = factor(graph, index) else { continue };
        let (Some(x), Some(y)) = (graph.nodes[index].input(0), graph.nodes[index].output(0)) else {
            continue;
        };
        let edges = edges(graph, &uses, y);
        let mut left = uses.is_output(y) || edges.is_empty();
        // What scales a layer's result has the layer's name, and stays.
        let into_scalings = graph.nodes[index].name.ends_with(RESCALE);
        for (reader, slot) in edges {
            match targets(graph, &uses, (reader, slot), into_scalings) {
                Some(targets) => {
                    rewired.push((reader, slot, x));
                    for target in targets {
                        *moved.entry(target).or_insert(1.0) *= s;
                    }
                }
                None => left = true,
            }
        }
        *gone = !left;
    }
    for (reader, slot, x) in rewired {
        graph.nodes[reader].inputs[slot] = Some(x);
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for (index, mut node) in nodes.into_iter().enumerate() {
        match (moved.get(&index), node.output(0)) {
            _ if gone[index] => {}
            (Some(s), Some(_)) if takes_factor(&node) => {
                state.multiply(graph, &mut node, *s);
                graph.nodes.push(node);
            }
            (Some(s), Some(y)) => state.layer_and_scaling(graph, &mut node, y, vec![*s]),
            _ => graph.nodes.push(node),
        }
    }
}

/// A sum of two scaled operands, behind which everything is scaled again.
struct Sum {
    /// The scaling behind it.
    behind: usize,
    scale: f64,
    bias: Option<Vec<f64>>,
    /// What the scalings of its operands read, and their factors.
    operands: [(ValueId, f64); 2],
}

fn sum(graph: &Graph, uses: &Uses, index: usize) -> Option<Sum> {
    let node = &graph.nodes[index];
    if !node.is("Add") {
        return None;
    }
    let behind = uses.sole_consumer(node.output(0)?)?;
    let scaling = affine::scaling(graph, behind).filter(|s| s.axis.is_none())?;
    let scale = scaling.scale.as_ref().map_or(1.0, |s| s[0]);
    let operand = |slot: usize| {
        let from = uses.producer(node.input(slot)?)?;
        Some((graph.nodes[from].input(0)?, factor(graph, from)?))
    };
    (scale > 0.0).then_some(Sum { behind, scale, bias: scaling.bias, operands: [operand(0)?, operand(1)?] })
}

fn before_sums(graph: &mut Graph, state: &mut State) {
    let uses = Uses::of(graph);
    let sums: BTreeMap<usize, Sum> =
        (0..graph.nodes.len()).filter_map(|i| Some((i, sum(graph, &uses, i)?))).collect();
    for sum in sums.values() {
        graph.nodes[sum.behind].inputs.truncate(1);
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for (index, mut node) in nodes.into_iter().enumerate() {
        if let Some(sum) = sums.get(&index) {
            let mut bias = sum.bias.clone();
            for (slot, (x, s)) in sum.operands.iter().enumerate() {
                let y = state.value(graph, *x, "summand");
                let name = state.names.fresh(&format!("{}/scale", node.name));
                let scaling = (None, Some(vec![s * sum.scale]), bias.take());
                state.scaling(graph, (name, "Quant"), (*x, y), scaling);
                node.inputs[slot] = Some(y);
            }
        }
        graph.nodes.push(node);
    }
}

impl State {
    /// Multiplies the factor that `node` holds by `s`.
    fn multiply(&mut self, graph: &mut Graph, node: &mut Node, s: f64) {
        let scale = node.input(1).and_then(|id| graph.constant(id)).map_or_else(|| vec![1.0], |t| t.to_f64());
        let scale = scale.into_iter().map(|x| x * s).collect();
        let list = self.list(graph, &format!("{}_scale", node.name), scale, None);
        node.inputs.resize(node.inputs.len().max(2), None);
        node.inputs[1] = list;
    }
}
