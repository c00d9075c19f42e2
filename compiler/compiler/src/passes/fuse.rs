//! Folds an `Affine` into the `Conv`, `ConvTranspose` or `Dense` in front of it, through nodes that only move elements. Constants that a
//! quantiser of the model put on a grid stay as they are.

use hs_ir::{Graph, Tensor, Uses, ValueId};

use super::affine::{Scaling, scaling, zip};
use super::{Constants, PassOptions, absorb, drop_marked};
use crate::diagnostic::Diagnostics;
use crate::ops::reshape::Reshape;
use crate::ops::transpose::Transpose;
use crate::ops::{Call, INTERNAL_DOMAIN};

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let mut uses = Uses::of(graph);
    let mut constants = Constants::new(graph);
    let mut dead = vec![false; graph.nodes.len()];
    for (index, dead) in dead.iter_mut().enumerate() {
        let Some(scaling) = scaling(graph, index) else { continue };
        let Some((layer, last)) = layer_in_front(graph, &uses, index, &scaling) else { continue };
        let kept = !options.absorbs(&graph.nodes[layer]) || !options.folds(&graph.nodes[index]);
        if kept || !fold(graph, layer, &scaling, &mut constants) {
            continue;
        }
        let node = graph.nodes[index].clone();
        absorb(&mut graph.nodes[layer], node.sources);
        graph.nodes[last].outputs = node.outputs;
        if let Some(y) = graph.nodes[last].output(0) {
            uses.set_producer(y, last);
        }
        *dead = true;
    }
    drop_marked(graph, &dead);
    Ok(())
}

/// The layer that computes what `scaling` reads, and the node between them (or the layer) that the scaling follows, when
/// the scaling runs along the layer's output channels and nothing else reads what lies between.
fn layer_in_front(graph: &Graph, uses: &Uses, index: usize, scaling: &Scaling) -> Option<(usize, usize)> {
    let (mut x, mut axis, mut reader) = (scaling.x, scaling.axis, index);
    let mut last = None;
    loop {
        let at = uses.producer(x).filter(|_| uses.sole_consumer(x) == Some(reader))?;
        let last_at = *last.get_or_insert(at);
        let node = &graph.nodes[at];
        let channel_axis = if node.is("Conv") || node.is("ConvTranspose") {
            Some(1)
        } else if node.domain == INTERNAL_DOMAIN && node.op == "Dense" {
            graph.shape(x)?.len().checked_sub(1)
        } else {
            None
        };
        if let Some(channel_axis) = channel_axis {
            return axis.is_none_or(|a| a == channel_axis).then_some((at, last_at));
        }
        let call = Call::of(graph, node)?;
        axis = match (axis, node.domain.as_str(), node.op.as_str()) {
            (axis, "", "Transpose") => {
                let perm = Transpose::parse(&call).ok()?.perm;
                axis.map(|a| perm[a])
            }
            (None, "", "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") => None,
            (Some(axis), "", "Squeeze") => {
                let axes = Reshape::parse(&call).ok()?.axes;
                Some((0..graph.shape(node.input(0)?)?.len()).filter(|a| !axes.contains(a)).nth(axis)?)
            }
            (Some(axis), "", "Unsqueeze") => {
                let axes = Reshape::parse(&call).ok()?.axes;
                (!axes.contains(&axis)).then(|| Some(axis - axes.iter().filter(|a| **a < axis).count()))?
            }
            _ => return None,
        };
        (x, reader) = (node.input(0)?, at);
    }
}

/// Works `scaling` into the layer's weights and bias; false when a quantiser owns them.
fn fold(graph: &mut Graph, layer: usize, scaling: &Scaling, constants: &mut Constants) -> bool {
    let node = &graph.nodes[layer];
    let (name, weight, bias) = (node.name.clone(), node.input(1), node.input(2));
    let on_grid = |id: Option<ValueId>| id.is_some_and(|id| graph.value(id).grid.is_some());
    if on_grid(bias) || (scaling.scale.is_some() && on_grid(weight)) {
        return false;
    }
    let tensor = |id: Option<ValueId>| id.and_then(|id| graph.constant(id)).cloned();
    let Some(weights) = tensor(weight) else { return false };
    let old_bias = tensor(bias).map(|t| t.to_f64());
    if bias.is_some() && old_bias.is_none() {
        return false;
    }
    let Some(outputs) = outputs(graph, layer, weights.shape()) else { return false };
    let channels = outputs.iter().max().map_or(0, |last| last + 1);
    if let Some(scale) = &scaling.scale {
        let each = weights.len() / outputs.len().max(1);
        let at = |i: usize| if scale.len() == 1 { scale[0] } else { scale[outputs[i / each.max(1)]] };
        let data = weights.to_f64().iter().enumerate().map(|(i, w)| (w * at(i)) as f32).collect();
        let Ok(scaled) = Tensor::from_f32(weights.shape().to_vec(), data) else { return false };
        let id = constants.add(graph, &format!("{name}_weight"), scaled, None);
        graph.nodes[layer].inputs[1] = Some(id);
    }
    let moved = match &old_bias {
        None => None,
        some => zip(some, &scaling.scale, 1.0, |b, s| b * s),
    };
    if let Some(new) = zip(&moved, &scaling.bias, 0.0, |a, b| a + b) {
        let at = |i: usize| if new.len() == 1 { new[0] } else { new[i] };
        let data = (0..channels).map(|i| at(i) as f32).collect();
        let id = constants.add(graph, &format!("{name}_bias"), Tensor::vec_f32(data), None);
        let inputs = &mut graph.nodes[layer].inputs;
        inputs.resize(3, None);
        inputs[2] = Some(id);
    }
    true
}

/// The output channel of each kernel of a layer's weights, in their order.
fn outputs(graph: &Graph, layer: usize, weights: &[usize]) -> Option<Vec<usize>> {
    let node = &graph.nodes[layer];
    if !node.is("ConvTranspose") {
        return weights.first().map(|n| (0..*n).collect());
    }
    // [in, out / groups, kernel…]
    let groups = usize::try_from(Call::of(graph, node)?.int("group").ok()?.unwrap_or(1)).ok()?.max(1);
    let [inputs, each, ..] = *weights else { return None };
    let inputs_each = (inputs / groups).max(1);
    Some((0..inputs).flat_map(|i| (0..each).map(move |o| i / inputs_each * each + o)).collect())
}
