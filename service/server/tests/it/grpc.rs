//! The protocol over gRPC, with a client made from its definition.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hs_proto::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    grpc_inference_service_client::GrpcInferenceServiceClient,
    infer_parameter::ParameterChoice,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};
use hs_serve::Server;
use hs_server::{grpc, net};
use tonic::{Code, Request, Status, transport::Channel};

use crate::{models::server, support::Port};

mod calls;
mod faults;
mod infer;
mod stream;

type Client = GrpcInferenceServiceClient<Channel>;

/// A server behind a port, and a client of it.
struct Served {
    server: Arc<Server>,
    port: Port,
    client: Client,
}

async fn served() -> Served {
    serve_with(server(|_| {}).await, grpc::Options::default()).await
}

async fn serve_with(server: Arc<Server>, options: grpc::Options) -> Served {
    let router = grpc::router(Arc::clone(&server), options);
    let port = Port::start(router, net::Options { http2_only: true, ..net::Options::default() });
    let channel = Channel::from_shared(format!("http://{}", port.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let client = Client::new(channel).max_decoding_message_size(usize::MAX);
    Served { server, port, client }
}

fn le(values: &[f32]) -> Bytes {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn le_i32(values: &[i32]) -> Bytes {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    }
}

/// Two rows for model `pair`, raw.
fn pair() -> ModelInferRequest {
    ModelInferRequest {
        model_name: "pair".to_owned(),
        inputs: vec![tensor("A", "FP32", &[2, 2]), tensor("B", "INT32", &[2, 1])],
        raw_input_contents: vec![le(&[1.0, 2.0, 3.0, 4.0]), le_i32(&[5, 6])],
        ..Default::default()
    }
}

/// A request for `slow` that takes so many milliseconds.
fn slow(id: &str, milliseconds: i32) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "slow".to_owned(),
        id: id.to_owned(),
        inputs: vec![tensor("X", "INT32", &[1, 1])],
        raw_input_contents: vec![le_i32(&[milliseconds])],
        ..Default::default()
    }
}

/// One tensor of so many numbers for `wide`.
fn wide(numbers: usize) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "wide".to_owned(),
        inputs: vec![tensor("X", "FP32", &[1, i64::try_from(numbers).unwrap()])],
        raw_input_contents: vec![vec![0; numbers * 4].into()],
        ..Default::default()
    }
}

fn string(value: &str) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.to_owned())) }
}

fn number(value: i64) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}

fn switch(value: bool) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(value)) }
}

async fn infer(client: &mut Client, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
    client.model_infer(request).await.map(tonic::Response::into_inner)
}

/// With a deadline that tells tests apart from hangs.
fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(20));
    request
}
