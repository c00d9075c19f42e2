//! Layers and quantisers in parts: a layer of products alone, and scalings around it.
//!
//! A quantiser that no fixed-point type can follow becomes x/s + z, a quantiser to integers and (q − z)·s. Weights on such
//! a grid become integers with their scale behind the layer. A scale directly in front of a layer moves behind it.

use std::collections::HashMap;
use std::sync::Arc;

use hs_ir::{Attrs, Graph, Grid, Node, Tensor, Uses, Value, ValueId};

use super::{Array, BIAS, Operand, Scaling, State, is_dense};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::lower::constants::grid_format;
use crate::ops::model_op;
use crate::passes::rescale;

/// A scaling that a quantiser of the data ends with, and which may move.
struct Movable {
    /// The scaling in the list of nodes.
    at: usize,
    /// What it reads.
    integer: ValueId,
    scale: Array,
}

impl State<'_> {
    /// Takes layers and quantisers apart.
    pub(super) fn split(&mut self, graph: &mut Graph) -> Result<(), Diagnostics> {
        let uses = Uses::of(graph);
        let mut errors = astray(graph, &uses);
        let mut movable: HashMap<ValueId, Movable> = HashMap::new();
        let mut moved: Vec<usize> = Vec::new();
        for node in std::mem::take(&mut graph.nodes) {
            if let Some(quant) = rescale::quantiser(graph, &node) {
                if let Some((y, scale)) = self.quantiser(graph, node, &quant.grid) {
                    movable.insert(y, scale);
                }
            } else if node.is("Conv") || is_dense(&node) {
                let in_front = node.input(0).and_then(|x| movable.get(&x).map(|m| (x, m)));
                let scale = match in_front {
                    None => None,
                    Some((x, m)) => match moves(graph, &node, x, m) {
                        Ok(true) => {
                            moved.push(m.at);
                            Some(m)
                        }
                        Ok(false) => None,
                        Err(e) => {
                            errors.push(e);
                            None
                        }
                    },
                };
                self.layer(graph, node, scale);
            } else {
                graph.nodes.push(node);
            }
        }
        graph.retain_nodes(|index, _| !moved.contains(&index));
        // What could not become integers is a constant like any other.
        for value in &mut graph.values {
            if value.grid.as_deref().is_some_and(|g| grid_format(g).is_err()) {
                value.grid = None;
            }
        }
        errors.into_result()
    }

    /// A value like `like`, under a name of its own.
    fn value(&mut self, graph: &mut Graph, like: ValueId, what: &str) -> ValueId {
        let of = graph.value(like);
        let (name, dtype, shape) = (format!("{}/{what}", of.name), of.dtype, of.shape.clone());
        let name = self.constants.names.fresh(&name);
        graph.add_value(Value { dtype, shape, ..Value::named(name) })
    }

    /// Appends a scaling from `x` to `y` that is no node of the model, under a name that is its own.
    fn push(
        &mut self,
        graph: &mut Graph,
        (name, op): (String, &str),
        (x, y): (ValueId, ValueId),
        scaling: Scaling,
    ) {
        let mut node = Node {
            sources: vec![name.clone()],
            name,
            domain: String::new(),
            op: op.to_owned(),
            attrs: Attrs::new(),
            inputs: Vec::new(),
            outputs: vec![Some(y)],
        };
        self.make(&mut node, x, scaling);
        graph.nodes.push(node);
    }

    /// x/s + z, the quantiser to integers, (q − z)·s. Returns the result and its scale, where there is no zero point.
    fn quantiser(&mut self, graph: &mut Graph, mut node: Node, grid: &Grid) -> Option<(ValueId, Movable)> {
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
            graph.nodes.push(node);
            return None;
        };
        let (scaled, integer) = (self.value(graph, y, "scaled"), self.value(graph, y, "integer"));
        let (scale, zero) = (Array::single(grid.scale.iter().copied()), grid.zero_point);
        let scaling = |scale: Array, bias: Array| Scaling {
            axis: grid.axis,
            scale: Operand::of(scale),
            bias: Operand::of(bias),
            norm: false,
        };
        let inverse = Array::single(grid.scale.iter().map(|s| 1.0 / f64::from(*s as f32)));
        let name = node.name.clone();
        let [before, behind] = ["scale", "rescale"].map(|what| self.names.fresh(&format!("{name}/{what}")));
        self.push(graph, (before, "Quant"), (x, scaled), scaling(inverse, Array::single([zero])));
        for (slot, v) in [(1, 1.0), (2, 0.0)] {
            let constant = Tensor::scalar_f32(v);
            node.inputs[slot] =
                Some(self.constants.add(graph, &format!("{name}_integer{slot}"), constant, None));
        }
        (node.inputs[0], node.outputs) = (Some(scaled), vec![Some(integer)]);
        graph.nodes.push(node);
        let back = scale.times(&Array::single([-zero]));
        self.push(graph, (behind, "Quant"), (integer, y), scaling(scale.clone(), back));
        let at = graph.nodes.len() - 1;
        (zero == 0.0).then_some((y, Movable { at, integer, scale }))
    }

    /// Appends a layer without what hls4ml makes a layer of its own; `data` moves behind it.
    fn layer(&mut self, graph: &mut Graph, mut node: Node, data: Option<&Movable>) {
        let Some(y) = node.output(0) else { return graph.nodes.push(node) };
        let weights = self.integer_weights(graph, &mut node);
        let weights = weights.map(|scale| (self.names.fresh(&format!("{}/rescale", node.name)), scale));
        let data = data.map(|m| {
            node.inputs[0] = Some(m.integer);
            (graph.nodes[m.at].name.clone(), m.scale.clone())
        });
        let mut behind: Vec<(String, Operand, Operand)> = Vec::new();
        let axis = if is_dense(&node) {
            for (name, scale) in data.into_iter().chain(weights) {
                behind.push((name, Operand::of(scale), Operand::of(Array::zeros())));
            }
            if let Some(bias) = take_bias(graph, &mut node) {
                let name = self.names.fresh(&format!("{}{BIAS}", node.name));
                behind.push((name, Operand::default(), bias));
            }
            graph.shape(y).and_then(|s| s.len().checked_sub(1))
        } else {
            let both = match (data, weights) {
                (Some((_, a)), Some((name, b))) => Some((name, a.times(&b))),
                (one, other) => one.or(other),
            };
            if let Some((name, scale)) = both {
                let bias = self.conv_bias(graph, &mut node, &scale);
                behind.push((name, Operand::of(scale), Operand::of(bias)));
            }
            Some(1)
        };
        let op = model_op(&node);
        let mut x = y;
        if !behind.is_empty() {
            x = self.value(graph, y, "product");
            node.outputs = vec![Some(x)];
        }
        graph.nodes.push(node);
        let last = behind.len().saturating_sub(1);
        for (i, (name, scale, bias)) in behind.into_iter().enumerate() {
            let to = if i == last { y } else { self.value(graph, y, "scaled") };
            let single = |o: &Operand| o.values.as_ref().is_none_or(|v| v.len() == 1);
            let axis = axis.filter(|_| !single(&scale) || !single(&bias));
            self.push(graph, (name, &op), (x, to), Scaling { axis, scale, bias, norm: false });
            x = to;
        }
    }

    /// Makes weights on a grid with one scale, or one an output channel, integers; returns the scale.
    fn integer_weights(&mut self, graph: &mut Graph, node: &mut Node) -> Option<Array> {
        let id = node.input(1)?;
        let grid = graph.value(id).grid.clone()?;
        if grid_format(&grid).is_ok() || grid.zero_point != 0.0 || grid.axis.is_some_and(|a| a != 0) {
            return None;
        }
        let weights = graph.constant(id)?.clone();
        let each = (weights.len() / weights.shape().first().copied().unwrap_or(1).max(1)).max(1);
        let at = |i: usize| if grid.axis.is_some() { grid.scale[i / each] } else { grid.scale[0] };
        let data =
            weights.to_f64().into_iter().enumerate().map(|(i, w)| (w / at(i)).round_ties_even() as f32);
        let tensor = Tensor::from_f32(weights.shape().to_vec(), data.collect()).ok()?;
        let name = format!("{}_integer_weight", node.name);
        let integers = Arc::new(rescale::integers(&grid));
        node.inputs[1] = Some(self.constants.add(graph, &name, tensor, Some(integers)));
        Some(match grid.axis {
            None => Array::single([grid.scale[0]]),
            Some(_) => Array::single(grid.scale.iter().copied()),
        })
    }

    /// What a convolution's bias leaves for a scaling by `scale` behind it.
    fn conv_bias(&mut self, graph: &mut Graph, node: &mut Node, scale: &Array) -> Array {
        let Some((id, tensor)) = node.input(2).and_then(|id| Some((id, graph.constant(id)?.clone()))) else {
            return Array::zeros();
        };
        let bias = Array::of(&tensor);
        let foreign = graph.value(id).grid.clone().filter(|g| grid_format(g).is_err());
        match (scale.scalar(), foreign) {
            _ if bias.all(0.0) => Array::zeros(),
            // Integers too, of the products' scale.
            (Some(s), Some(grid)) if grid.scale.iter().all(|g| f64::from(*g as f32) == s) => {
                let data = tensor.to_f64().into_iter().map(|b| (b / grid.scale[0]).round_ties_even() as f32);
                let integers = Arc::new(rescale::integers(&grid));
                let name = format!("{}_integer_bias", node.name);
                let id = self.constants.add(graph, &name, Tensor::vec_f32(data.collect()), Some(integers));
                node.inputs[2] = Some(id);
                Array::zeros()
            }
            // It stays, and what the scaling does to it is taken back.
            (Some(s), _) => bias.times(&Array::single([1.0 - s])),
            (None, _) => {
                node.inputs.truncate(2);
                bias
            }
        }
    }
}

