//! The protocol over gRPC.

mod call;
mod contents;
mod health;
mod infer;
mod message;
mod packed;
mod parameters;
mod service;
mod stream;

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use hs_proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use hs_serve::{Code, ServeError, Server};
use tonic::{Request, Status, codec::CompressionEncoding, service::Routes};
use tonic_health::pb::health_server::HealthServer;

use crate::{UNSUSPICIOUS, net::Peer};

use call::Calls;
use health::HealthService;
use packed::ByPacking;
use service::Service;

/// What messages may be, and how answers are sent.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of a message; of one that is packed, at most 64 MiB when it is unpacked.
    pub max_message: usize,
    /// Whether answers are compressed for clients that can read that, as nearly all say they do. Inference is seldom
    /// faster with it.
    pub compress: bool,
    /// How long a client may rest in the middle of a message.
    pub read_timeout: Duration,
}

impl Default for Options {
    /// Messages of 2 GiB less a byte, as protobuf has them; plain answers.
    fn default() -> Self {
        Self { max_message: i32::MAX as usize, compress: false, read_timeout: Duration::from_secs(30) }
    }
}

/// The services `inference.GRPCInferenceService` and `grpc.health.v1.Health`, as routes. Others are answered with
/// UNIMPLEMENTED.
pub fn router(server: Arc<Server>, options: Options) -> Router {
    let mut inference = GrpcInferenceServiceServer::new(Service::new(Arc::clone(&server)))
        .max_decoding_message_size(options.max_message)
        .max_encoding_message_size(usize::MAX);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        inference = inference.accept_compressed(encoding);
        if options.compress {
            inference = inference.send_compressed(encoding);
        }
    }
    let health = HealthServer::new(HealthService::new(server));
    let packed = inference.clone().max_decoding_message_size(options.max_message.min(UNSUSPICIOUS));
    Routes::new(ByPacking { plain: inference, packed })
        .add_service(health)
        .into_axum_router()
        .layer(tower::layer::layer_fn(move |route| Calls::new(route, options.clone())))
        .with_state(())
}

/// The error as clients get it.
fn status(error: ServeError) -> Status {
    let code = match error.code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Unsupported => tonic::Code::Unimplemented,
        Code::Cancelled => tonic::Code::Cancelled,
        Code::Internal => tonic::Code::Internal,
    };
    Status::new(code, error.message)
}

/// Resolves when the port that the request came by is on its way down.
fn draining<T>(request: &Request<T>) -> impl Future<Output = ()> + Send + use<T> {
    let peer = request.extensions().get::<Peer>().cloned();
    async move {
        match peer {
            Some(peer) => peer.draining().await,
            None => std::future::pending().await,
        }
    }
}
