//! A model as it is served: whole tensors, several calls at a time.

use std::{
    path::Path,
    sync::{Condvar, Mutex, PoisonError},
};

use hs_runtime::{Buffer, Device, Executable, Model, RunError, Tensor, TensorInfo, check_inputs};
use ort::{
    ep::{CUDA, ExecutionProvider},
    session::{
        Session,
        builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder},
    },
    value::{Outlet, ValueType},
};

use crate::{NAME, library::Library, values};

/// Sessions at most.
const MAX_INSTANCES: usize = 256;

/// Sessions of one model, which share its weights where ONNX Runtime can.
pub(crate) struct Pool {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Whether the first axis of all inputs and outputs is a batch, which the infos leave out.
    batched: bool,
    instances: usize,
    free: Mutex<Vec<Session>>,
    freed: Condvar,
}

/// A session that is in use.
struct Borrowed<'a> {
    pool: &'a Pool,
    session: Option<Session>,
}

/// Whether the library was built with CUDA.
pub(crate) fn accelerator() -> Result<(), String> {
    match CUDA::is_available() {
        Ok(true) => Ok(()),
        Ok(false) => Err(
            "this libonnxruntime was built without CUDA; install the Python package onnxruntime-gpu and set \
                          HYPERSONIC_ONNXRUNTIME to its capi/libonnxruntime.so.*"
                .to_owned(),
        ),
        Err(e) => Err(e.to_string()),
    }
}

