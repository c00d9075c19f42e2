//! What goes wrong between a client and its server.

use std::{fmt, path::PathBuf, time::Duration};

use tonic::Code;

/// How a server says that a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Status of HTTP.
    Http(u16),
    /// Code of gRPC.
    Grpc(Code),
}

impl Status {
    /// Whether the model, or what else the request names, is not there.
    pub fn is_not_found(self) -> bool {
        matches!(self, Self::Http(404) | Self::Grpc(Code::NotFound))
    }

    /// Whether the server does not offer the call.
    pub fn is_unsupported(self) -> bool {
        matches!(self, Self::Http(404 | 405 | 501) | Self::Grpc(Code::Unimplemented))
    }

    /// Whether the same request will be refused again: it is the client's to change it.
    pub fn is_clients_fault(self) -> bool {
        match self {
            Self::Http(status) => (400..500).contains(&status) && ![408, 425, 429].contains(&status),
            Self::Grpc(code) => matches!(
                code,
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::AlreadyExists
                    | Code::PermissionDenied
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::Unimplemented
                    | Code::Unauthenticated
            ),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self {
            Self::Http(status) => return write!(f, "{status}"),
            Self::Grpc(code) => code,
        };
        f.write_str(match code {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        })
    }
}

/// A call that did not give what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A certificate or a key that cannot be used.
    #[error("{}: {message}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
    /// Nobody answers there.
    #[error("cannot connect to {url}: {message}")]
    Connect {
        /// The server's address.
        url: String,
        /// Why not.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke: {message}")]
    Broken {
        /// The server's address.
        url: String,
        /// How.
        message: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s", limit.as_secs_f64())]
    Timeout {
        /// The server's address.
        url: String,
        /// The time it had.
        limit: Duration,
    },
    /// The server refuses.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// How it says so.
        status: Status,
        /// The server's own words.
        message: String,
    },
    /// A request that the protocol cannot carry.
    #[error("{0}")]
    Request(String),
    /// An answer that is not the protocol's.
    #[error("the server's answer is not understood: {0}")]
    Answer(String),
}

impl ClientError {
    /// The status, where the server refused.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}
