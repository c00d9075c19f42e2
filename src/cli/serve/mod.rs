//! `serve`: answer inference requests over the Triton / KServe v2 protocol.

mod flags;
mod log;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use clap::Args as ClapArgs;
use hs_serve::{ModelControl, Server, ServerOptions};
use hs_server::{grpc, http, net};
use serde_json::json;
use tokio::{signal::unix::SignalKind, sync::watch};

use super::{Context, Report, exit::Failure};
use crate::serving::Loader;
use flags::{Control, IgnoredFlags, LimitFlags, LogFlags, ModelFlags, PortFlags, StopFlags};

/// Serve models over the Triton / KServe v2 protocol: HTTP, gRPC, metrics
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  hypersonic compile model.onnx --output models/jets/1
  hypersonic serve --model-repository models
  hypersonic serve --model-repository models --http-port 0 --grpc-port 0 --metrics-port 0
  hypersonic serve --model-repository models --model-control-mode explicit --load-model jets
  hypersonic serve --model-repository models --tls-cert cert.pem --tls-key key.pem --auth-tokens tokens.txt
  curl localhost:8000/v2/models/jets

A model is a directory NAME/VERSION that holds a package or a model.onnx; NAME/config.pbtxt is optional.
Options of tritonserver are understood, and a link to this program that is called tritonserver serves at once.")]
pub(crate) struct Args {
    #[command(flatten)]
    models: ModelFlags,
    #[command(flatten)]
    ports: PortFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    stop: StopFlags,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    ignored: IgnoredFlags,
}

pub(crate) fn run(args: Args, _context: &Context) -> Result<Report, Failure> {
    check(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment(format!("cannot start threads: {e}")))?;
    let outcome = runtime.block_on(serve(&args));
    // A backend that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// What would only be noticed by the first client.
fn check(args: &Args) -> Result<(), Failure> {
    for dir in &args.models.model_repository {
        if !dir.is_dir() {
            return Err(Failure::input(format!("--model-repository {} is no directory", dir.display())));
        }
    }
    let explicit = args.models.model_control_mode == Control::Explicit;
    if !args.models.load_model.is_empty() && !explicit {
        return Err(Failure::usage("--load-model needs --model-control-mode explicit"));
    }
    let grpc = [&args.limits.grpc_server_cert, &args.limits.grpc_server_key];
    if args.limits.grpc_use_ssl && grpc.iter().any(|f| f.is_none()) {
        return Err(Failure::usage("--grpc-use-ssl needs --grpc-server-cert and --grpc-server-key"));
    }
    if args.limits.grpc_use_ssl_mutual && args.limits.grpc_root_cert.is_none() {
        return Err(Failure::usage("--grpc-use-ssl-mutual needs --grpc-root-cert"));
    }
    Ok(())
}

fn options(args: &Args) -> ServerOptions {
    let models = &args.models;
    ServerOptions {
        name: models.id.clone(),
        repositories: models.model_repository.clone(),
        control: match models.model_control_mode {
            Control::None => ModelControl::None,
            Control::Poll => ModelControl::Poll { every: Duration::from_secs(models.repository_poll_secs) },
            Control::Explicit => ModelControl::Explicit,
        },
        load_models: models.load_model.clone(),
        strict_readiness: models.strict_readiness,
        strict_config: models.disable_auto_complete_config,
        client_shm: models.allow_client_shm,
        max_requests: args.limits.max_requests as usize,
    }
}
