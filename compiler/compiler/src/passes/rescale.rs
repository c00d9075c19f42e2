//! Quantisers with any scale as integers between scalings.
//!
//! `Quant` with a scale s and a zero point z that no fixed-point type has becomes x/s + z, a quantiser to plain integers,
//! and (q - z)·s. Weights of `Conv` and `Dense` on such a grid become integers, with the scale (one a tensor, or one an
//! output channel) and the bias in a scaling behind the layer. A scaling by one positive number also moves behind the layer
//! that it feeds, so that the layer multiplies integers ([`scales`]); what then meets is combined later.

mod scales;

use std::sync::Arc;

use hs_ir::{Attr, Attrs, Graph, Grid, Names, Node, Tensor, TensorData, Value, ValueId};

use super::{Constants, PassOptions, affine};
use crate::diagnostic::Diagnostics;
use crate::lower::constants::{grid_format, scale_frac};
use crate::ops::linear::exact_range;
use crate::ops::quant::{Quant, Rounding};
use crate::ops::{Call, INTERNAL_DOMAIN, QONNX_DOMAINS, model_op};

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let any = graph.values.iter().any(|v| v.grid.as_deref().is_some_and(|g| grid_format(g).is_err()))
        || graph.nodes.iter().any(|node| foreign(graph, node).is_some());
    if !any {
        return Ok(());
    }
    let mut state = State::new(graph);
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        state.step(graph, node);
    }
    scales::run(graph, &mut state);
    // What could not become integers is rounded like any constant.
    for value in &mut graph.values {
        if value.grid.as_deref().is_some_and(|g| grid_format(g).is_err()) {
            value.grid = None;
        }
    }
    Ok(())
}

/// Names for what is added.
pub(super) struct State {
    names: Names,
    constants: Constants,
}

/// Ends the name of a layer over integers, whose scaling carries the model's name.
pub(crate) const INTEGER: &str = "/integer";

/// Ends the name of the scaling behind a quantiser.
const RESCALE: &str = "/rescale";

/// The quantiser that `node` is, when no fixed-point type has its grid.
pub(super) fn quantiser(graph: &Graph, node: &Node) -> Option<Quant> {
    parsed(graph, node).filter(|quant| grid_format(&quant.grid).is_err())
}

/// The quantiser that `node` is, when no fixed-point type does all of what it does.
fn foreign(graph: &Graph, node: &Node) -> Option<Quant> {
    let quant = parsed(graph, node)?;
    let lacking = quant.rounding == Rounding::Ceil || narrow_and_unsigned(&quant.grid);
    (lacking || grid_format(&quant.grid).is_err()).then_some(quant)
}

fn narrow_and_unsigned(grid: &Grid) -> bool {
    grid.narrow && !grid.signed
}

fn parsed(graph: &Graph, node: &Node) -> Option<Quant> {
    if node.op != "Quant" || !QONNX_DOMAINS.contains(&node.domain.as_str()) {
        return None;
    }
    Quant::parse(&Call::of(graph, node)?).ok()
}

/// Plain integers of the same width.
pub(super) fn integers(grid: &Grid) -> Grid {
    Grid { scale: vec![1.0], axis: None, zero_point: 0.0, ..grid.clone() }
}

/// A grid that holds `scale` exactly, where all are powers of two.
fn powers_of_two(scale: &[f64]) -> Option<Grid> {
    let fracs: Vec<i32> = scale.iter().map(|s| scale_frac(*s)).collect::<Option<_>>()?;
    let (lo, hi) = (*fracs.iter().min()?, *fracs.iter().max()?);
    let bits = u32::try_from(hi - lo + 1).ok().filter(|bits| *bits < 63)?;
    let scale = vec![2f64.powi(-hi)];
    Some(Grid { scale, axis: None, zero_point: 0.0, bits, signed: false, narrow: false })
}

pub(super) fn is_layer(node: &Node) -> bool {
    node.is("Conv") || (node.domain == INTERNAL_DOMAIN && node.op == "Dense")
}

impl State {
    pub(super) fn new(graph: &Graph) -> Self {
        Self { names: Names::of_nodes(graph), constants: Constants::new(graph) }
    }

    fn step(&mut self, graph: &mut Graph, node: Node) {
        if let Some(quant) = foreign(graph, &node) {
            self.split(graph, node, &quant);
        } else if is_layer(&node) {
            self.integer_weights(graph, node);
        } else {
            graph.nodes.push(node);
        }
    }

