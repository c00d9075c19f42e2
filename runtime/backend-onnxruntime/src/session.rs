//! One model in ONNX Runtime.

use std::{borrow::Cow, path::Path, sync::Mutex};

use half::f16;
use hs_runtime::{Data, Dtype, Executable, RunError, Tensor, TensorInfo};
use ort::{
    environment::Environment,
    session::{SessionInputValue, builder::GraphOptimizationLevel},
    value::{DynValue, Outlet, TensorElementType, ValueType},
};

const BACKEND: &str = "onnxruntime";

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Rows of one call. ONNX Runtime's kernels may round differently for other numbers of rows, so it is one
    /// where the model leaves it open.
    batch: usize,
    session: Mutex<ort::session::Session>,
}

impl Session {
    /// Loads the model at `path`.
    pub(crate) fn load(environment: &Environment, path: &Path, name: &str) -> Result<Self, String> {
        let text = |e: ort::Error| e.to_string();
        // The optimiser fuses quantised operators into integer kernels that give other values than the model's own
        // operators, and this backend is the reference of what the model means.
        let session = ort::session::Session::builder(environment)
            .and_then(|b| Ok(b.with_optimization_level(GraphOptimizationLevel::Disable)?))
            .and_then(|b| Ok(b.with_intra_threads(1)?))
            .and_then(|mut b| b.commit_from_file(path))
            .map_err(text)?;
        let infos =
            |outlets: &[Outlet], what| outlets.iter().map(|o| info(o, what)).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (infos(session.inputs(), "input")?, infos(session.outputs(), "output")?);
        let mut batch = None;
        for (info, rows) in &inputs {
            if let Some(rows) = rows
                && *batch.get_or_insert(*rows) != *rows
            {
                return Err(format!("input '{}' has {rows} rows, another input has not", info.name));
            }
        }
        let strip =
            |infos: Vec<(TensorInfo, Option<usize>)>| infos.into_iter().map(|(info, _)| info).collect();
        Ok(Self {
            name: name.to_owned(),
            inputs: strip(inputs),
            outputs: strip(outputs),
            batch: batch.unwrap_or(1).max(1),
            session: Mutex::new(session),
        })
    }

    fn check(&self, inputs: &[Tensor]) -> Result<usize, RunError> {
        if inputs.len() != self.inputs.len() {
            let expected = self.inputs.iter().map(|i| i.name.clone()).collect();
            return Err(RunError::Inputs { expected, found: inputs.len() });
        }
        let mut rows = None;
        for (info, tensor) in self.inputs.iter().zip(inputs) {
            let fits = |(n, d): (&usize, &Option<usize>)| d.is_none_or(|d| d == *n);
            let shape = tensor.shape().get(1..).unwrap_or_default();
            if tensor.shape().is_empty()
                || shape.len() != info.shape.len()
                || !shape.iter().zip(&info.shape).all(fits)
            {
                let expected = info.shape.iter().zip(shape.iter().chain(std::iter::repeat(&0)));
                return Err(RunError::Shape {
                    input: info.name.clone(),
                    found: tensor.shape().to_vec(),
                    expected: expected.map(|(d, n)| d.unwrap_or(*n)).collect(),
                });
            }
            let expected = *rows.get_or_insert(tensor.rows());
            if tensor.rows() != expected {
                return Err(RunError::Rows { input: info.name.clone(), found: tensor.rows(), expected });
            }
        }
        Ok(rows.unwrap_or(0))
    }
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

    /// Inputs are cast to the element types that the model declares.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let failed = |message: String| RunError::Backend { backend: BACKEND, message };
        let rows = self.check(inputs)?;
        let mut session = self.session.lock().map_err(|_| failed("an earlier call panicked".to_owned()))?;
        let mut all: Vec<Option<Growing>> = self.outputs.iter().map(|_| None).collect();
        // A model run on no rows still has outputs: one padded call tells their shapes.
        for first in (0..rows.max(1)).step_by(self.batch) {
            let count = self.batch.min(rows - first);
            let values = self
                .inputs
                .iter()
                .zip(inputs)
                .map(|(info, tensor)| {
                    let part = padded(&tensor.slice_rows(first..first + count), self.batch);
                    Ok((Cow::from(info.name.clone()), SessionInputValue::from(value(&part, info.dtype)?)))
                })
                .collect::<ort::Result<Vec<_>>>()
                .map_err(|e| failed(e.to_string()))?;
            let outputs = session.run(values).map_err(|e| failed(e.to_string()))?;
            for (info, all) in self.outputs.iter().zip(&mut all) {
                let found =
                    outputs.get(&info.name).ok_or_else(|| failed(format!("no output '{}'", info.name)))?;
                let tensor = tensor(found, info).map_err(failed)?;
                if tensor.shape().first() != Some(&self.batch) {
                    let shape = tensor.shape();
                    return Err(failed(format!(
                        "output '{}' has shape {shape:?} for {} rows: its first axis does not count rows",
                        info.name, self.batch
                    )));
                }
                all.get_or_insert_with(|| Growing::new(&tensor)).push(&tensor.slice_rows(0..count));
            }
        }
        all.into_iter().flatten().map(|g| g.finish(rows).map_err(|e| failed(e.to_string()))).collect()
    }
}

