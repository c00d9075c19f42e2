//! Models for tests, and a server that has them.

use std::{fs, path::Path, sync::Arc, time::Duration};

use hs_runtime::{Buffer, Datatype, Executable, RunError, Tensor, TensorInfo};
use hs_serve::{LoadRequest, LoadedModel, ModelControl, ModelLoader, Runner, Server, ServerOptions};

/// Gives each input back as `OUT_<name>`.
struct Identity {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Whether it takes as many milliseconds as the first number of its input says.
    slow: bool,
}

impl Executable for Identity {
    fn name(&self) -> &str {
        "identity"
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        Ok(inputs.to_vec())
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        if self.slow {
            let first = inputs[0].data().first_chunk().map_or(0, |b| i32::from_le_bytes(*b));
            std::thread::sleep(Duration::from_millis(u64::try_from(first).unwrap_or(0)));
        }
        Ok(inputs.to_vec())
    }

    fn is_quick(&self, _rows: usize) -> bool {
        !self.slow
    }

    fn concurrency(&self) -> usize {
        8
    }

    fn is_exact(&self) -> bool {
        true
    }
}

struct Loader;

impl ModelLoader for Loader {
    fn load(&self, request: &LoadRequest<'_>) -> Result<LoadedModel, String> {
        let tensors: &[(&str, Datatype, &[Option<usize>])] = match request.name {
            "pair" => &[("A", Datatype::Fp32, &[Some(2)]), ("B", Datatype::Int32, &[Some(1)])],
            "wide" => &[("X", Datatype::Fp32, &[None])],
            "half" => &[("X", Datatype::Fp16, &[Some(2)])],
            "text" => &[("X", Datatype::Bytes, &[None])],
            "slow" => &[("X", Datatype::Int32, &[Some(1)])],
            other => return Err(format!("there is no model '{other}'")),
        };
        let info = |prefix: &str| {
            let one = |(name, datatype, shape): &(&str, Datatype, &[Option<usize>])| TensorInfo {
                name: format!("{prefix}{name}"),
                datatype: *datatype,
                shape: shape.to_vec(),
            };
            tensors.iter().map(one).collect()
        };
        let executable = Identity { inputs: info(""), outputs: info("OUT_"), slow: request.name == "slow" };
        let runner =
            Runner { backend: "identity".into(), device: "cpu".to_owned(), executable: Arc::new(executable) };
        Ok(LoadedModel {
            runners: vec![runner],
            platform: "identity".to_owned(),
            backend: "identity".to_owned(),
            batched: true,
            ..LoadedModel::default()
        })
    }

    fn backends(&self) -> Vec<(String, bool, String)> {
        vec![("identity".to_owned(), true, "cpu".to_owned())]
    }
}

/// The models of [`Loader`], each in version 1: without a line, a batch of 8 at most.
const CONFIGS: &[(&str, &str)] = &[
    ("pair", "max_batch_size: 8 parameters { key: \"owner\" value { string_value: \"tests\" } }"),
    ("wide", "max_batch_size: 100000"),
    ("half", "max_batch_size: 8"),
    ("text", "max_batch_size: 8"),
    ("slow", "max_batch_size: 1 instance_group [{ count: 8 kind: KIND_CPU }]"),
];

fn write_models(directory: &Path) {
    for (name, config) in CONFIGS {
        fs::create_dir_all(directory.join(name).join("1")).unwrap();
        fs::write(directory.join(name).join("config.pbtxt"), config).unwrap();
    }
}

/// A server of the models above; they are loaded already.
pub(crate) async fn server(change: impl FnOnce(&mut ServerOptions)) -> Arc<Server> {
    let directory = tempfile::tempdir().unwrap();
    write_models(directory.path());
    let mut options = ServerOptions {
        name: "test".to_owned(),
        repositories: vec![directory.path().to_owned()],
        control: ModelControl::None,
        load_models: Vec::new(),
        strict_readiness: true,
        strict_config: false,
        client_shm: false,
        max_requests: 1000,
    };
    change(&mut options);
    let server = Server::new(options, Arc::new(Loader));
    server.start().await;
    assert_eq!(server.models().len(), CONFIGS.len(), "{:?}", server.index("", false));
    server
}
