//! Biases that take back what rounding adds to the mean of each channel.
//!
//! Rounded weights, rounded and clipped activations shift the results of a layer. Where data look alike (the background of an
//! image is the same in every row) the shift is the same in every row, and layer upon layer adds to it. The first calibration
//! rows are run once more, with each tensor cast to the type that lowering has chosen and weights as it rounds them; layer by
//! layer, in order, the bias takes back the difference of each channel's mean to float, and the layers behind see it corrected
//! (bias correction: Nagel et al., Data-Free Quantization, 2019).

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::Op;
use hs_ir::{DType, Graph, Names, Node, Tensor, Value, ValueId};

use super::{Biased, MEANS, Observations, Rows, parallel};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    lower::{Arithmetic, Cost, LowerOptions, Lowered, quantised},
    passes::NormalGraph,
    reference,
};

/// Elements of the largest tensor over all rows that are run: these are in memory at once.
const ELEMENTS: usize = 1 << 26;
/// Results are computed in `f32`, hardware's are exact: what is this share of a step below the next is taken for it where
/// fractions are dropped.
const SLACK: f64 = 1.0 / 64.0;
/// Standard errors of a mean within which it is taken for chance.
const CHANCE: f64 = 2.0;

/// `graph` with corrected biases, or `None` where none is corrected: in models that bring quantisers and under hls4ml's
/// arithmetic. `lowered` is what `options` make of `graph`, `seen` what `rows` make of it in float.
pub(crate) fn corrected(
    graph: &NormalGraph,
    seen: &Observations,
    (lowered, options): (&Lowered, &LowerOptions),
    rows: &Rows<'_>,
) -> Result<Option<NormalGraph>, Diagnostics> {
    if options.arithmetic == Arithmetic::Hls4ml || quantised(graph.graph(), options) {
        return Ok(None);
    }
    let widest = graph.graph().values.iter().filter(|v| v.constant.is_none());
    let widest = widest.filter_map(|v| Some(v.shape.as_ref()?.iter().product())).max().unwrap_or(1);
    let count = rows.count.min(MEANS).min((ELEMENTS / widest.max(1)).max(1));
    // One row cannot tell what all have in common.
    if count < 2 {
        return Ok(None);
    }
    let mut run = Run::new(graph.graph().clone(), lowered, count);
    run.inputs(rows)?;
    for index in 0..run.graph.nodes.len() {
        let mut results = run.results(index)?;
        let node = run.graph.nodes[index].clone();
        let stated = options.by_name(&node.name, &node.sources).bias.is_some();
        if let Some(biased) = Biased::of(&run.graph, &node).filter(|_| !stated)
            && let Some(float) = seen.means.get(&run.graph.value(biased.result).name)
            && float.iter().all(|row| row.len() == biased.channels)
        {
            run.correct(index, &biased, float, &mut results);
        }
        run.keep(&node, results);
        run.forget(index);
    }
    NormalGraph::check(run.graph).map(Some)
}

/// A run of all rows at once, node by node.
struct Run {
    graph: Graph,
    names: Names,
    /// The types of tensors, by name.
    types: BTreeMap<String, Cast>,
    /// The formats of weights, by name.
    weights: BTreeMap<String, Format>,
    /// What later nodes read, a vector a row, by value.
    rows: Vec<Vec<Option<Tensor>>>,
    /// The last node that reads each value.
    last: Vec<usize>,
}

impl Run {
    fn new(graph: Graph, lowered: &Lowered, count: usize) -> Self {
        let rounds = lowered.notes.iter().filter(|n| n.rounding == Cost::Free);
        let rounds: HashSet<&str> = rounds.map(|n| n.node.as_str()).collect();
        let cast = |place: &crate::lower::Placed| {
            let node = lowered.program.node(place.node);
            // What moves elements about has the type of what it reads.
            (!matches!(node.op, Op::Reshape | Op::Permute(_)))
                .then(|| (place.tensor.clone(), Cast::new(node.ty, rounds.contains(node.name.as_str()))))
        };
        let types = lowered.placed.iter().filter_map(cast).collect();
        let mut last = vec![0; graph.values.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            for v in node.inputs.iter().flatten() {
                last[v.index()] = index;
            }
        }
        let rows = vec![vec![None; graph.values.len()]; count];
        let weights = lowered.weights.iter().cloned().collect();
        Self { names: Names::of_values(&graph), graph, types, weights, rows, last }
    }

