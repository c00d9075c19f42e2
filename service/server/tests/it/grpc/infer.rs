//! ModelInfer: what goes in and what comes out.

use super::*;

#[tokio::test]
async fn raw_tensors_there_and_back() {
    let mut s = served().await;
    let answer = infer(&mut s.client, ModelInferRequest { id: "seven".to_owned(), ..pair() }).await.unwrap();
    assert_eq!((&*answer.model_name, &*answer.model_version, &*answer.id), ("pair", "1", "seven"));
    let outputs: Vec<_> = answer
        .outputs
        .iter()
        .map(|o| (&*o.name, &*o.datatype, o.shape.clone(), o.contents.is_none()))
        .collect();
    assert_eq!(outputs, [("OUT_A", "FP32", vec![2, 2], true), ("OUT_B", "INT32", vec![2, 1], true)]);
    assert_eq!(answer.raw_output_contents, pair().raw_input_contents);
    assert_eq!(answer.parameters["hypersonic_backend"], string("identity"));
    assert_eq!(answer.parameters["hypersonic_exact"], switch(true));
    // Without an id, none comes back; the outputs that were asked for, in that order.
    let wanted = |name: &str| InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() };
    let request = ModelInferRequest {
        outputs: vec![wanted("OUT_B"), wanted("OUT_A")],
        model_version: "1".to_owned(),
        ..pair()
    };
    let answer = infer(&mut s.client, request).await.unwrap();
    assert_eq!(answer.id, "");
    assert_eq!(answer.outputs[0].name, "OUT_B");
    assert_eq!(answer.raw_output_contents[0], le_i32(&[5, 6]));
}

