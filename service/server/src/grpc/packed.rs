//! Requests with packed messages.

use std::task::{Context, Poll};

use axum::http::Request;
use tonic::server::NamedService;
use tower::Service;

/// Header of what packs the messages of a request.
const HEADER: &str = "grpc-encoding";

/// Gives requests whose messages are packed to a service with limits of its own: a few bytes may become very many.
#[derive(Debug, Clone)]
pub(super) struct ByPacking<S> {
    pub(super) plain: S,
    pub(super) packed: S,
}

impl<B, S: Service<Request<B>>> Service<Request<B>> for ByPacking<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Both are looked at, as the request has not come yet.
        match self.plain.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.packed.poll_ready(cx),
            other => other,
        }
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let plain = request.headers().get(HEADER).is_none_or(|v| v == "identity");
        if plain { self.plain.call(request) } else { self.packed.call(request) }
    }
}

impl<S: NamedService> NamedService for ByPacking<S> {
    const NAME: &'static str = S::NAME;
}
