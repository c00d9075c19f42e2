//! Calibration: what rows of data make of every tensor in float, and what that says of types and biases.

mod bias;

use std::{collections::BTreeMap, panic::resume_unwind};

use hs_ir::{Graph, Node, Tensor, ValueId};

pub(crate) use self::bias::corrected;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    lower::ObservedRanges,
    ops::{Call, INTERNAL_DOMAIN, affine::Affine},
    passes::NormalGraph,
    reference,
};

/// Rows are dealt into so many parts, whatever the number of threads, so that sums are the same everywhere.
const PARTS: usize = 16;
/// Rows whose means are kept: more say little more of a mean.
const MEANS: usize = 256;

/// What calibration rows make of the tensors of a graph, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observations {
    pub(crate) ranges: ObservedRanges,
    /// Of what has a bias for each channel: the channels' means, of each of the first rows.
    means: BTreeMap<String, Vec<Vec<f64>>>,
}

/// Calibration data that fit a graph's inputs.
pub(crate) struct Rows<'a> {
    /// Shape of a row, its elements, and all rows, of each input.
    columns: Vec<(&'a [usize], usize, Vec<f64>)>,
    count: usize,
}

impl<'a> Rows<'a> {
    /// Checks `data`, one tensor a model input, `[rows, …]`.
    pub(crate) fn new(graph: &'a NormalGraph, data: &[Tensor]) -> Result<Self, Diagnostics> {
        let inputs = &graph.graph().inputs;
        if data.len() != inputs.len() {
            return Err(Diagnostic::error(format!(
                "calibration data has {} tensors, the model {} inputs",
                data.len(),
                inputs.len()
            ))
            .into());
        }
        let mut columns = Vec::with_capacity(data.len());
        let mut count = usize::MAX;
        for (tensor, v) in data.iter().zip(inputs) {
            let shape = graph.graph().shape(*v).unwrap_or(&[]);
            let (found, len) =
                (tensor.shape().first().copied().unwrap_or(0), shape.iter().product::<usize>());
            if found == 0 || tensor.len() != len * found {
                return Err(Diagnostic::error(format!(
                    "calibration data of shape {:?} does not fit input '{}' of shape {shape:?}",
                    tensor.shape(),
                    graph.graph().value(*v).name
                ))
                .help("the first axis counts rows; the others are the input's own")
                .into());
            }
            count = count.min(found);
            columns.push((shape, len, tensor.to_f64()));
        }
        Ok(Self { columns, count })
    }

    fn get(&self, row: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let one = self.columns.iter().map(|(shape, len, values)| {
            let values = values[row * len..(row + 1) * len].iter().map(|v| *v as f32).collect();
            Tensor::from_f32(shape.to_vec(), values).map_err(|e| Diagnostic::error(e.to_string()))
        });
        one.collect()
    }
}

/// Runs `rows` through `graph`.
pub(crate) fn observe(graph: &NormalGraph, rows: &Rows<'_>) -> Result<Observations, Diagnostics> {
    let graph = graph.graph();
    let biased: Vec<Biased> = graph.nodes.iter().filter_map(|n| Biased::of(graph, n)).collect();
    let part = |first: usize| {
        let (mut ranges, mut means) = (ObservedRanges::new(), Vec::new());
        for at in (first..rows.count).step_by(PARTS) {
            let run = reference::eval_all(graph, &rows.get(at)?)?;
            for (i, value) in graph.values.iter().enumerate() {
                if let Some(tensor) = run.get(ValueId::new(i)).filter(|_| value.constant.is_none()) {
                    ranges.entry(value.name.clone()).or_default().extend(tensor.to_f64());
                }
            }
            if at < MEANS {
                let of = |b: &Biased| run.get(b.result).map_or_else(Vec::new, |t| b.means(t));
                means.push((at, biased.iter().map(of).collect::<Vec<_>>()));
            }
        }
        Ok::<_, Diagnostic>((ranges, means))
    };
    let mut all = Observations::default();
    let mut means = Vec::new();
    for part in parallel(PARTS, part) {
        let (ranges, some) = part?;
        for (name, seen) in ranges {
            all.ranges.entry(name).or_default().merge(&seen);
        }
        means.extend(some);
    }
    means.sort_by_key(|(row, _)| *row);
    for (_, row) in means {
        for (biased, means) in biased.iter().zip(row) {
            all.means.entry(graph.value(biased.result).name.clone()).or_default().push(means);
        }
    }
    Ok(all)
}

/// A node's constant summand for each channel of its result.
struct Biased {
    result: ValueId,
    bias: ValueId,
    channels: usize,
    /// Elements of the result from one channel to the next.
    step: usize,
}

impl Biased {
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let (result, bias) = (node.output(0)?, node.input(2)?);
        let shape = graph.shape(result)?;
        let axis = match (node.domain.as_str(), node.op.as_str()) {
            ("", "Conv" | "ConvTranspose") => 1,
            (INTERNAL_DOMAIN, "Dense") => shape.len().checked_sub(1)?,
            (INTERNAL_DOMAIN, "Affine") => Affine::parse(&Call::of(graph, node)?).ok()?.axis,
            _ => return None,
        };
        let channels = *shape.get(axis)?;
        let fits = graph.constant(bias).is_some_and(|t| t.shape() == [channels] && t.floats().is_some());
        fits.then(|| Self {
            result,
            bias,
            channels,
            step: shape[axis + 1..].iter().product::<usize>().max(1),
        })
    }

    fn channel(&self, place: usize) -> usize {
        place / self.step % self.channels
    }

    /// The mean of each channel of `tensor`, which has the result's shape.
    fn means(&self, tensor: &Tensor) -> Vec<f64> {
        let mut sums = vec![0.0; self.channels];
        for (plane, values) in tensor.to_f64().chunks(self.step).enumerate() {
            sums[plane % self.channels] += values.iter().sum::<f64>();
        }
        let count = (tensor.len() / self.channels).max(1) as f64;
        sums.iter().map(|s| s / count).collect()
    }
}

/// `work` of 0 to below `count`, in order, over the machine's threads.
fn parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let work = &work;
        let some = |first| (first..count).step_by(threads).map(|i| (i, work(i))).collect::<Vec<_>>();
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || some(first))).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, done)| done).collect()
}
