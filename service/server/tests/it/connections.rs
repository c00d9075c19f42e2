//! Protocols, deadlines and limits of connections.

use std::time::{Duration, Instant};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::Request,
    http::StatusCode,
    routing::{get as get_route, post},
};
use hs_server::net::{Options, Peer, ReadTimeout};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

use crate::support::{LONG, Port, answer, closed, get, h2, h2_get, h2_send};

const SHORT: Duration = Duration::from_millis(300);

fn router() -> Router {
    Router::new()
        .route("/", get_route(async || "hello"))
        .route("/peer", get_route(async |Extension(peer): Extension<Peer>| peer.address().to_string()))
        .route("/panic", get_route(async || -> &'static str { panic!("on purpose") }))
        .route("/echo", post(echo))
        .route("/large", get_route(async || vec![b'x'; 64 << 20]))
}

/// The body, or why it did not come.
async fn echo(request: Request) -> (StatusCode, Bytes) {
    match axum::body::to_bytes(request.into_body(), usize::MAX).await {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                if let Some(ReadTimeout(limit)) = error.downcast_ref() {
                    return (StatusCode::REQUEST_TIMEOUT, format!("{limit:?}").into());
                }
                cause = error.source();
            }
            (StatusCode::BAD_REQUEST, error.to_string().into())
        }
    }
}

fn hasty() -> Options {
    Options { header_timeout: SHORT, read_timeout: SHORT, write_timeout: SHORT, ..Options::default() }
}

#[tokio::test]
async fn both_versions_on_one_port() {
    let port = Port::start(router(), Options::default());
    let mut stream = port.connect().await;
    for _ in 0..3 {
        assert_eq!(get(&mut stream, "/", "").await.body, "hello");
    }
    let own = stream.local_addr().unwrap().to_string();
    assert_eq!(get(&mut stream, "/peer", "").await.body, own);
    let mut client = h2(port.connect().await).await;
    for _ in 0..3 {
        assert_eq!(h2_send(&mut client, h2_get("/")).await.unwrap().1, "hello");
    }
    assert_eq!(port.stop().await, 0);
}

#[tokio::test]
async fn http2_only_speaks_nothing_else() {
    let port = Port::start(router(), Options { http2_only: true, ..Options::default() });
    let mut client = h2(port.connect().await).await;
    assert_eq!(h2_send(&mut client, h2_get("/")).await.unwrap().1, "hello");
    let mut stream = port.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_for() {
    let port = Port::start(router(), Options::default());
    let mut stream = port.connect().await;
    let answer = get(&mut stream, "/panic", "").await;
    assert_eq!(answer.status, 500);
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert!(body["error"].as_str().unwrap().contains("its log says more"));
    // The connection lives on.
    assert_eq!(get(&mut stream, "/", "").await.body, "hello");
    let mut client = h2(port.connect().await).await;
    let mut request = h2_get("/panic");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let (response, _) = h2_send(&mut client, request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "13");
    assert_eq!(h2_send(&mut client, h2_get("/")).await.unwrap().1, "hello");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let port = Port::start(router(), hasty());
    // Byte by byte, without an end: progress does not help.
    let mut slow = port.connect().await;
    let began = Instant::now();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, drip).await.unwrap();
    assert!(began.elapsed() >= SHORT);
    // One that says nothing at all, and one that begins like HTTP/2.
    for beginning in ["", "PRI * HTTP/2.0\r\n"] {
        let mut silent = port.connect().await;
        silent.write_all(beginning.as_bytes()).await.unwrap();
        let took = closed(&mut silent).await;
        assert!(took + Duration::from_millis(50) >= SHORT, "{took:?}");
    }
    // In the second request of a connection as in the first.
    let mut second = port.connect().await;
    assert_eq!(get(&mut second, "/", "").await.body, "hello");
    second.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    closed(&mut second).await;
}

#[tokio::test]
async fn idle_connections_stay() {
    let port = Port::start(router(), hasty());
    let mut first = port.connect().await;
    assert_eq!(get(&mut first, "/", "").await.body, "hello");
    let mut second = h2(port.connect().await).await;
    assert_eq!(h2_send(&mut second, h2_get("/")).await.unwrap().1, "hello");
    // As clients of gRPC do, which connect long before they call.
    let mut unused = h2(port.connect().await).await;
    sleep(3 * SHORT).await;
    assert_eq!(get(&mut first, "/", "").await.body, "hello");
    assert_eq!(h2_send(&mut second, h2_get("/")).await.unwrap().1, "hello");
    assert_eq!(h2_send(&mut unused, h2_get("/")).await.unwrap().1, "hello");
}

#[tokio::test]
async fn a_body_must_go_on() {
    let port = Port::start(router(), hasty());
    let mut stream = port.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nab").await.unwrap();
    let stopped = answer(&mut stream).await;
    assert_eq!((stopped.status, stopped.body), (408, format!("{SHORT:?}")));
    // Slow, but it goes on: longer than the limit in all.
    let mut stream = port.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n").await.unwrap();
    for _ in 0..10 {
        stream.write_all(b"a").await.unwrap();
        sleep(SHORT / 5).await;
    }
    let slow = answer(&mut stream).await;
    assert_eq!((slow.status, slow.body.as_str()), (200, "aaaaaaaaaa"));
    // A truncated one.
    let mut stream = port.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nab").await.unwrap();
    stream.shutdown().await.unwrap();
    closed(&mut stream).await;
    assert_eq!(port.get("/").await.body, "hello");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let port = Port::start(router(), hasty());
    let mut stream = port.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    sleep(4 * SHORT).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.len() < 64 << 20, "all of it came");
    // One that takes it slowly gets it all.
    let mut stream = port.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut total, mut part) = (0, vec![0; 4 << 20]);
    loop {
        sleep(SHORT / 10).await;
        match stream.read(&mut part).await.unwrap() {
            0 => break,
            n => total += n,
        }
    }
    assert!(total > 64 << 20, "{total}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let port = Port::start(router(), Options { max_connections: 2, ..Options::default() });
    let (mut a, mut b) = (port.connect().await, port.connect().await);
    for stream in [&mut a, &mut b] {
        assert_eq!(get(stream, "/", "").await.body, "hello");
    }
    let mut third = port.connect().await;
    let refused = answer(&mut third).await;
    assert_eq!(refused.status, 503);
    let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(body["error"], "the server is at its limit of open connections");
    closed(&mut third).await;
    drop(a);
    let began = Instant::now();
    let mut again = loop {
        let mut stream = port.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        if answer(&mut stream).await.status == 200 {
            break stream;
        }
        assert!(began.elapsed() < LONG);
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(get(&mut again, "/", "").await.body, "hello");
    assert_eq!(get(&mut b, "/", "").await.body, "hello");
}
