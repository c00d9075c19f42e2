//! Folding as hls4ml does it: only into the layer directly in front, and in `f32`, operation by operation.
//!
//! A batch normalisation is folded into the `Conv` or `Dense` in front of it, unless the user keeps that layer's followers
//! apart ([`PassOptions::unfused`]). The addition of a constant behind a product with constant weights is its bias; whether
//! the bias is a layer of its own is decided in lowering. Other arithmetic with channel constants stays one `Affine` a node.

use std::sync::Arc;

use hs_ir::{Graph, Grid, Node, Tensor, Uses, ValueId};

use super::affine::{self, Scaling};
use super::{Constants, PassOptions, absorb, drop_marked};
use crate::diagnostic::Diagnostics;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::{Call, INTERNAL_DOMAIN};

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut uses = Uses::of(graph);
    let mut constants = Constants::new(graph);
    let mut dead = vec![false; graph.nodes.len()];
    for (index, dead) in dead.iter_mut().enumerate() {
        let Some(scaling) = recognise(graph, index) else { continue };
        let layer = layer_in_front(graph, &uses, index, &scaling).filter(|layer| {
            if scaling.norm {
                let sources = &graph.nodes[*layer].sources;
                !sources.iter().any(|s| options.unfused.contains(s))
                    && fold(graph, *layer, &scaling, &mut constants)
            } else {
                set_bias(graph, *layer, &scaling, &mut constants)
            }
        });
        let Some(layer) = layer else {
            write(graph, index, &scaling, &mut constants);
            continue;
        };
        let node = graph.nodes[index].clone();
        absorb(&mut graph.nodes[layer], node.sources);
        graph.nodes[layer].outputs = node.outputs;
        if let Some(y) = graph.nodes[layer].output(0) {
            uses.set_producer(y, layer);
        }
        *dead = true;
    }
    drop_marked(graph, &dead);
    Ok(())
}

/// `x * scale + bias` in `f32`; each `None` (1 or 0), a single element, or one for each index along the axis.
struct Single {
    x: ValueId,
    axis: Option<usize>,
    scale: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    /// The grid of the one constant that is taken as it stands.
    grid: Option<Arc<Grid>>,
    /// Whether this is a batch normalisation rather than arithmetic.
    norm: bool,
}

fn recognise(graph: &Graph, index: usize) -> Option<Single> {
    let node = &graph.nodes[index];
    if node.domain == INTERNAL_DOMAIN {
        return None;
    }
    if node.is("BatchNormalization") {
        let (scale, bias) = BatchNorm::single(&Call::of(graph, node)?).ok()?;
        let (x, axis) = (node.input(0)?, Some(1));
        return Some(Single { x, axis, scale: Some(scale), bias: Some(bias), grid: None, norm: true });
    }
    let Scaling { x, axis, scale, bias } = affine::recognise(graph, index)?;
    let single = |v: Option<Vec<f64>>| v.map(|v| v.into_iter().map(|x| x as f32).collect());
    let verbatim = |node: &Node| {
        let constant = node.inputs.iter().flatten().find(|id| graph.constant(**id).is_some())?;
        graph.value(*constant).grid.clone().filter(|g| g.axis.is_none())
    };
    let grid = if node.is("Add") || node.is("Mul") { verbatim(node) } else { None };
    Some(Single { x, axis, scale: single(scale), bias: single(bias), grid, norm: false })
}

/// The layer whose result `scaling` alone reads, when the scaling runs along its output channels.
fn layer_in_front(graph: &Graph, uses: &Uses, index: usize, scaling: &Single) -> Option<usize> {
    let at = uses.producer(scaling.x).filter(|_| uses.sole_consumer(scaling.x) == Some(index))?;
    let node = &graph.nodes[at];
    let channel_axis = if node.is("Conv") {
        1
    } else if node.domain == INTERNAL_DOMAIN && node.op == "Dense" {
        graph.shape(scaling.x)?.len().checked_sub(1)?
    } else {
        return None;
    };
    scaling.axis.is_none_or(|a| a == channel_axis).then_some(at)
}

