//! The protocol over HTTP.
//!
//! A request goes through [`routes`] (what its path names), [`body`] (its body, unpacked, in one buffer), the part that
//! parses it and calls the [`Server`], and [`answer`] (the response, packed as the client likes). Every error is JSON,
//! `{"error": "…"}`.

mod answer;
mod backends;
mod body;
mod encoding;
mod error;
mod infer;
mod models;
mod object;
mod offload;
#[cfg(test)]
mod openapi;
pub(crate) mod page;
mod repository;
pub(crate) mod routes;
mod settings;
mod shm;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use hs_serve::Server;

use self::{
    answer::Answer,
    error::HttpError,
    routes::{Of, Route},
};

/// Limits of what a request may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a body, after decompression.
    pub max_body: usize,
}

/// What requests are answered from.
struct Api {
    server: Arc<Server>,
    limits: Limits,
}

/// All routes of the protocol, and of the built-in page.
pub fn router(server: Arc<Server>, limits: Limits) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Api { server, limits }))
}

/// The route of the metrics port: `/metrics`.
pub fn metrics_router(server: Arc<Server>) -> Router {
    Router::new().fallback(metrics).with_state(server)
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = dispatch(&api, &parts, body).await;
    answer.unwrap_or_else(Answer::from).into_response(&parts.headers).await
}

async fn metrics(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = match (parts.uri.path(), &parts.method) {
        ("/metrics", &Method::GET | &Method::HEAD) => Ok(Answer::metrics(server.metrics())),
        ("/metrics", method) => Err(HttpError::method(method.as_str(), (true, false))),
        (path, _) => Err(HttpError::no_route(path)),
    };
    answer.unwrap_or_else(Answer::from).into_response(&parts.headers).await
}

async fn dispatch(api: &Api, request: &Parts, body: Body) -> Result<Answer, HttpError> {
    let path = request.uri.path();
    let route = Route::parse(path).ok_or_else(|| HttpError::no_route(path))?;
    let methods = route.methods();
    let post = match request.method {
        Method::GET | Method::HEAD if methods.0 => false,
        Method::POST if methods.1 => true,
        ref other => return Err(HttpError::method(other.as_str(), methods)),
    };
    // What is read has no body that matters.
    let body =
        if post { body::read(&request.headers, body, api.limits.max_body).await? } else { <_>::default() };
    let server = &api.server;
    match route {
        Route::Model(target, Of::Infer) => infer::infer(server, &target, request, body).await,
        Route::Live => Ok(health(server.is_live())),
        Route::Ready => Ok(health(server.is_ready())),
        Route::Server => models::server(server),
        Route::Model(target, Of::Metadata) => models::metadata(server, &target),
        Route::Model(target, Of::Ready) => {
            if server.is_model_ready(&target.name, target.version) {
                Ok(Answer::done())
            } else {
                Err(HttpError::bad("Model version not ready"))
            }
        }
        Route::Model(target, Of::Config) => models::config(server, &target),
        Route::Model(target, Of::Statistics) => models::statistics(server, &target.name, target.version),
        Route::Statistics => models::statistics(server, "", ""),
        Route::Index(repository) => repository::index(server, &repository, &body),
        Route::Load(model) => repository::load(server, &model, &body).await,
        Route::Unload(model) => repository::unload(server, &model, &body).await,
        Route::SystemMemory(memory) => shm::system(server.shm(), &memory, &body),
        Route::CudaMemory(memory) => shm::cuda(&memory),
        Route::Trace(model) => settings::trace(server, &model, post, &body),
        Route::Logging => settings::logging(server, post, &body),
        Route::Backends => backends::all(server).await,
        Route::Asset(asset) => Ok(asset.answer(&request.headers)),
    }
}

fn health(good: bool) -> Answer {
    Answer::status(if good { StatusCode::OK } else { StatusCode::BAD_REQUEST })
}
