use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn health_is_a_status() {
    let f = Fixture::new().await;
    for path in
        ["/v2/health/live", "/v2/health/ready", "/v2/models/plain/ready", "/v2/models/plain/versions/1/ready"]
    {
        for method in ["GET", "HEAD"] {
            let reply = f.call(method, path, &[], "").await;
            assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b""[..]), "{method} {path}");
        }
    }
    for path in ["/v2/models/nowhere/ready", "/v2/models/plain/versions/9/ready"] {
        assert_eq!(f.get(path).await.error(400), "Model version not ready");
    }
    f.server.begin_drain();
    assert_eq!(f.get("/v2/health/ready").await.status, 400);
    assert_eq!(f.get("/v2/health/live").await.status, 200);
}

#[tokio::test]
async fn what_the_server_tells_of_itself() {
    let f = Fixture::new().await;
    let about = f.get("/v2").await.json();
    assert_eq!(about["name"], "hypersonic");
    assert!(about["version"].is_string());
    assert!(about["extensions"].as_array().unwrap().contains(&"binary_tensor_data".into()));
}

#[tokio::test]
async fn what_the_server_tells_of_a_model() {
    let f = Fixture::new().await;
    let expected = json!({
        "name": "pair", "versions": ["1"], "platform": "test", "parameters": {"exact": "yes"},
        "inputs": [
            {"name": "A", "datatype": "INT32", "shape": [-1, 2]},
            {"name": "B", "datatype": "INT32", "shape": [-1, 2]},
        ],
        "outputs": [
            {"name": "C", "datatype": "INT32", "shape": [-1, 2]},
            {"name": "D", "datatype": "INT32", "shape": [-1, 2]},
        ],
    });
    for path in ["/v2/models/pair", "/v2/models/pair/versions/1"] {
        assert_eq!(f.get(path).await.json(), expected, "{path}");
    }
    let config = f.get("/v2/models/pair/config").await.json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_INT32");
    assert_eq!((&config["name"], &config["max_batch_size"]), (&json!("pair"), &json!(8)));
    for path in ["/v2/models/nowhere", "/v2/models/nowhere/config"] {
        let message = f.get(path).await.error(404);
        assert_eq!(message, "Request for unknown model: 'nowhere' is not found");
    }
    let message = f.get("/v2/models/pair/versions/9/config").await.error(404);
    assert_eq!(message, "Request for unknown model: 'pair' version 9 is not found");
}

#[tokio::test]
async fn statistics_grow() {
    let f = Fixture::new().await;
    let body = r#"{"inputs":[{"name":"IN","shape":[2],"datatype":"FP32","data":[1,2]}]}"#;
    assert_eq!(f.post("/v2/models/any/infer", body).await.status, 200);
    for path in ["/v2/models/any/stats", "/v2/models/any/versions/1/stats"] {
        let all = f.get(path).await.json();
        let [one] = &all["model_stats"].as_array().unwrap()[..] else { panic!("{all}") };
        assert_eq!((&one["name"], &one["version"]), (&json!("any"), &json!("1")));
        let counts = one["inference_stats"].as_object().unwrap();
        for name in ["success", "queue", "compute_input", "compute_infer", "compute_output"] {
            assert_eq!(counts[name]["count"], 1, "{name}");
            assert!(counts[name]["ns"].is_u64());
        }
        for name in ["fail", "cache_hit", "cache_miss"] {
            assert_eq!(counts[name], json!({"count": 0, "ns": 0}), "{name}");
        }
        assert_eq!((&one["inference_count"], &one["execution_count"]), (&json!(1), &json!(1)));
        assert_eq!(one["batch_stats"][0]["batch_size"], 1);
    }
    let all = f.get("/v2/models/stats").await.json();
    let names: Vec<_> =
        all["model_stats"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a b", "any", "half", "pair", "plain", "text"]);
    let message = f.get("/v2/models/nowhere/stats").await.error(400);
    assert_eq!(message, "requested model 'nowhere' is not available");
}

#[tokio::test]
async fn metrics_are_text() {
    let f = Fixture::new().await;
    let reply = f.metrics("GET", "/metrics").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert!(text.contains("nv_inference_request_success{model=\"plain\",version=\"1\"} 0\n"), "{text}");
    let length = reply.body.len().to_string();
    let head = f.metrics("HEAD", "/metrics").await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some(&*length)));
    f.metrics("POST", "/metrics").await.error(405);
    f.metrics("GET", "/v2").await.error(404);
}

#[tokio::test]
async fn other_paths_and_methods() {
    let f = Fixture::new().await;
    for (method, path, status, allow) in [
        ("GET", "/v2/nothing", 404, None),
        ("GET", "/v2/", 404, None),
        ("GET", "/v2/models/plain/", 404, None),
        ("GET", "/v2/models/plain/versions/abc", 404, None),
        ("POST", "/v2/models/plain/generate", 404, None),
        ("GET", "/v2/models/plain/infer", 405, Some("POST")),
        ("POST", "/v2/health/live", 405, Some("GET, HEAD")),
        ("DELETE", "/v2/models/plain", 405, Some("GET, HEAD")),
        ("PUT", "/v2/logging", 405, Some("GET, HEAD, POST")),
        ("OPTIONS", "/v2/repository/index", 405, Some("POST")),
    ] {
        let reply = f.call(method, path, &[], "").await;
        assert!(!reply.error(status).is_empty());
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn names_are_decoded() {
    let f = Fixture::new().await;
    assert_eq!(f.get("/v2/models/a%20b").await.json()["name"], "a b");
    let message = f.get("/v2/models/a%2Fb%C3%A9").await.error(404);
    assert_eq!(message, "Request for unknown model: 'a/bé' is not found");
}