#[tokio::test]
async fn typed_tensors_come_back_raw() {
    let mut s = served().await;
    let mut request = ModelInferRequest { raw_input_contents: Vec::new(), ..pair() };
    request.inputs[0].contents =
        Some(InferTensorContents { fp32_contents: vec![1.0, 2.0, 3.0, 4.0], ..Default::default() });
    request.inputs[1].contents = Some(InferTensorContents { int_contents: vec![5, 6], ..Default::default() });
    let answer = infer(&mut s.client, request.clone()).await.unwrap();
    assert_eq!(answer.raw_output_contents, pair().raw_input_contents);
    // Both forms at once.
    request.raw_input_contents = pair().raw_input_contents;
    let error = infer(&mut s.client, request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(
        error
            .message()
            .contains("contents field must not be specified when using raw_input_contents for 'A'")
    );
    // Strings, and what has no typed form.
    let elements = vec![Bytes::from_static(b"one"), Bytes::new()];
    let mut text = tensor("X", "BYTES", &[1, 2]);
    text.contents = Some(InferTensorContents { bytes_contents: elements, ..Default::default() });
    let request =
        ModelInferRequest { model_name: "text".to_owned(), inputs: vec![text], ..Default::default() };
    let answer = infer(&mut s.client, request).await.unwrap();
    assert_eq!(answer.raw_output_contents, [&b"\x03\0\0\0one\0\0\0\0"[..]]);
    let mut half = tensor("X", "FP16", &[1, 2]);
    half.contents = Some(InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() });
    let request =
        ModelInferRequest { model_name: "half".to_owned(), inputs: vec![half], ..Default::default() };
    let error = infer(&mut s.client, request).await.unwrap_err();
    assert!(error.message().contains("raw_input_contents"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let mut s = served().await;
    let mut refused = async |code: Code, words: &str, change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = pair();
        change(&mut request);
        let error = infer(&mut s.client, request).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(words), "expected '{words}' in '{}'", error.message());
    };
    let invalid = Code::InvalidArgument;
    let parameter = |key: &'static str, value: InferParameter| {
        move |r: &mut ModelInferRequest| {
            r.parameters.insert(key.to_owned(), value.clone());
        }
    };
    refused(Code::NotFound, "unknown model: 'x' is not found", &|r| r.model_name = "x".to_owned()).await;
    refused(Code::NotFound, "version 9", &|r| r.model_version = "9".to_owned()).await;
    refused(invalid, "'abc'", &|r| r.model_version = "abc".to_owned()).await;
    refused(invalid, "missing required input(s) ['B']", &|r| {
        r.inputs.truncate(1);
        r.raw_input_contents.truncate(1);
    })
    .await;
    refused(invalid, "unexpected inference input 'C'", &|r| r.inputs[1].name = "C".to_owned()).await;
    refused(invalid, "'A' already exists", &|r| r.inputs[1].name = "A".to_owned()).await;
    refused(invalid, "data-type is 'FP64', but model 'pair' expects 'FP32'", &|r| {
        r.inputs[0].datatype = "FP64".to_owned();
    })
    .await;
    refused(invalid, "invalid datatype 'float' for input 'A'", &|r| {
        r.inputs[0].datatype = "float".to_owned()
    })
    .await;
    refused(invalid, "unexpected shape for input 'A'", &|r| r.inputs[0].shape = vec![2, 3]).await;
    refused(invalid, "unexpected shape for input 'A'", &|r| r.inputs[0].shape = vec![-2, -2]).await;
    refused(invalid, "Expected 16, got 15", &|r| r.raw_input_contents[0] = Bytes::from_static(&[0; 15]))
        .await;
    refused(invalid, "raw_input_contents has 1 entries", &|r| r.raw_input_contents.truncate(1)).await;
    refused(invalid, "expected 2 entries in raw_input_contents", &|r| {
        r.raw_input_contents.push(Bytes::new())
    })
    .await;
    refused(invalid, "unexpected inference output 'Y'", &|r| {
        r.outputs.push(InferRequestedOutputTensor { name: "Y".to_owned(), ..Default::default() });
    })
    .await;
    refused(invalid, "reserved", &parameter("triton_x", switch(true))).await;
    refused(invalid, "'priority' parameter, expected", &parameter("priority", number(-1))).await;
    refused(invalid, "'timeout' parameter, expected int64_param", &parameter("timeout", string("1"))).await;
    refused(invalid, "'sequence_id' parameter", &parameter("sequence_id", switch(true))).await;
    refused(invalid, "'sequence_start' parameter", &parameter("sequence_start", number(1))).await;
    refused(invalid, "expected bool_param", &parameter("triton_enable_empty_final_response", number(1)))
        .await;
    // What all clients of CMS send, and what clients may make up.
    let mut request = pair();
    for (key, value) in [
        ("triton_enable_empty_final_response", switch(false)),
        ("sequence_id", string("s")),
        ("sequence_start", switch(true)),
        ("priority", number(0)),
        ("timeout", number(1_000_000)),
        ("anything", InferParameter { parameter_choice: Some(ParameterChoice::DoubleParam(0.5)) }),
    ] {
        request.parameters.insert(key.to_owned(), value);
    }
    infer(&mut s.client, request).await.unwrap();
}

