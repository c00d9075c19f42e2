//! The names that a model's layers have in hls4ml.
//!
//! hls4ml reads models that qonnx has cleaned, and qonnx names each node after its operator and its place among them.
//! The places depend on how it sorts: by the length of the longest path to a node, then by the order before. A Gemm
//! becomes a MatMul and an Add, put where the Gemm was, one Gemm at a time with a sort after each; so in parallel
//! branches the Adds come in another order than the MatMuls. This is followed here step by step, except for the
//! Transposes that bring convolutions to channels-last.

use std::collections::{BTreeMap, HashMap, HashSet};

use hs_ir::{Attr, Graph};

/// What part of an ONNX node a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// All of it, or the product of a Gemm.
    Main,
    /// The bias of a Gemm.
    Bias,
}

/// Layer names by index of the ONNX node and part.
pub(super) type Names = BTreeMap<(usize, Part), String>;

/// A node on its way through qonnx.
struct Node {
    op: String,
    /// Tensors that other nodes may compute.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    origin: Option<(usize, Part)>,
}

/// The names after qonnx, and every name that it gives.
pub(super) fn qonnx(graph: &Graph) -> (Names, Vec<String>) {
    let mut nodes = cleaned(graph);
    let mut fresh = graph.values.len();
    // Behind the node that makes an image channels-last.
    let images: HashSet<usize> = graph
        .inputs
        .iter()
        .filter(|v| graph.shape(**v).is_some_and(|s| s.len() > 2))
        .map(|v| v.index())
        .collect();
    let sort = |nodes: &mut Vec<Node>| sort(nodes, &images);
    sort(&mut nodes);
    let mut first = true;
    while let Some(at) = nodes.iter().position(|n| n.op == "Gemm") {
        split(graph, &mut nodes, at, &mut fresh);
        sort(&mut nodes);
        if std::mem::take(&mut first) {
            while let Some(at) = nodes.iter().position(|n| matches!(n.op.as_str(), "Identity" | "Dropout")) {
                bypass(&mut nodes, at);
                sort(&mut nodes);
            }
        }
    }
    nodes.retain(|n| n.origin.is_some() || n.op != "Transpose");
    sort(&mut nodes);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let (mut names, mut all) = (Names::new(), Vec::new());
    for node in &nodes {
        let count = counts.entry(&node.op).or_default();
        let name = format!("{}_{count}", node.op);
        *count += 1;
        if let Some(origin) = node.origin {
            names.insert(origin, name.clone());
        }
        all.push(name);
    }
    (names, all)
}

/// The graph without what depends on constants alone.
fn cleaned(graph: &Graph) -> Vec<Node> {
    let mut constant: Vec<bool> = graph.values.iter().map(|v| v.constant.is_some()).collect();
    let mut nodes = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let quantiser =
            matches!(node.op.as_str(), "Quant" | "BipolarQuant" | "QuantizeLinear" | "DequantizeLinear");
        if !quantiser && node.inputs.iter().flatten().all(|v| constant[v.index()]) {
            for v in node.outputs.iter().flatten() {
                constant[v.index()] = true;
            }
            continue;
        }
        let ids = |v: &[Option<hs_ir::ValueId>]| v.iter().flatten().map(|v| v.index()).collect();
        let (inputs, outputs) = (ids(&node.inputs), ids(&node.outputs));
        nodes.push(Node { op: node.op.clone(), inputs, outputs, origin: Some((i, Part::Main)) });
    }
    nodes
}

/// Orders by level, each level as it was. What reads one of the tensors `late` is on the second level at least.
fn sort(nodes: &mut Vec<Node>, late: &HashSet<usize>) {
    let producer: HashMap<usize, usize> =
        nodes.iter().enumerate().flat_map(|(i, n)| n.outputs.iter().map(move |o| (*o, i))).collect();
    let mut level: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut stack: Vec<usize> = (0..nodes.len()).rev().collect();
    // Depth first without recursion; a graph has no cycles.
    while let Some(&at) = stack.last() {
        let before: Vec<usize> = nodes[at].inputs.iter().filter_map(|t| producer.get(t).copied()).collect();
        let open: Vec<usize> = before.iter().copied().filter(|b| level[*b].is_none()).collect();
        if level[at].is_none() && !open.is_empty() {
            stack.extend(open);
            continue;
        }
        let least = usize::from(nodes[at].inputs.iter().any(|t| late.contains(t)));
        level[at] =
            Some(before.iter().filter_map(|b| level[*b]).map(|l| l + 1).max().unwrap_or(0).max(least));
        stack.pop();
    }
    let mut ordered: Vec<(Option<usize>, Node)> = level.into_iter().zip(nodes.drain(..)).collect();
    ordered.sort_by_key(|(l, _)| *l);
    nodes.extend(ordered.into_iter().map(|(_, n)| n));
}

/// The Gemm at `at` as the nodes that it becomes.
fn split(graph: &Graph, nodes: &mut Vec<Node>, at: usize, fresh: &mut usize) {
    let gemm = nodes.remove(at);
    let Some((index, _)) = gemm.origin else { return };
    let node = &graph.nodes[index];
    let int = |name: &str| match node.attrs.get(name) {
        Some(Attr::Int(i)) => *i,
        _ => 0,
    };
    let factor = |name: &str| match node.attrs.get(name) {
        Some(Attr::Float(f)) => *f as f64,
        _ => 1.0,
    };
    let mut new = || {
        *fresh += 1;
        *fresh
    };
    let mut made = Vec::new();
    let mut operands = gemm.inputs.clone();
    for (i, name) in ["transA", "transB"].into_iter().enumerate() {
        if int(name) != 0 && i < operands.len() {
            let out = new();
            let origin = None;
            made.push(Node { op: "Transpose".into(), inputs: vec![operands[i]], outputs: vec![out], origin });
            operands[i] = out;
        }
    }
    let mut last = new();
    let main = Some((index, Part::Main));
    let product = operands.iter().take(2).copied().collect();
    made.push(Node { op: "MatMul".into(), inputs: product, outputs: vec![last], origin: main });
    if (factor("alpha") - 1.0).abs() > 1e-5 {
        let out = new();
        made.push(Node { op: "Mul".into(), inputs: vec![last], outputs: vec![out], origin: None });
        last = out;
    }
    let inputs = [last].into_iter().chain(operands.get(2).copied()).collect();
    made.push(Node { op: "Add".into(), inputs, outputs: gemm.outputs, origin: Some((index, Part::Bias)) });
    nodes.splice(at..at, made);
}

/// Removes the node at `at`; what reads its result reads its operand.
fn bypass(nodes: &mut Vec<Node>, at: usize) {
    let node = nodes.remove(at);
    let (Some(from), Some(to)) = (node.inputs.first().copied(), node.outputs.first().copied()) else {
        return;
    };
    for input in nodes.iter_mut().flat_map(|n| &mut n.inputs) {
        if *input == to {
            *input = from;
        }
    }
}
