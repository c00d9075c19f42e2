//! The server: what a frontend calls.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    InferRequest, InferResponse, ModelLoader, ModelStatistics, ServeError, Served, Settings, SharedMemory,
    admission::Admission, metrics, repository::Repository,
};

/// Extensions of the protocol that this server speaks.
pub const EXTENSIONS: &[&str] = &[
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "cuda_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
];

/// Who may load and unload models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModelControl {
    /// Everything is loaded at start, nothing later.
    #[default]
    None,
    /// As `None`, and changes of the repository are followed.
    Poll {
        /// Time between two looks.
        every: Duration,
    },
    /// What is named at start, and then what clients ask for.
    Explicit,
}

/// How a server shall behave.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Name in the server's metadata.
    pub name: String,
    /// Model repositories, the first one first.
    pub repositories: Vec<PathBuf>,
    /// Who may load and unload.
    pub control: ModelControl,
    /// Models to load at start in [`ModelControl::Explicit`]; `*`: all.
    pub load_models: Vec<String>,
    /// Whether the server is ready only while every model that was asked for is.
    pub strict_readiness: bool,
    /// Whether configurations are taken as they are instead of being completed from the model.
    pub strict_config: bool,
    /// Whether clients may name shared memory of this machine.
    pub client_shm: bool,
    /// Requests in the server at a time, beyond which it answers [`Code::Unavailable`](crate::Code::Unavailable).
    pub max_requests: usize,
}

/// A model of the repository, as the index lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Name.
    pub name: String,
    /// Version in decimal; empty when none was ever loaded.
    pub version: String,
    /// `READY`, `LOADING`, `UNLOADING`, `UNAVAILABLE`, or empty.
    pub state: String,
    /// Why it is not ready.
    pub reason: String,
}

/// What a client sends along with a request to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOverride {
    /// The configuration to use, as JSON.
    pub config: Option<String>,
    /// Files in place of the model's directory: path within it (`1/model.onnx`), content.
    pub files: Vec<(String, Bytes)>,
}

/// The server's own description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMetadata {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: &'static str,
    /// What it speaks beyond the base protocol.
    pub extensions: &'static [&'static str],
}

/// A running server, shared by its frontends.
pub struct Server {
    options: ServerOptions,
    repository: Arc<Repository>,
    shm: SharedMemory,
    settings: Settings,
    admission: Admission,
    draining: AtomicBool,
    meters: metrics::Meters,
    created: Instant,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that has not loaded anything.
    pub fn new(options: ServerOptions, loader: Arc<dyn ModelLoader>) -> Arc<Self> {
        Arc::new(Self {
            repository: Repository::new(&options, loader),
            shm: SharedMemory::new(options.client_shm),
            settings: Settings::default(),
            admission: Admission::new(options.max_requests),
            draining: AtomicBool::new(false),
            meters: metrics::Meters::default(),
            created: Instant::now(),
            options,
        })
    }

    /// Loads what is to be loaded at start and follows the repository where that was asked for. Returns when every
    /// model is ready or has failed; why is in [`index`](Self::index) and in the log.
    pub async fn start(&self) {
        self.repository.start().await;
    }

    /// The options it was made with.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Name, version and extensions.
    pub fn metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: self.options.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            extensions: EXTENSIONS,
        }
    }

    /// Whether it answers at all.
    pub fn is_live(&self) -> bool {
        true
    }

    /// Whether balancers may send requests.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.repository.is_ready()
    }

    /// Whether a version of a model can answer; false for models that are not there.
    pub fn is_model_ready(&self, name: &str, version: &str) -> bool {
        self.repository.get(name, version).is_ok()
    }

    /// A version of a model that is ready; `version` in decimal, empty: the latest.
    pub fn model(&self, name: &str, version: &str) -> Result<Arc<Served>, ServeError> {
        self.repository.get(name, version)
    }

    /// All versions that are ready, by name and version.
    pub fn models(&self) -> Vec<Arc<Served>> {
        self.repository.served()
    }

    /// Ready versions of a model, ascending.
    pub fn versions(&self, name: &str) -> Vec<u64> {
        self.models().iter().filter(|m| &*m.spec().name == name).map(|m| m.version()).collect()
    }

    /// Backends of this build: name, whether it can run here, on what or why not.
    pub fn backends(&self) -> Vec<(String, bool, String)> {
        self.repository.backends()
    }

    /// Answers a request. Dropping the future withdraws it.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, ServeError> {
        let model = self.repository.get(&request.model, &request.version)?;
        let _admitted = self.admission.enter()?;
        model.infer(request).await
    }

    /// Statistics of one model, or of all when `name` is empty; of all ready versions when `version` is.
    pub fn statistics(&self, name: &str, version: &str) -> Result<Vec<ModelStatistics>, ServeError> {
        if name.is_empty() {
            return Ok(self.models().iter().map(|m| m.statistics()).collect());
        }
        let missing = || ServeError::invalid(format!("requested model '{name}' is not available"));
        if !version.is_empty() {
            let model = self.repository.get(name, version).map_err(|_| missing())?;
            return Ok(vec![model.statistics()]);
        }
        let all: Vec<_> = self.models().into_iter().filter(|m| &*m.spec().name == name).collect();
        if all.is_empty() { Err(missing()) } else { Ok(all.iter().map(|m| m.statistics()).collect()) }
    }

    /// Models of the repositories, or of the one called `repository`; `ready`: only those that can answer.
    pub fn index(&self, repository: &str, ready: bool) -> Result<Vec<IndexEntry>, ServeError> {
        self.repository.index(repository, ready)
    }

    /// Loads or reloads a model; returns when it can answer. The versions that were there answer until then.
    pub async fn load(&self, repository: &str, name: &str, with: LoadOverride) -> Result<(), ServeError> {
        self.repository.load(repository, name, with).await
    }

    /// Unloads a model: it is not found from now on, while its accepted requests are answered.
    pub async fn unload(&self, repository: &str, name: &str) -> Result<(), ServeError> {
        self.repository.unload(repository, name).await
    }

    /// Memory that clients share with the server.
    pub fn shm(&self) -> &SharedMemory {
        &self.shm
    }

    /// Trace and log settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Metrics as Prometheus reads them.
    pub fn metrics(&self) -> String {
        metrics::exposition(&self.models(), self.pending(), &self.meters, self.created)
    }

    /// Requests that were accepted and are not answered yet.
    pub fn pending(&self) -> usize {
        self.admission.inside()
    }

    /// From now on the server is not ready; it still answers.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until no request is inside, at most `limit`; how many are left.
    pub async fn drained(&self, limit: Duration) -> usize {
        self.admission.empty(limit).await
    }
}