/// Rows collected so far.
struct Growing {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Growing {
    fn new(like: &Tensor) -> Self {
        Self { dtype: like.dtype(), shape: like.shape().to_vec(), bytes: Vec::new() }
    }

    fn push(&mut self, rows: &Tensor) {
        rows.data().to_le_bytes(&mut self.bytes);
    }

    fn finish(mut self, rows: usize) -> Result<Tensor, hs_runtime::TensorError> {
        self.shape[0] = rows;
        Tensor::new(self.shape, Data::from_le_bytes(self.dtype, &self.bytes))
    }
}

/// `tensor` with zero rows up to `batch`.
fn padded(tensor: &Tensor, batch: usize) -> Tensor {
    if tensor.rows() == batch {
        return tensor.clone();
    }
    let mut shape = tensor.shape().to_vec();
    shape[0] = batch;
    let mut bytes = Vec::new();
    tensor.data().to_le_bytes(&mut bytes);
    bytes.resize(tensor.row_len() * batch * tensor.dtype().bytes(), 0);
    Tensor::new(shape, Data::from_le_bytes(tensor.dtype(), &bytes)).expect("as many bytes as the shape has")
}

macro_rules! elements {
    ($($element:ident $dtype:ident $t:ty, $convert:expr;)*) => {
        fn dtype(ty: TensorElementType) -> Option<Dtype> {
            match ty {
                $(TensorElementType::$element => Some(Dtype::$dtype),)*
                _ => None,
            }
        }

        /// A tensor of ONNX Runtime's with the same values, cast to `to`.
        fn value(tensor: &Tensor, to: Dtype) -> ort::Result<DynValue> {
            match to {
                $(Dtype::$dtype => {
                    let data: Vec<$t> = match tensor.as_slice::<$t>() {
                        Some(same) => same.to_vec(),
                        None => tensor.to_f64().into_iter().map($convert).collect(),
                    };
                    Ok(ort::value::Tensor::from_array((tensor.shape().to_vec(), data))?.into_dyn())
                })*
            }
        }

        fn tensor(value: &DynValue, info: &TensorInfo) -> Result<Tensor, String> {
            match info.dtype {
                $(Dtype::$dtype => {
                    let (shape, data) = value.try_extract_tensor::<$t>().map_err(|e| e.to_string())?;
                    let shape: Vec<usize> = shape.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
                    Tensor::of(shape, data.to_vec()).map_err(|e| e.to_string())
                })*
            }
        }
    };
}

elements! {
    Bool Bool bool, |v| v != 0.0;
    Int8 I8 i8, |v| v as i8;
    Int16 I16 i16, |v| v as i16;
    Int32 I32 i32, |v| v as i32;
    Int64 I64 i64, |v| v as i64;
    Uint8 U8 u8, |v| v as u8;
    Uint16 U16 u16, |v| v as u16;
    Uint32 U32 u32, |v| v as u32;
    Uint64 U64 u64, |v| v as u64;
    Float16 F16 f16, f16::from_f64;
    Float32 F32 f32, |v| v as f32;
    Float64 F64 f64, |v| v;
}

/// What the trait says of an input or output, and its rows where the model fixes them.
fn info(outlet: &Outlet, what: &str) -> Result<(TensorInfo, Option<usize>), String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!(
            "{what} '{name}' is no tensor; export the model without it (skl2onnx: zipmap=False)"
        ));
    };
    let Some(dtype) = dtype(*ty) else {
        return Err(format!("{what} '{name}' has elements of {ty:?}, which are not supported"));
    };
    let mut dims = shape.iter().map(|d| usize::try_from(*d).ok());
    // An output of unknown rank is taken as it comes; an input must count rows.
    let rows = match dims.next() {
        Some(rows) => rows,
        None if what == "output" => None,
        None => return Err(format!("{what} '{name}' is a scalar: it has no axis for rows")),
    };
    Ok((TensorInfo { name, dtype, shape: dims.collect() }, rows))
}
