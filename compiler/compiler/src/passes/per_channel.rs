//! Weights rounded with the integer bits of each output channel: integers, and behind the layer a scaling by powers of two.

use std::sync::Arc;

use hs_ir::{Graph, Grid, Node, Tensor};

use super::PassOptions;
use super::rescale::{State, is_layer};
use crate::diagnostic::Diagnostics;

/// A channel whose largest weight is this many powers of two below that of the tensor is rounded coarser than its own
/// width allows: the scalings of a layer share one type.
const SPREAD: i32 = 24;

pub(super) fn run(graph: &mut Graph, options: &PassOptions) -> Result<(), Diagnostics> {
    let Some(bits) = options.per_channel else { return Ok(()) };
    let mut state = State::new(graph);
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        let typed = node.sources.iter().any(|s| options.weighted.contains(s));
        match integer_weights(graph, &node, bits).filter(|_| !typed && is_layer(&node)) {
            Some((tensor, grid)) => state.integer_layer(graph, &mut node, tensor, &grid),
            None => graph.nodes.push(node),
        }
    }
    Ok(())
}

/// The weights of `node` as integers of `bits` bits and their grid; `None` where the model has quantised them, or where one
/// scale suits every channel.
fn integer_weights(graph: &Graph, node: &Node, bits: u32) -> Option<(Tensor, Arc<Grid>)> {
    let value = node.input(1)?;
    let weights = graph.constant(value).filter(|_| graph.value(value).grid.is_none())?;
    let channels = *weights.shape().first()?;
    let values = weights.to_f64();
    let each = (values.len() / channels.max(1)).max(1);
    if values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let fracs: Vec<Option<i32>> = values.chunks(each).map(|channel| frac(channel, bits)).collect();
    let coarsest = fracs.iter().flatten().min().copied()?;
    let fracs: Vec<i32> =
        fracs.into_iter().map(|f| f.map_or(coarsest, |f| f.min(coarsest + SPREAD))).collect();
    if fracs.iter().all(|f| *f == coarsest) {
        return None;
    }
    let codes = values.iter().enumerate().map(|(i, v)| (v * 2f64.powi(fracs[i / each])).round_ties_even());
    let tensor = Tensor::from_f32(weights.shape().to_vec(), codes.map(|c| c as f32).collect()).ok()?;
    let scale = fracs.iter().map(|f| 2f64.powi(-f)).collect();
    let grid = Grid { scale, axis: Some(0), zero_point: 0.0, bits, signed: true, narrow: false };
    Some((tensor, Arc::new(grid)))
}

/// Most fraction bits with which `values` fit `bits` bits; `None` when all are 0.
fn frac(values: &[f64], bits: u32) -> Option<i32> {
    let (lo, hi) = values.iter().fold((0f64, 0f64), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let most = hi.max(-lo);
    let limit = 2f64.powi(bits as i32 - 1);
    let start = bits as i32 - if most > 0.0 { most.log2().floor() as i32 } else { return None };
    let fits = |f: &i32| {
        let code = |v: f64| (v * 2f64.powi(*f)).round_ties_even();
        code(lo) >= -limit && code(hi) < limit
    };
    (start - 8..=start).rev().find(fits)
}
