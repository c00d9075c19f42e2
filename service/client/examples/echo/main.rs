//! The least that a server does: gives tensors back over HTTP (axum) and gRPC (tonic), with no model, no queue and no
//! statistics. What `cargo xtask bench serve` holds the real server against.
//!
//! `cargo run --release -p hs-client --example echo -- HTTP_PORT GRPC_PORT`

mod servers;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let ports: Option<Vec<u16>> = std::env::args().skip(1).map(|a| a.parse().ok()).collect();
    let Some([http, grpc]) = ports.as_deref() else {
        eprintln!("usage: echo HTTP_PORT GRPC_PORT");
        return ExitCode::from(2);
    };
    let ((http, _), (grpc, _)) = (servers::listen(*http).await, servers::listen(*grpc).await);
    tokio::select! {
        () = servers::serve_http(http, servers::at_once()) => {}
        () = servers::serve_grpc(grpc, servers::at_once()) => {}
    }
    ExitCode::SUCCESS
}
