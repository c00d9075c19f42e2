//! A model as the float reference: tensors of rows, any number of them, unchanged by rewrites.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use hs_runtime::{Data, Dtype, Executable, RunError, Tensor, TensorInfo};

use crate::{NAME, library::Library, values};

/// Rows that run together where the model leaves the batch open.
const ROWS: usize = 256;

/// A session. Runs take turns: ONNX Runtime uses all threads for one.
pub(crate) struct Session {
    name: String,
    session: Mutex<ort::session::Session>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// The batch that the model insists on.
    batch: Option<usize>,
}

impl Session {
    /// Loads a file; external data is read from its folder.
    pub(crate) fn load(library: &Library, name: &str, path: &Path) -> Result<Self, String> {
        let fail = |e: ort::Error| format!("ONNX Runtime refuses {}: {e}", path.display());
        // Its rewrites change the numbers of quantised models, and this is the reference.
        let unchanged = ort::session::builder::GraphOptimizationLevel::Disable;
        let mut builder = ort::session::Session::builder(&library.environment)
            .map_err(fail)?
            .with_optimization_level(unchanged)
            .map_err(|e| fail(e.into()))?;
        let session = builder.commit_from_file(path).map_err(fail)?;
        let mut batch = None;
        let mut side = |ports: &[ort::value::Outlet], inputs: bool| -> Result<Vec<TensorInfo>, String> {
            let info = |port: &ort::value::Outlet| {
                let (dtype, shape) =
                    values::port(port.dtype()).map_err(|e| format!("'{}': {e}", port.name()))?;
                let Some((first, shape)) = shape.split_first() else {
                    return Err(format!("'{}' is a scalar: it has no batch axis", port.name()));
                };
                if inputs {
                    batch = batch.or(*first);
                }
                Ok(TensorInfo { name: port.name().to_owned(), datatype: dtype.into(), shape: shape.to_vec() })
            };
            ports.iter().map(info).collect()
        };
        let inputs = side(session.inputs(), true)?;
        let outputs = side(session.outputs(), false)?;
        if batch == Some(0) {
            return Err("the model has a batch of no rows".to_owned());
        }
        Ok(Self { name: name.to_owned(), session: Mutex::new(session), inputs, outputs, batch })
    }

    fn check(&self, inputs: &[Tensor]) -> Result<(usize, Vec<Tensor>), RunError> {
        if inputs.len() != self.inputs.len() {
            let expected = self.inputs.iter().map(|i| i.name.clone()).collect();
            return Err(RunError::Inputs { expected, found: inputs.len() });
        }
        let mut rows = None;
        let mut converted = Vec::with_capacity(inputs.len());
        for (info, tensor) in self.inputs.iter().zip(inputs) {
            let fits = tensor.shape().split_first().filter(|(_, shape)| {
                shape.len() == info.shape.len()
                    && info
                        .shape
                        .iter()
                        .zip(*shape)
                        .all(|(want, found)| want.is_none_or(|want| want == *found))
            });
            let Some((found, _)) = fits else {
                return Err(RunError::Shape {
                    input: info.name.clone(),
                    found: tensor.shape().to_vec(),
                    expected: info.shape.iter().map(|d| d.unwrap_or(0)).collect(),
                });
            };
            let expected = *rows.get_or_insert(*found);
            if *found != expected {
                return Err(RunError::Rows { input: info.name.clone(), found: *found, expected });
            }
            let dtype = info.datatype.dtype();
            converted.push(dtype.and_then(|to| values::convert(tensor, to)).ok_or_else(|| {
                RunError::Dtype {
                    input: info.name.clone(),
                    found: tensor.dtype(),
                    expected: info.datatype.name().to_owned(),
                }
            })?);
        }
        Ok((rows.unwrap_or(0), converted))
    }

    /// Runs rows that are as many as the model takes.
    fn once(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
        let values = inputs.into_iter().map(values::value).collect::<ort::Result<Vec<_>>>();
        let values = values.map_err(|e| e.to_string())?;
        let named: Vec<_> = self.inputs.iter().map(|i| i.name.as_str()).zip(values).collect();
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let results = session.run(named).map_err(|e| e.to_string())?;
        let output = |info: &TensorInfo| {
            let value = results.get(&info.name).ok_or_else(|| format!("no output '{}'", info.name))?;
            values::tensor(value)
        };
        self.outputs.iter().map(output).collect()
    }
}

/// Rows `range` of a tensor, followed by zero rows up to `n`.
fn rows(tensor: &Tensor, range: std::ops::Range<usize>, n: usize) -> Tensor {
    let part = tensor.slice_rows(range);
    if part.rows() == n {
        return part;
    }
    let mut shape = part.shape().to_vec();
    shape[0] = n;
    let mut bytes = Vec::new();
    part.data().to_le_bytes(&mut bytes);
    bytes.resize(shape.iter().product::<usize>() * part.dtype().bytes(), 0);
    Tensor::new(shape, Data::from_le_bytes(part.dtype(), &bytes)).expect("as many bytes as the shape needs")
}

/// The tensors one after the other, the first `n` rows of them.
fn join(parts: &[Tensor], n: usize, empty: (Dtype, Vec<usize>)) -> Result<Tensor, String> {
    let (dtype, row) = parts.first().map_or(empty, |p| (p.dtype(), p.shape()[1..].to_vec()));
    let len = row.iter().product::<usize>() * dtype.bytes() * n;
    let mut bytes = Vec::with_capacity(len);
    for part in parts {
        if part.shape()[1..] != row {
            return Err(format!("rows of shape {row:?} and of {:?}", &part.shape()[1..]));
        }
        part.data().to_le_bytes(&mut bytes);
    }
    bytes.truncate(len);
    let shape: Vec<usize> = [n].into_iter().chain(row).collect();
    Tensor::new(shape, Data::from_le_bytes(dtype, &bytes)).map_err(|e| e.to_string())
}

impl Executable for Session {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let (n, inputs) = self.check(inputs)?;
        let fail = |message: String| RunError::Backend { backend: NAME, message };
        let mut parts: Vec<Vec<Tensor>> = vec![Vec::new(); self.outputs.len()];
        let step = self.batch.unwrap_or(ROWS);
        for first in (0..n).step_by(step) {
            let range = first..n.min(first + step);
            let batch = self.batch.unwrap_or(range.len());
            let results =
                self.once(inputs.iter().map(|t| rows(t, range.clone(), batch)).collect()).map_err(fail)?;
            for ((result, info), parts) in results.into_iter().zip(&self.outputs).zip(&mut parts) {
                if result.shape().first() != Some(&batch) {
                    let shape = result.shape();
                    return Err(fail(format!("output '{}' of {batch} rows has shape {shape:?}", info.name)));
                }
                parts.push(result);
            }
        }
        let outputs = parts.iter().zip(&self.outputs).map(|(parts, info)| {
            let shape = info.shape.iter().map(|d| d.unwrap_or(0)).collect();
            let dtype = info.datatype.dtype().unwrap_or(Dtype::F32);
            join(parts, n, (dtype, shape)).map_err(fail)
        });
        outputs.collect()
    }
}