impl Pool {
    /// Loads a file; external data is read from its folder.
    pub(crate) fn load(library: &Library, model: &Model, path: &Path) -> Result<Self, String> {
        let instances = number(model, "instances", 1)?.clamp(1, MAX_INSTANCES);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = Threads {
            intra: number(model, "intra_op_thread_count", 0)?,
            inter: number(model, "inter_op_thread_count", 0)?,
        };
        let threads = match threads.intra {
            0 => Threads { intra: cores.div_ceil(instances), ..threads },
            _ => threads,
        };
        let weights = PrepackedWeights::new();
        let sessions = (0..instances)
            .map(|_| {
                let builder = builder(library, model.device, &threads, &weights);
                builder
                    .and_then(|mut b| b.commit_from_file(path))
                    .map_err(|e| format!("ONNX Runtime refuses {}: {e}", path.display()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first = sessions.first().ok_or("no session")?;
        let mut inputs = infos(first.inputs())?;
        let mut outputs = infos(first.outputs())?;
        let asked = number(model, "max_batch_size", 0)? > 0;
        let open = |infos: &[TensorInfo]| infos.iter().all(|i| i.shape.first() == Some(&None));
        let batched = !inputs.is_empty()
            && open(&inputs)
            && open(&outputs)
            && (asked || first.inputs().iter().all(is_batch));
        if batched {
            inputs.iter_mut().chain(&mut outputs).for_each(|i| {
                i.shape.remove(0);
            });
        }
        Ok(Self {
            name: model.name.clone(),
            inputs,
            outputs,
            batched,
            instances,
            free: Mutex::new(sessions),
            freed: Condvar::new(),
        })
    }

    fn borrow(&self) -> Borrowed<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = free.pop() {
                return Borrowed { pool: self, session: Some(session) };
            }
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn check(&self, inputs: &[Buffer]) -> Result<(), RunError> {
        check_inputs(&self.inputs, inputs)?;
        for (info, buffer) in self.inputs.iter().zip(inputs) {
            let shape = buffer.shape().get(usize::from(self.batched)..).unwrap_or_default();
            let rank = info.shape.len() + usize::from(self.batched);
            let fits = |(want, found): (&Option<usize>, &usize)| want.is_none_or(|w| w == *found);
            if buffer.shape().len() != rank || !info.shape.iter().zip(shape).all(fits) {
                return Err(RunError::Shape {
                    input: info.name.clone(),
                    found: buffer.shape().to_vec(),
                    expected: info.shape.iter().map(|d| d.unwrap_or(0)).collect(),
                });
            }
        }
        Ok(())
    }

    /// The outputs of no rows, where they can be told without running.
    fn nothing(&self, inputs: &[Buffer]) -> Option<Vec<Buffer>> {
        if !self.batched || inputs.first().is_none_or(|i| i.rows() > 0) {
            return None;
        }
        let one = |info: &TensorInfo| {
            let row = info.shape.iter().copied().collect::<Option<Vec<usize>>>()?;
            let shape: Vec<usize> = [0].into_iter().chain(row).collect();
            Buffer::new(info.datatype, shape, bytes::Bytes::new()).ok()
        };
        self.outputs.iter().map(one).collect()
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.session.take());
        drop(free);
        self.pool.freed.notify_one();
    }
}

struct Threads {
    intra: usize,
    /// 0: one operator at a time.
    inter: usize,
}

fn builder(
    library: &Library,
    device: Device,
    threads: &Threads,
    weights: &PrepackedWeights,
) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(&library.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads.intra)?
        // Threads that wait by spinning take the processor from those that read requests.
        .with_intra_op_spinning(false)?
        .with_prepacked_weights(weights)?;
    if threads.inter > 0 {
        builder = builder.with_parallel_execution(true)?.with_inter_threads(threads.inter)?;
    }
    if let Device::Accelerator(index) = device {
        let cuda = CUDA::default().with_device_id(i32::try_from(index).unwrap_or(i32::MAX));
        builder = builder.with_execution_providers([cuda.build().error_on_failure()])?;
    }
    Ok(builder)
}

fn number(model: &Model, key: &str, default: usize) -> Result<usize, String> {
    let Some(text) = model.options.get(key) else { return Ok(default) };
    text.trim().parse().map_err(|_| format!("{key} is '{text}'; expected a whole number"))
}

fn infos(ports: &[Outlet]) -> Result<Vec<TensorInfo>, String> {
    let one = |port: &Outlet| {
        let (datatype, shape) =
            values::datatype(port.dtype()).map_err(|e| format!("'{}': {e}", port.name()))?;
        Ok(TensorInfo { name: port.name().to_owned(), datatype, shape })
    };
    ports.iter().map(one).collect()
}

/// Whether the first axis of an input, which is of any size, is called as exporters call batches. An axis of hits or
/// nodes is not: rows of two requests must not meet there.
fn is_batch(port: &Outlet) -> bool {
    let ValueType::Tensor { dimension_symbols, .. } = port.dtype() else { return false };
    let name = dimension_symbols.first().map(|s| s.to_ascii_lowercase()).unwrap_or_default();
    // torch.export numbers its symbols: s0, s77.
    let numbered = name.strip_prefix('s').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    name.contains("batch")
        || name.starts_with("unk_")
        || numbered
        || ["", "?", "n", "b", "bs", "none", "rows", "samples", "events"].contains(&name.as_str())
}

impl Executable for Pool {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn has_batch(&self) -> bool {
        self.batched
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let buffers: Vec<Buffer> = inputs.iter().cloned().map(Buffer::from).collect();
        let fail = |b: Buffer| {
            let message = format!("elements of {} are not supported here", b.datatype());
            b.to_tensor().ok_or(RunError::Backend { backend: NAME, message })
        };
        self.run_buffers(&buffers)?.into_iter().map(fail).collect()
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        self.check(inputs)?;
        if let Some(nothing) = self.nothing(inputs) {
            return Ok(nothing);
        }
        let fail = |message: String| RunError::Backend { backend: NAME, message };
        let named =
            self.inputs.iter().zip(inputs).map(|(info, b)| Ok((info.name.as_str(), values::input(b)?)));
        let named = named.collect::<ort::Result<Vec<_>>>().map_err(|e| fail(e.to_string()))?;
        let mut borrowed = self.borrow();
        let session = borrowed.session.as_mut().ok_or_else(|| fail("no session".to_owned()))?;
        let mut results = session.run(named).map_err(|e| fail(e.to_string()))?;
        let take = |info: &TensorInfo| {
            let value =
                results.remove(&info.name).ok_or_else(|| fail(format!("no output '{}'", info.name)))?;
            values::buffer(value).map_err(|e| fail(format!("output '{}': {e}", info.name)))
        };
        self.outputs.iter().map(take).collect()
    }

    fn concurrency(&self) -> usize {
        self.instances
    }
}
