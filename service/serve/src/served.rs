//! One version of a model that can answer: checks requests, runs them, names the results.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hs_runtime::{Buffer, BufferError, Input};

use crate::{
    InferRequest, InferResponse, InputTensor, LoadedModel, ModelStatistics, OutputTensor, Port, ServeError,
    Spec, Statistics,
    classify::classify,
    scheduler::{Job, Scheduler},
};

/// Name, element type and shape of an input or output, as metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMetadata {
    /// ONNX name.
    pub name: Arc<str>,
    /// KServe v2 name of the element type.
    pub datatype: &'static str,
    /// Shape, -1 for any size, the batch axis included where there is one.
    pub shape: Vec<i64>,
}

/// What a client may know of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMetadata {
    /// Name.
    pub name: Arc<str>,
    /// Triton's platform string.
    pub platform: String,
    /// Inputs in the model's order.
    pub inputs: Vec<TensorMetadata>,
    /// Outputs in the model's order.
    pub outputs: Vec<TensorMetadata>,
    /// What else there is to say, such as the exact fixed-point type of each tensor.
    pub parameters: Vec<(String, String)>,
}

/// A version of a model that is loaded.
#[derive(Debug)]
pub struct Served {
    spec: Spec,
    version: u64,
    parameters: Vec<(String, String)>,
    statistics: Arc<Statistics>,
    scheduler: Scheduler,
}

impl Served {
    /// Starts what `model` needs to answer requests.
    pub fn new(spec: Spec, version: u64, model: LoadedModel) -> Self {
        let statistics = Arc::new(Statistics::default());
        let scheduler = Scheduler::new(
            &spec.name,
            spec.policy.clone(),
            spec.max_batch > 0,
            model.runners,
            Arc::clone(&statistics),
        );
        Self { spec, version, parameters: model.parameters, statistics, scheduler }
    }

    /// Its configuration.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its queue and backends.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Name, inputs and outputs.
    pub fn metadata(&self) -> ModelMetadata {
        let ports = |ports: &[Port]| {
            let one = |p: &Port| TensorMetadata {
                name: Arc::clone(&p.name),
                datatype: p.datatype.name(),
                shape: self.full_shape(p),
            };
            ports.iter().map(one).collect()
        };
        ModelMetadata {
            name: Arc::clone(&self.spec.name),
            platform: self.spec.config.platform.clone(),
            inputs: ports(&self.spec.inputs),
            outputs: ports(&self.spec.outputs),
            parameters: self.parameters.clone(),
        }
    }

    /// Says how long loading it took.
    pub fn set_load_time(&self, time: Duration) {
        self.statistics.set_load_time(time);
    }

    /// The counts so far.
    pub fn statistics(&self) -> ModelStatistics {
        self.statistics.read(&self.spec.name, self.version, self.scheduler.pending() as u64)
    }

    fn full_shape(&self, port: &Port) -> Vec<i64> {
        let batch = (self.spec.max_batch > 0).then_some(-1);
        batch.into_iter().chain(port.dims.iter().copied()).collect()
    }

