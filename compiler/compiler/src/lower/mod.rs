//! Lowering: from the normalised graph to the hardware IR, under native arithmetic.
//!
//! What a graph op becomes stands in the op's own file (`ops/<op>.rs`); this module holds what they share: types
//! ([`types`]), constants ([`constants`]), layouts ([`layout`]), exact ops with a fused tail ([`exact`]), dot
//! products ([`dot`]) and tables ([`table`], [`softmax`]).
//!
//! Invariants: weights and biases are rounded once, here; accumulators are exact; each value is cast once, after
//! the activation where that can be. The Program does not depend on anything but graph and [`LowerOptions`].

pub(crate) mod batched;
pub(crate) mod bend;
pub(crate) mod choose;
pub mod composite;
pub mod constants;
pub mod dot;
pub mod elementwise;
pub mod exact;
pub(crate) mod hls4ml;
pub mod layout;
mod lookup;
mod mix;
mod observed;
pub mod options;
pub mod pool;
mod power;
pub(crate) mod rows;
mod select;
pub mod softmax;
mod steep;
pub(crate) mod sum;
pub mod table;
pub mod types;

use std::collections::HashSet;

use hs_fixed::{Format, Interval, Type};
use hs_hw::{Op, Program, range};
use hs_ir::{Graph, ValueId};
use serde::Serialize;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    ops::{self, Call},
    passes::{self, NormalGraph},
};
pub use layout::Val;
pub use observed::{Observed, ObservedRanges};
pub use options::{Arithmetic, LayerOptions, LowerOptions, SoftmaxImplementation};

/// What one layer's rounding and saturation cost in hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Nothing is dropped, or no value can overflow.
    None,
    /// Rounding is part of the bias.
    Free,
    /// An adder (rounding) or comparators (saturation) a result.
    Logic,
}

/// What lowering decided about one node of the Program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerNote {
    /// Name of the hardware node.
    pub node: String,
    /// Cost of the final rounding.
    pub rounding: Cost,
    /// Cost of the final saturation.
    pub saturation: Cost,
    /// Tables: largest difference to the real function over the input's range, and number of entries.
    pub table: Option<TableNote>,
}

/// How well a table follows its function.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TableNote {
    /// Entries.
    pub entries: usize,
    /// Linear interpolation between entries.
    pub interpolated: bool,
    /// Largest absolute difference to the real function over the input's range, before the final cast.
    pub error: f64,
    /// Value of the result's last place.
    pub lsb: f64,
}

/// Where a tensor of the graph lies in hardware. Tensors inside a fused layer have no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its ONNX name.
    pub tensor: String,
    /// The node that yields it.
    pub node: hs_hw::ValueId,
    /// ONNX flat index (without the batch axis) of each of the node's elements.
    pub order: Vec<usize>,
}

/// A lowered model.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The bits; verified.
    pub program: Program,
    /// Notes by node, in order.
    pub notes: Vec<LayerNote>,
    /// Where the graph's tensors lie, in the graph's order.
    pub placed: Vec<Placed>,
    /// The formats that the weights of layers were rounded to, by their names in the graph.
    pub weights: Vec<(String, Format)>,
    /// Things the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// State of a lowering.
pub struct Lowerer<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) options: &'a LowerOptions,
    /// Whether the model brings quantisers, which then decide the types.
    pub(crate) quantised: bool,
    nodes: Vec<hs_hw::Node>,
    ranges: Vec<Interval>,
    names: HashSet<String>,
    vals: Vec<Option<Val>>,
    /// Inputs whose axis order the first reader decides.
    undecided: HashSet<hs_hw::ValueId>,
    /// Readers of each graph value: node indices; outputs of the graph count as one more.
    uses: Vec<Vec<usize>>,
    /// The node that computes each graph value.
    producers: Vec<Option<usize>>,
    is_output: Vec<bool>,
    fused: HashSet<usize>,
    notes: Vec<LayerNote>,
    weights: Vec<(String, Format)>,
    warnings: Vec<Diagnostic>,
    /// The node being lowered.
    current: usize,
}

