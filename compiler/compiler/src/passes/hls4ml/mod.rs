//! Scalings placed, merged and folded as hls4ml's conversion does it.
//!
//! A scaling is x × scale + bias: a batch normalisation, arithmetic with a constant, the bias of a `Gemm`, and what a
//! quantiser with an arbitrary scale leaves of itself ([`quant`]). Then, as in hls4ml,
//! * a scaling whose result has no type of its own is merged into the scaling that alone reads it;
//! * what directly follows a `Conv` or `Dense` whose result has no type of its own is worked into its weights and bias,
//!   unless a quantiser of the model owns them;
//! * what does nothing is dropped, a type of its own notwithstanding.
//!
//! Constants are computed as numpy does ([`array`]), since they end up as decimal text.

mod array;
mod quant;

use std::collections::HashMap;
use std::sync::Arc;

use hs_ir::{Attr, Graph, Grid, Names, Node, Uses, ValueId};

use super::affine::{self, Scaling as Recognised};
use super::{BIAS, Constants, PassOptions, Substitution, absorb, bias_of, drop_marked};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ops::batch_norm::BatchNorm;
use crate::ops::quant::LINEAR_ATTR;
use crate::ops::{Call, INTERNAL_DOMAIN};
use array::Array;

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut state = State {
        names: Names::of_nodes(graph),
        constants: Constants::new(graph),
        scalings: HashMap::new(),
        options,
    };
    state.split(graph)?;
    state.recognise(graph);
    state.merge(graph)?;
    state.fold(graph);
    state.finish(graph);
    Ok(())
}

/// Refuses `QuantizeLinear` and `DequantizeLinear`, which hls4ml does not convert: nothing says what its types would be.
pub(super) fn refuse_linear(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let linear = |node: &&Node| {
        ["QuantizeLinear", "DequantizeLinear"].contains(&node.op.as_str())
            || node.op == "Quant" && matches!(node.attrs.get(LINEAR_ATTR), Some(Attr::Int(_)))
    };
    let nodes: Vec<&Node> = graph.nodes.iter().filter(linear).collect();
    let Some(first) = nodes.first() else { return Ok(()) };
    let others = match nodes.len() - 1 {
        0 => String::new(),
        n => format!(" (so are {n} others)"),
    };
    let message =
        format!("is a quantiser as ONNX Runtime writes them{others}, which hls4ml does not convert");
    let help = "use --arithmetic native, which takes scales and zero points as they are; or export the model as QONNX";
    Err(Diagnostic::error(message).at_node(first).help(help).into())
}

/// A factor or a summand; `None`: an integer of one bit, 1 or 0.
#[derive(Debug, Clone, Default)]
struct Operand {
    values: Option<Array>,
    grid: Option<Arc<Grid>>,
}

impl Operand {
    fn of(values: Array) -> Self {
        Self { values: Some(values), grid: None }
    }

    fn or(&self, neutral: i64) -> Array {
        self.values.clone().unwrap_or_else(|| Array::int(neutral))
    }

    fn is(&self, neutral: i64) -> bool {
        self.values.as_ref().is_none_or(|v| v.all(neutral as f64))
    }
}

/// x × scale + bias.
#[derive(Debug, Clone, Default)]
struct Scaling {
    /// The axis that both run along; `None` when they are single elements.
    axis: Option<usize>,
    scale: Operand,
    bias: Operand,
    /// A batch normalisation rather than arithmetic.
    norm: bool,
}

struct State<'o> {
    names: Names,
    constants: Constants,
    /// The scalings by the names of their nodes.
    scalings: HashMap<String, Scaling>,
    options: &'o PassOptions,
}

