//! Repositories on disk, with a loader whose models do what their file says.

mod changes;
mod control;
mod layout;
mod polling;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use bytes::Bytes;
use hs_runtime::{Buffer, Datatype, Executable, RunError, Tensor, TensorInfo};
use tempfile::TempDir;

use crate::{
    Code, IndexEntry, InferRequest, InputTensor, LoadOverride, LoadRequest, LoadedModel, ModelControl,
    ModelLoader, Runner, ServeError, Server, ServerOptions,
};

/// Adds a number to each element.
struct Add {
    number: u32,
    ports: [Vec<TensorInfo>; 2],
    /// It waits while this file is there.
    hold: Option<PathBuf>,
    calls: AtomicU32,
}

impl Add {
    fn new(number: u32, datatype: Datatype, hold: Option<PathBuf>) -> Arc<Self> {
        let port = |name: &str| vec![TensorInfo { name: name.to_owned(), datatype, shape: vec![None] }];
        Arc::new(Self { number, ports: [port("x"), port("y")], hold, calls: AtomicU32::new(0) })
    }
}

impl Executable for Add {
    fn name(&self) -> &str {
        "add"
    }
    fn inputs(&self) -> &[TensorInfo] {
        &self.ports[0]
    }
    fn outputs(&self) -> &[TensorInfo] {
        &self.ports[1]
    }
    fn run(&self, _: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        unreachable!("the server runs buffers")
    }
    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        while self.hold.as_ref().is_some_and(|file| file.exists()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let x = &inputs[0];
        let y = x.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()) + self.number);
        let y: Vec<u8> = y.flat_map(u32::to_le_bytes).collect();
        Ok(vec![Buffer::new(x.datatype(), x.shape(), Bytes::from(y)).unwrap()])
    }
}

/// Reads the file `model` of a version: words that say what to do.
#[derive(Default)]
struct Words {
    loads: AtomicU32,
}

impl ModelLoader for Words {
    fn load(&self, request: &LoadRequest<'_>) -> Result<LoadedModel, String> {
        self.loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = fs::read_to_string(request.directory.join("model")).map_err(|e| e.to_string())?;
        let (mut number, mut hold, mut raw) = (0, None, false);
        for word in text.split_whitespace() {
            let (word, value) = word.split_once('=').unwrap_or((word, "0"));
            let value: u32 = value.parse().unwrap();
            match word {
                "add" => number = value,
                "hold" => hold = Some(request.directory.join("hold")),
                "raw" => raw = true,
                "sleep" => std::thread::sleep(Duration::from_millis(u64::from(value))),
                "panic" => panic!("as its file says"),
                _ => return Err(format!("'{word}' is no word")),
            }
        }
        let model = |datatype| {
            let executable = Add::new(number, datatype, hold.clone());
            let runner = Runner { backend: "words".into(), device: "cpu".to_owned(), executable };
            LoadedModel {
                runners: vec![runner],
                platform: "words".to_owned(),
                batched: true,
                ..LoadedModel::default()
            }
        };
        let raw = raw.then(|| Box::new(model(Datatype::Int32)));
        Ok(LoadedModel { raw, ..model(Datatype::Uint32) })
    }

    fn backends(&self) -> Vec<(String, bool, String)> {
        Vec::new()
    }
}

/// A repository that is removed with the value.
struct Repo(TempDir);

impl Repo {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    fn file(&self, relative: &str, text: &str) -> &Self {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // All at once: who looks meanwhile must not find half of it.
        let new = self.0.path().with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
        self
    }

    /// Writes the file of a version, `name/1`.
    fn version(&self, version: &str, words: &str) -> &Self {
        self.file(&format!("{version}/model"), words)
    }

    fn config(&self, model: &str, text: &str) -> &Self {
        self.file(&format!("{model}/config.pbtxt"), text)
    }

    fn options(&self) -> ServerOptions {
        ServerOptions {
            name: "test".to_owned(),
            repositories: vec![self.0.path().to_owned()],
            control: ModelControl::None,
            load_models: Vec::new(),
            strict_readiness: false,
            strict_config: false,
            client_shm: false,
            max_requests: 1000,
        }
    }

    fn explicit(&self, load: &[&str]) -> ServerOptions {
        let load_models = load.iter().map(|n| (*n).to_owned()).collect();
        ServerOptions { control: ModelControl::Explicit, load_models, ..self.options() }
    }

    async fn serve(&self) -> Arc<Server> {
        start(self.options()).await
    }
}

async fn start(options: ServerOptions) -> Arc<Server> {
    let server = Server::new(options, Arc::new(Words::default()));
    server.start().await;
    server
}

/// What a model makes of the number 1.
async fn ask(server: &Server, model: &str, version: &str) -> Result<(u32, u64), ServeError> {
    let datatype = server.model(model, version).map_or(Datatype::Uint32, |m| m.spec().inputs[0].datatype);
    let data = Bytes::copy_from_slice(&1u32.to_le_bytes());
    let input = InputTensor { name: "x".to_owned(), datatype, shape: vec![1, 1], data: data.into() };
    let request = InferRequest {
        model: model.to_owned(),
        version: version.to_owned(),
        inputs: vec![input],
        ..InferRequest::default()
    };
    let response = server.infer(request).await?;
    let data = response.outputs[0].buffer.data();
    Ok((u32::from_le_bytes(data[..].try_into().unwrap()), response.version))
}

/// Code and message of an error.
fn error<T: std::fmt::Debug>(result: Result<T, ServeError>) -> (Code, String) {
    let e = result.unwrap_err();
    (e.code, e.message)
}

/// `name/version state` of every entry, and the reasons.
fn index(server: &Server, ready: bool) -> (Vec<String>, Vec<String>) {
    let entries = server.index("", ready).unwrap();
    let line = |e: &IndexEntry| format!("{}/{} {}", e.name, e.version, e.state);
    (entries.iter().map(line).collect(), entries.into_iter().map(|e| e.reason).collect())
}

/// Waits until it is so.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
