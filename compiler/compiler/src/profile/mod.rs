//! Profiling: what data does to every tensor of a model, in float and in fixed point.
//!
//! A [`Profiler`] makes of a Program one that also puts out each tensor of interest ([`Profiler::program`]); whoever can
//! run it feeds rows and results to [`Profiler::add`]; [`Profiler::finish`] says what was found ([`Profile`]), which
//! [`html::page`] shows.
//!
//! Each tensor is compared with float twice: with the float model on the same rows, and with what float arithmetic makes
//! of the *fixed-point* values in front of the layer. The second is the layer's own error, free of what it inherits, and
//! tells which layer to look at.

pub mod html;
pub mod report;
pub mod stats;
mod svg;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use hs_fixed::{Overflow, Type};
use hs_hw::{Node, Op, Program};
use hs_ir::{DType, Tensor, TensorData, ValueId};

use crate::{
    diagnostic::Diagnostic,
    lower::{Cost, LayerNote, Placed},
    passes::NormalGraph,
    reference::{self, Evaluation},
};
pub use report::{Cause, LayerProfile, Profile};
use stats::{Count, Distance, Linear, Magnitudes, Spread};

/// Rows that one thread takes at a time.
const PIECE: usize = 8;

/// A tensor that is watched.
#[derive(Debug, Clone)]
struct Tap {
    /// Its ONNX name.
    tensor: String,
    /// What a configuration calls it: the ONNX node that yields it, or the model's input.
    name: String,
    /// The operator of that node, `Input` for an input.
    op: String,
    value: ValueId,
    dtype: DType,
    /// Hardware node.
    node: String,
    ty: Type,
    /// The rounding of a truncating cast is part of the bias.
    rounds: bool,
    channels: usize,
    order: Vec<usize>,
    shape: Vec<usize>,
}

/// What is known of one tensor.
#[derive(Debug, Clone, Default)]
struct TensorStats {
    float: Spread,
    magnitudes: Magnitudes,
    linear: Linear,
    channels: Vec<Spread>,
    outside: Count,
    at_bounds: Count,
    wrapped: Count,
    error: Distance,
    own: Distance,
}

impl TensorStats {
    fn merge(&mut self, o: &Self) {
        self.float.merge(&o.float);
        self.magnitudes.merge(&o.magnitudes);
        self.linear.merge(&o.linear);
        self.channels.resize(self.channels.len().max(o.channels.len()), Spread::default());
        for (a, b) in self.channels.iter_mut().zip(&o.channels) {
            a.merge(b);
        }
        self.outside.merge(o.outside);
        self.at_bounds.merge(o.at_bounds);
        self.wrapped.merge(o.wrapped);
        self.error.merge(&o.error);
        self.own.merge(&o.own);
    }
}

/// Collects what rows do to a model. The result does not depend on the number of threads.
#[derive(Debug)]
pub struct Profiler<'a> {
    graph: &'a NormalGraph,
    program: Program,
    taps: Vec<Tap>,
    skipped: Vec<String>,
    by_value: BTreeMap<usize, usize>,
    stats: Vec<TensorStats>,
    rows: usize,
}