/// Works a batch normalisation into weights and bias; false when a quantiser owns them.
fn fold(graph: &mut Graph, layer: usize, scaling: &Single, constants: &mut Constants) -> bool {
    let node = &graph.nodes[layer];
    let (name, weight, bias) = (node.name.clone(), node.input(1), node.input(2));
    let on_grid = |id: Option<ValueId>| id.is_some_and(|id| graph.value(id).grid.is_some());
    if on_grid(bias) || on_grid(weight) {
        return false;
    }
    let tensor = |id: Option<ValueId>| id.and_then(|id| graph.constant(id)).cloned();
    let Some(weights) = tensor(weight) else { return false };
    let old_bias = tensor(bias).map(|t| t.to_f64());
    if bias.is_some() && old_bias.is_none() {
        return false;
    }
    let Some(&channels) = weights.shape().first() else { return false };
    let at = |v: &Option<Vec<f32>>, i: usize, default: f32| match v.as_deref() {
        None => default,
        Some([only]) => *only,
        Some(all) => all[i],
    };
    let each = (weights.len() / channels.max(1)).max(1);
    let scaled = weights.to_f64();
    let scaled = scaled.iter().enumerate().map(|(i, w)| *w as f32 * at(&scaling.scale, i / each, 1.0));
    let Ok(scaled) = Tensor::from_f32(weights.shape().to_vec(), scaled.collect()) else { return false };
    let moved = (0..channels).map(|i| {
        let b = old_bias.as_ref().map_or(0.0, |b| b[i] as f32);
        b * at(&scaling.scale, i, 1.0) + at(&scaling.bias, i, 0.0)
    });
    let moved = Tensor::vec_f32(moved.collect());
    let weight = constants.add(graph, &format!("{name}_weight"), scaled, None);
    let bias = constants.add(graph, &format!("{name}_bias"), moved, None);
    let inputs = &mut graph.nodes[layer].inputs;
    inputs.resize(3, None);
    (inputs[1], inputs[2]) = (Some(weight), Some(bias));
    true
}

/// Makes the addition of a constant the bias of the `Dense` in front, when that has none yet.
fn set_bias(graph: &mut Graph, layer: usize, scaling: &Single, constants: &mut Constants) -> bool {
    let node = &graph.nodes[layer];
    if node.op != "Dense" || node.input(2).is_some() || scaling.scale.is_some() {
        return false;
    }
    let (Some(bias), Some(outputs)) =
        (&scaling.bias, node.input(1).and_then(|w| graph.shape(w)).and_then(|s| s.first().copied()))
    else {
        return false;
    };
    let all = if bias.len() == 1 { vec![bias[0]; outputs] } else { bias.clone() };
    let name = format!("{}_bias", node.name);
    let id = constants.add(graph, &name, Tensor::vec_f32(all), scaling.grid.clone());
    let inputs = &mut graph.nodes[layer].inputs;
    inputs.resize(3, None);
    inputs[2] = Some(id);
    true
}

/// Makes the node `index` the `Affine` of `scaling`.
fn write(graph: &mut Graph, index: usize, scaling: &Single, constants: &mut Constants) {
    let name = graph.nodes[index].name.clone();
    let mut operand = |graph: &mut Graph, what: &str, values: &Option<Vec<f32>>| {
        let tensor = Tensor::vec_f32(values.clone()?);
        Some(constants.add(graph, &format!("{name}_{what}"), tensor, scaling.grid.clone()))
    };
    let scale = operand(graph, "scale", &scaling.scale);
    let bias = operand(graph, "bias", &scaling.bias);
    affine::become_affine(&mut graph.nodes[index], scaling.axis, [Some(scaling.x), scale, bias]);
}
