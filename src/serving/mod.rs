//! What the server runs: the loader that turns a version's directory into executables.

mod compiled;
mod devices;
mod directory;
mod float;
mod options;
mod raw;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use hs_backend_identity::Identity;
use hs_backend_onnxruntime::OnnxRuntime;
use hs_backend_xrt::XrtBackend;
use hs_emulator::EmulatorBackend;
use hs_model_config::{DataType, ModelConfig};
use hs_runtime::{Availability, Backend as _, Datatype, Device, Model, Registry, TensorInfo};
use hs_serve::{LoadRequest, LoadedModel, ModelLoader, Runner};

use directory::{Content, Wanted};

/// Loads packages, ONNX files and what tests need.
///
/// | configuration | the version's directory holds | what runs it |
/// | --- | --- | --- |
/// | none, or `backend: "hypersonic"` | a package | `parameters: backends`, by default the emulator |
/// | `backend: "hypersonic"` | `model.onnx` | the same, compiled on loading |
/// | none, `backend` or `platform` of ONNX Runtime | `model.onnx` | ONNX Runtime, in float |
/// | `backend: "identity"` | anything | gives inputs back |
pub(crate) struct Loader {
    /// What runs Programs.
    registry: Registry,
    float: OnnxRuntime,
}

impl Default for Loader {
    /// The loader of this build, with as many threads as there are cores.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Loader {
    /// The loader of this build. The emulators of all models together compute on `threads` and no others; `None`: on
    /// as many as there are cores, and small requests where they are received.
    pub(crate) fn new(threads: Option<usize>) -> Self {
        let mut registry = Registry::new();
        let options =
            hs_emulator::Options { threads, strict_threads: threads.is_some(), ..Default::default() };
        registry.add(EmulatorBackend { options });
        registry.add(XrtBackend::default());
        Self { registry, float: OnnxRuntime::serving() }
    }
}

impl ModelLoader for Loader {
    fn load(&self, request: &LoadRequest<'_>) -> Result<LoadedModel, String> {
        let content = Content::of(request)?;
        match directory::wanted(request.config)? {
            Wanted::Identity => identity(request),
            Wanted::Float => match content {
                Content::Onnx(path) => float::load(self, request, &path),
                other => Err(other.instead_of("an ONNX file", request)),
            },
            Wanted::Compiled => match content {
                Content::Package(path) => compiled::open(self, request, &path),
                Content::Onnx(path) => compiled::compile(self, request, &path),
                other @ Content::Nothing { .. } => {
                    Err(other.instead_of("a package or an ONNX file", request))
                }
            },
            Wanted::Any => match content {
                Content::Package(path) => compiled::open(self, request, &path),
                Content::Onnx(path) => float::load(self, request, &path).map_err(|why| {
                    format!(
                        "{why} (backend: \"hypersonic\" in the configuration has the model compiled instead)"
                    )
                }),
                other @ Content::Nothing { .. } => {
                    Err(other.instead_of("a package or an ONNX file", request))
                }
            },
        }
    }

    fn backends(&self) -> Vec<(String, bool, String)> {
        let one = |backend: &dyn hs_runtime::Backend| {
            let (is, why) = match backend.availability() {
                Availability::Available(on) => (true, on),
                Availability::NotAvailable(why) => (false, why),
            };
            (backend.name().to_owned(), is, why)
        };
        self.registry.iter().chain([&self.float as &dyn hs_runtime::Backend, &Identity]).map(one).collect()
    }
}

/// The settings of a model for its backends, by name.
fn settings(config: &ModelConfig) -> BTreeMap<String, String> {
    config.parameters.iter().map(|(key, value)| (key.clone(), value.string_value.clone())).collect()
}

/// An error of a model.
fn failed(request: &LoadRequest<'_>, why: impl Display) -> String {
    format!("model '{}' version {}: {why}", request.name, request.version)
}

fn identity(request: &LoadRequest<'_>) -> Result<LoadedModel, String> {
    let config = request.config;
    let info = |name: &str, data_type: DataType, dims: &[i64]| {
        let datatype = datatype(data_type)
            .ok_or_else(|| failed(request, format!("'{name}' needs a data_type, such as TYPE_FP32")))?;
        let shape = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        Ok::<_, String>(TensorInfo { name: name.to_owned(), datatype, shape })
    };
    let model = Model {
        name: request.name.to_owned(),
        inputs: config
            .input
            .iter()
            .map(|i| info(&i.name, i.data_type(), i.reshape.as_ref().map_or(&i.dims, |r| &r.shape)))
            .collect::<Result<_, _>>()?,
        outputs: config
            .output
            .iter()
            .map(|o| info(&o.name, o.data_type(), o.reshape.as_ref().map_or(&o.dims, |r| &r.shape)))
            .collect::<Result<_, _>>()?,
        device: Device::Cpu,
        options: settings(config),
        ..Model::default()
    };
    let executable = Identity.load(&model).map_err(|e| failed(request, e))?;
    let runner = Runner { backend: Identity.name().into(), device: "cpu".to_owned(), executable };
    Ok(LoadedModel {
        runners: vec![runner],
        platform: Identity.name().to_owned(),
        backend: Identity.name().to_owned(),
        batched: config.max_batch_size > 0,
        ..LoadedModel::default()
    })
}

fn datatype(of: DataType) -> Option<Datatype> {
    match of {
        DataType::TypeInvalid => None,
        DataType::TypeString => Some(Datatype::Bytes),
        other => Datatype::parse(other.as_str_name().trim_start_matches("TYPE_")),
    }
}

/// A runner of a CPU's or card's executable.
fn runner(backend: &str, device: impl Into<String>, executable: Arc<dyn hs_runtime::Executable>) -> Runner {
    Runner { backend: backend.into(), device: device.into(), executable }
}