impl State<'_> {
    /// Whether the result of a scaling has a type of its own.
    fn is_typed(&self, node: &Node) -> bool {
        let typed = |name: &str| self.options.unfused.contains(name);
        typed(&node.name) || bias_of(node).is_some_and(typed)
    }

    /// Whether `scaling` may be worked into `layer`.
    fn may_fold(&self, layer: &Node, scaling: &Node) -> bool {
        let own = bias_of(scaling) == Some(layer.name.as_str());
        let split = layer.sources.iter().any(|s| self.options.split.contains(s));
        !split && (own || self.options.absorbs(layer))
    }

    /// Makes every batch normalisation and every arithmetic with a constant a scaling.
    fn recognise(&mut self, graph: &mut Graph) {
        for index in 0..graph.nodes.len() {
            if let Some((x, scaling)) = recognise(graph, index) {
                self.make(&mut graph.nodes[index], x, scaling);
            }
        }
    }

    /// Makes `node` a scaling of `x`. Its constants follow in [`Self::finish`].
    fn make(&mut self, node: &mut Node, x: ValueId, scaling: Scaling) {
        affine::become_affine(node, scaling.axis, [Some(x), None, None]);
        self.scalings.insert(node.name.clone(), scaling);
    }

    /// Merges each scaling into the one that alone reads it.
    fn merge(&mut self, graph: &mut Graph) -> Result<(), Diagnostics> {
        let uses = Uses::of(graph);
        let mut errors = Diagnostics::default();
        let mut dead = vec![false; graph.nodes.len()];
        for index in 0..graph.nodes.len() {
            let mut reader = index;
            while let Some(x) = graph.nodes[reader].input(0)
                && let Some(before) = uses.producer(x).filter(|_| uses.sole_consumer(x) == Some(reader))
                && !self.is_typed(&graph.nodes[before])
                && let Some(first) = self.scalings.get(&graph.nodes[before].name)
                && let Some(second) = self.scalings.get(&graph.nodes[index].name)
                && let Some(both) = merged(first, second)
            {
                let node = graph.nodes[before].clone();
                if let Some(what) = loses_its_quantiser(first, second, &both) {
                    let message = format!(
                        "hls4ml merges this node with '{}' and forgets the quantiser of its {what}, which is not supported",
                        node.name
                    );
                    let help = "give it a result type, so that it stays a layer of its own; or use native arithmetic";
                    errors.push(Diagnostic::error(message).at_node(&graph.nodes[index]).help(help));
                }
                self.scalings.remove(&node.name);
                self.scalings.insert(graph.nodes[index].name.clone(), both);
                if bias_of(&node).is_none() {
                    absorb(&mut graph.nodes[index], node.sources);
                }
                dead[before] = true;
                reader = before;
            }
            if reader != index {
                graph.nodes[index].inputs[0] = graph.nodes[reader].input(0);
            }
        }
        drop_marked(graph, &dead);
        errors.into_result()
    }

    /// Works each scaling into the layer in front of it.
    fn fold(&mut self, graph: &mut Graph) {
        let mut uses = Uses::of(graph);
        let mut dead = vec![false; graph.nodes.len()];
        for (index, dead) in dead.iter_mut().enumerate() {
            let Some(scaling) = self.scalings.get(&graph.nodes[index].name).cloned() else { continue };
            let Some(x) = graph.nodes[index].input(0) else { continue };
            let layer = uses
                .producer(x)
                .filter(|_| uses.sole_consumer(x) == Some(index))
                .filter(|layer| self.may_fold(&graph.nodes[*layer], &graph.nodes[index]));
            let Some(layer) = layer.filter(|layer| self.folded(graph, *layer, x, &scaling)) else { continue };
            let node = graph.nodes[index].clone();
            self.scalings.remove(&node.name);
            if bias_of(&node).is_none() {
                absorb(&mut graph.nodes[layer], node.sources);
            }
            graph.nodes[layer].outputs = node.outputs;
            if let Some(y) = graph.nodes[layer].output(0) {
                uses.set_producer(y, layer);
            }
            *dead = true;
        }
        drop_marked(graph, &dead);
    }

    /// Works a scaling of the result `y` of a layer into its constants, where that can be.
    fn folded(&mut self, graph: &mut Graph, layer: usize, y: ValueId, scaling: &Scaling) -> bool {
        let node = &graph.nodes[layer];
        let channel_axis = if node.is("Conv") && scaling.norm {
            Some(1)
        } else if is_dense(node) {
            graph.shape(y).and_then(|s| s.len().checked_sub(1))
        } else {
            return false;
        };
        if scaling.axis.is_some() && scaling.axis != channel_axis {
            return false;
        }
        let name = node.name.clone();
        let constant = |id: Option<ValueId>| {
            let tensor = id.and_then(|id| graph.constant(id))?;
            Some((Array::of(tensor), tensor.shape().to_vec(), id.and_then(|id| graph.value(id).grid.clone())))
        };
        let Some((weight, shape, weight_grid)) = constant(node.input(1)) else { return false };
        let (old, old_grid) = match node.input(2) {
            None => (Array::zeros(), None),
            id => match constant(id) {
                Some((bias, _, grid)) => (bias, grid),
                None => return false,
            },
        };
        let channels = shape.first().copied().unwrap_or(1).max(1);
        let scale = scaling.scale.or(1);
        let free = |a: &Option<Arc<Grid>>, b: &Option<Arc<Grid>>| a.is_none() && b.is_none();
        let scales_meet = free(&weight_grid, &scaling.scale.grid)
            || (weight.all(1.0) && weight_grid.is_none())
            || (scaling.scale.is(1) && scaling.scale.grid.is_none());
        let biases_meet = free(&old_grid, &scaling.bias.grid)
            || (old.all(0.0) && old_grid.is_none())
            || (scaling.bias.is(0) && scaling.bias.grid.is_none());
        if !scales_meet || !biases_meet {
            return false;
        }
        if !scaling.scale.is(1) {
            let fused = weight.grouped(&scale, weight.len() / channels).tensor(shape);
            let Some(fused) = fused else { return false };
            let grid = scaling.scale.grid.clone().or(weight_grid);
            let id = self.constants.add(graph, &format!("{name}_weight"), fused, grid);
            graph.nodes[layer].inputs[1] = Some(id);
        }
        let bias = scale.times(&old).plus(&scaling.bias.or(0)).spread(channels);
        let Some(bias) = bias.vector() else { return false };
        let grid = scaling.bias.grid.clone().or(old_grid);
        let id = self.constants.add(graph, &format!("{name}_bias"), bias, grid);
        let inputs = &mut graph.nodes[layer].inputs;
        inputs.resize(3, None);
        inputs[2] = Some(id);
        true
    }

    /// Drops what does nothing and gives the other scalings their constants.
    fn finish(&mut self, graph: &mut Graph) {
        let uses = Uses::of(graph);
        let mut dead = vec![false; graph.nodes.len()];
        let mut map = Substitution::new();
        for (index, dead) in dead.iter_mut().enumerate() {
            let node = &graph.nodes[index];
            let Some(scaling) = self.scalings.get(&node.name) else { continue };
            let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { continue };
            if scaling.scale.is(1) && scaling.bias.is(0) && !uses.is_output(y) {
                map.insert(y, x);
                *dead = true;
                continue;
            }
            let (name, axis) = (node.name.clone(), scaling.axis);
            let mut operand = |graph: &mut Graph, what: &str, operand: &Operand| {
                let tensor = operand.values.as_ref()?.vector()?;
                Some(self.constants.add(graph, &format!("{name}_{what}"), tensor, operand.grid.clone()))
            };
            let scale = operand(graph, "scale", &scaling.scale);
            let bias = operand(graph, "bias", &scaling.bias);
            affine::become_affine(&mut graph.nodes[index], axis, [Some(x), scale, bias]);
        }
        drop_marked(graph, &dead);
        graph.substitute(&map);
    }
}