    fn cast(&self, v: ValueId, tensor: Tensor) -> Tensor {
        match (self.types.get(&self.graph.value(v).name), tensor.dtype()) {
            (Some(cast), DType::F32) => cast.tensor(&tensor).unwrap_or(tensor),
            _ => tensor,
        }
    }

    fn inputs(&mut self, rows: &Rows<'_>) -> Result<(), Diagnostic> {
        let of = |row| {
            let inputs = rows.get(row)?.into_iter().zip(&self.graph.inputs);
            let cast = |(tensor, v): (Tensor, &ValueId)| {
                let typed = reference::typed(tensor, self.graph.value(*v).dtype);
                (*v, self.cast(*v, typed))
            };
            Ok(inputs.map(cast).collect::<Vec<_>>())
        };
        let inputs: Vec<Result<_, Diagnostic>> = parallel(self.rows.len(), of);
        for (row, inputs) in self.rows.iter_mut().zip(inputs) {
            for (v, tensor) in inputs? {
                row[v.index()] = Some(tensor);
            }
        }
        Ok(())
    }

    /// The results of node `index`, not yet cast, a vector a row.
    fn results(&self, index: usize) -> Result<Vec<Vec<Tensor>>, Diagnostic> {
        let node = &self.graph.nodes[index];
        let weight = node.input(1).and_then(|w| {
            let format = self.weights.get(&self.graph.value(w).name)?;
            let nearest = Type::new(*format, Rounding::RndConv, Overflow::Sat);
            Some((w, Cast::new(nearest, false).tensor(self.graph.constant(w)?)?))
        });
        let of = |row: usize| {
            let read = |v: ValueId| match &weight {
                Some((w, rounded)) if *w == v => Some(rounded),
                _ => self.graph.constant(v).map(Arc::as_ref).or(self.rows[row].get(v.index())?.as_ref()),
            };
            reference::eval_node(&self.graph, node, &read)
        };
        parallel(self.rows.len(), of).into_iter().collect()
    }

    /// Gives node `index` a bias that makes the means of `results` those of `float`, a vector a row, as far as the rows agree.
    fn correct(&mut self, index: usize, biased: &Biased, float: &[Vec<f64>], results: &mut [Vec<Tensor>]) {
        let means = parallel(results.len(), |row| biased.means(&results[row][0]));
        let channel = |c: usize| {
            let errors = means.iter().zip(float).map(|(ours, float)| ours[c] - float[c]);
            common(&errors.collect::<Vec<_>>())
        };
        let errors: Vec<f64> = (0..biased.channels).map(channel).collect();
        let shift = |values: &Tensor, channel: &dyn Fn(usize) -> usize| {
            let shifted = values.to_f64().into_iter().enumerate();
            let shifted = shifted.map(|(at, v)| (v - errors[channel(at)]) as f32).collect();
            Tensor::from_f32(values.shape().to_vec(), shifted).ok()
        };
        let Some(old) = self.graph.constant(biased.bias) else { return };
        let Some(bias) = shift(old, &|at| at).filter(|b| b.first_non_finite().is_none()) else { return };
        let name = self.names.fresh(&format!("{}_corrected", self.graph.value(biased.bias).name));
        self.graph.nodes[index].inputs[2] = Some(self.graph.add_value(Value::constant(name, bias)));
        for row in results {
            if let Some(shifted) = shift(&row[0], &|at| biased.channel(at)) {
                row[0] = shifted;
            }
        }
    }

