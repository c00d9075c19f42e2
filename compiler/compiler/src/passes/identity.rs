//! Removes nodes that do nothing: identities, dropout, casts between float types, reshapes to the same shape, and such.

use hs_ir::{Graph, Uses};

use super::{PassOptions, Substitution, absorb, drop_marked};
use crate::diagnostic::Diagnostics;
use crate::ops::affine::Affine;
use crate::ops::cast::Cast;
use crate::ops::clip::Clip;
use crate::ops::pad::Pad;
use crate::ops::quant::Quant;
use crate::ops::transpose::Transpose;
use crate::ops::{Call, INTERNAL_DOMAIN, QONNX_DOMAINS};

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let uses = Uses::of(graph);
    let mut producer: Vec<_> =
        (0..graph.values.len()).map(|v| uses.producer(hs_ir::ValueId::new(v))).collect();
    let mut is_output: Vec<_> =
        (0..graph.values.len()).map(|v| uses.is_output(hs_ir::ValueId::new(v))).collect();
    let mut map = Substitution::new();
    let mut dead = vec![false; graph.nodes.len()];
    for (index, dead) in dead.iter_mut().enumerate() {
        if !does_nothing(graph, index) && !quantised_already(graph, &producer, index) {
            continue;
        }
        let (Some(x), Some(y)) = (graph.nodes[index].input(0), graph.nodes[index].output(0)) else {
            continue;
        };
        // Where the operand went, when the node that computed it was itself removed or renamed.
        let mut x = x;
        while let Some(next) = map.get(&x) {
            x = *next;
        }
        if !is_output[y.index()] {
            map.insert(y, x);
        } else if let Some(from) = producer[x.index()].filter(|_| !is_output[x.index()]) {
            // The graph's output keeps its name: what computed x now computes y.
            for slot in graph.nodes[from].outputs.iter_mut().filter(|slot| **slot == Some(x)) {
                *slot = Some(y);
            }
            (producer[y.index()], producer[x.index()]) = (Some(from), None);
            is_output[x.index()] = false;
            map.insert(x, y);
        } else {
            "Identity".clone_into(&mut graph.nodes[index].op);
            graph.nodes[index].domain.clear();
            graph.nodes[index].attrs = Default::default();
            graph.nodes[index].inputs.truncate(1);
            continue;
        }
        *dead = true;
        let sources = std::mem::take(&mut graph.nodes[index].sources);
        let kept = map.get(&x).copied().unwrap_or(x);
        if let Some(from) = producer[kept.index()] {
            absorb(&mut graph.nodes[from], sources);
        }
    }
    drop_marked(graph, &dead);
    graph.substitute(&map);
    Ok(())
}

/// Whether the node is a quantiser of what already came through the same one, and was only moved or compared since.
fn quantised_already(graph: &Graph, producer: &[Option<usize>], index: usize) -> bool {
    let quant = |index: usize| {
        let node = &graph.nodes[index];
        let known = node.op == "Quant" && QONNX_DOMAINS.contains(&node.domain.as_str());
        known.then(|| Call::of(graph, node)).flatten().and_then(|c| Quant::parse(&c).ok())
    };
    let Some(own) = quant(index).filter(|q| q.grid.axis.is_none()) else { return false };
    let mut at = index;
    while let Some(before) = graph.nodes[at].input(0).and_then(|x| producer[x.index()]) {
        let node = &graph.nodes[before];
        if let Some(first) = quant(before) {
            return first == own;
        }
        let moves = node.domain.is_empty()
            && matches!(
                node.op.as_str(),
                "Flatten" | "Identity" | "MaxPool" | "Reshape" | "Squeeze" | "Transpose" | "Unsqueeze"
            );
        if !moves {
            return false;
        }
        at = before;
    }
    false
}

fn does_nothing(graph: &Graph, index: usize) -> bool {
    let node = &graph.nodes[index];
    let Some(call) = Call::of(graph, node) else { return false };
    let shapes = || {
        let shape = |id| graph.shape(id);
        node.input(0).and_then(shape).zip(node.output(0).and_then(shape))
    };
    if node.domain == INTERNAL_DOMAIN && node.op == "Affine" {
        return Affine::parse(&call).is_ok_and(|a| a.scale.is_none() && a.bias.is_none());
    }
    if !node.domain.is_empty() {
        return false;
    }
    match node.op.as_str() {
        "Identity" | "Dropout" => true,
        "Cast" | "CastLike" => {
            Cast::parse(&call).is_ok_and(|c| c.from == c.to || c.from.is_float() && c.to.is_float())
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => shapes().is_some_and(|(x, y)| x == y),
        "Transpose" => Transpose::parse(&call).is_ok_and(|t| t.perm.iter().enumerate().all(|(i, p)| i == *p)),
        "Clip" => Clip::parse(&call).is_ok_and(|c| c.min.is_none() && c.max.is_none()),
        "Pad" => Pad::parse(&call).is_ok_and(|p| p.pads.iter().all(|pad| *pad == (0, 0))),
        "Concat" | "Max" | "Mean" | "Min" | "Sum" => call.len() == 1,
        _ => false,
    }
}