    /// A value like `like`, under a name of its own.
    fn value(&mut self, graph: &mut Graph, like: ValueId, what: &str) -> ValueId {
        let of = graph.value(like);
        let (name, dtype, shape) = (format!("{}/{what}", of.name), of.dtype, of.shape.clone());
        let name = self.constants.names.fresh(&name);
        graph.add_value(Value { dtype, shape, ..Value::named(name) })
    }

    fn list(
        &mut self,
        graph: &mut Graph,
        name: &str,
        values: Vec<f64>,
        grid: Option<Arc<Grid>>,
    ) -> Option<ValueId> {
        let tensor = Tensor::new(hs_ir::DType::F64, vec![values.len()], TensorData::F64(values)).ok()?;
        Some(self.constants.add(graph, name, tensor, grid))
    }

    /// Appends x × scale + bias along `axis` under the free name `name`.
    fn scaling(
        &mut self,
        graph: &mut Graph,
        (name, op): (String, &str),
        (x, y): (ValueId, ValueId),
        (axis, scale, bias): (Option<usize>, Option<Vec<f64>>, Option<Vec<f64>>),
    ) {
        let scale = scale.and_then(|s| {
            let exact = powers_of_two(&s).map(Arc::new);
            self.list(graph, &format!("{name}_scale"), s, exact)
        });
        let bias = bias.and_then(|b| self.list(graph, &format!("{name}_bias"), b, None));
        let mut node = Node {
            sources: vec![name.clone()],
            name,
            domain: String::new(),
            op: op.to_owned(),
            attrs: Attrs::new(),
            inputs: Vec::new(),
            outputs: vec![Some(y)],
        };
        affine::become_affine(&mut node, axis, [Some(x), scale, bias]);
        graph.nodes.push(node);
    }

    /// x/s + a, the quantiser to integers, (q - a)·s. Of the zero point, a holds as much as decides where ties go.
    fn split(&mut self, graph: &mut Graph, mut node: Node, quant: &Quant) {
        let grid = &quant.grid;
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { return graph.nodes.push(node) };
        let (mut scaled, integer) = (self.value(graph, y, "scaled"), self.value(graph, y, "integer"));
        let added = quant.added();
        // Up is down of what is negative.
        let upward = quant.rounding == Rounding::Ceil;
        let sign = if upward { -1.0 } else { 1.0 };
        let down = grid.scale.iter().map(|s| sign / s).collect();
        let name = self.names.fresh(&format!("{}/scale", node.name));
        let bias = (added != 0.0).then(|| vec![added]);
        self.scaling(graph, (name, "Quant"), (x, scaled), (grid.axis, Some(down), bias));
        let mut bits = grid.bits;
        if grid.zero_point != added || upward || narrow_and_unsigned(grid) {
            let shift = (grid.zero_point - added) as i64;
            let (lo, hi) = quant.range();
            let (lo, hi) = if upward { (shift - hi, shift - lo) } else { (lo - shift, hi - shift) };
            let signed = lo < 0;
            bits = (0..62).find(|b| lo >= -(1 << b) && hi < (1 << b)).unwrap_or(62) + u32::from(signed);
            if exact_range(lo, hi).is_none_or(|range| range != (bits, signed, false)) {
                scaled = self.clip(graph, &node, scaled, (lo, hi));
            }
            node.attrs.set("signed", Attr::Int(signed.into()));
            node.attrs.set("narrow", Attr::Int(0));
        }
        if upward {
            node.attrs.set("rounding_mode", Attr::Str("FLOOR".to_owned()));
        }
        let name = node.name.clone();
        for (slot, v) in [(1, 1.0), (2, 0.0), (3, f64::from(bits))] {
            let name = format!("{name}_integer{slot}");
            node.inputs[slot] = Some(self.constants.add(graph, &name, Tensor::scalar_f32(v as f32), None));
        }
        (node.inputs[0], node.outputs) = (Some(scaled), vec![Some(integer)]);
        graph.nodes.push(node);
        let mut moved = integer;
        if added != 0.0 {
            moved = self.value(graph, y, "moved");
            let name = self.names.fresh(&format!("{name}/offset"));
            self.scaling(graph, (name, "Quant"), (integer, moved), (None, None, Some(vec![-added])));
        }
        let behind = self.names.fresh(&format!("{name}{RESCALE}"));
        let up = grid.scale.iter().map(|s| sign * s).collect();
        self.scaling(graph, (behind, "Quant"), (moved, y), (grid.axis, Some(up), None));
    }

