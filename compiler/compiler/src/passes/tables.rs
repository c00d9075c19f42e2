//! Turns functions of one element between two quantisers into one `Lut`: the result of each code is computed here in float,
//! as the model says it, and rounded once.

use hs_fixed::Format;
use hs_ir::{Attr, Graph, Node, Tensor, Uses, ValueId};

use super::{Constants, PassOptions, absorb, affine};
use crate::diagnostic::Diagnostics;
use crate::lower::constants::grid_format;
use crate::lower::table::MAX_ENTRIES;
use crate::ops::lut::{FIRST_ATTR, FRAC_ATTR};
use crate::ops::quant::{LINEAR_ATTR, Quant};
use crate::ops::{Call, QONNX_DOMAINS, become_internal};
use crate::reference;

/// Functions of one element.
const FUNCTIONS: &[&str] = &[
    "Celu",
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "ThresholdedRelu",
];

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut constants = Constants::new(graph);
    let uses = Uses::of(graph);
    for index in 0..graph.nodes.len() {
        let Some(chain) = chain(graph, &uses, index) else { continue };
        if chain.iter().any(|at| !options.absorbs(&graph.nodes[*at]) || !options.folds(&graph.nodes[*at])) {
            continue;
        }
        if let Some((x, format, entries)) = entries(graph, &uses, &chain) {
            let sources: Vec<String> =
                chain.iter().flat_map(|at| graph.nodes[*at].sources.iter().cloned()).collect();
            let name = format!("{}_entries", graph.nodes[index].name);
            let table = constants.add(graph, &name, Tensor::vec_f32(entries), None);
            let node = &mut graph.nodes[index];
            become_internal(node, "Lut");
            node.attrs.set(FIRST_ATTR, Attr::Int(format.min() as i64));
            node.attrs.set(FRAC_ATTR, Attr::Int(format.frac().into()));
            node.inputs = vec![Some(x), Some(table)];
            absorb(node, sources);
        }
    }
    Ok(())
}

/// The format of a quantiser's result, where hardware types have it.
fn format(graph: &Graph, node: &Node) -> Option<Format> {
    if node.op != "Quant" || !QONNX_DOMAINS.contains(&node.domain.as_str()) {
        return None;
    }
    grid_format(&Quant::parse(&Call::of(graph, node)?).ok()?.grid).ok()
}

/// The nodes from behind a quantiser up to the quantiser `index`, in order: scalings, bounds and at least one function that
/// no hardware op computes exactly by itself. In front of a `QuantizeLinear`, which is defined by single precision, a summand
/// is one: codes at which it falls halfway between two steps only once it is rounded to that are common.
fn chain(graph: &Graph, uses: &Uses, index: usize) -> Option<Vec<usize>> {
    format(graph, &graph.nodes[index])?;
    let single = graph.nodes[index].attrs.get(LINEAR_ATTR).is_some();
    let mut chain = vec![index];
    let mut function = false;
    loop {
        let x = graph.nodes[*chain.last()?].input(0)?;
        let at = uses.producer(x)?;
        let node = &graph.nodes[at];
        if format(graph, node).is_some() {
            break;
        }
        let scaling = affine::scaling(graph, at).filter(|s| s.axis.is_none());
        let known = node.domain.is_empty() && FUNCTIONS.contains(&node.op.as_str());
        if scaling.is_none() && !known && !node.is("Clip") {
            return None;
        }
        let summand = single && scaling.is_some_and(|s| s.bias.is_some());
        function = function || summand || known && node.op != "Relu";
        chain.push(at);
    }
    chain.reverse();
    function.then_some(chain)
}

/// What the chain reads, the format of that, and what each of its codes becomes.
fn entries(graph: &Graph, uses: &Uses, chain: &[usize]) -> Option<(ValueId, Format, Vec<f32>)> {
    let x = graph.nodes[*chain.first()?].input(0)?;
    let format = format(graph, &graph.nodes[uses.producer(x)?])?;
    if format.max() - format.min() >= MAX_ENTRIES {
        return None;
    }
    let reals = (format.min()..=format.max()).map(|code| format.value(code) as f32);
    let codes = Tensor::vec_f32(reals.collect());
    let mut part = Graph { values: graph.values.clone(), ..Graph::default() };
    part.value_mut(x).shape = None;
    part.nodes = chain.iter().map(|at| graph.nodes[*at].clone()).collect();
    part.inputs = vec![x];
    part.outputs = vec![part.nodes.last()?.output(0)?];
    let results = reference::eval(&part, &[codes]).ok()?;
    let entries = results.first()?.floats()?.into_owned();
    Some((x, format, entries))
}