    /// Casts the results of `node` for the nodes behind it.
    fn keep(&mut self, node: &Node, results: Vec<Vec<Tensor>>) {
        let cast = parallel(results.len(), |row| {
            let outputs = node.outputs.iter().zip(&results[row]);
            let cast = outputs.filter_map(|(v, tensor)| Some(((*v)?, self.cast((*v)?, tensor.clone()))));
            cast.collect::<Vec<_>>()
        });
        for (row, results) in self.rows.iter_mut().zip(cast) {
            for (v, tensor) in results {
                row[v.index()] = Some(tensor);
            }
        }
    }

    /// Drops what node `index` was the last to read.
    fn forget(&mut self, index: usize) {
        for v in self.graph.nodes[index].inputs.iter().flatten() {
            if self.last.get(v.index()) == Some(&index) {
                self.rows.iter_mut().for_each(|row| row[v.index()] = None);
            }
        }
    }
}

/// The part of errors that all rows have in common: their mean, less what chance may have made of it.
fn common(errors: &[f64]) -> f64 {
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let spread = errors.iter().map(|e| (e - mean) * (e - mean)).sum::<f64>() / (count - 1.0).max(1.0);
    let (square, chance) = (mean * mean, CHANCE * CHANCE * spread / count);
    if square > chance { mean * (1.0 - chance / square) } else { 0.0 }
}

/// A cast of floats to the values of a type.
struct Cast {
    ty: Type,
    lsb: f64,
    slack: f64,
}

impl Cast {
    /// To `ty`; half a step up before where the rounding is part of a bias, `folded`.
    fn new(ty: Type, folded: bool) -> Self {
        let rounding = if folded { Rounding::Rnd } else { ty.rounding };
        let lsb = ty.format.value(1);
        let slack = if rounding == Rounding::Trn { SLACK * lsb } else { 0.0 };
        // Lowering proves of hardware's values that they do not wrap where it leaves saturation out.
        Self { ty: Type { rounding, overflow: Overflow::Sat, ..ty }, lsb, slack }
    }

    fn tensor(&self, tensor: &Tensor) -> Option<Tensor> {
        let cast = |v: f32| match self.ty.quantize(f64::from(v) + self.slack) {
            Some(code) => (code as f64 * self.lsb) as f32,
            None => v,
        };
        Tensor::from_f32(tensor.shape().to_vec(), tensor.floats()?.iter().map(|v| cast(*v)).collect()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: the mean of 7 and 9 is 8, its square 64; errors 2 apart give means of variance 1, and two standard errors are 2.
    #[test]
    fn rows_that_disagree_have_less_in_common() {
        assert_eq!(common(&[3.0, 3.0]), 3.0);
        assert_eq!(common(&[7.0, 9.0]), 8.0 * (1.0 - 4.0 / 64.0));
        assert_eq!(common(&[0.5, 2.5]), 0.0);
        assert_eq!(common(&[0.0, 0.0]), 0.0);
    }

    fn cast(ty: &str, folded: bool, values: &[f32]) -> Vec<f64> {
        let tensor = Tensor::vec_f32(values.to_vec());
        Cast::new(ty.parse().unwrap(), folded).tensor(&tensor).unwrap().to_f64()
    }

    #[test]
    fn casts_round_as_hardware_does() {
        let values = [0.5, 0.49999997, -0.5, 0.99, 3.9, -3.9];
        assert_eq!(cast("fixed<3,3,RND,SAT>", false, &values), [1.0, 0.0, 0.0, 1.0, 3.0, -4.0]);
        assert_eq!(cast("fixed<3,3,TRN,WRAP>", true, &values), [1.0, 0.0, 0.0, 1.0, 3.0, -4.0]);
        // A sum that is whole in hardware, and a bit less in `f32`.
        assert_eq!(cast("fixed<3,3,TRN,SAT>", false, &[0.9999, 0.9, -0.0001, -0.1]), [1.0, 0.0, 0.0, -1.0]);
    }
}