/// The bias of a layer, which it loses.
fn take_bias(graph: &Graph, node: &mut Node) -> Option<Operand> {
    let id = node.input(2)?;
    let values = Some(Array::of(graph.constant(id)?));
    let grid = graph.value(id).grid.clone().filter(|g| grid_format(g).is_ok());
    node.inputs.truncate(2);
    Some(Operand { values, grid })
}

/// What hls4ml's conversion gets wrong around quantisers with a scale of their own, each an error. It puts the scaling in
/// front of such a quantiser between its operand and the *first* node that reads it, and the scaling behind it between its
/// result and the first node whose *first* operand that is; whoever else reads them is left as it was.
fn astray(graph: &Graph, uses: &Uses) -> Diagnostics {
    let mut errors = Diagnostics::default();
    let mut wrong = |node: &Node, what: String| {
        let help = "use native arithmetic; or give each reader a quantiser of its own, with a scale that is a power of two";
        errors
            .push(Diagnostic::error(format!("hls4ml {what}: its result is wrong")).at_node(node).help(help));
    };
    let first = |node: &Node, value: ValueId| node.input(0) == Some(value);
    for (index, node) in graph.nodes.iter().enumerate() {
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { continue };
        if rescale::quantiser(graph, node).is_none() {
            continue;
        }
        let before = uses.consumers(x).iter().map(|i| (*i, &graph.nodes[*i]));
        for (_, other) in before.filter(|(i, other)| *i < index && first(other, x)) {
            wrong(
                other,
                format!("scales what this node reads in place of what the quantiser '{}' does", node.name),
            );
        }
        let readers: Vec<&Node> = uses.consumers(y).iter().map(|i| &graph.nodes[*i]).collect();
        let scaled = readers.iter().position(|reader| first(reader, y));
        for (i, reader) in readers.iter().enumerate() {
            let once = reader.inputs.iter().filter(|v| **v == Some(y)).count() == 1;
            if Some(i) != scaled || !once {
                wrong(
                    reader,
                    format!(
                        "gives this node the integers of the quantiser '{}' without their scale",
                        node.name
                    ),
                );
            }
        }
        if uses.is_output(y) && scaled.is_some() {
            wrong(
                node,
                "gives the model's output the integers of this quantiser without their scale".to_owned(),
            );
        }
    }
    errors
}

/// Whether the scale in front of the layer `node`, which reads `x`, moves behind it. An error where hls4ml moves it
/// although that changes what is computed.
fn moves(graph: &Graph, node: &Node, x: ValueId, data: &Movable) -> Result<bool, Diagnostic> {
    let outputs = node.input(1).and_then(|w| graph.shape(w)).and_then(|s| s.first().copied());
    let biased = node.is("Conv") && node.input(2).is_some();
    match data.scale.scalar() {
        None if outputs == Some(data.scale.len()) && !biased => Err(Diagnostic::error(format!(
            "hls4ml moves the scale of the quantiser of '{}' behind this layer, where the scales of input channels meet \
             output channels: its result is wrong",
            graph.value(x).name
        ))
        .at_node(node)
        .help("use native arithmetic; or give the data one scale")),
        None => Ok(false),
        Some(_) => Ok(true),
    }
}