impl<'a> Profiler<'a> {
    /// A profiler of a lowered graph: of each tensor that has a place in hardware, shapes and copies left out.
    /// `notes` are those of the lowering.
    pub fn new(graph: &'a NormalGraph, program: &Program, placed: &[Placed], notes: &[LayerNote]) -> Self {
        let folded: HashSet<&str> =
            notes.iter().filter(|n| n.rounding == Cost::Free).map(|n| n.node.as_str()).collect();
        let mut tapped = program.clone();
        tapped.nodes.retain(|n| !matches!(n.op, Op::Output { .. }));
        // Only outputs were dropped and nothing reads them, but they may have stood anywhere.
        let mut moved = vec![None; program.nodes.len()];
        let kept = program.iter().filter(|(_, n)| !matches!(n.op, Op::Output { .. }));
        kept.enumerate().for_each(|(at, (id, _))| moved[id.index()] = Some(hs_hw::ValueId(at as u32)));
        for node in &mut tapped.nodes {
            for input in &mut node.inputs {
                if let Some(at) = moved[input.index()] {
                    *input = at;
                }
            }
        }
        let (mut taps, mut skipped, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for place in placed {
            let (Some(value), Some(at)) = (graph.graph().find(&place.tensor), moved[place.node.index()])
            else {
                continue;
            };
            let node = program.node(place.node);
            // The integers of a quantised model count steps, its hardware values are what they stand for.
            let Some(dtype) = graph.graph().value(value).dtype.filter(|d| d.is_float()) else { continue };
            if matches!(node.op, Op::Reshape | Op::Permute(_) | Op::Const(_)) || !seen.insert(place.node) {
                continue;
            }
            // What leaves a Program has at most 64 bits.
            if node.format().width() > 63 + u32::from(node.format().is_signed()) {
                skipped.push(place.tensor.clone());
                continue;
            }
            tapped.nodes.push(output(taps.len(), at, node));
            let rounds = folded.contains(node.name.as_str());
            taps.push(Tap { rounds, ..Tap::new(graph, place, (value, dtype), node) });
        }
        let by_value = taps.iter().enumerate().map(|(i, t)| (t.value.index(), i)).collect();
        let stats = vec![TensorStats::default(); taps.len()];
        Self { graph, program: tapped, taps, skipped, by_value, stats, rows: 0 }
    }

    /// The Program to run: that of the model, but its outputs are the tensors that are watched, in hardware order.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Number of outputs of [`Profiler::program`].
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Whether nothing can be watched.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// Takes more rows. `inputs`: a vector a row, a tensor a model input, of the graph's shapes. `fixed`: the values of
    /// each output of [`Profiler::program`] for these rows, `[rows, elements…]`.
    pub fn add(
        &mut self,
        inputs: &[Vec<Tensor>],
        fixed: &[Vec<f64>],
        threads: usize,
    ) -> Result<(), Diagnostic> {
        let rows = inputs.len();
        if fixed.len() != self.taps.len()
            || fixed.iter().zip(&self.taps).any(|(f, t)| f.len() != rows * t.order.len())
        {
            return Err(Diagnostic::error(
                "the results to be profiled are not those of the profiler's program",
            ));
        }
        let pieces = rows.div_ceil(PIECE);
        let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = || {
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    return;
                }
                let found = self.piece(piece * PIECE..((piece + 1) * PIECE).min(rows), inputs, fixed);
                let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                done.insert(piece, found);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(pieces) {
                scope.spawn(work);
            }
            work();
        });
        // In the order of the rows: sums of floats depend on it.
        for found in done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values() {
            for (all, part) in self.stats.iter_mut().zip(found?) {
                all.merge(&part);
            }
        }
        self.rows += rows;
        Ok(())
    }

    fn piece(
        &self,
        rows: Range<usize>,
        inputs: &[Vec<Tensor>],
        fixed: &[Vec<f64>],
    ) -> Result<Vec<TensorStats>, Diagnostic> {
        let mut stats = vec![TensorStats::default(); self.taps.len()];
        for (s, tap) in stats.iter_mut().zip(&self.taps) {
            s.channels = vec![Spread::default(); tap.channels];
        }
        for row in rows {
            let of = |i: usize| {
                let n = self.taps[i].order.len();
                &fixed[i][row * n..(row + 1) * n]
            };
            let float = reference::eval_all(self.graph.graph(), &inputs[row])?;
            let own = self.own(&inputs[row], of)?;
            for (i, (tap, stats)) in self.taps.iter().zip(&mut stats).enumerate() {
                tap.add(stats, self.rows + row, &elements(&float, tap)?, &elements(&own, tap)?, of(i));
            }
        }
        Ok(stats)
    }

    /// The float model, each layer on the fixed-point values of the layers in front.
    fn own<'f>(
        &self,
        inputs: &[Tensor],
        fixed: impl Fn(usize) -> &'f [f64],
    ) -> Result<Evaluation, Diagnostic> {
        reference::eval_replacing(self.graph.graph(), inputs, &mut |id| {
            let i = *self.by_value.get(&id.index())?;
            let tap = &self.taps[i];
            let mut values = vec![0f64; tap.order.len()];
            for (at, v) in tap.order.iter().zip(fixed(i)) {
                values[*at] = *v;
            }
            let data = match tap.dtype {
                DType::F64 => TensorData::F64(values),
                _ => TensorData::F32(values.into_iter().map(|v| v as f32).collect()),
            };
            Tensor::new(tap.dtype, tap.shape.clone(), data).ok()
        })
    }

    /// What was found. `target`: the signal-to-noise ratio in dB that a layer should reach on its own.
    pub fn finish(&self, target: f64) -> Profile {
        let layers =
            self.taps.iter().zip(&self.stats).map(|(t, s)| LayerProfile::new(t, s, target)).collect();
        Profile::new(&self.program.name, self.rows, target, layers, self.skipped.clone())
    }
}

