//! From an imported graph to one that can be lowered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use hs_ir::{Graph, Grid, Names, Node, Tensor, Value, ValueId};

use crate::diagnostic::Diagnostics;
use crate::limits::Limits;
use crate::lower::Arithmetic;
use crate::ops::Call;

mod affine;
mod check;
mod dead;
mod dense;
mod fold;
mod fuse;
mod hls4ml;
mod identity;
mod padding;
mod per_channel;
pub(crate) mod rescale;
mod tables;

/// A rewrite of the whole graph that keeps what it computes.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Its name.
    pub name: &'static str,
    /// Runs it. On errors, all that were found.
    pub run: fn(&mut Graph, &PassOptions) -> Result<(), Diagnostics>,
}

/// What the passes have to know of the rules of arithmetic, since folding is rounding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassOptions {
    /// Whose rules hold.
    pub arithmetic: Arithmetic,
    /// ONNX names of nodes whose result has a type of its own: nothing behind them is folded into them. Under hls4ml
    /// arithmetic also `NAME/scale` and `NAME/rescale`, of the scalings that a quantiser becomes.
    pub unfused: BTreeSet<String>,
    /// hls4ml arithmetic: ONNX names of `Gemm` and `MatMul` nodes whose product has a type of its own, so that the bias is
    /// a layer of its own. The result of that has one when `unfused` holds the name.
    pub split: BTreeSet<String>,
    /// Native arithmetic: ONNX names of nodes whose scales have types of their own: they are folded into nothing.
    pub apart: BTreeSet<String>,
    /// Native arithmetic: bits of weights that are fitted to each output channel.
    pub per_channel: Option<u32>,
    /// ONNX names of nodes whose weights have types of their own.
    pub weighted: BTreeSet<String>,
    /// How large tensors and constants may become.
    pub limits: Limits,
}

impl PassOptions {
    /// Whether something behind `node` may be folded into it.
    fn absorbs(&self, node: &Node) -> bool {
        !node.sources.iter().any(|s| self.unfused.contains(s))
    }

    /// Whether `node` may be folded into something.
    fn folds(&self, node: &Node) -> bool {
        !node.sources.iter().any(|s| self.apart.contains(s))
    }
}

/// The passes of [`normalise_with`] under native arithmetic, in order.
pub const PIPELINE: &[Pass] = &[
    // First, so that nothing is said about nodes that no output needs.
    Pass { name: "dead", run: dead::run },
    // Shapes, constants, and which operators are supported. All later passes know every shape.
    Pass { name: "fold", run: fold::run },
    Pass { name: "identity", run: identity::run },
    Pass { name: "dense", run: dense::run },
    // Needs Dense; makes Affine.
    Pass { name: "rescale", run: rescale::run },
    Pass { name: "affine", run: affine::run },
    // Needs quantisers to integers and Affine.
    Pass { name: "tables", run: tables::run },
    // Needs Affine and Dense.
    Pass { name: "fuse", run: fuse::run },
    // What follows is folded into the weights by now.
    Pass { name: "per_channel", run: per_channel::run },
    Pass { name: "padding", run: padding::run },
    // What fusion left without effect.
    Pass { name: "identity", run: identity::run },
    Pass { name: "dead", run: dead::run },
    Pass { name: "check", run: check::run },
];

/// The passes of [`normalise_with`] under hls4ml's arithmetic, in order: nothing is combined that hls4ml keeps apart.
pub const HLS4ML_PIPELINE: &[Pass] = &[
    Pass { name: "dead", run: dead::run },
    // While the quantisers of constants stand.
    Pass { name: "linear", run: hls4ml::refuse_linear },
    Pass { name: "fold", run: fold::run },
    Pass { name: "identity", run: identity::run },
    Pass { name: "dense", run: dense::run },
    // Needs Dense; makes Affine.
    Pass { name: "hls4ml", run: hls4ml::run },
    Pass { name: "padding", run: padding::run },
    Pass { name: "identity", run: identity::run },
    Pass { name: "dead", run: dead::run },
    Pass { name: "check", run: check::run },
];

/// A graph that can be lowered: every shape known with batch 1, constants folded, only operators that lower, verified.
/// Its `Gemm`s and constant `MatMul`s are `hypersonic::Dense`, its batch normalisations and arithmetic with channel
/// constants are `hypersonic::Affine` or folded into the layer in front.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalGraph(Graph);

impl NormalGraph {
    /// Takes `graph` as it is, if it can be lowered as it is.
    pub fn check(mut graph: Graph) -> Result<Self, Diagnostics> {
        check::run(&mut graph, &PassOptions::default())?;
        graph.compact();
        Ok(Self(graph))
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.0
    }

    /// The graph, to be changed.
    pub fn into_graph(self) -> Graph {
        self.0
    }

    /// The shape of `id`; every shape is known.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        self.0.shape(id).unwrap_or_default()
    }

    /// A node of the graph with its operands, to parse its operator from.
    pub fn call<'a>(&'a self, node: &'a Node) -> Call<'a> {
        // Every type and shape is known, so that this is never the empty call.
        Call::of(&self.0, node).unwrap_or_else(|| Call { node, args: Vec::new() })
    }
}

/// [`normalise_with`] for native arithmetic.
pub fn normalise(graph: Graph) -> Result<NormalGraph, Diagnostics> {
    normalise_with(graph, &PassOptions::default())
}

/// Runs the pipeline of an arithmetic. Errors name every node that cannot be compiled, as far as the pass that finds them
/// sees.
pub fn normalise_with(mut graph: Graph, options: &PassOptions) -> Result<NormalGraph, Diagnostics> {
    let pipeline = match options.arithmetic {
        Arithmetic::Native => PIPELINE,
        Arithmetic::Hls4ml => HLS4ML_PIPELINE,
    };
    for pass in pipeline {
        (pass.run)(&mut graph, options)?;
        debug_assert_eq!(graph.verify(), Ok(()), "after the pass '{}'", pass.name);
    }
    graph.compact();
    Ok(NormalGraph(graph))
}

/// The node of the model whose bias is the layer `node` of its own.
pub(crate) fn bias_of(node: &Node) -> Option<&str> {
    node.name.strip_suffix(BIAS).filter(|_| node.sources == [node.name.as_str()])
}

/// Ends the name of the bias of a `Gemm` as a layer of its own.
const BIAS: &str = "/bias";

/// Adds constants under fresh names.
struct Constants {
    names: Names,
}

impl Constants {
    fn new(graph: &Graph) -> Self {
        Self { names: Names::of_values(graph) }
    }

    fn add(&mut self, graph: &mut Graph, name: &str, tensor: Tensor, grid: Option<Arc<Grid>>) -> ValueId {
        let name = self.names.fresh(name);
        graph.add_value(Value { grid, ..Value::constant(name, tensor) })
    }
}

/// Appends the sources of a node that `node` takes over.
fn absorb(node: &mut Node, sources: Vec<String>) {
    for source in sources {
        if !node.sources.contains(&source) {
            node.sources.push(source);
        }
    }
}

/// Drops the nodes marked in `dead`.
fn drop_marked(graph: &mut Graph, dead: &[bool]) {
    graph.retain_nodes(|index, _| !dead.get(index).copied().unwrap_or(false));
}

/// A replacement of values by others, applied at once.
type Substitution = HashMap<ValueId, ValueId>;
