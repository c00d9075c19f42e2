//! Connections: accepting, TLS, limits, draining. The same for every port.
//!
//! ```text
//! Listener::bind ─▶ serve(listener, guard.protect(router), options, shutdown)
//! ```
//!
//! [`serve`] answers HTTP/1.1 and HTTP/2 until `shutdown` resolves, then lets requests end and returns. [`Guard`] puts
//! authorisation, rate limits and tracing before a router; what is not configured costs nothing.

mod activity;
mod body;
mod connection;
mod group;
mod guard;
mod listener;
mod rate;
mod restrict;
mod serve;
mod spans;
mod tls;
mod tokens;
mod trace;

pub use body::ReadTimeout;
pub use connection::Peer;
pub use group::Group;
pub use guard::{Dialect, Guard};
pub use listener::{BindError, Listener};
pub use rate::{Rate, RateLimits};
pub use restrict::{RestrictionError, Restrictions};
pub use serve::{Options, serve};
pub use spans::{Span, SpanValue, Tracer, Traces};
pub use tls::{Tls, TlsError, TlsFiles};
pub use tokens::{Tokens, TokensError};
pub use trace::TraceParent;

pub(crate) use body::Progress;
pub(crate) use spans::{Trace, infer, of as trace_of};
