//! Topological order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hs_ir::{Graph, Node};

use crate::diagnostic::Diagnostic;
use crate::limits::{Limit, Limits};

/// Most node names that a message about a cycle lists.
const SHOWN: usize = 8;

/// Puts the nodes in topological order; among those that are ready, the model's order. A cycle is an error.
pub(super) fn sort(graph: &mut Graph, limits: &Limits) -> Result<(), Diagnostic> {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut producer = vec![None; graph.values.len()];
    for (index, node) in nodes.iter().enumerate() {
        for id in node.outputs.iter().flatten() {
            producer[id.index()] = Some(index);
        }
    }
    let mut waits = vec![0usize; nodes.len()];
    let mut readers = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for from in node.inputs.iter().flatten().filter_map(|id| producer[id.index()]) {
            waits[index] += 1;
            readers[from].push(index);
        }
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|&i| waits[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    let mut depth = vec![1u64; nodes.len()];
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waits[reader] -= 1;
            depth[reader] = depth[reader].max(depth[index] + 1);
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < nodes.len() {
        return Err(cycle(&nodes, &producer, &waits));
    }
    limits.check(Limit::Depth, depth.into_iter().max().unwrap_or(0))?;
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
    Ok(())
}

/// Names one cycle among the nodes that still wait: walking to producers that wait must come round.
fn cycle(nodes: &[Node], producer: &[Option<usize>], waits: &[usize]) -> Diagnostic {
    let waiting_input = |index: usize| {
        nodes[index].inputs.iter().flatten().filter_map(|id| producer[id.index()]).find(|&p| waits[p] > 0)
    };
    let mut at = waits.iter().position(|w| *w > 0).unwrap_or(0);
    let mut seen = vec![None; nodes.len()];
    let mut path = Vec::new();
    while seen[at].is_none() {
        seen[at] = Some(path.len());
        path.push(at);
        match waiting_input(at) {
            Some(next) => at = next,
            None => break,
        }
    }
    let mut ring = path.split_off(seen[at].unwrap_or(0));
    ring.reverse();
    let more = if ring.len() > SHOWN { format!(" and {} more", ring.len() - SHOWN) } else { String::new() };
    let names: Vec<_> = ring.iter().take(SHOWN).map(|&i| format!("'{}'", nodes[i].name)).collect();
    Diagnostic::error(format!("the graph has a cycle through {}{more}", names.join(" -> ")))
        .at_node(&nodes[ring[0]])
        .help("ONNX graphs cannot be recurrent through cycles; the file is damaged or was edited wrongly")
}
