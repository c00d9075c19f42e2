//! `serve`: answer inference requests over the Triton / KServe v2 protocol.

mod flags;
mod log;
mod otlp;

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

/// What a port serves, and over what.
struct Port {
    /// As the log calls it when it is ready.
    service: &'static str,
    listener: net::Listener,
    router: Router,
    options: net::Options,
}

impl Port {
    fn new(
        service: &'static str,
        address: SocketAddr,
        flag: &str,
        router: Router,
        options: net::Options,
    ) -> Result<Self, Failure> {
        let listener = net::Listener::bind(&address.to_string())
            .map_err(|e| Failure::environment(e).help(format!("choose another port with {flag}; 0 takes a free one")))?;
        Ok(Self { service, listener, router, options })
    }
}

/// Listens where the options say.
fn ports(args: &Args, server: &Arc<Server>, tracer: Option<&Arc<net::Tracer>>) -> Result<Vec<Port>, Failure> {
    let (ports, limits) = (&args.ports, &args.limits);
    let common = net::Options {
        max_connections: limits.max_connections,
        drain_timeout: Duration::from_secs(args.stop.exit_timeout_secs),
        ..net::Options::default()
    };
    let tls = |protocols: &[&str]| -> Result<Option<Arc<net::Tls>>, Failure> {
        let (Some(certificate), Some(key)) = (&limits.tls_cert, &limits.tls_key) else { return Ok(None) };
        let (certificate, key) = (certificate.clone(), key.clone());
        let files = net::TlsFiles { certificate, key, client_ca: limits.tls_client_ca.clone() };
        Ok(Some(Arc::new(net::Tls::new(files, protocols).map_err(Failure::input)?)))
    };
    let grpc_tls = || match (&limits.grpc_server_cert, &limits.grpc_server_key) {
        (Some(certificate), Some(key)) if limits.grpc_use_ssl || limits.grpc_use_ssl_mutual => {
            let client_ca = limits.grpc_root_cert.clone().filter(|_| limits.grpc_use_ssl_mutual);
            let files = net::TlsFiles { certificate: certificate.clone(), key: key.clone(), client_ca };
            Ok(Some(Arc::new(net::Tls::new(files, &["h2"]).map_err(Failure::input)?)))
        }
        _ => tls(&["h2"]),
    };
    let tokens = match &limits.auth_tokens {
        None => None,
        Some(file) => Some(Arc::new(net::Tokens::open(file).map_err(Failure::input)?)),
    };
    let rate = |rate: Option<u32>| rate.map(net::Rate::per_second);
    let rates = [limits.requests_per_second, limits.requests_per_second_per_client];
    let rates = rates
        .iter()
        .any(Option::is_some)
        .then(|| Arc::new(net::RateLimits::new(rate(rates[0]), rate(rates[1]))));
    let guard = |dialect, restricted: &[String]| -> Result<net::Guard, Failure> {
        Ok(net::Guard {
            tokens: tokens.clone(),
            restrictions: net::Restrictions::parse(dialect, restricted).map_err(Failure::usage)?,
            rates: rates.clone(),
            trace: args.log.log_verbose > 0,
            tracer: tracer.cloned(),
            ..net::Guard::new(dialect)
        })
    };
    let mut all = Vec::new();
    let address = |address: IpAddr, port| SocketAddr::new(address, port);
    if ports.allow_grpc {
        let options = grpc::Options { max_message: limits.max_request_bytes, ..grpc::Options::default() };
        let router = grpc::router(Arc::clone(server), options);
        let router = guard(net::Dialect::Grpc, &limits.grpc_restricted_protocol)?.protect(router);
        let net = net::Options { tls: grpc_tls()?, http2_only: true, ..common.clone() };
        let at = address(ports.grpc_address, ports.grpc_port);
        all.push(Port::new("GRPCInferenceService", at, "--grpc-port", router, net)?);
    }
    if ports.allow_http {
        let router = http::router(Arc::clone(server), http::Limits { max_body: limits.max_request_bytes });
        let router = guard(net::Dialect::Http, &limits.http_restricted_api)?.protect(router);
        let net = net::Options { tls: tls(&["h2", "http/1.1"])?, ..common.clone() };
        let at = address(ports.http_address, ports.http_port);
        all.push(Port::new("HTTPService", at, "--http-port", router, net)?);
    }
    if ports.allow_metrics {
        let router = http::metrics_router(Arc::clone(server));
        let net = net::Options { tls: tls(&["h2", "http/1.1"])?, ..common };
        let at = address(ports.metrics_address.unwrap_or(ports.http_address), ports.metrics_port);
        all.push(Port::new("Metrics Service", at, "--metrics-port", router, net)?);
    }
    if all.is_empty() {
        return Err(Failure::usage("--allow-http, --allow-grpc and --allow-metrics are all false: nothing to serve"));
    }
    Ok(all)
}