#[tokio::test]
async fn classification() {
    let mut s = served().await;
    let mut request = pair();
    let classes = |n| InferRequestedOutputTensor {
        name: "OUT_A".to_owned(),
        parameters: [("classification".to_owned(), number(n))].into(),
    };
    request.outputs = vec![classes(1)];
    let answer = infer(&mut s.client, request.clone()).await.unwrap();
    assert_eq!((&*answer.outputs[0].datatype, &answer.outputs[0].shape), ("BYTES", &vec![2, 1]));
    assert_eq!(answer.raw_output_contents, [&b"\x0a\0\0\x002.000000:1\x0a\0\0\x004.000000:1"[..]]);
    for wrong in [0, -1] {
        request.outputs = vec![classes(wrong)];
        assert_eq!(infer(&mut s.client, request.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn large_tensors() {
    let mut s = served().await;
    let numbers = 5_000_000;
    let answer = infer(&mut s.client, wide(numbers)).await.unwrap();
    assert_eq!(answer.raw_output_contents[0].len(), numbers * 4);
}

#[tokio::test]
async fn compression() {
    use tonic::codec::CompressionEncoding::{Deflate, Gzip};
    let models: Arc<Models> = server(|_| {}).await.into();
    for compress in [false, true] {
        let options = grpc::Options { compress, ..grpc::Options::default() };
        let s = serve_with(Arc::clone(&models), options).await;
        for encoding in [Gzip, Deflate] {
            let mut client = s.client.clone().send_compressed(encoding).accept_compressed(encoding);
            let answer = client.model_infer(wide(100_000)).await.unwrap();
            let name = answer.metadata().get("grpc-encoding").map(|v| v.to_str().unwrap().to_owned());
            let expected = if encoding == Gzip { "gzip" } else { "deflate" };
            assert_eq!(name.as_deref(), compress.then_some(expected));
            assert_eq!(answer.into_inner().raw_output_contents[0].len(), 400_000);
        }
        // Who cannot read it gets it plain.
        let mut client = s.client.clone();
        let answer = client.model_infer(wide(100_000)).await.unwrap();
        assert!(answer.metadata().get("grpc-encoding").is_none());
    }
}

#[tokio::test]
async fn shared_memory() {
    use hs_proto::SystemSharedMemoryRegisterRequest as Register;
    let name = format!("hypersonic-grpc-test-{}", std::process::id());
    let path = std::path::Path::new("/dev/shm").join(&name);
    std::fs::write(&path, [&le(&[1.0, 2.0, 3.0, 4.0])[..], &[0; 48]].concat()).unwrap();
    let mut s = serve_with(server(|o| o.client_shm = true).await.into(), grpc::Options::default()).await;
    let register = Register { name: "r".to_owned(), key: format!("/{name}"), offset: 0, byte_size: 64 };
    s.client.system_shared_memory_register(register).await.unwrap();
    let place = |offset, size| {
        let all = [
            ("shared_memory_region", string("r")),
            ("shared_memory_offset", number(offset)),
            ("shared_memory_byte_size", number(size)),
        ];
        all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<std::collections::BTreeMap<_, _>>()
    };
    // One input and one output there; the raw lists hold the others, and an empty entry for the output.
    let mut request = pair();
    request.inputs[0].parameters = place(0, 16);
    request.raw_input_contents.remove(0);
    request.outputs = vec![
        InferRequestedOutputTensor { name: "OUT_A".to_owned(), parameters: place(32, 16) },
        InferRequestedOutputTensor { name: "OUT_B".to_owned(), ..Default::default() },
    ];
    let answer = infer(&mut s.client, request.clone()).await.unwrap();
    assert_eq!(answer.raw_output_contents, [Bytes::new(), le_i32(&[5, 6])]);
    assert_eq!(answer.outputs[0].shape, [2, 2]);
    assert_eq!(answer.outputs[0].parameters["shared_memory_region"], string("r"));
    assert_eq!(answer.outputs[0].parameters["shared_memory_byte_size"], number(16));
    assert_eq!(std::fs::read(&path).unwrap()[32..48], le(&[1.0, 2.0, 3.0, 4.0]));
    // Beyond its end, and without a size.
    request.inputs[0].parameters = place(60, 16);
    assert_eq!(infer(&mut s.client, request.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    request.inputs[0].parameters.remove("shared_memory_byte_size");
    let error = infer(&mut s.client, request.clone()).await.unwrap_err();
    assert!(error.message().contains("'shared_memory_byte_size'"), "{error}");
    // Cut short after it was registered: an error of what lies beyond, and nothing else.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(20).unwrap();
    request.outputs.clear();
    request.inputs[0].parameters = place(16, 16);
    let error = infer(&mut s.client, request.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("the object has become shorter"), "{error}");
    request.inputs[0].parameters = place(0, 16);
    let answer = infer(&mut s.client, request).await.unwrap();
    assert_eq!(answer.raw_output_contents[0], le(&[1.0, 2.0, 3.0, 4.0]));
    std::fs::remove_file(path).unwrap();
}