fn is_dense(node: &Node) -> bool {
    node.domain == INTERNAL_DOMAIN && node.op == "Dense"
}

/// The scaling that a node of the model is, and what it reads.
fn recognise(graph: &Graph, index: usize) -> Option<(ValueId, Scaling)> {
    let node = &graph.nodes[index];
    if node.domain == INTERNAL_DOMAIN {
        return None;
    }
    if node.is("BatchNormalization") {
        let (scale, bias) = BatchNorm::single(&Call::of(graph, node)?).ok()?;
        let array = |v: Vec<f32>| Operand::of(Array::single(v.into_iter().map(f64::from)));
        let (scale, bias) = (array(scale), array(bias));
        return Some((node.input(0)?, Scaling { axis: Some(1), scale, bias, norm: true }));
    }
    let Recognised { x, axis, scale, bias } = affine::recognise(graph, index)?;
    let constant = node.inputs.iter().flatten().find(|id| graph.constant(**id).is_some())?;
    let grid = graph.value(*constant).grid.clone().filter(|g| g.axis.is_none());
    let operand = |values: Option<Vec<f64>>| {
        // The minus of a difference is an integer.
        let minus = node.is("Sub") && values.as_deref() == Some(&[-1.0]);
        values.map(|v| if minus { Array::int(-1) } else { Array::single(v) })
    };
    let (scale, bias) = (operand(scale), bias.map(Array::single));
    let of = |values: Option<Array>, kept: bool| Operand { values, grid: grid.clone().filter(|_| kept) };
    let (scale, bias) = (of(scale, node.is("Mul")), of(bias, node.is("Add") || node.is("Sub")));
    Some((x, Scaling { axis, scale, bias, norm: false }))
}

/// Which constant of two scalings was on a quantiser's grid and no longer is in `both`.
fn loses_its_quantiser(first: &Scaling, second: &Scaling, both: &Scaling) -> Option<&'static str> {
    let lost = |a: &Operand, b: &Operand, both: &Operand| {
        both.grid.is_none() && (a.grid.is_some() || b.grid.is_some())
    };
    if lost(&first.scale, &second.scale, &both.scale) {
        return Some("factor");
    }
    lost(&first.bias, &second.bias, &both.bias).then_some("summand")
}

/// One scaling for `first` and then `second`, where quantisers and axes allow it.
fn merged(first: &Scaling, second: &Scaling) -> Option<Scaling> {
    let axis = match (first.axis, second.axis) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b),
    };
    let free = |a: &Operand, b: &Operand, neutral: i64| {
        a.grid.is_none() || b.grid.is_none() || a.is(neutral) || b.is(neutral)
    };
    if !free(&first.scale, &second.scale, 1) || !free(&first.bias, &second.bias, 0) {
        return None;
    }
    let grid = |a: &Operand, b: &Operand, neutral: i64| {
        // hls4ml asks whether the biases are 1, not 0.
        match (a.or(neutral).all(1.0), b.or(neutral).all(1.0)) {
            (true, _) => b.grid.clone(),
            (_, true) => a.grid.clone(),
            _ => None,
        }
    };
    let scale = first.scale.or(1).times(&second.scale.or(1));
    let bias = second.scale.or(1).times(&first.bias.or(0)).plus(&second.bias.or(0));
    Some(Scaling {
        axis,
        scale: Operand { values: Some(scale), grid: grid(&first.scale, &second.scale, 1) },
        bias: Operand { values: Some(bias), grid: grid(&first.bias, &second.bias, 0) },
        norm: first.norm && second.norm,
    })
}