    /// Answers a request for this version. Dropping the future withdraws it.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, ServeError> {
        let id = if request.id.is_empty() { "<id_unknown>" } else { &request.id };
        let named = |e: ServeError| ServeError::new(e.code, format!("[request id: {id}] {}", e.message));
        let job = self.job(&request).map_err(named)?;
        let rows = job.rows;
        let done = self.scheduler.run(job).await.map_err(named)?;
        let outputs = self.outputs(&request, &done.outputs, rows).map_err(named)?;
        Ok(InferResponse {
            model: Arc::clone(&self.spec.name),
            version: self.version,
            outputs,
            backend: done.backend,
            exact: done.exact,
            times: done.times,
        })
    }

    /// The request's inputs in the model's order, checked against the model.
    fn job(&self, request: &InferRequest) -> Result<Job, ServeError> {
        self.check_names(request)?;
        let mut rows = None;
        let mut inputs = Vec::with_capacity(self.spec.inputs.len());
        for port in &self.spec.inputs {
            let Some(tensor) = request.inputs.iter().find(|i| i.name == *port.name) else {
                return Err(self.missing(request));
            };
            let shape = self.shape(port, tensor)?;
            if self.spec.max_batch > 0 {
                let found = shape.first().copied().unwrap_or(0);
                let expected = *rows.get_or_insert(found);
                if found != expected {
                    return Err(ServeError::invalid(format!(
                        "input '{}' has a batch of {found}, the inputs before it {expected}, for model '{}'",
                        port.name, self.spec.name
                    )));
                }
            }
            inputs.push(self.input(port, tensor, shape)?);
        }
        let rows = rows.unwrap_or(1);
        if rows == 0 {
            let name = &self.spec.name;
            return Err(ServeError::invalid(format!(
                "inference request batch-size must be >= 1 for '{name}', but it is 0"
            )));
        }
        if self.spec.max_batch > 0 && rows > self.spec.max_batch {
            let (most, name) = (self.spec.max_batch, &self.spec.name);
            return Err(ServeError::invalid(format!(
                "inference request batch-size must be <= {most} for '{name}', but it is {rows}"
            )));
        }
        Ok(Job { inputs, rows, priority: request.priority, timeout: request.timeout })
    }

    fn check_names(&self, request: &InferRequest) -> Result<(), ServeError> {
        let model = &self.spec.name;
        let mut seen = BTreeSet::new();
        for input in &request.inputs {
            if !seen.insert(input.name.as_str()) {
                return Err(ServeError::invalid(format!("input '{}' already exists in request", input.name)));
            }
        }
        if request.inputs.len() != self.spec.inputs.len() {
            return Err(self.missing(request));
        }
        if let Some(odd) = request.inputs.iter().find(|i| self.spec.inputs.iter().all(|p| *p.name != i.name))
        {
            return Err(ServeError::invalid(format!(
                "unexpected inference input '{}' for model '{model}'; its inputs are {}",
                odd.name,
                list(self.spec.inputs.iter().map(|p| &*p.name))
            )));
        }
        let mut seen = BTreeSet::new();
        for output in &request.outputs {
            if self.spec.outputs.iter().all(|p| *p.name != output.name) {
                return Err(ServeError::invalid(format!(
                    "unexpected inference output '{}' for model '{model}'; its outputs are {}",
                    output.name,
                    list(self.spec.outputs.iter().map(|p| &*p.name))
                )));
            }
            if !seen.insert(output.name.as_str()) {
                return Err(ServeError::invalid(format!("output '{}' is requested twice", output.name)));
            }
        }
        Ok(())
    }

    /// Too many inputs or too few.
    fn missing(&self, request: &InferRequest) -> ServeError {
        let has = |name: &str| request.inputs.iter().any(|i| i.name == name);
        let missing: Vec<&str> =
            self.spec.inputs.iter().map(|p| &*p.name).filter(|name| !has(name)).collect();
        let known = |name: &str| self.spec.inputs.iter().any(|p| *p.name == *name);
        let extra: Vec<&str> =
            request.inputs.iter().map(|i| i.name.as_str()).filter(|name| !known(name)).collect();
        let mut message = format!(
            "expected {} inputs but got {} inputs for model '{}'. Got input(s) {}",
            self.spec.inputs.len(),
            request.inputs.len(),
            self.spec.name,
            list(request.inputs.iter().map(|i| i.name.as_str()))
        );
        if !missing.is_empty() {
            message += &format!(", but missing required input(s) {}", list(missing.into_iter()));
        }
        if !extra.is_empty() {
            message += &format!(", but the model has no input(s) {}", list(extra.into_iter()));
        }
        ServeError::invalid(message)
    }

    /// The tensor's shape, which must be the port's.
    fn shape(&self, port: &Port, tensor: &InputTensor) -> Result<Vec<usize>, ServeError> {
        let expected = self.full_shape(port);
        let fits = |(want, found): (&i64, &i64)| *found >= 0 && (*want < 0 || want == found);
        if tensor.shape.len() == expected.len() && expected.iter().zip(&tensor.shape).all(fits) {
            let shape = tensor.shape.iter().map(|d| usize::try_from(*d));
            if let Ok(shape) = shape.collect::<Result<Vec<_>, _>>() {
                return Ok(shape);
            }
        }
        let note = if self.spec.max_batch > 0 {
            format!(
                ". The first dimension is the batch, as the model's max_batch_size is {}",
                self.spec.max_batch
            )
        } else {
            String::new()
        };
        Err(ServeError::invalid(format!(
            "unexpected shape for input '{}' for model '{}'. Expected {}, got {}{note}",
            port.name,
            self.spec.name,
            shape_text(&expected),
            shape_text(&tensor.shape)
        )))
    }

    fn input(&self, port: &Port, tensor: &InputTensor, shape: Vec<usize>) -> Result<Input, ServeError> {
        let (input, model) = (&port.name, &self.spec.name);
        if tensor.datatype != port.datatype {
            return Err(ServeError::invalid(format!(
                "inference input '{input}' data-type is '{}', but model '{model}' expects '{}'",
                tensor.datatype, port.datatype
            )));
        }
        let wrong = |e: BufferError| {
            ServeError::invalid(match e {
                BufferError::Length { expected, found, .. } => format!(
                    "input byte size mismatch for input '{input}' for model '{model}'. Expected {expected}, got {found}"
                ),
                BufferError::Shape(_) | BufferError::Elements { .. } | BufferError::Source(_) => {
                    format!("input '{input}' for model '{model}': {e}")
                }
            })
        };
        let found = Input::new(tensor.datatype, shape, &tensor.data).map_err(wrong)?;
        let Some(to) = &port.reshape else { return Ok(found) };
        let batch = (self.spec.max_batch > 0).then(|| found.rows());
        let shape = reshape(found.shape(), batch, to);
        found.reshaped(shape).ok_or_else(|| {
            ServeError::invalid(format!("input '{input}' cannot be given the shape {}", shape_text(to)))
        })
    }

    fn outputs(
        &self,
        request: &InferRequest,
        results: &[Buffer],
        rows: usize,
    ) -> Result<Vec<OutputTensor>, ServeError> {
        let one = |port: &Port, classes: usize| {
            let at = self.spec.outputs.iter().position(|p| p.name == port.name);
            let Some(buffer) = at.and_then(|at| results.get(at)) else {
                let message =
                    format!("the backend of model '{}' gave no output '{}'", self.spec.name, port.name);
                return Err(ServeError::internal(message));
            };
            let batch = (self.spec.max_batch > 0).then_some(rows);
            let mut buffer = buffer.clone();
            if buffer.datatype() != port.datatype {
                return Err(ServeError::internal(format!(
                    "output '{}' of model '{}' is {}, configured as {}",
                    port.name,
                    self.spec.name,
                    buffer.datatype(),
                    port.datatype
                )));
            }
            if port.reshape.is_some() {
                let shape = reshape(buffer.shape(), batch, &port.dims);
                buffer = Buffer::new(buffer.datatype(), shape, buffer.into_data()).map_err(|_| {
                    ServeError::internal(format!(
                        "output '{}' of model '{}' cannot be given the shape {}",
                        port.name,
                        self.spec.name,
                        shape_text(&port.dims)
                    ))
                })?;
            }
            if classes > 0 {
                buffer = classify(&buffer, batch.is_some(), classes, &port.labels)
                    .map_err(|e| ServeError::invalid(format!("output '{}': {e}", port.name)))?;
            }
            Ok(OutputTensor { name: Arc::clone(&port.name), buffer })
        };
        if request.outputs.is_empty() {
            return self.spec.outputs.iter().map(|p| one(p, 0)).collect();
        }
        let wanted = request.outputs.iter().filter_map(|r| {
            let port = self.spec.outputs.iter().find(|p| *p.name == *r.name)?;
            Some(one(port, r.classes))
        });
        wanted.collect()
    }
}

/// The shape `to` for the elements of `from`; one -1 takes what is left.
fn reshape(from: &[usize], batch: Option<usize>, to: &[i64]) -> Vec<usize> {
    let total: usize = from.iter().product();
    let fixed: usize = batch.into_iter().chain(to.iter().filter_map(|d| usize::try_from(*d).ok())).product();
    let free = total.checked_div(fixed).unwrap_or(0);
    batch.into_iter().chain(to.iter().map(|d| usize::try_from(*d).unwrap_or(free))).collect()
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", names.map(|n| format!("'{n}'")).collect::<Vec<_>>().join(","))
}

fn shape_text(shape: &[i64]) -> String {
    format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
