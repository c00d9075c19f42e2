//! Who may call, what, and how often.

use std::{fs, sync::Arc};

use axum::{Router, body::Body, routing::get as get_route};
use hs_server::net::{Dialect, Guard, Options, Rate, RateLimits, Restrictions, Tokens};
use hyper::Request;

use crate::support::{Port, get, h2, h2_send};

fn router() -> Router {
    let hello = || get_route(async || "hello");
    Router::new()
        .route("/v2/health/live", hello())
        .route("/v2/models/m", hello())
        .route("/v2/models/m/infer", hello())
        .fallback(async || "nothing")
}

#[tokio::test]
async fn tokens_over_http() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "secret\n").unwrap();
    let tokens = Some(Arc::new(Tokens::open(file.path()).unwrap()));
    let guard = Guard { tokens, ..Guard::new(Dialect::Http) };
    let port = Port::start(guard.protect(router()), Options::default());
    let mut stream = port.connect().await;
    let none = get(&mut stream, "/v2/models/m", "").await;
    assert_eq!(none.status, 401);
    assert!(none.head.contains("www-authenticate: Bearer\r\n"), "{}", none.head);
    let error: serde_json::Value = serde_json::from_str(&none.body).unwrap();
    assert!(error["error"].as_str().unwrap().contains("Bearer <token>"));
    for (header, status) in [
        ("authorization: Bearer secret", 200),
        ("authorization: bearer  secret ", 200),
        ("authorization: Bearer secre", 401),
        ("authorization: Bearer secrets", 401),
        ("authorization: Bearer ", 401),
        ("authorization: secret", 401),
        ("authorization: Basic secret", 401),
    ] {
        let answer = get(&mut stream, "/v2/models/m", &format!("{header}\r\n")).await;
        assert_eq!(answer.status, status, "{header}");
    }
    // Probes know no token, nor does a browser that comes for the page; paths that nobody knows need one.
    for path in ["/v2/health/live", "/", "/v2/openapi.json"] {
        assert_eq!(get(&mut stream, path, "").await.status, 200, "{path}");
    }
    assert_eq!(get(&mut stream, "/v2/hypersonic/backends", "").await.status, 401);
    assert_eq!(get(&mut stream, "/anything", "").await.status, 401);
}

#[tokio::test]
async fn restrictions_over_grpc() {
    let restrictions = Restrictions::parse(Dialect::Grpc, &["inference,health:key=value"]).unwrap();
    let guard = Guard { restrictions, ..Guard::new(Dialect::Grpc) };
    let port = Port::start(guard.protect(router()), Options { http2_only: true, ..Options::default() });
    let mut client = h2(port.connect().await).await;
    let mut call = async |method: &str, value: &str| {
        let request = Request::post(format!("http://test/inference.GRPCInferenceService/{method}"))
            .header("content-type", "application/grpc")
            .header("triton-grpc-protocol-key", value);
        let (response, body) = h2_send(&mut client, request.body(Body::empty()).unwrap()).await.unwrap();
        let text = |name| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        (text("grpc-status"), text("grpc-message"), body)
    };
    let (status, message, _) = call("ModelInfer", "other").await;
    assert_eq!(status.unwrap(), "7");
    assert!(message.unwrap().contains("'triton-grpc-protocol-key'"));
    assert_eq!(call("ServerLive", "").await.0.unwrap(), "7");
    assert_eq!(call("ModelInfer", "value").await.2, "nothing");
    assert_eq!(call("ModelMetadata", "other").await.2, "nothing");
}

#[tokio::test]
async fn rates_hold_for_both_ports_together() {
    let rates = Some(Arc::new(RateLimits::new(None, Some(Rate::with_burst(1, 3)))));
    let http = Guard { rates: rates.clone(), ..Guard::new(Dialect::Http) };
    let http = Port::start(http.protect(router()), Options::default());
    let grpc = Guard { rates, ..Guard::new(Dialect::Grpc) };
    let grpc = Port::start(grpc.protect(router()), Options::default());
    for _ in 0..2 {
        assert_eq!(http.get("/v2/models/m").await.status, 200);
    }
    let mut client = h2(grpc.connect().await).await;
    let mut call = async || {
        let request = Request::post("http://test/inference.GRPCInferenceService/ModelInfer")
            .header("content-type", "application/grpc");
        h2_send(&mut client, request.body(Body::empty()).unwrap()).await.unwrap()
    };
    assert_eq!(call().await.1, "nothing");
    let refused = http.get("/v2/models/m").await;
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1\r\n"), "{}", refused.head);
    assert_eq!(call().await.0.headers()["grpc-status"], "8");
    assert_eq!(http.get("/v2/health/live").await.status, 200);
}
