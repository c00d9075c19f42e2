//! The servers: an axum router for HTTP, tonic's server for gRPC. Every model `NAME_W` takes `INPUT`, FP32 [-1, W],
//! and gives it back as `OUTPUT`; other models are not there.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use hs_proto::{
    ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, model_infer_response::InferOutputTensor, model_metadata_response::TensorMetadata,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Status, server::Grpc, service::Routes, transport::Server};
use tonic_prost::ProstCodec;
use tower::service_fn;

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const MAX_BATCH: i32 = 16_384;

/// Called before each inference is answered: a test that wants a slow server waits there.
pub(crate) type Hook = Arc<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A hook that does nothing.
pub(crate) fn at_once() -> Hook {
    Arc::new(|| Box::pin(std::future::ready(())))
}

fn width(model: &str) -> Option<i64> {
    model.rsplit_once('_')?.1.parse().ok()
}

fn unknown(model: &str) -> String {
    format!("Request for unknown model: '{model}' is not found")
}

/// Serves HTTP for ever.
pub(crate) async fn serve_http(listener: TcpListener, hook: Hook) {
    let router = Router::new()
        .route("/v2/health/ready", get(|| async { StatusCode::OK }))
        .route("/v2/models/{model}", get(http_metadata))
        .route("/v2/models/{model}/config", get(http_config))
        .route("/v2/models/{model}/infer", post(http_infer))
        .layer(DefaultBodyLimit::disable())
        .with_state(hook);
    let listener = axum::serve::ListenerExt::tap_io(listener, |tcp| {
        let _ = tcp.set_nodelay(true);
    });
    axum::serve(listener, router).await.expect("the listener lives");
}

fn http_unknown(model: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": unknown(model) }))).into_response()
}

async fn http_metadata(Path(model): Path<String>) -> Response {
    let Some(width) = width(&model) else { return http_unknown(&model) };
    let tensor = |name| json!({ "name": name, "datatype": "FP32", "shape": [-1, width] });
    Json(json!({
        "name": model, "versions": ["1"], "platform": "echo",
        "inputs": [tensor("INPUT")], "outputs": [tensor("OUTPUT")],
    }))
    .into_response()
}

async fn http_config(Path(model): Path<String>) -> Response {
    Json(json!({ "name": model, "max_batch_size": MAX_BATCH })).into_response()
}

#[derive(Deserialize)]
struct Input {
    datatype: String,
    shape: Value,
    parameters: Size,
}

#[derive(Deserialize)]
struct Size {
    binary_data_size: usize,
}

#[derive(Deserialize)]
struct Infer {
    inputs: Vec<Input>,
}

async fn http_infer(
    State(hook): State<Hook>,
    Path(model): Path<String>,
    headers: HeaderMap,
    request: Bytes,
) -> Response {
    hook().await;
    if width(&model).is_none() {
        return http_unknown(&model);
    }
    let length = headers.get(HEADER_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let length = length.filter(|l| *l <= request.len());
    let parsed = length.and_then(|l| serde_json::from_slice::<Infer>(&request[..l]).ok());
    let (Some(length), Some(Infer { inputs })) = (length, parsed) else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "not understood" }))).into_response();
    };
    let name = |i: usize| if i == 0 { "OUTPUT".to_owned() } else { format!("OUTPUT{i}") };
    let outputs: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(i, t)| {
            json!({
                "name": name(i), "datatype": t.datatype, "shape": t.shape,
                "parameters": { "binary_data_size": t.parameters.binary_data_size },
            })
        })
        .collect();
    let header = json!({ "model_name": model, "model_version": "1", "outputs": outputs }).to_string();
    let mut answer = HeaderMap::new();
    answer.insert(HEADER_LENGTH, header.len().into());
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut body = header.into_bytes();
    body.extend_from_slice(&request[length..]);
    (answer, body).into_response()
}

/// Serves gRPC for ever.
pub(crate) async fn serve_grpc(listener: TcpListener, hook: Hook) {
    macro_rules! unary {
        ($method:literal, $call:expr) => {
            (
                concat!("/inference.GRPCInferenceService/", $method),
                post(async move |request: Request| {
                    let mut grpc = Grpc::new(ProstCodec::default())
                        .apply_max_message_size_config(Some(usize::MAX), Some(usize::MAX));
                    grpc.unary(service_fn($call), request).await
                }),
            )
        };
    }
    let infer = {
        let hook = Arc::clone(&hook);
        move |request| grpc_infer(request, Arc::clone(&hook))
    };
    let calls = [
        unary!("ModelMetadata", grpc_metadata),
        unary!("ModelConfig", grpc_config),
        unary!("ModelInfer", infer.clone()),
    ];
    let router = calls.into_iter().fold(Router::new(), |router, (path, call)| router.route(path, call));
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(64 << 20)
        .add_routes(Routes::from(router))
        .serve_with_incoming(incoming)
        .await
        .expect("the listener lives");
}

async fn grpc_metadata(
    request: tonic::Request<ModelMetadataRequest>,
) -> Result<tonic::Response<ModelMetadataResponse>, Status> {
    let name = request.into_inner().name;
    let width = width(&name).ok_or_else(|| Status::not_found(unknown(&name)))?;
    let tensor = |name: &str| {
        vec![TensorMetadata { name: name.to_owned(), datatype: "FP32".to_owned(), shape: vec![-1, width] }]
    };
    let (inputs, outputs) = (tensor("INPUT"), tensor("OUTPUT"));
    let (versions, platform) = (vec!["1".to_owned()], "echo".to_owned());
    Ok(tonic::Response::new(ModelMetadataResponse { name, versions, platform, inputs, outputs }))
}

async fn grpc_config(
    _: tonic::Request<ModelConfigRequest>,
) -> Result<tonic::Response<ModelConfigResponse>, Status> {
    let mut answer = ModelConfigResponse::default();
    answer.config.get_or_insert_default().max_batch_size = MAX_BATCH;
    Ok(tonic::Response::new(answer))
}

async fn grpc_infer(
    request: tonic::Request<ModelInferRequest>,
    hook: Hook,
) -> Result<tonic::Response<ModelInferResponse>, Status> {
    hook().await;
    let request = request.into_inner();
    if width(&request.model_name).is_none() {
        return Err(Status::not_found(unknown(&request.model_name)));
    }
    let outputs = request.inputs.into_iter().enumerate().map(|(i, input)| InferOutputTensor {
        name: if i == 0 { "OUTPUT".to_owned() } else { format!("OUTPUT{i}") },
        datatype: input.datatype,
        shape: input.shape,
        ..Default::default()
    });
    Ok(tonic::Response::new(ModelInferResponse {
        model_name: request.model_name,
        model_version: "1".to_owned(),
        outputs: outputs.collect(),
        raw_output_contents: request.raw_input_contents,
        ..Default::default()
    }))
}

/// A listener on a port of this machine.
pub(crate) async fn listen(port: u16) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    let address = listener.local_addr().expect("it has one");
    (listener, address)
}
