//! Drops nodes whose results nothing needs.

use hs_ir::Graph;

use super::PassOptions;
use crate::diagnostic::Diagnostics;

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let mut needed = vec![false; graph.values.len()];
    for id in &graph.outputs {
        needed[id.index()] = true;
    }
    let mut keep = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        keep[index] = node.outputs.iter().flatten().any(|id| needed[id.index()]);
        if keep[index] {
            for id in node.inputs.iter().flatten() {
                needed[id.index()] = true;
            }
        }
    }
    graph.retain_nodes(|index, _| keep[index]);
    for node in &mut graph.nodes {
        for slot in &mut node.outputs {
            if slot.is_some_and(|id| !needed[id.index()]) {
                *slot = None;
            }
        }
    }
    Ok(())
}
