//! The loop that accepts.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    Listener, Tls,
    connection::{self, Phase},
};

/// How a port treats its connections.
#[derive(Debug, Clone)]
pub struct Options {
    /// Certificates; `None`: plain text.
    pub tls: Option<Arc<Tls>>,
    /// Whether the port speaks HTTP/2 only.
    pub http2_only: bool,
    /// Connections at a time; more are closed at once.
    pub max_connections: u32,
    /// Requests of one HTTP/2 connection at a time; more wait at the client.
    pub max_streams: u32,
    /// Bytes that a client may send of one HTTP/2 request before it is read.
    pub stream_window: u32,
    /// Bytes that a client may send on one HTTP/2 connection before they are read.
    pub connection_window: u32,
    /// Bytes of an HTTP/2 frame that clients may send.
    pub max_frame_size: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, and the silence of a connection that has said nothing yet.
    pub header_timeout: Duration,
    /// How long a client may rest while it sends a body.
    pub read_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// Time between pings of an HTTP/2 connection; `None`: no pings.
    pub keepalive_interval: Option<Duration>,
    /// How long the answer to a ping may take.
    pub keepalive_timeout: Duration,
    /// How long requests may go on after the shutdown has begun; what is left then is cut.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: None,
            http2_only: false,
            max_connections: 20_000,
            max_streams: 1024,
            // Windows smaller than a tensor make its sender wait for the server's permission again and again.
            stream_window: 16 << 20,
            connection_window: 64 << 20,
            max_frame_size: 16 << 10,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            keepalive_interval: Some(Duration::from_secs(60)),
            keepalive_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// How long connections that are cut may take to go.
const CUT: Duration = Duration::from_secs(1);

/// What is said to a connection too many, where it can be.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    connection: close\r\ncontent-length: 56\r\n\r\n\
    {\"error\":\"the server is at its limit of open connections\"}";

/// Answers requests with `router` until `shutdown` resolves. Then no connection is accepted, idle ones are closed, HTTP/2
/// clients are told to go away, and requests under way may end. Returns the number of connections that did not end
/// within the drain timeout and were cut.
///
/// A handler that panics is answered for; the server lives on. Requests carry a [`Peer`](super::Peer) in their
/// extensions.
pub async fn serve(
    listener: Listener,
    router: Router,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let port = Arc::new(connection::Port::new(router, options));
    let options = &port.options;
    let (phase, _) = watch::channel(Phase::Open);
    // Each connection holds a permit until its end.
    let permits = Arc::new(Semaphore::new(options.max_connections as usize));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = shutdown.as_mut() => break,
            accepted = listener.tcp.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Without file handles, trying again at once would only burn time.
                if !is_peers_fault(&error) {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::debug!(peer = %address, limit = options.max_connections, "too many connections");
            refuse(&stream, options);
            continue;
        };
        if let Err(error) = connection::prepare(&stream) {
            tracing::debug!(peer = %address, %error, "connection ended at once");
            continue;
        }
        let connection = connection::serve(stream, address, Arc::clone(&port), phase.subscribe());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    phase.send_replace(Phase::Draining);
    let all = permits.acquire_many(options.max_connections);
    let left = match timeout(options.drain_timeout, all).await {
        Ok(_) => 0,
        Err(_) => options.max_connections as usize - permits.available_permits(),
    };
    phase.send_replace(Phase::Closed);
    // The cut ones need a moment to notice.
    let _ = timeout(CUT, permits.acquire_many(options.max_connections)).await;
    left
}

fn is_peers_fault(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn refuse(stream: &TcpStream, options: &Options) {
    if options.tls.is_none() && !options.http2_only {
        let _ = stream.try_write(TOO_MANY);
    }
}
