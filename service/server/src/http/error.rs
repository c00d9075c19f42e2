//! What a client is told when its request cannot be answered.

use std::fmt;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use hs_serve::{Code, ServeError};

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct HttpError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// A header that the status asks for.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

impl HttpError {
    pub(super) fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string(), header: None }
    }

    /// 400: the request is wrong.
    pub(super) fn bad(message: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: nothing has that path.
    pub(super) fn no_route(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format_args!("Not Found: no '{path}' in the protocol"))
    }

    /// 405: the path has other methods.
    pub(super) fn method(found: &str, (read, write): (bool, bool)) -> Self {
        let allow = match (read, write) {
            (true, true) => "GET, HEAD, POST",
            (true, false) => "GET, HEAD",
            (false, _) => "POST",
        };
        Self {
            header: Some((header::ALLOW, HeaderValue::from_static(allow))),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format_args!("Method Not Allowed: {found}, expected {allow}"),
            )
        }
    }

    /// 413: a body, or what it unpacks to, is longer than `limit` bytes.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format_args!("the body has more than the {limit} bytes that this server takes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

impl From<ServeError> for HttpError {
    fn from(error: ServeError) -> Self {
        let status = match error.code {
            Code::InvalidArgument | Code::AlreadyExists | Code::Cancelled => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.message, header: None }
    }
}
