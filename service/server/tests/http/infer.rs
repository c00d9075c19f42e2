use std::io::{Read, Write};

use axum::{body::Body, http::Request};
use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use serde_json::{Value, json};

use crate::fixture::{Fixture, HEADER_LENGTH, MAX_BODY};

const ROW: [f32; 4] = [1.5, -2.0, 0.1, 3e38];

fn bytes(row: &[f32]) -> Vec<u8> {
    row.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn plain(extra: &str) -> String {
    format!(
        r#"{{"inputs":[{{"name":"IN","shape":[1,4],"datatype":"FP32","data":[1.5,-2,0.1,3e38]}}]{extra}}}"#
    )
}

fn plain_binary(extra: &str) -> String {
    format!(
        r#"{{"inputs":[{{"name":"IN","shape":[1,4],"datatype":"FP32","parameters":{{"binary_data_size":16}}}}]{extra}}}"#
    )
}

#[tokio::test]
async fn json_in_and_out() {
    let f = Fixture::new().await;
    let reply = f.post("/v2/models/plain/infer", &plain("")).await;
    assert_eq!(reply.header(HEADER_LENGTH), None);
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert_eq!(
        text,
        r#"{"model_name":"plain","model_version":"1","parameters":{"hypersonic_backend":"copies","hypersonic_exact":false},"outputs":[{"name":"OUT","datatype":"FP32","shape":[1,4],"data":[1.5,-2.0,0.10000000149011612,3.000000005497756e+38]}]}"#
    );
    let reply = f.post("/v2/models/plain/versions/1/infer", &plain(r#","id":"a\"b""#)).await.json();
    assert_eq!(reply["id"], "a\"b");
}

#[tokio::test]
async fn binary_in_and_out() {
    let f = Fixture::new().await;
    let json = plain_binary(r#","parameters":{"binary_data_output":true}"#);
    let reply = f.infer("plain", &json, &bytes(&ROW)).await;
    let (json, tensor) = reply.split();
    let output =
        json!({"name": "OUT", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}});
    assert_eq!(json["outputs"], json!([output]));
    assert_eq!(tensor, bytes(&ROW));
    // Binary in, JSON out.
    let reply = f.infer("plain", &plain_binary(""), &bytes(&ROW)).await.json();
    assert_eq!(reply["outputs"][0]["data"], json!(ROW.map(f64::from)));
}

#[tokio::test]
async fn inputs_and_outputs_of_both_kinds() {
    let f = Fixture::new().await;
    let json = r#"{"inputs":[
        {"name":"B","shape":[1,2],"datatype":"INT32","data":[[3,4]]},
        {"name":"A","shape":[1,2],"datatype":"INT32","parameters":{"binary_data_size":8}}],
        "parameters":{"binary_data_output":true},
        "outputs":[{"name":"D"},{"name":"C","parameters":{"binary_data":false}}]}"#;
    let reply = f.infer("pair", json, &[1, 0, 0, 0, 2, 0, 0, 0]).await;
    let (json, tensor) = reply.split();
    assert_eq!(tensor, [3, 0, 0, 0, 4, 0, 0, 0]);
    let outputs = json["outputs"].as_array().unwrap();
    assert_eq!(
        (&outputs[0]["name"], &outputs[0]["parameters"]["binary_data_size"]),
        (&json!("D"), &json!(8))
    );
    assert_eq!((&outputs[1]["name"], &outputs[1]["data"]), (&json!("C"), &json!([1, 2])));
}

#[tokio::test]
async fn a_body_that_is_one_tensor() {
    let f = Fixture::new().await;
    let header = [(HEADER_LENGTH, "0")];
    for (model, shape) in [("plain", json!([1, 4])), ("any", json!([4]))] {
        let path = format!("/v2/models/{model}/infer");
        let reply = f.call("POST", &path, &header, bytes(&ROW)).await;
        let (json, tensor) = reply.split();
        assert_eq!((&json["outputs"][0]["shape"], tensor), (&shape, &*bytes(&ROW)));
        let message = f.call("POST", &path, &header, vec![0; 15]).await.error(400);
        assert!(message.contains("input byte size mismatch for input 'IN'"), "{message}");
    }
    let reply = f.call("POST", "/v2/models/text/infer", &header, "hello").await;
    assert_eq!(reply.split().1, b"\x05\0\0\0hello");
    let message = f.call("POST", "/v2/models/pair/infer", &header, "x").await.error(400);
    assert!(message.contains("needs a model with one input"), "{message}");
    f.call("POST", "/v2/models/nowhere/infer", &header, "x").await.error(404);
}

#[tokio::test]
async fn classes() {
    let f = Fixture::new().await;
    let body = plain(r#","outputs":[{"name":"OUT","parameters":{"classification":2}}]"#);
    let output = &f.post("/v2/models/plain/infer", &body).await.json()["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([1, 2])));
    let classes: Vec<&str> = output["data"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert!(classes[0].ends_with(":3") && classes[1] == "1.500000:0:zero", "{classes:?}");
}

#[tokio::test]
async fn strings_and_half_floats() {
    let f = Fixture::new().await;
    let body = r#"{"inputs":[{"name":"IN","shape":[1],"datatype":"BYTES","data":["\u00e9\"\n"]}]}"#;
    assert_eq!(f.post("/v2/models/text/infer", body).await.json()["outputs"][0]["data"], json!(["é\"\n"]));
    let half =
        r#"{"inputs":[{"name":"IN","shape":[2],"datatype":"FP16","parameters":{"binary_data_size":4}}]"#;
    let message = f.infer("half", &format!("{half}}}"), &[1, 2, 3, 4]).await.error(400);
    assert!(message.contains("output 'OUT', FP16") && message.contains("binary_data"), "{message}");
    let binary = format!(r#"{half},"outputs":[{{"name":"OUT","parameters":{{"binary_data":true}}}}]}}"#);
    assert_eq!(f.infer("half", &binary, &[1, 2, 3, 4]).await.split().1, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_json_cannot_say_passes_in_binary() {
    let f = Fixture::new().await;
    let row = bytes(&[f32::NAN, f32::INFINITY, 0.0, 1.0]);
    let message = f.infer("plain", &plain_binary(""), &row).await.error(400);
    assert!(message.contains("output 'OUT', FP32: element 0 is not finite"), "{message}");
    let json = plain_binary(r#","parameters":{"binary_data_output":true}"#);
    assert_eq!(f.infer("plain", &json, &row).await.split().1, row);
}

#[tokio::test]
async fn refusals() {
    let f = Fixture::new().await;
    let good = plain("");
    let replaced = |from: &str, to: &str| good.replacen(from, to, 1);
    for (path, body, status, why) in [
        ("nowhere", good.clone(), 404, "Request for unknown model: 'nowhere' is not found"),
        ("plain/versions/9", good.clone(), 404, "'plain' version 9 is not found"),
        ("plain", replaced("IN", "X"), 400, "unexpected inference input 'X' for model 'plain'"),
        (
            "plain",
            replaced("FP32", "FP64").replacen("1.5,-2,0.1,3e38", "1,2,3,4", 1),
            400,
            "data-type is 'FP64'",
        ),
        ("plain", replaced("[1,4]", "[4]"), 400, "unexpected shape for input 'IN'"),
        ("plain", plain(r#","outputs":[{"name":"Y"}]"#), 400, "unexpected inference output 'Y'"),
        ("plain", plain(r#","parameters":{"triton_x":1}"#), 400, "are reserved"),
        (
            "plain",
            plain(
                r#","outputs":[{"name":"OUT","parameters":{"shared_memory_region":"r","shared_memory_byte_size":16}}]"#,
            ),
            404,
            "Unable to find shared memory region: 'r'",
        ),
        ("plain", String::new(), 400, "the body is empty"),
    ] {
        let message = f.post(&format!("/v2/models/{path}/infer"), &body).await.error(status);
        assert!(message.contains(why), "{body}: {message}");
    }
    let message = f.infer("plain", &plain_binary(""), &[0; 17]).await.error(400);
    assert!(message.contains("unexpected additional input data for model 'plain'"), "{message}");
}

#[tokio::test]
async fn large_tensors_both_ways() {
    let f = Fixture::new().await;
    let values: Vec<f32> = (0..100_000u32).map(|i| i as f32 * 0.37).collect();
    let (count, size) = (values.len(), values.len() * 4);
    let json = format!(
        r#"{{"inputs":[{{"name":"IN","shape":[{count}],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}}}],
        "parameters":{{"binary_data_output":true}}}}"#
    );
    let reply = f.infer("any", &json, &bytes(&values)).await;
    assert_eq!(reply.split().1, bytes(&values));
    // The same as JSON, which is printed and parsed off this thread.
    let values = &values[..50_000];
    let data = serde_json::to_string(values).unwrap();
    let json = format!(r#"{{"inputs":[{{"name":"IN","shape":[50000],"datatype":"FP32","data":{data}}}]}}"#);
    let reply = f.post("/v2/models/any/infer", &json).await.json();
    let back: Vec<f32> =
        reply["outputs"][0]["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    assert_eq!(back, values);
}

#[tokio::test]
async fn bodies_in_pieces() {
    let f = Fixture::new().await;
    let json = plain_binary("");
    let whole = [json.as_bytes(), &bytes(&ROW)].concat();
    for size in [1, 7, 1000] {
        let frames: Vec<_> =
            whole.chunks(size).map(|c| Ok::<_, std::io::Error>(Bytes::copy_from_slice(c))).collect();
        let request = Request::post("/v2/models/plain/infer")
            .header("Inference-Header-Content-Length", json.len())
            .body(Body::from_stream(futures_util::stream::iter(frames)))
            .unwrap();
        assert_eq!(f.send(request).await.json()["outputs"][0]["data"], json!(ROW.map(f64::from)), "{size}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_long() {
    let f = Fixture::new().await;
    let message = f.call("POST", "/v2/models/any/infer", &[], vec![b' '; MAX_BODY + 1]).await.error(413);
    assert!(message.contains("1048576 bytes"), "{message}");
    let claim = [("content-length", "2147483648")];
    f.call("POST", "/v2/models/any/infer", &claim, "{}").await.error(413);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; MAX_BODY + 1]).unwrap();
    let bomb = bomb.finish().unwrap();
    f.call("POST", "/v2/models/any/infer", &[("content-encoding", "gzip")], bomb).await.error(413);
}

fn unpacked(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => GzDecoder::new(body).read_to_end(&mut out).unwrap(),
        _ => ZlibDecoder::new(body).read_to_end(&mut out).unwrap(),
    };
    out
}

#[tokio::test]
async fn packed_both_ways() {
    let f = Fixture::new().await;
    let (json, tensor) = (
        r#"{"inputs":[{"name":"IN","shape":[500],"datatype":"FP32","parameters":{"binary_data_size":2000}}],
            "parameters":{"binary_data_output":true}}"#,
        [7; 2000],
    );
    let body = [json.as_bytes(), &tensor].concat();
    let length = json.len().to_string();
    for coding in ["gzip", "deflate"] {
        let packed = match coding {
            "gzip" => {
                let mut e = GzEncoder::new(Vec::new(), Compression::default());
                e.write_all(&body).unwrap();
                e.finish().unwrap()
            }
            _ => {
                let mut e = ZlibEncoder::new(Vec::new(), Compression::default());
                e.write_all(&body).unwrap();
                e.finish().unwrap()
            }
        };
        let headers = [("content-encoding", coding), ("accept-encoding", coding), (HEADER_LENGTH, &length)];
        let reply = f.call("POST", "/v2/models/any/infer", &headers, packed.clone()).await;
        assert_eq!(reply.header("content-encoding"), Some(coding));
        assert!(reply.body.len() < 1000);
        // The length counts before packing.
        let plain = unpacked(coding, &reply.body);
        let at: usize = reply.header(HEADER_LENGTH).unwrap().parse().unwrap();
        let json: Value = serde_json::from_slice(&plain[..at]).unwrap();
        assert_eq!((&json["outputs"][0]["name"], &plain[at..]), (&json!("OUT"), &tensor[..]));

        let cut = &packed[..packed.len() - 1];
        f.call("POST", "/v2/models/any/infer", &headers, cut.to_vec()).await.error(400);
        f.call("POST", "/v2/models/any/infer", &headers, body.clone()).await.error(400);
        let raw = [("content-encoding", coding), (HEADER_LENGTH, "0")];
        f.call("POST", "/v2/models/any/infer", &raw, vec![0; 64]).await.error(400);
    }
    let reply = f.call("POST", "/v2/models/any/infer", &[("content-encoding", "br")], body).await;
    assert!(reply.error(415).contains("Unsupported compression type"));
    assert_eq!(reply.header("accept-encoding"), Some("gzip, deflate"));
}