    /// Appends bounds on what the quantiser `node` reads; their result.
    fn clip(&mut self, graph: &mut Graph, node: &Node, x: ValueId, (lo, hi): (i64, i64)) -> ValueId {
        let y = self.value(graph, x, "clipped");
        let mut inputs = vec![Some(x)];
        for (what, bound) in [("lo", lo), ("hi", hi)] {
            let name = format!("{}_{what}", node.name);
            inputs.push(Some(self.constants.add(graph, &name, Tensor::scalar_f32(bound as f32), None)));
        }
        let name = self.names.fresh(&format!("{}/clip", node.name));
        graph.nodes.push(Node {
            sources: vec![name.clone()],
            name,
            domain: String::new(),
            op: "Clip".to_owned(),
            attrs: Attrs::new(),
            inputs,
            outputs: vec![Some(y)],
        });
        y
    }

    /// A layer whose weights lie on a grid of one scale, or one an output channel, as integers and a scaling behind.
    fn integer_weights(&mut self, graph: &mut Graph, mut node: Node) {
        let grid = node.input(1).and_then(|w| graph.value(w).grid.clone());
        let fits = |g: &Grid| grid_format(g).is_err() && g.zero_point == 0.0 && g.axis.is_none_or(|a| a == 0);
        let Some(grid) = grid.filter(|g| fits(g)) else { return graph.nodes.push(node) };
        let Some(weights) = node.input(1).and_then(|w| graph.constant(w)).cloned() else {
            return graph.nodes.push(node);
        };
        let channels = weights.shape().first().copied().unwrap_or(1).max(1);
        let each = (weights.len() / channels).max(1);
        let at = |i: usize| if grid.axis.is_some() { grid.scale[i / each] } else { grid.scale[0] };
        let data =
            weights.to_f64().into_iter().enumerate().map(|(i, w)| (w / at(i)).round_ties_even() as f32);
        let Ok(tensor) = Tensor::from_f32(weights.shape().to_vec(), data.collect()) else {
            return graph.nodes.push(node);
        };
        self.integer_layer(graph, &mut node, tensor, &grid);
    }

    /// Appends the layer `node` with `integers` for weights, whose scales are those of `grid`, and its scaling.
    pub(super) fn integer_layer(&mut self, graph: &mut Graph, node: &mut Node, weights: Tensor, grid: &Grid) {
        let Some(y) = node.output(0) else { return graph.nodes.push(node.clone()) };
        let name = format!("{}_integer_weight", node.name);
        node.inputs[1] = Some(self.constants.add(graph, &name, weights, Some(Arc::new(integers(grid)))));
        self.layer_and_scaling(graph, node, y, grid.scale.clone());
    }

    /// Appends the layer `node` without its bias, and behind it a scaling with the bias. The scaling takes over the layer's
    /// name, since it yields what the model calls the layer's result.
    fn layer_and_scaling(&mut self, graph: &mut Graph, node: &mut Node, y: ValueId, scale: Vec<f64>) {
        let sum = self.value(graph, y, "unscaled");
        let bias = node.input(2).and_then(|b| graph.constant(b)).map(|t| t.to_f64());
        node.inputs.truncate(2);
        node.outputs = vec![Some(sum)];
        let axis = channel_axis(graph, node, y);
        let swap = !node.name.ends_with(INTEGER);
        let (name, mut sources) = if swap {
            let name = self.names.fresh(&format!("{}{INTEGER}", node.name));
            let model = std::mem::replace(&mut node.name, name.clone());
            (model, std::mem::replace(&mut node.sources, vec![name]))
        } else {
            let name = self.names.fresh(&format!("{}/rescale", node.name));
            (name.clone(), vec![name])
        };
        graph.nodes.push(node.clone());
        self.scaling(graph, (name, &model_op(node)), (sum, y), (axis, Some(scale), bias));
        if let Some(last) = graph.nodes.last_mut() {
            last.sources.append(&mut sources);
            last.sources.dedup();
        }
    }
}

/// The axis of a layer's result that runs along its output channels.
fn channel_axis(graph: &Graph, node: &Node, y: ValueId) -> Option<usize> {
    if node.is("Conv") { Some(1) } else { graph.shape(y)?.len().checked_sub(1) }
}