/// An output of all of a node's elements, in hardware order.
fn output(index: usize, from: hs_hw::ValueId, node: &Node) -> Node {
    let perm = (0..node.shape.len()).collect();
    let op = Op::Output { index, tensor: format!("tap{index}"), onnx_shape: node.shape.clone(), perm };
    let name = format!("tap{index}:{}", node.name);
    Node { name, op, inputs: vec![from], shape: node.shape.clone(), ty: node.ty }
}

fn elements(run: &Evaluation, tap: &Tap) -> Result<Vec<f64>, Diagnostic> {
    let found = run.get(tap.value).filter(|t| t.len() == tap.order.len());
    let found = found.ok_or_else(|| Diagnostic::error(format!("'{}' has no value in float", tap.tensor)))?;
    Ok(found.to_f64())
}

impl Tap {
    fn new(graph: &NormalGraph, place: &Placed, (value, dtype): (ValueId, DType), node: &Node) -> Self {
        let producer = graph.graph().nodes.iter().find(|n| n.outputs.contains(&Some(value)));
        let (name, op) = match producer {
            Some(n) => (n.name.clone(), n.op.clone()),
            None => (place.tensor.clone(), "Input".to_owned()),
        };
        Self {
            tensor: place.tensor.clone(),
            name,
            op,
            value,
            dtype,
            node: node.name.clone(),
            ty: node.ty,
            rounds: false,
            channels: node.channels(),
            order: place.order.clone(),
            shape: graph.shape(value).to_vec(),
        }
    }

    /// One row: `float` and `own` in ONNX order, `fixed` in hardware order.
    fn add(&self, stats: &mut TensorStats, row: usize, float: &[f64], own: &[f64], fixed: &[f64]) {
        let f = self.ty.format;
        let (lowest, highest, lsb) = (f.value(f.min()), f.value(f.max()), f.value(1));
        // Values less than half a step outside are as well held as those inside.
        let held = lowest - lsb / 2.0..=highest + lsb / 2.0;
        let half = (highest - lowest + lsb) / 2.0;
        let wraps = matches!(self.ty.overflow, Overflow::Wrap { .. } | Overflow::WrapSm { .. });
        let (mut outside, mut at_bounds, mut wrapped) = (0, 0, 0);
        for (i, (at, found)) in self.order.iter().zip(fixed).enumerate() {
            let (v, near) = (float[*at], own[*at]);
            stats.float.add(v);
            stats.magnitudes.add(v);
            stats.linear.add(v);
            stats.channels[i % self.channels].add(v);
            outside += u64::from(!held.contains(&v));
            at_bounds += u64::from(*found == highest || (*found == lowest && lowest < 0.0));
            wrapped += u64::from(wraps && (near - found).abs() >= half);
            stats.error.add(v, *found, (row, *at));
            stats.own.add(near, *found, (row, *at));
        }
        stats.outside.row(outside);
        stats.at_bounds.row(at_bounds);
        stats.wrapped.row(wrapped);
    }
}
