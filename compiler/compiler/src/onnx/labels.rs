//! The labels that exporters of classical machine learning compute beside the scores: for the host, so they are dropped.

use hs_ir::{Attrs, Graph, Uses, ValueId};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ops::ML_DOMAIN;

/// Drops outputs that are labels, while another output is left, and turns each `ZipMap` into the scores that it maps. What
/// still reads one of `strings`, constants that hold strings, is an error.
pub(super) fn drop(graph: &mut Graph, strings: &[ValueId]) -> Result<Vec<Diagnostic>, Diagnostics> {
    let mut warnings = Vec::new();
    for node in graph.nodes.iter_mut().filter(|n| n.domain == ML_DOMAIN && n.op == "ZipMap") {
        let message = "makes dictionaries of the scores, which are given as a tensor instead";
        let help = "export with zipmap=False (skl2onnx: options={'zipmap': False})";
        warnings.push(Diagnostic::warning(message).at_node(node).help(help));
        (node.op, node.attrs) = ("Identity".to_owned(), Attrs::new());
        node.domain.clear();
    }
    let uses = Uses::of(graph);
    let (labels, rest): (Vec<_>, Vec<_>) =
        graph.outputs.iter().copied().partition(|id| is_label(graph, &uses, *id));
    if !rest.is_empty() {
        for id in labels {
            let name = &graph.value(id).name;
            let message = format!("the output '{name}' is dropped: it names the class, which the host finds");
            let kept = rest.iter().map(|id| format!("'{}'", graph.value(*id).name)).collect::<Vec<_>>();
            let help = format!("take the class with the largest score of {}", kept.join(", "));
            warnings.push(Diagnostic::warning(message).help(help));
        }
        graph.outputs = rest;
    }
    if warnings.is_empty() && strings.is_empty() {
        return Ok(warnings);
    }
    let needed = needed(graph);
    graph.retain_nodes(|index, _| needed[index]);
    match graph.nodes.iter().find(|n| n.inputs.iter().flatten().any(|id| strings.contains(id))) {
        Some(node) => Err(Diagnostic::error("reads strings, which have no place in hardware")
            .at_node(node)
            .help(
                "keep only the scores as output, with onnx.utils.extract_model(model, out, inputs, [scores])",
            )
            .into()),
        None => Ok(warnings),
    }
}

/// Whether `id` is a class picked from a list, or something that only reshapes or casts one.
fn is_label(graph: &Graph, uses: &Uses, mut id: ValueId) -> bool {
    while let Some(node) = uses.producer(id).map(|i| &graph.nodes[i]) {
        match (node.domain.as_str(), node.op.as_str()) {
            (ML_DOMAIN, "ArrayFeatureExtractor" | "LabelEncoder") => return true,
            ("", "Cast" | "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze") => {}
            _ => return false,
        }
        let Some(x) = node.input(0) else { return false };
        id = x;
    }
    false
}

/// Whether an output needs each node.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut read = vec![false; graph.values.len()];
    for id in &graph.outputs {
        read[id.index()] = true;
    }
    let mut needed = vec![false; graph.nodes.len()];
    for (node, needed) in graph.nodes.iter().zip(&mut needed).rev() {
        *needed = node.outputs.iter().flatten().any(|id| read[id.index()]);
        if *needed {
            for id in node.inputs.iter().flatten() {
                read[id.index()] = true;
            }
        }
    }
    needed
}
