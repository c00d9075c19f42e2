//! Ports, over real sockets.

mod connections;
mod drain;
mod grpc;
mod guard;
mod models;
mod support;
mod tls;
