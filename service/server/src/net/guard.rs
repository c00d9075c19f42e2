//! What is before a router: who may call, what, how often; and the trace that a call belongs to.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
    routing::{Route, future::RouteFuture},
};
use tower::Service;
use tracing::Span;

use super::{
    Peer,
    group::{Group, is_public},
    rate::RateLimits,
    restrict::Restrictions,
    spans::{Trace, Tracer},
    tokens::Tokens,
    trace::{TraceParent, span},
};

/// The protocol of a port, in which refusals are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// JSON over HTTP.
    Http,
    /// gRPC.
    Grpc,
}

/// What stands before a router. Health is asked by probes that know no token and must not be told to wait: it is free
/// of both, though not of [`restrictions`](Self::restrictions). The built-in page is free of tokens, since it is what
/// asks its user for one.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The port's protocol.
    pub dialect: Dialect,
    /// Bearer tokens, one of which a call must show; `None`: everybody may call.
    pub tokens: Option<Arc<Tokens>>,
    /// Groups of calls that need a header.
    pub restrictions: Restrictions,
    /// How often calls may come; shared between ports.
    pub rates: Option<Arc<RateLimits>>,
    /// Whether what is logged of a call says which one, and the trace of its `traceparent`.
    pub trace: bool,
    /// Who records calls; `None`: nobody.
    pub tracer: Option<Arc<Tracer>>,
}

impl Guard {
    /// A guard that lets everything through.
    pub fn new(dialect: Dialect) -> Self {
        let restrictions = Restrictions::default();
        Self { dialect, tokens: None, restrictions, rates: None, trace: false, tracer: None }
    }

    /// Puts the guard before the router; nothing at all where nothing is configured.
    pub fn protect(self, router: Router) -> Router {
        let lets_through = self.tokens.is_none() && self.rates.is_none() && self.restrictions.is_empty();
        if lets_through && !self.trace && self.tracer.is_none() {
            return router;
        }
        let guard = Arc::new(self);
        let layer = tower::layer::layer_fn(move |inner: Route| Guarded { inner, guard: Arc::clone(&guard) });
        router.layer(layer).with_state(())
    }

    fn check(&self, group: Option<Group>, request: &Request) -> Result<(), Refusal> {
        let path = request.uri().path();
        if group != Some(Group::Health) {
            if let Some(tokens) = &self.tokens
                && !(group.is_none() && is_public(self.dialect, path))
            {
                let found = bearer(request.headers()).ok_or(Refusal::NoToken)?;
                if !tokens.contains(found) {
                    return Err(Refusal::WrongToken);
                }
            }
            if let Some(rates) = &self.rates {
                let client = request.extensions().get::<Peer>().map(|p| p.address().ip());
                rates.admit(client).map_err(Refusal::TooOften)?;
            }
        }
        self.restrictions
            .check(group, request.headers())
            .map_err(|header| Refusal::Restricted(header.to_owned()))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    NoToken,
    WrongToken,
    /// The header that it needs.
    Restricted(String),
    /// Come back after this time.
    TooOften(Duration),
}

impl Refusal {
    fn response(&self, dialect: Dialect) -> Response {
        let (status, code, message) = match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                tonic::Code::Unauthenticated,
                "expected a token in header 'authorization: Bearer <token>'".to_owned(),
            ),
            Self::WrongToken => (
                StatusCode::UNAUTHORIZED,
                tonic::Code::Unauthenticated,
                "the token in header 'authorization' is not one of this server's".to_owned(),
            ),
            Self::Restricted(header) => {
                let what = match dialect {
                    Dialect::Http => "API",
                    Dialect::Grpc => "protocol",
                };
                (
                    StatusCode::FORBIDDEN,
                    tonic::Code::PermissionDenied,
                    format!("This {what} is restricted, expecting header '{header}'"),
                )
            }
            Self::TooOften(wait) => (
                StatusCode::TOO_MANY_REQUESTS,
                tonic::Code::ResourceExhausted,
                format!("too many requests a second; try again in {} ms", wait.as_millis() + 1),
            ),
        };
        if dialect == Dialect::Grpc {
            return tonic::Status::new(code, message).into_http();
        }
        let mut response = (status, Json(serde_json::json!({ "error": message }))).into_response();
        match self {
            Self::NoToken | Self::WrongToken => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooOften(wait) => {
                response.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + 1).into());
            }
            Self::Restricted(_) => {}
        }
        response
    }
}

/// A route behind a guard.
#[derive(Debug, Clone)]
struct Guarded {
    inner: Route,
    guard: Arc<Guard>,
}

impl Service<Request> for Guarded {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Route as Service<Request>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        let guard = &self.guard;
        let group = Group::of(guard.dialect, request.uri().path());
        let trace = guard.tracer.as_ref().and_then(|t| t.begin(guard.dialect, group, &mut request));
        let span = if guard.trace {
            let parent = TraceParent::of(request.headers());
            span(request.method(), request.uri().path(), parent.as_ref())
        } else {
            Span::none()
        };
        match guard.check(group, &request) {
            Ok(()) => {
                let inner = span.in_scope(|| self.inner.call(request));
                Answer::Running { inner, span, trace }
            }
            Err(refusal) => {
                span.in_scope(|| tracing::debug!(?refusal, "refused"));
                let response = refusal.response(guard.dialect);
                if let Some(trace) = trace {
                    trace.answered(response.status(), response.headers());
                }
                Answer::Refused(Some(response))
            }
        }
    }
}

/// A route's answer, or the guard's.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would be an allocation a request"
)]
enum Answer {
    Running { inner: RouteFuture<Infallible>, span: Span, trace: Option<Arc<Trace>> },
    Refused(Option<Response>),
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Running { inner, span, trace } => {
                let _entered = span.enter();
                let polled = Pin::new(inner).poll(cx);
                if let Poll::Ready(Ok(response)) = &polled
                    && let Some(trace) = trace.take()
                {
                    trace.answered(response.status(), response.headers());
                }
                polled
            }
            Self::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}
