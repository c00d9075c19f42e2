//! Ports and clients for tests.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use hs_server::net::{Listener, Options, serve};
use hyper::{Request, Response, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// What no test should take.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A port that is served until it is stopped.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<usize>,
}

impl Port {
    pub(crate) fn start(router: Router, options: Options) -> Self {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr();
        let (shutdown, stop) = oneshot::channel();
        let stop = async {
            let _ = stop.await;
        };
        let served = tokio::spawn(serve(listener, router, options, stop));
        Self { address, shutdown, served }
    }

    /// Stops it; how many connections were cut.
    pub(crate) async fn stop(self) -> usize {
        let _ = self.shutdown.send(());
        timeout(LONG, self.served).await.unwrap().unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let mut stream = self.connect().await;
        get(&mut stream, path, "").await
    }
}

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a GET with more header lines, each ended by `\r\n`, and reads the answer.
pub(crate) async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    path: &str,
    headers: &str,
) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

/// Reads an answer of known length.
pub(crate) async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Answer {
    let mut bytes = Vec::new();
    let read = async {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let more = stream.read_buf(&mut bytes).await.unwrap();
            assert_ne!(more, 0, "closed in the head: {:?}", String::from_utf8_lossy(&bytes));
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let length: usize = text
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .map_or(0, |l| l.trim().parse().unwrap());
        while bytes.len() < head + length {
            let more = stream.read_buf(&mut bytes).await.unwrap();
            assert_ne!(more, 0, "closed in the body: {:?}", String::from_utf8_lossy(&bytes));
        }
        (text, String::from_utf8_lossy(&bytes[head..]).into_owned())
    };
    let (head, body) = timeout(LONG, read).await.expect("no answer");
    Answer { status: head[9..12].parse().unwrap(), head, body }
}

/// Waits until the other side closes; how long that took.
pub(crate) async fn closed<S: AsyncRead + Unpin>(stream: &mut S) -> Duration {
    let began = std::time::Instant::now();
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("still open");
    began.elapsed()
}

pub(crate) type H2 = http2::SendRequest<Body>;

/// Speaks HTTP/2 over a stream.
pub(crate) async fn h2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> H2 {
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Sends a request by HTTP/2 and reads the answer.
pub(crate) async fn h2_send(
    client: &mut H2,
    request: Request<Body>,
) -> Result<(Response<()>, Bytes), hyper::Error> {
    let response = client.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.unwrap();
    Ok((Response::from_parts(parts, ()), body))
}

pub(crate) fn h2_get(path: &str) -> Request<Body> {
    Request::get(format!("http://test{path}")).body(Body::empty()).unwrap()
}
