//! The protocol over HTTP.

use std::sync::Arc;

use axum::Router;
use hs_serve::Server;

/// Limits of what a request may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a body, after decompression.
    pub max_body: usize,
}

/// All routes of the protocol, and of the built-in page.
pub fn router(_server: Arc<Server>, _limits: Limits) -> Router {
    Router::new()
}

/// The route of the metrics port: `/metrics`.
pub fn metrics_router(_server: Arc<Server>) -> Router {
    Router::new()
}
