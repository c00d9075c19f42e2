//! Runs calibration data through the float reference.

use std::panic::resume_unwind;

use hs_ir::{Tensor, ValueId};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    lower::ObservedRanges,
    passes::NormalGraph,
    reference,
};

/// Rows are dealt into so many parts, whatever the number of threads, so that sums are the same everywhere.
const PARTS: usize = 16;

/// What the rows of `data` (one tensor a model input, `[rows, …]`) make of every tensor.
pub(crate) fn observed_ranges(graph: &NormalGraph, data: &[Tensor]) -> Result<ObservedRanges, Diagnostics> {
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
    let mut rows = usize::MAX;
    for (tensor, v) in data.iter().zip(inputs) {
        let shape = graph.graph().shape(*v).unwrap_or(&[]);
        let (found, len) = (tensor.shape().first().copied().unwrap_or(0), shape.iter().product::<usize>());
        if found == 0 || tensor.len() != len * found {
            return Err(Diagnostic::error(format!(
                "calibration data of shape {:?} does not fit input '{}' of shape {shape:?}",
                tensor.shape(),
                graph.graph().value(*v).name
            ))
            .help("the first axis counts rows; the others are the input's own")
            .into());
        }
        rows = rows.min(found);
        columns.push((shape, len, tensor.to_f64()));
    }
    let row = |row: usize| -> Result<Vec<Tensor>, Diagnostic> {
        let one = columns.iter().map(|(shape, len, values)| {
            let values = values[row * len..(row + 1) * len].iter().map(|v| *v as f32).collect();
            Tensor::from_f32(shape.to_vec(), values).map_err(|e| Diagnostic::error(e.to_string()))
        });
        one.collect()
    };
    let part = |first: usize| {
        let mut ranges = ObservedRanges::new();
        for at in (first..rows).step_by(PARTS) {
            let run = reference::eval_all(graph.graph(), &row(at)?)?;
            for (i, value) in graph.graph().values.iter().enumerate() {
                if let Some(tensor) = run.get(ValueId::new(i)).filter(|_| value.constant.is_none()) {
                    ranges.entry(value.name.clone()).or_default().extend(tensor.to_f64());
                }
            }
        }
        Ok::<_, Diagnostic>(ranges)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(PARTS);
    let mut parts: Vec<(usize, Result<ObservedRanges, Diagnostic>)> = std::thread::scope(|scope| {
        let work = |first| (first..PARTS).step_by(threads).map(|p| (p, part(p))).collect::<Vec<_>>();
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || work(first))).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    parts.sort_by_key(|(p, _)| *p);
    let mut ranges = ObservedRanges::new();
    for (_, part) in parts {
        for (name, seen) in part? {
            ranges.entry(name).or_default().merge(&seen);
        }
    }
    Ok(ranges)
}
