//! Clients that do what they should not.

use std::time::Instant;

use axum::body::Body;
use futures_util::StreamExt as _;
use hyper::Request as HttpRequest;
use prost::Message as _;

use super::*;
use crate::support::{h2, h2_send};

/// Sends a body to ModelInfer as it is; the code and the message that come back.
async fn raw(port: &Port, headers: &[(&str, &str)], body: Body) -> (i32, String) {
    let mut client = h2(port.connect().await).await;
    let mut request = HttpRequest::post("http://test/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (key, value) in headers {
        request = request.header(*key, *value);
    }
    let response = client.send_request(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    let mut body = std::pin::pin!(Body::new(body));
    while let Some(frame) = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await {
        if let Ok(trailers) = frame.unwrap().into_trailers() {
            headers.extend(trailers);
        }
    }
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    (text("grpc-status").parse().unwrap(), text("grpc-message"))
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

/// A body that begins like this and then neither goes on nor ends.
fn stuck(beginning: Vec<u8>) -> Body {
    let beginning = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(beginning))]);
    Body::from_stream(beginning.chain(futures_util::stream::pending()))
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn truncated_and_garbled_messages() {
    let mut s = served().await;
    let whole = framed(0, &pair().encode_to_vec());
    assert_eq!(raw(&s.port, &[], Body::from(whole.clone())).await.0, 0);
    for cut in [1, 4, 5, 6, whole.len() / 2, whole.len() - 1] {
        let (code, message) = raw(&s.port, &[], Body::from(whole[..cut].to_vec())).await;
        assert_eq!(code, Code::InvalidArgument as i32, "{cut}: {message}");
    }
    // Nothing at all, something that is no message, a flag that does not exist, one of compression without any.
    assert_ne!(raw(&s.port, &[], Body::empty()).await.0, 0);
    assert_ne!(raw(&s.port, &[], Body::from(framed(0, &[0xff; 100]))).await.0, 0);
    assert_ne!(raw(&s.port, &[], Body::from(framed(7, b""))).await.0, 0);
    assert_ne!(raw(&s.port, &[], Body::from(framed(1, b"xx"))).await.0, 0);
    assert_ne!(raw(&s.port, &[("grpc-encoding", "gzip")], Body::from(framed(1, b"no gzip"))).await.0, 0);
    let (code, _) = raw(&s.port, &[("grpc-encoding", "snappy")], Body::from(framed(1, b"x"))).await;
    assert_eq!(code, Code::Unimplemented as i32);
    infer(&mut s.client, pair()).await.unwrap();
}

#[tokio::test]
async fn a_claim_of_two_gibibytes_costs_nothing() {
    let options = grpc::Options { read_timeout: Duration::from_millis(300), ..grpc::Options::default() };
    let mut s = serve_with(server(|_| {}).await, options).await;
    let mut claim = framed(0, &[0; 1000]);
    claim[1..5].copy_from_slice(&(i32::MAX as u32).to_be_bytes());
    let before = resident();
    let began = Instant::now();
    let all = (0..50).map(|_| raw(&s.port, &[], stuck(claim.clone())));
    for (code, message) in futures_util::future::join_all(all).await {
        assert_eq!(code, Code::DeadlineExceeded as i32, "{message}");
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(resident().saturating_sub(before) < 1 << 30);
    // The same from one who says that this was all.
    let (code, message) = raw(&s.port, &[], Body::from(claim)).await;
    assert_eq!(code, Code::InvalidArgument as i32);
    assert!(message.contains("1005 of the 2147483652 bytes"), "{message}");
    infer(&mut s.client, pair()).await.unwrap();
}

#[tokio::test]
async fn messages_beyond_the_limit() {
    let options = grpc::Options { max_message: 1 << 20, ..grpc::Options::default() };
    let mut s = serve_with(server(|_| {}).await, options).await;
    infer(&mut s.client, wide(200_000)).await.unwrap();
    let error = infer(&mut s.client, wide(300_000)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    // What grows beyond it when it is unpacked is not unpacked.
    use tonic::codec::CompressionEncoding::{Deflate, Gzip};
    for encoding in [Gzip, Deflate] {
        let mut client = s.client.clone().send_compressed(encoding);
        infer(&mut client, wide(200_000)).await.unwrap();
        let error = infer(&mut client, wide(10_000_000)).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines() {
    let mut s = served().await;
    let began = Instant::now();
    let timeout = [("grpc-timeout", "100m")];
    let (code, _) = raw(&s.port, &timeout, Body::from(framed(0, &slow("", 1000).encode_to_vec()))).await;
    assert_eq!(code, Code::DeadlineExceeded as i32);
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(s.server.pending(), 0);
    // The message is awaited no longer than that.
    let began = Instant::now();
    assert_eq!(raw(&s.port, &timeout, stuck(vec![0, 0])).await.0, Code::DeadlineExceeded as i32);
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    // What lay in memory.
    for garbage in ["99999999H", "18446744073709551615n", "-5S", "", "S", "5", "1e3S", "NaNm"] {
        let whole = Body::from(framed(0, &pair().encode_to_vec()));
        assert_eq!(raw(&s.port, &[("grpc-timeout", garbage)], whole).await.0, 0, "'{garbage}'");
    }
    // A client that gives up by itself frees its request.
    let mut request = Request::new(slow("", 1000));
    request.set_timeout(Duration::from_millis(50));
    assert!(s.client.model_infer(request).await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(s.server.pending(), 0);
}

#[tokio::test]
async fn calls_that_do_not_exist() {
    let s = served().await;
    let mut client = h2(s.port.connect().await).await;
    for path in ["/inference.GRPCInferenceService/Sing", "/sing.Sing/Sing", "/"] {
        let request =
            HttpRequest::post(format!("http://test{path}")).header("content-type", "application/grpc");
        let (response, _) = h2_send(&mut client, request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "12", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_it_stops_under_load() {
    let s = served().await;
    let mut clients = Vec::new();
    for n in 0..8 {
        let mut client = s.client.clone();
        clients.push(tokio::spawn(async move {
            let mut answered = 0u64;
            loop {
                match client.model_infer(within(slow(&n.to_string(), 5))).await {
                    Ok(answer) => {
                        assert_eq!(answer.into_inner().id, n.to_string());
                        answered += 1;
                    }
                    Err(status) => return (answered, status),
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(s.port.stop().await, 0);
    let mut answered = 0;
    for client in clients {
        let (count, status) = client.await.unwrap();
        // A refused connection or a stream that was never begun: safe to send elsewhere.
        assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
        answered += count;
    }
    let statistics = s.server.statistics("slow", "").unwrap();
    assert!(answered > 8, "{answered}");
    assert_eq!(statistics[0].success.count, answered, "each that was run was answered");
}
