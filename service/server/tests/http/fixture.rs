//! A server whose models give their inputs back, and a client of its router.

use std::{fs, path::Path, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use hs_model_config::DataType;
use hs_runtime::{Buffer, Datatype, Executable, RunError, Tensor, TensorInfo};
use hs_serve::{LoadRequest, LoadedModel, ModelControl, ModelLoader, Runner, Server, ServerOptions};
use hs_server::http::{Limits, metrics_router, router};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// Bytes of a body that the server takes.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// Name, type, shape.
type Tensors = &'static [(&'static str, &'static str, &'static str)];

/// Models: name, batch, inputs and outputs.
const MODELS: &[(&str, u32, Tensors, Tensors)] = &[
    ("plain", 8, &[("IN", "FP32", "4")], &[("OUT", "FP32", "4")]),
    ("pair", 8, &[("A", "INT32", "2"), ("B", "INT32", "2")], &[("C", "INT32", "2"), ("D", "INT32", "2")]),
    ("any", 0, &[("IN", "FP32", "-1")], &[("OUT", "FP32", "-1")]),
    ("half", 0, &[("IN", "FP16", "2")], &[("OUT", "FP16", "2")]),
    ("text", 0, &[("IN", "STRING", "1")], &[("OUT", "STRING", "1")]),
    ("a b", 0, &[("IN", "INT8", "1")], &[("OUT", "INT8", "1")]),
];

struct Copies {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Executable for Copies {
    fn name(&self) -> &str {
        "copies"
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
        Ok(inputs.to_vec())
    }
}

struct Loader;

impl ModelLoader for Loader {
    fn load(&self, request: &LoadRequest<'_>) -> Result<LoadedModel, String> {
        let info = |name: &str, datatype: DataType, dims: &[i64]| {
            let datatype = match datatype.as_str_name() {
                "TYPE_STRING" => Datatype::Bytes,
                other => Datatype::parse(other.trim_start_matches("TYPE_")).ok_or("no such type")?,
            };
            let shape = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
            Ok::<_, String>(TensorInfo { name: name.to_owned(), datatype, shape })
        };
        let config = request.config;
        let inputs = config.input.iter().map(|i| info(&i.name, i.data_type(), &i.dims));
        let outputs = config.output.iter().map(|o| info(&o.name, o.data_type(), &o.dims));
        let executable =
            Copies { inputs: inputs.collect::<Result<_, _>>()?, outputs: outputs.collect::<Result<_, _>>()? };
        Ok(LoadedModel {
            runners: vec![Runner {
                backend: "copies".into(),
                device: "cpu".to_owned(),
                executable: Arc::new(executable),
            }],
            platform: "test".to_owned(),
            backend: "copies".to_owned(),
            batched: config.max_batch_size > 0,
            parameters: vec![("exact".to_owned(), "yes".to_owned())],
            raw: None,
        })
    }

    fn backends(&self) -> Vec<(String, bool, String)> {
        vec![("copies".to_owned(), true, "cpu".to_owned())]
    }
}

fn write_models(repository: &Path) {
    for (name, batch, inputs, outputs) in MODELS {
        let directory = repository.join(name);
        fs::create_dir_all(directory.join("1")).unwrap();
        fs::write(directory.join("1/model"), b"x").unwrap();
        let tensors = |kind: &str, all: &[(&str, &str, &str)]| {
            let one = |(name, datatype, dims): &(&str, &str, &str)| {
                let labels = if *name == "OUT" { "label_filename: \"labels.txt\"" } else { "" };
                format!("{kind} {{ name: \"{name}\" data_type: TYPE_{datatype} dims: [{dims}] {labels} }}\n")
            };
            all.iter().map(one).collect::<String>()
        };
        let text = format!(
            "name: \"{}\"\nbackend: \"copies\"\nmax_batch_size: {batch}\n{}{}",
            name,
            tensors("input", inputs),
            tensors("output", outputs)
        );
        fs::write(directory.join("labels.txt"), "zero\none\n").unwrap();
        fs::write(directory.join("config.pbtxt"), text).unwrap();
    }
}

/// A server and its router.
pub(crate) struct Fixture {
    pub(crate) server: Arc<Server>,
    router: Router,
    _repository: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON and the tensors after it.
    pub(crate) fn split(&self) -> (Value, &[u8]) {
        assert_eq!(self.header("content-type"), Some("application/octet-stream"), "{self:?}");
        let length: usize = self.header(HEADER_LENGTH).unwrap().parse().unwrap();
        (serde_json::from_slice(&self.body[..length]).unwrap(), &self.body[length..])
    }

    /// The message of a refusal with this status.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json["error"].as_str().unwrap().to_owned()
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let repository = tempfile::tempdir().unwrap();
        write_models(repository.path());
        let options = ServerOptions {
            name: "hypersonic".to_owned(),
            repositories: vec![repository.path().to_owned()],
            control: ModelControl::Explicit,
            load_models: vec!["*".to_owned()],
            strict_readiness: true,
            strict_config: false,
            client_shm: false,
            max_requests: 100,
        };
        let server = Server::new(options, Arc::new(Loader));
        server.start().await;
        let router = router(Arc::clone(&server), Limits { max_body: MAX_BODY });
        Self { server, router, _repository: repository }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let head = request.method() == Method::HEAD;
        read(head, self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.into())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.call("POST", path, &[], body.to_owned()).await
    }

    /// JSON and, after it, binary tensors.
    pub(crate) async fn infer(&self, model: &str, json: &str, binary: &[u8]) -> Reply {
        let headers = [(HEADER_LENGTH, &*json.len().to_string())];
        let body = [json.as_bytes(), binary].concat();
        self.call("POST", &format!("/v2/models/{model}/infer"), &headers, body).await
    }

    pub(crate) async fn metrics(&self, method: &str, path: &str) -> Reply {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let head = request.method() == Method::HEAD;
        read(head, metrics_router(Arc::clone(&self.server)).oneshot(request).await.unwrap()).await
    }
}

/// The length is known before the body.
async fn read(head: bool, response: axum::response::Response) -> Reply {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let announced: usize = parts.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(body.len(), if head { 0 } else { announced });
    Reply { status: parts.status, headers: parts.headers, body }
}
