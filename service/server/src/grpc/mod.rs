//! The protocol over gRPC.

use std::sync::Arc;

use axum::Router;
use hs_serve::Server;

/// Limits of what a message may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a message, after decompression.
    pub max_message: usize,
}

/// The services `inference.GRPCInferenceService` and `grpc.health.v1.Health`, as routes.
pub fn router(_server: Arc<Server>, _limits: Limits) -> Router {
    Router::new()
}
