//! One connection: its protocol, its deadlines, its requests.

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    BoxError, Router,
    body::Body,
    extract::Request,
    http::{StatusCode, Version, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::future::RouteFuture,
};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use super::{
    Options, Tls,
    activity::{Activity, Busy, Watchdog, Watched},
    body::Timed,
};

/// How far a port is on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It answers.
    Open,
    /// What is under way ends, nothing begins.
    Draining,
    /// What is left is cut.
    Closed,
}

/// Who sent a request, in its extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    address: SocketAddr,
    phase: watch::Receiver<Phase>,
}

impl Peer {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the port is on its way down: what would go on for ever should end.
    pub async fn draining(mut self) {
        // The sender outlives the connections; were it gone, that would be the end as well.
        let _ = self.phase.wait_for(|p| *p != Phase::Open).await;
    }
}

/// What the connections of a port have in common.
pub(super) struct Port {
    pub(super) options: Options,
    router: Router,
    builder: auto::Builder<TokioExecutor>,
}

impl Port {
    pub(super) fn new(router: Router, options: Options) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        if options.http2_only {
            builder = builder.http2_only();
        }
        // The watchdog does this better: hyper's timeout would close idle connections.
        builder.http1().header_read_timeout(None);
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(options.stream_window)
            .initial_connection_window_size(options.connection_window)
            .max_frame_size(options.max_frame_size)
            .max_concurrent_streams(options.max_streams)
            .keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout);
        Self { options, router, builder }
    }
}

/// Serves a connection until its end.
pub(super) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    port: Arc<Port>,
    phase: watch::Receiver<Phase>,
) {
    let peer = Peer { address, phase };
    let result = match &port.options.tls {
        None => run(stream, peer, &port).await,
        // Apart, so that plain connections are not as large.
        Some(tls) => Box::pin(secure(stream, tls, peer, &port)).await,
    };
    if let Err(error) = result {
        tracing::debug!(peer = %address, error, "connection ended");
    }
}

async fn secure(stream: TcpStream, tls: &Tls, peer: Peer, port: &Port) -> Result<(), BoxError> {
    let accept = TlsAcceptor::from(tls.config()).accept(stream);
    match timeout(port.options.handshake_timeout, accept).await {
        Ok(stream) => run(stream?, peer, port).await,
        Err(_) => Err("the TLS handshake took too long".into()),
    }
}

async fn run<S>(stream: S, peer: Peer, port: &Port) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = &port.options;
    let mut phase = peer.phase.clone();
    let activity = Activity::new();
    let mut watchdog = Watchdog::new(Arc::clone(&activity), options.header_timeout, options.write_timeout);
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
    let requests =
        Requests { router: port.router.clone(), peer, activity, read_timeout: options.read_timeout };
    let mut connection = pin!(port.builder.serve_connection(io, requests));
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => return result,
            overdue = poll_fn(|cx| watchdog.poll(cx)) => {
                return Err(format!("timed out: {overdue:?}").into());
            }
            _ = phase.changed() => match *phase.borrow_and_update() {
                Phase::Open => {}
                Phase::Draining => connection.as_mut().graceful_shutdown(),
                Phase::Closed => return Err("cut at the end of the drain".into()),
            }
        }
    }
}

/// Answers the requests of one connection.
struct Requests {
    router: Router,
    peer: Peer,
    activity: Arc<Activity>,
    read_timeout: std::time::Duration,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let busy = (request.version() < Version::HTTP_2).then(|| self.activity.request());
        let grpc = is_grpc(&request);
        // gRPC looks after its own messages: a stream may rest between them.
        let mut request = if grpc || hyper::body::Body::is_end_stream(request.body()) {
            request.map(Body::new)
        } else {
            request.map(|body| Body::new(Timed::new(body, self.read_timeout)))
        };
        request.extensions_mut().insert(self.peer.clone());
        let future = self.router.clone().call(request);
        Answer { future, grpc, _busy: busy }
    }
}

pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a request; where its handler panics, one that says so.
struct Answer {
    future: RouteFuture<Infallible>,
    grpc: bool,
    _busy: Option<Busy>,
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let grpc = self.grpc;
        catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.future).poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Ok(panicked(&*panic, grpc))))
    }
}

fn panicked(panic: &(dyn Any + Send), grpc: bool) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(panic = text, "a request's handler panicked; this is a fault of the server");
    let message = "the server failed while it answered this request; its log says more";
    if grpc {
        return tonic::Status::internal(message).into_http();
    }
    let body = axum::Json(serde_json::json!({ "error": message }));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

/// Turns off waiting for more to send, and notices peers that vanished.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(std::time::Duration::from_secs(60))
        .with_interval(std::time::Duration::from_secs(20));
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of connections may be idle: each costs what its future holds.
    #[tokio::test]
    async fn plain_connections_are_small() {
        let listener = super::super::Listener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        let (_sender, phase) = watch::channel(Phase::Open);
        let port = Arc::new(Port::new(Router::new(), Options::default()));
        let connection = serve(stream, listener.local_addr(), port, phase);
        println!("{}", size_of_val(&connection));
        assert!(size_of_val(&connection) < 3000, "{}", size_of_val(&connection));
    }
}
