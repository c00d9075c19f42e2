//! A client of the v2 inference protocol, over HTTP with binary tensors or over gRPC, in clear or in TLS.
//!
//! A [`Client`] is made for one [`Url`] and speaks what its scheme says. Tensors are [`hs_runtime::Buffer`]s:
//! those of a request are sent from where they are, those of an answer share the memory that it came in. The
//! [`load`] module calls a server many times and measures.
//!
//! Everything runs inside a tokio runtime that the caller brings.

mod body;
mod client;
mod connect;
mod error;
mod grpc;
mod http;
pub mod load;
mod metadata;
mod poster;
mod url;

pub use client::{Client, Options, Prepared};
pub use error::{ClientError, Status};
pub use metadata::{Metadata, TensorMetadata};
pub use poster::Poster;
pub use url::{Protocol, Url, UrlError};
