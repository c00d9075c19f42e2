//! The server's frontends.
//!
//! [`http`] and [`grpc`] translate the KServe v2 protocol into calls of [`hs_serve::Server`] and back; [`net`] accepts
//! connections for both, plain or TLS, bounds them, and drains them.

pub mod grpc;
pub mod http;
pub mod net;

/// Bytes that a packed body or message may become, however small it is.
const UNSUSPICIOUS: usize = 64 << 20;
