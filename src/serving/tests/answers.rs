//! What each kind of model answers.

use bytes::Bytes;
use hs_backend_onnxruntime::OnnxRuntime;
use hs_emulator::{Emulator, Options};
use hs_package::Package;
use hs_runtime::{Backend as _, Datatype, Executable, Model};

use super::*;

const CNN: &str = "torch_legacy-digits_cnn";
const MLP: &str = "torch_legacy-digits_mlp";

/// The emulator of a package.
fn emulator(package: PathBuf) -> Emulator {
    let package = Package::open(package).unwrap();
    Emulator::new(package.program().clone(), &Options::default()).unwrap()
}

/// Whether there is an ONNX Runtime; says why not.
fn float_is_here(server: &Server) -> bool {
    let found = server.backends().into_iter().find(|(name, ..)| name == "onnxruntime").unwrap();
    if !found.1 {
        eprintln!("skipped: onnxruntime is not available: {}", found.2);
    }
    found.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_answers_with_the_emulators_bits() {
    let repository = Repository::new();
    repository.package("digits/1", CNN, "fixed<16,6>").package("below/3/package", MLP, "fixed<10,5>");
    let server = repository.serve().await;
    assert!(server.is_ready() && server.is_model_ready("digits", "1"));
    let x = rows(CNN);
    let response = ask(&server, "digits", std::slice::from_ref(&x)).await.unwrap();
    let expected = emulator(repository.path("digits/1")).run(std::slice::from_ref(&x)).unwrap().remove(0);
    assert_eq!(output(&response), expected);
    assert_eq!((&*response.backend, response.exact, response.version), ("emulator", true, 1));
    let one = ask(&server, "digits", &[x.slice_rows(7..8)]).await.unwrap();
    assert_eq!(output(&one), expected.slice_rows(7..8));
    let x = rows(MLP);
    let response = ask(&server, "below", std::slice::from_ref(&x)).await.unwrap();
    let expected = emulator(repository.path("below/3/package")).run(&[x]).unwrap().remove(0);
    assert_eq!((output(&response), response.version), (expected, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tell_exact_types() {
    let repository = Repository::new();
    repository.package("digits/1", CNN, "fixed<16,6>");
    let server = repository.serve().await;
    let model = server.model("digits", "").unwrap();
    let metadata = model.metadata();
    assert_eq!(metadata.platform, "hypersonic");
    assert_eq!(
        (metadata.inputs[0].datatype, metadata.inputs[0].shape.as_slice()),
        ("FP32", [-1, 1, 8, 8].as_slice())
    );
    let package = Package::open(repository.path("digits/1")).unwrap();
    let input = &package.manifest().inputs[0];
    let expected = [
        ("fingerprint".to_owned(), package.manifest().fingerprint.to_string()),
        ("arithmetic".to_owned(), "native".to_owned()),
        (format!("input.{}.type", input.name), "fixed<16,6,RND,SAT>".to_owned()),
    ];
    assert_eq!(metadata.parameters[..3], expected);
    assert!(metadata.parameters[3].0.starts_with("output."));
    let config = &model.spec().config;
    assert_eq!((config.max_batch_size, config.backend.as_str()), (hs_serve::DEFAULT_MAX_BATCH, "hypersonic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onnx_file_is_compiled_where_the_configuration_says_so() {
    let repository = Repository::new();
    let parameter = |key: &str, value: &str| {
        format!("parameters {{ key: \"{key}\" value {{ string_value: \"{value}\" }} }}")
    };
    let compiled = |model: &str, parameters: &str| {
        repository
            .onnx(&format!("{model}/1"), MLP)
            .config(model, &format!("backend: \"hypersonic\" {parameters}"));
    };
    repository.package("package/1", MLP, "fixed<12,5>");
    compiled("precision", &parameter("precision", "fixed<12,5>"));
    compiled("file", &parameter("hypersonic_config", "types.toml"));
    repository.file("file/types.toml", "[model]\nprecision = \"fixed<12,5>\"\n");
    compiled("hls4ml", &(parameter("precision", "fixed<12,5>") + &parameter("arithmetic", "hls4ml")));
    compiled("calibrated", &(parameter("precision", "fixed<12,5>") + &parameter("calibration", "x.npy")));
    repository.file("calibrated/x.npy", fs::read(fixture_path(MLP, "x.npy")).unwrap());
    let server = repository.serve().await;
    let x = rows(MLP);
    let expected = emulator(repository.path("package/1")).run(std::slice::from_ref(&x)).unwrap().remove(0);
    for model in ["package", "precision", "file"] {
        let response = ask(&server, model, std::slice::from_ref(&x)).await.unwrap();
        assert_eq!(output(&response), expected, "{model}");
        assert!(response.exact);
    }
    for model in ["hls4ml", "calibrated"] {
        let found = output(&ask(&server, model, std::slice::from_ref(&x)).await.unwrap());
        assert_ne!(found, expected, "{model}");
    }
    let parameters = server.model("hls4ml", "").unwrap().metadata().parameters;
    assert!(parameters.contains(&("arithmetic".to_owned(), "hls4ml".to_owned())), "{parameters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onnx_file_answers_in_float() {
    let repository = Repository::new();
    repository.onnx("digits/1", CNN).onnx("external/1", "torch_dynamo-digits_mlp_extdata");
    repository
        .onnx("named/1", MLP)
        .config("named", "platform: \"onnxruntime_onnx\" default_model_filename: \"net.onnx\"");
    fs::rename(repository.path("named/1/model.onnx"), repository.path("named/1/net.onnx")).unwrap();
    let cpu = "backend: \"onnxruntime\" max_batch_size: 7 instance_group { kind: KIND_CPU count: 2 }";
    repository.onnx("placed/1", MLP).config("placed", cpu);
    let server = repository.serve().await;
    if !float_is_here(&server) {
        return;
    }
    for (model, fixture) in
        [("digits", CNN), ("external", "torch_dynamo-digits_mlp_extdata"), ("named", MLP), ("placed", MLP)]
    {
        let onnx = Some(fixture_path(fixture, "onnx"));
        let reference = Model { name: model.to_owned(), onnx, ..Model::default() };
        let reference = OnnxRuntime::default().load(&reference).unwrap();
        let x = rows(fixture).slice_rows(0..7);
        let x = Tensor::of(x.shape(), x.to_f64().into_iter().map(|v| v as f32).collect()).unwrap();
        let response = ask(&server, model, std::slice::from_ref(&x)).await.unwrap();
        let expected = reference.run(&[x]).unwrap()[0].to_f64();
        let worst =
            output(&response).to_f64().iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4, "{model}: {worst}");
        assert_eq!((&*response.backend, response.exact), ("onnxruntime", false));
    }
    assert_eq!(server.model("digits", "").unwrap().metadata().platform, "onnxruntime_onnx");
    assert_eq!(server.model("placed", "").unwrap().spec().max_batch, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_the_emulators_in_the_smallest_integers() {
    let repository = Repository::new();
    let raw = r#"parameters { key: "raw" value { string_value: "true" } }"#;
    for (model, precision) in [("wide", "fixed<16,6>"), ("narrow", "fixed<8,4>"), ("odd", "fixed<17,8>")] {
        repository.package(&format!("{model}/1"), MLP, precision).config(model, raw);
    }
    let server = repository.serve().await;
    for (model, datatype) in [("wide", Datatype::Int16), ("narrow", Datatype::Int8), ("odd", Datatype::Int32)]
    {
        let name = format!("{model}_raw");
        let port = server.model(&name, "").unwrap().spec().inputs[0].clone();
        assert_eq!(port.datatype, datatype);
        let codes: Vec<i64> = (0..640).map(|i| i * 7 % 100).collect();
        let x = Tensor::of([10, 64], codes.clone()).unwrap();
        let expected = emulator(repository.path(&format!("{model}/1"))).run_raw(&[x]).unwrap().remove(0);
        let size = datatype.size().unwrap();
        let data: Vec<u8> = codes.iter().flat_map(|c| c.to_le_bytes()[..size].to_vec()).collect();
        let input =
            InputTensor { name: port.name.to_string(), datatype, shape: vec![10, 64], data: data.into() };
        let request = InferRequest { model: name.clone(), inputs: vec![input], ..InferRequest::default() };
        let response = server.infer(request).await.unwrap();
        assert!(response.outputs[0].buffer.data().len() <= 10 * 10 * 8 / 2, "{name}");
        assert_eq!(output(&response).to_f64(), expected.to_f64(), "{name}");
        assert_eq!((&*response.model, response.exact), (name.as_str(), true));
    }
    // A code that the type has not is the client's mistake.
    let port = server.model("odd_raw", "").unwrap().spec().inputs[0].name.to_string();
    let data = [i32::MAX; 64].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let input = InputTensor { name: port, datatype: Datatype::Int32, shape: vec![1, 64], data: data.into() };
    let request =
        InferRequest { model: "odd_raw".to_owned(), inputs: vec![input], ..InferRequest::default() };
    let e = server.infer(request).await.unwrap_err();
    assert!(e.code == hs_serve::Code::InvalidArgument && e.message.contains("is no code of"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_gives_back_whatever_it_gets() {
    let repository = Repository::new();
    for datatype in Datatype::ALL {
        let ty = if *datatype == Datatype::Bytes { "STRING" } else { datatype.name() };
        let port = |name: &str| format!("[{{ name: \"{name}\" data_type: TYPE_{ty} dims: -1 }}]");
        let text =
            format!("backend: \"identity\" max_batch_size: 4 input {} output {}", port("IN"), port("OUT"));
        repository.config(ty, &text).file(&format!("{ty}/1/.keep"), "");
    }
    let server = repository.serve().await;
    for datatype in Datatype::ALL {
        let model = if *datatype == Datatype::Bytes { "STRING" } else { datatype.name() };
        let data = Bytes::from(vec![0u8; 6 * datatype.size().unwrap_or(4)]);
        let input = InputTensor {
            name: "IN".to_owned(),
            datatype: *datatype,
            shape: vec![2, 3],
            data: data.clone().into(),
        };
        let request =
            InferRequest { model: model.to_owned(), inputs: vec![input], ..InferRequest::default() };
        let response = server.infer(request).await.unwrap();
        assert_eq!(&*response.outputs[0].name, "OUT");
        assert_eq!(response.outputs[0].buffer.data().as_ptr(), data.as_ptr(), "{model} was copied");
    }
}
