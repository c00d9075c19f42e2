//! What a client is told when its request cannot be answered.

use std::fmt;

/// The kind of an error; frontends map it to their status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong; sending it again will not help.
    InvalidArgument,
    /// No such model, version or region.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Not now: the queue is full, the model not ready, the server on its way down. Another server may answer.
    Unavailable,
    /// This server does not do that.
    Unsupported,
    /// The client has gone, or its deadline has passed.
    Cancelled,
    /// The server's own fault.
    Internal,
}

/// An error for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    /// Its kind.
    pub code: Code,
    /// What was found, what was expected, what to do.
    pub message: String,
}

impl ServeError {
    /// An error of kind `code`.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// [`Code::InvalidArgument`].
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// [`Code::NotFound`].
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// [`Code::Unavailable`].
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// [`Code::Internal`].
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Code::Internal, message)
    }
}