/// Lowers a graph. All problems found are reported together.
pub fn lower(graph: &NormalGraph, options: &LowerOptions) -> Result<Lowered, Diagnostics> {
    let graph = graph.graph();
    let mut lw = Lowerer::new(graph, options);
    if options.precision.is_none() && options.ranges.is_none() && !lw.quantised {
        lw.warnings.push(
            Diagnostic::warning(format!(
                "no types were given: inputs and results are {}-bit with {} integer bits, so values beyond ±{} {}",
                types::DEFAULT_WIDTH,
                types::DEFAULT_INT,
                1 << (types::DEFAULT_INT - 1),
                if lw.hls4ml() { "wrap" } else { "saturate" }
            ))
            .help("--calibrate X.npy fits the integer bits to your data; --precision 'fixed<W,I>' sets one type"),
        );
    }
    let mut errors = Vec::new();
    for (index, id) in graph.inputs.iter().enumerate() {
        if let Err(e) = lw.input(index, *id) {
            errors.push(e);
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let ready = node.inputs.iter().flatten().all(|v| lw.is_ready(*v));
        if lw.fused.contains(&index) || !ready {
            // Not ready: an earlier error already says why.
            continue;
        }
        lw.current = index;
        if let Err(e) = ops::lower(&mut lw, node) {
            errors.push(named(e, &node.name, &ops::model_op(node)));
        }
    }
    for (index, id) in graph.outputs.iter().enumerate() {
        if lw.is_ready(*id)
            && let Err(e) = lw.output(index, *id)
        {
            errors.push(e);
        }
    }
    if !errors.is_empty() {
        return Err(Diagnostics(errors));
    }
    let placed = lw.placed();
    let program = Program { name: graph.name.clone(), nodes: lw.nodes };
    program.verify().map_err(|errors| {
        let all = errors.into_iter().map(|e| {
            let d = Diagnostic::error(e.message)
                .help("choose narrower types (--precision), or report this model as a bug");
            match e.node {
                Some(n) => {
                    let op = graph.nodes.iter().find(|node| stems_from(&n, &node.name)).map(ops::model_op);
                    named(d, &n, op.as_deref().unwrap_or("hardware"))
                }
                None => d,
            }
        });
        Diagnostics(all.collect())
    })?;
    Ok(Lowered { program, notes: lw.notes, placed, weights: lw.weights, warnings: lw.warnings })
}

impl<'a> Lowerer<'a> {
    fn new(graph: &'a Graph, options: &'a LowerOptions) -> Self {
        let mut uses = vec![Vec::new(); graph.values.len()];
        let mut producers = vec![None; graph.values.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            for v in node.outputs.iter().flatten() {
                producers[v.index()] = Some(i);
            }
            for v in node.inputs.iter().flatten() {
                uses[v.index()].push(i);
            }
        }
        let mut is_output = vec![false; graph.values.len()];
        for v in &graph.outputs {
            is_output[v.index()] = true;
        }
        Self {
            graph,
            options,
            quantised: quantised(graph, options),
            nodes: Vec::new(),
            ranges: Vec::new(),
            names: HashSet::new(),
            vals: vec![None; graph.values.len()],
            undecided: HashSet::new(),
            uses,
            producers,
            is_output,
            fused: HashSet::new(),
            notes: Vec::new(),
            weights: Vec::new(),
            warnings: Vec::new(),
            current: 0,
        }
    }

    /// Refuses what only native arithmetic has.
    pub(crate) fn native_only(&self, call: &Call<'_>) -> Result<(), Diagnostic> {
        if self.hls4ml() {
            return Err(call
                .error("is not lowered under hls4ml's arithmetic")
                .help("use --arithmetic native, or express the layer with what hls4ml converts"));
        }
        Ok(())
    }

    /// The node being lowered.
    pub(crate) fn current(&self) -> &'a hs_ir::Node {
        &self.graph.nodes[self.current]
    }

    /// What the user says of the node being lowered.
    pub(crate) fn layer(&self) -> LayerOptions {
        let node = self.current();
        match passes::bias_of(node) {
            Some(of) => self.options.bias_layer(&node.name, of),
            None => self.options.layer(&node.name, &node.sources, &node.op),
        }
    }

    fn placed(&self) -> Vec<Placed> {
        let place = |(i, val): (usize, &Option<Val>)| {
            let val = self.fresh(val.as_ref()?);
            let tensor = self.graph.values[i].name.clone();
            Some(Placed { tensor, node: val.hw, order: val.onnx_order() })
        };
        self.vals.iter().enumerate().filter_map(place).collect()
    }

    fn is_ready(&self, v: ValueId) -> bool {
        self.graph.constant(v).is_some() || self.vals[v.index()].is_some()
    }

    /// ONNX shape of a value without its batch axis.
    pub fn shape(&self, v: ValueId) -> Result<Vec<usize>, Diagnostic> {
        let name = &self.graph.value(v).name;
        match self.graph.shape(v) {
            Some([1, rest @ ..]) => Ok(rest.to_vec()),
            Some(all) => Ok(all.to_vec()),
            None => Err(Diagnostic::error(format!("the shape of '{name}' is unknown"))),
        }
    }

    /// The lowered form of a value that is no constant.
    pub fn val(&self, v: ValueId) -> Result<Val, Diagnostic> {
        self.vals[v.index()].as_ref().map(|val| self.fresh(val)).ok_or_else(|| {
            Diagnostic::error(format!(
                "'{}' is constant where an activation is expected",
                self.graph.value(v).name
            ))
        })
    }

    /// The lowered form of operand `index` of `call`.
    pub fn input_val(&self, call: &Call<'_>, index: usize) -> Result<Val, Diagnostic> {
        match call.node.input(index) {
            Some(v) => self.val(v),
            None => Err(call.error(format!("lacks its input {index}"))),
        }
    }

    /// The graph value that `call` yields.
    pub fn result(&self, call: &Call<'_>) -> Result<ValueId, Diagnostic> {
        call.node.output(0).ok_or_else(|| call.error("has no output"))
    }

    /// Makes `val` the lowered form of `v`.
    pub fn bind(&mut self, v: ValueId, val: Val) {
        self.vals[v.index()] = Some(val);
    }

    /// The value that the hardware of `v` was bound to: behind the activation and the quantiser that it absorbed.
    pub(crate) fn bound(&self, v: ValueId) -> Result<ValueId, Diagnostic> {
        let mut at = v;
        while self.vals[at.index()].is_none() {
            let reader = self.only_reader(at).and_then(|(_, node)| node.output(0));
            at = reader.ok_or_else(|| Diagnostic::error("its result is bound to nothing"))?;
        }
        Ok(at)
    }

    /// The only reader of `v`, when nothing else sees it.
    pub(crate) fn only_reader(&self, v: ValueId) -> Option<(usize, &'a hs_ir::Node)> {
        match self.uses[v.index()].as_slice() {
            [one] if !self.is_output[v.index()] => Some((*one, &self.graph.nodes[*one])),
            _ => None,
        }
    }

    pub(crate) fn node(&self, id: hs_hw::ValueId) -> &hs_hw::Node {
        &self.nodes[id.index()]
    }

    pub(crate) fn range(&self, id: hs_hw::ValueId) -> Interval {
        self.ranges[id.index()]
    }

    /// Appends a hardware node. Its name is made unique.
    pub(crate) fn push(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<hs_hw::ValueId>,
        shape: Vec<usize>,
        ty: Type,
    ) -> Result<hs_hw::ValueId, Diagnostic> {
        let mut unique = name.to_owned();
        let mut n = 1;
        while !self.names.insert(unique.clone()) {
            n += 1;
            unique = format!("{name}.{n}");
        }
        let node = hs_hw::Node { name: unique, op, inputs, shape, ty };
        let args: Vec<Interval> = node.inputs.iter().map(|i| self.range(*i)).collect();
        let range = range::result(&node, &args).ok_or_else(|| too_wide("its result"))?;
        for read in &node.inputs {
            self.undecided.remove(read);
        }
        let id = hs_hw::ValueId(self.nodes.len() as u32);
        self.nodes.push(node);
        self.ranges.push(range);
        Ok(id)
    }

    /// Notes what was decided about node `id`.
    pub(crate) fn note(
        &mut self,
        id: hs_hw::ValueId,
        rounding: Cost,
        saturation: Cost,
        table: Option<TableNote>,
    ) {
        let node = self.node(id).name.clone();
        self.notes.push(LayerNote { node, rounding, saturation, table });
    }
}

/// Whether the model brings quantisers.
pub(crate) fn quantised(graph: &Graph, options: &LowerOptions) -> bool {
    graph.nodes.iter().any(|n| n.op == "Quant" || n.op == "BipolarQuant")
        || (!options.per_channel && graph.values.iter().any(|v| v.grid.is_some()))
}

/// Whether the hardware node `name` is the node `node` of the graph, or a part of it.
fn stems_from(name: &str, node: &str) -> bool {
    name.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `d` about `node`, unless it already names one.
fn named(d: Diagnostic, node: &str, op: &str) -> Diagnostic {
    if d.node.is_some() { d } else { d.at(node, op) }
}

/// An expression beyond 128 bits.
pub(crate) fn too_wide(what: &str) -> Diagnostic {
    Diagnostic::error(format!("{what} needs more than 128 bits"))
        .help("choose narrower types, for example --precision 'fixed<16,6>'")
}
