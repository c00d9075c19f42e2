use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn the_index_is_a_bare_list() {
    let f = Fixture::new().await;
    let all = f.post("/v2/repository/index", "").await.json();
    let names: Vec<_> = all.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a b", "any", "half", "pair", "plain", "text"]);
    assert_eq!(all[1], json!({"name": "any", "version": "1", "state": "READY"}));
    assert_eq!(f.post("/v2/repository/index", r#"{"ready":true}"#).await.json(), all);
    let message = f.post("/v2/repository/index", r#"{"ready":1}"#).await.error(400);
    assert!(message.contains("expected a boolean"), "{message}");
    f.post("/v2/repository/index", "[]").await.error(400);
}

#[tokio::test]
async fn unloading_and_loading() {
    let f = Fixture::new().await;
    let body = r#"{"parameters":{"unload_dependents":true}}"#;
    let reply = f.post("/v2/repository/models/any/unload", body).await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b""[..]));
    assert_eq!(f.get("/v2/models/any/ready").await.status, 400);
    assert_eq!(f.post("/v2/repository/models/any/load", "").await.status, 200);
    assert_eq!(f.get("/v2/models/any/ready").await.status, 200);
    let message = f.post("/v2/repository/models/any/load", r#"{"parameters":{"x":"y"}}"#).await.error(400);
    assert!(message.contains("unknown load parameter 'x'"), "{message}");
}

#[tokio::test]
async fn loading_with_another_configuration() {
    let f = Fixture::new().await;
    let config = json!({
        "backend": "copies", "max_batch_size": 2,
        "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}],
    });
    let body = json!({"parameters": {"config": config.to_string()}}).to_string();
    assert_eq!(f.post("/v2/repository/models/plain/load", &body).await.status, 200);
    assert_eq!(f.get("/v2/models/plain/config").await.json()["max_batch_size"], 2);
}

#[tokio::test]
async fn shared_memory_that_is_not_allowed() {
    let f = Fixture::new().await;
    assert_eq!(f.get("/v2/systemsharedmemory/status").await.json(), json!([]));
    let body = r#"{"key":"/k","offset":0,"byte_size":64}"#;
    let message = f.post("/v2/systemsharedmemory/region/r/register", body).await.error(501);
    assert!(message.contains("--allow-client-shm"), "{message}");
    for (bad, why) in
        [("", "needs a body"), ("{}", "missing field `key`"), (r#"{"key":"/k","byte_size":-1}"#, "u64")]
    {
        let message = f.post("/v2/systemsharedmemory/region/r/register", bad).await.error(400);
        assert!(message.contains(why), "{message}");
    }
    for path in ["/v2/systemsharedmemory/unregister", "/v2/systemsharedmemory/region/r/unregister"] {
        assert_eq!(f.post(path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn memory_of_gpus_is_declined() {
    let f = Fixture::new().await;
    assert_eq!(f.get("/v2/cudasharedmemory/status").await.json(), json!([]));
    f.get("/v2/cudasharedmemory/region/r/status").await.error(404);
    let body = r#"{"raw_handle":{"b64":"AAAA"},"device_id":0,"byte_size":64}"#;
    let message = f.post("/v2/cudasharedmemory/region/r/register", body).await.error(501);
    assert!(message.contains("'r'"), "{message}");
    for path in ["/v2/cudasharedmemory/unregister", "/v2/cudasharedmemory/region/r/unregister"] {
        assert_eq!(f.post(path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn log_settings() {
    let f = Fixture::new().await;
    let reply = f.get("/v2/logging").await;
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert!(text.starts_with(r#"{"log_file":"","log_info":"#), "{text}");
    let changed = f.post("/v2/logging", r#"{"log_verbose_level":2}"#).await.json();
    assert_eq!(changed["log_verbose_level"], 2);
    assert_eq!(f.get("/v2/logging").await.json(), changed);
    for bad in [r#"{"log_info":1}"#, r#"{"log_x":true}"#, "[1]", "{"] {
        f.post("/v2/logging", bad).await.error(400);
    }
    assert_eq!(f.get("/v2/logging").await.json(), changed);
}

#[tokio::test]
async fn trace_settings() {
    let f = Fixture::new().await;
    let before = f.get("/v2/trace/setting").await;
    let text = std::str::from_utf8(&before.body).unwrap();
    assert!(text.contains(r#""trace_level":["OFF"],"trace_rate":"1000""#), "{text}");
    let changed = f.post("/v2/models/plain/trace/setting", r#"{"trace_rate":"7"}"#).await.json();
    assert_eq!(changed["trace_rate"], "7");
    assert_eq!(f.get("/v2/models/plain/trace/setting").await.json(), changed);
    assert_eq!(f.get("/v2/trace/setting").await.json(), before.json());
    f.post("/v2/models/plain/trace/setting", r#"{"trace_rate":null}"#).await;
    assert_eq!(f.get("/v2/models/plain/trace/setting").await.json(), before.json());
    let message = f.get("/v2/models/nowhere/trace/setting").await.error(400);
    assert_eq!(message, "Request for unknown model : nowhere");
    f.post("/v2/trace/setting", r#"{"no_such":"1"}"#).await.error(400);
}
