//! The built-in page and the protocol's description, at paths of their own beside the protocol's.

use std::sync::Arc;

use axum::Router;

use super::Api;

/// The routes of `/` and `/v2/openapi.json`.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
}