/// How long the last traces may take.
const LAST_TRACES: Duration = Duration::from_millis(300);

/// Serves until a signal says to stop and the requests under way are answered.
async fn serve(args: &Args) -> Result<Report, Failure> {
    let begin = Instant::now();
    let server = Server::new(options(args), Arc::new(Loader::new(args.limits.emulator_threads.map(usize::from))));
    tokio::spawn(log::start(&args.log, server.settings())?);
    for (flag, why) in args.ignored.given() {
        tracing::warn!("{flag} has no effect: {why}");
    }
    let mut tracer = None;
    let mut exporter = None;
    if let Some(endpoint) = &args.log.otlp_endpoint {
        let (made, traces) = net::Tracer::new(Arc::clone(&server));
        let export = otlp::Exporter::new(endpoint, &args.models.id, traces)?;
        otlp::switch_on(server.settings())?;
        exporter = Some(tokio::spawn(export.run()));
        tracer = Some(made);
    }
    // Listening comes before loading: a port that is taken is noticed at once, and probes are answered meanwhile.
    let ports = ports(args, &server, tracer.as_ref())?;
    drop(tracer);
    let mut stop = Stop::new()?;
    let (shutdown, _) = watch::channel(false);
    let mut running = Vec::new();
    let mut started = Vec::new();
    for port in ports {
        started.push((port.service, port.listener.local_addr()));
        let mut closing = shutdown.subscribe();
        let closed = async move {
            let _ = closing.wait_for(|closed| *closed).await;
        };
        running.push(tokio::spawn(net::serve(port.listener, port.router, port.options, closed)));
    }
    tokio::select! {
        () = server.start() => {}
        signal = stop.signal() => {
            tracing::info!("{signal} while models were being loaded");
            return Ok(Report::new("stopped before all models were loaded", json!({ "served": false })));
        }
    }
    if args.models.exit_on_error {
        let failed = server.index("", false).map_err(Failure::internal)?;
        if let Some(model) = failed.iter().find(|m| m.state == "UNAVAILABLE" && m.reason != "unloaded") {
            return Err(Failure::input(format!("model '{}': {}", model.name, model.reason))
                .help("--exit-on-error is given; without it the other models are served"));
        }
    }
    for (service, address) in &started {
        tracing::info!("Started {service} at {address}");
    }
    let ready = begin.elapsed();
    tracing::info!(models = server.models().len(), milliseconds = ready.as_millis() as u64, "ready");

    let signal = stop.signal().await;
    let drain = Instant::now();
    server.begin_drain();
    tracing::info!("{signal}: no longer ready, {} requests inside", server.pending());
    if args.stop.lame_duck > 0 {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.stop.lame_duck)) => {}
            _ = stop.signal() => tracing::info!("second signal: the lame-duck time ends"),
        }
    }
    shutdown.send_replace(true);
    let mut cut = 0;
    for port in running {
        cut += port.await.unwrap_or(0);
    }
    if let Some(exporter) = exporter {
        // Nobody makes traces any more; a collector that hangs must not keep the process.
        let _ = tokio::time::timeout(LAST_TRACES, exporter).await;
    }
    let seconds = drain.elapsed().as_secs_f64();
    tracing::info!("stopped after {seconds:.3} s, {cut} connections cut");
    let text = format!("stopped: {cut} connections cut, {seconds:.3} s");
    Ok(Report::new(text, json!({ "served": true, "connections_cut": cut, "drain_seconds": seconds })))
}

/// The signals that end the server.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let on = |kind| {
            tokio::signal::unix::signal(kind)
                .map_err(|e| Failure::environment(format!("cannot listen for signals: {e}")))
        };
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// The next one's name.
    async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
