//! Calls to servers of this process.

#[path = "../examples/echo/servers.rs"]
mod servers;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hs_client::{
    Client, ClientError, Options, Protocol, Status, Url,
    load::{self, Arrival, Load, Pace},
};
use hs_runtime::{Buffer, Datatype, Tensor};
use servers::{Hook, at_once};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const BOTH: [Protocol; 2] = [Protocol::Http, Protocol::Grpc];

fn url(protocol: Protocol, address: SocketAddr) -> Url {
    let scheme = match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
    };
    Url::parse(&format!("{scheme}://{address}")).unwrap()
}

async fn echo(protocol: Protocol, hook: Hook) -> Url {
    let (listener, address) = servers::listen(0).await;
    match protocol {
        Protocol::Http => tokio::spawn(servers::serve_http(listener, hook)),
        Protocol::Grpc => tokio::spawn(servers::serve_grpc(listener, hook)),
    };
    url(protocol, address)
}

fn floats(shape: [usize; 2]) -> Buffer {
    Tensor::of(shape, (0..shape[0] * shape[1]).map(|i| i as f32).collect()).unwrap().into()
}

#[tokio::test]
async fn a_model_is_described_and_answers() {
    for protocol in BOTH {
        let client = Client::connect(&echo(protocol, at_once()).await, &Options::default()).await.unwrap();
        let metadata = client.metadata("id_16", None).await.unwrap();
        assert_eq!((metadata.name.as_str(), metadata.platform.as_str()), ("id_16", "echo"));
        assert_eq!((metadata.inputs.len(), metadata.inputs[0].name.as_str()), (1, "INPUT"));
        assert_eq!(metadata.outputs[0].shape, [None, Some(16)]);
        assert_eq!(client.max_batch_size("id_16", None).await.unwrap(), 16_384);
        // Small ones go beside the header, large ones as they are; also over many frames.
        for rows in [1, 200, 16_000] {
            let x = floats([rows, 16]);
            let y = client.infer("id_16", None, &[("INPUT", x.clone())], &[]).await.unwrap();
            assert_eq!(y, [("OUTPUT".to_owned(), x)], "{protocol:?} {rows}");
        }
        // Of different sizes and types, none, and by name.
        let strings = Bytes::from_static(&[3, 0, 0, 0, b'a', b'b', b'c', 0, 0, 0, 0]);
        let all = [
            ("A", floats([3000, 5])),
            ("B", Buffer::new(Datatype::Bytes, [2], strings).unwrap()),
            ("C", Buffer::new(Datatype::Int8, [0, 4], Bytes::new()).unwrap()),
            ("D", floats([4000, 5])),
        ];
        let y = client.infer("id_5", None, &all, &["OUTPUT", "OUTPUT1", "OUTPUT2", "OUTPUT3"]).await.unwrap();
        let names: Vec<&str> = y.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["OUTPUT", "OUTPUT1", "OUTPUT2", "OUTPUT3"]);
        for ((_, x), (_, y)) in all.iter().zip(&y) {
            assert_eq!(x, y, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn many_calls_at_a_time() {
    for protocol in BOTH {
        let client = Client::connect(&echo(protocol, at_once()).await, &Options::default()).await.unwrap();
        let client = Arc::new(client);
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..50 {
            let client = Arc::clone(&client);
            calls.spawn(async move {
                let x = floats([1 + i * 40, 16]);
                let y = client.infer("id_16", None, &[("INPUT", x.clone())], &[]).await.unwrap();
                assert_eq!(y[0].1, x);
            });
        }
        calls.join_all().await;
    }
}

#[tokio::test]
async fn refusals_carry_status_and_message() {
    for (protocol, status, text) in [
        (Protocol::Http, Status::Http(404), "404"),
        (Protocol::Grpc, Status::Grpc(tonic::Code::NotFound), "NOT_FOUND"),
    ] {
        let client = Client::connect(&echo(protocol, at_once()).await, &Options::default()).await.unwrap();
        let infer = client.infer("nobody", None, &[("INPUT", floats([1, 1]))], &[]).await.unwrap_err();
        let metadata = client.metadata("nobody", None).await.unwrap_err();
        for error in [infer, metadata] {
            let expected =
                format!("the server answered {text}: Request for unknown model: 'nobody' is not found");
            assert_eq!((error.status(), error.to_string()), (Some(status), expected));
            assert!(status.is_not_found() && status.is_clients_fault());
        }
        // It can be used on.
        client.metadata("id_1", None).await.unwrap();
        // The model's name is one segment of a path, whatever is in it.
        let odd = client.metadata("a/b c?d%_1", None).await.unwrap();
        assert_eq!(odd.name, "a/b c?d%_1");
    }
}

#[tokio::test]
async fn nobody_there() {
    let (listener, address) = servers::listen(0).await;
    drop(listener);
    for protocol in BOTH {
        let error = Client::connect(&url(protocol, address), &Options::default()).await.unwrap_err();
        let expected = format!("cannot connect to {}: ", url(protocol, address));
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn silence_ends_in_time() {
    let (listener, address) = servers::listen(0).await;
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let limit = Duration::from_millis(100);
    let options = Options { timeout: Some(limit), ..Options::default() };
    for protocol in BOTH {
        let url = url(protocol, address);
        let client = Client::connect(&url, &options).await.unwrap();
        let begin = Instant::now();
        let error = client.metadata("m_1", None).await.unwrap_err();
        assert!(begin.elapsed() >= limit);
        assert_eq!(error, ClientError::Timeout { url: url.to_string(), limit });
        assert_eq!(error.to_string(), format!("{url} did not answer within 0.1 s"));
    }
}

/// A server of HTTP that gives one answer a connection, then closes it.
async fn once_each(listener: TcpListener, served: Arc<AtomicU32>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; 4096];
        let mut length = 0;
        while !request[..length].windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut request[length..]).await {
                Ok(0) | Err(_) => break,
                Ok(n) => length += n,
            }
        }
        served.fetch_add(1, Ordering::SeqCst);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"max_batch_size\":7}";
        let _ = stream.write_all(answer).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_is_opened_again() {
    let (listener, address) = servers::listen(0).await;
    let served = Arc::new(AtomicU32::new(0));
    tokio::spawn(once_each(listener, Arc::clone(&served)));
    let client = Client::connect(&url(Protocol::Http, address), &Options::default()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.max_batch_size("m", None).await.unwrap(), 7);
    }
    assert_eq!(served.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn answers_that_are_none() {
    for (answer, part) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}x", "not understood"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{}", "broke"),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "answered 503: busy"),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "answered 502: Bad Gateway"),
        ("SSH-2.0-x\r\n", "broke"),
        ("", "broke"),
    ] {
        let (listener, address) = servers::listen(0).await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let client = Client::connect(&url(Protocol::Http, address), &Options::default()).await.unwrap();
        let error = client.metadata("m", None).await.unwrap_err().to_string();
        assert!(error.contains(part), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn options_that_do_not_go_together() {
    let dir = std::env::temp_dir();
    for (url, options, part) in [
        (
            "grpc://localhost",
            Options { ca: Some("x".into()), ..Options::default() },
            "a CA is given, but grpc://localhost:8001 is not in TLS: write grpcs://",
        ),
        (
            "https://localhost",
            Options { ca: Some("no/such.pem".into()), ..Options::default() },
            "no/such.pem: ",
        ),
        ("https://localhost", Options { ca: Some(dir), ..Options::default() }, ": "),
        ("http://localhost", Options { token: Some("a\nb".into()), ..Options::default() }, "no header holds"),
    ] {
        let error = Client::connect(&Url::parse(url).unwrap(), &options).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// Runs a load beside the servers of this test.
async fn measure(url: Url, load: Load) -> load::Measured {
    let client = Client::connect(&url, &Options::default()).await.unwrap();
    let request = client.prepare("id_4", None, &[("INPUT", floats([1, 4]))], &[]).unwrap();
    tokio::task::spawn_blocking(move || load::run(&url, &Options::default(), &[request], &load))
        .await
        .unwrap()
        .unwrap()
}

fn load_of(pace: Pace) -> Load {
    let millis = Duration::from_millis;
    Load { pace, warmup: millis(50), duration: millis(400), threads: 2, seed: 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_loops_count_every_request() {
    for protocol in BOTH {
        let served = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&served);
        let hook: Hook = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(()))
        });
        let measured = measure(echo(protocol, hook).await, load_of(Pace::Closed { clients: 3 })).await;
        assert_eq!((measured.failed(), measured.seconds), (0, 0.4), "{:?}", measured.errors);
        assert_eq!(measured.sent, u64::from(served.load(Ordering::SeqCst)));
        let answered = measured.latency.count();
        assert!(answered > 0 && answered <= measured.sent, "{answered} of {}", measured.sent);
        assert_eq!(measured.throughput(), answered as f64 / 0.4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_charged_to_all_who_had_to_wait() {
    for protocol in BOTH {
        let count = Arc::new(AtomicU32::new(0));
        let hook: Hook = Arc::new(move || {
            // The thirtieth request holds the only connection for 200 ms: some twenty fall due meanwhile.
            let wait = if count.fetch_add(1, Ordering::SeqCst) == 30 { 200 } else { 0 };
            Box::pin(tokio::time::sleep(Duration::from_millis(wait)))
        });
        let pace = Pace::Open { rate: 100.0, arrival: Arrival::Constant, clients: 1 };
        let load =
            Load { duration: Duration::from_secs(1), threads: 1, warmup: Duration::ZERO, ..load_of(pace) };
        let measured = measure(echo(protocol, hook).await, load).await;
        assert_eq!(measured.failed(), 0, "{:?}", measured.errors);
        assert_eq!((measured.latency.count(), measured.sent), (100, 100));
        // Nine requests fall due in the second half of the stall alone.
        assert!(measured.latency.quantile(0.9) >= Duration::from_millis(90), "{measured:?}");
        assert!(measured.latency.max() >= Duration::from_millis(199), "{measured:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_counted_by_kind() {
    let url = echo(Protocol::Http, at_once()).await;
    let client = Client::connect(&url, &Options::default()).await.unwrap();
    let request = |model| client.prepare(model, None, &[("INPUT", floats([1, 4]))], &[]).unwrap();
    let requests = [request("id_4"), request("nobody")];
    let pace = Pace::Open { rate: 200.0, arrival: Arrival::Poisson, clients: 8 };
    let load = load_of(pace);
    let measured =
        tokio::task::spawn_blocking(move || load::run(&url, &Options::default(), &requests, &load)).await;
    let measured = measured.unwrap().unwrap();
    let expected = "the server answered 404: Request for unknown model: 'nobody' is not found";
    assert_eq!(measured.errors.keys().collect::<Vec<_>>(), [expected]);
    assert!(measured.failed() > 0 && measured.latency.count() > 0);
}
