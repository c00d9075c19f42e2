//! Models that cannot be served: each says why, and what to do.

use hs_serve::IndexEntry;

use super::*;

const MLP: &str = "torch_legacy-digits_mlp";

/// Why a model is not ready.
#[track_caller]
fn reason(server: &Server, model: &str) -> String {
    let found: Vec<IndexEntry> =
        server.index("", false).unwrap().into_iter().filter(|e| e.name == model).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].state, "UNAVAILABLE", "{model}");
    found[0].reason.clone()
}

fn parameter(key: &str, value: &str) -> String {
    format!("parameters {{ key: \"{key}\" value {{ string_value: \"{value}\" }} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_hold_no_model() {
    let repository = Repository::new();
    repository.file("nothing/1/notes.txt", "").package("twice/1/a", MLP, "fixed<8,4>").package(
        "twice/1/b",
        MLP,
        "fixed<8,4>",
    );
    repository.package("float/1", MLP, "fixed<8,4>").config("float", "backend: \"onnxruntime\"");
    repository.file("named/1/model.onnx", "").config("named", "default_model_filename: \"net.onnx\"");
    repository
        .file("escapes/1/x", "")
        .config("escapes", "default_model_filename: \"../../named/1/model.onnx\"");
    repository.package("changed/1", MLP, "fixed<8,4>");
    let weights = repository.path("changed/1/weights.bin");
    let mut bytes = fs::read(&weights).unwrap();
    bytes.push(0);
    fs::write(&weights, bytes).unwrap();
    repository.file("json/1/manifest.json", "{}").file("broken/1/model.onnx", "not a model");
    repository.config("broken", "backend: \"hypersonic\"");
    let server = repository.serve().await;
    for (model, part) in [
        ("nothing", "neither a package (manifest.json) nor model.onnx"),
        ("twice", "are both packages"),
        ("float", "expected an ONNX file"),
        ("named", "default_model_filename: cannot read 'net.onnx'"),
        ("escapes", "is no path within"),
        ("changed", "weights.bin"),
        ("json", "manifest.json"),
        ("broken", "model 'broken' version 1"),
    ] {
        let why = reason(&server, model);
        assert!(why.contains(part), "{model}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_ask_for_what_is_not_there() {
    let repository = Repository::new();
    let package = |model: &str, text: &str| {
        repository.package(&format!("{model}/1"), MLP, "fixed<8,4>").config(model, text);
    };
    let onnx = |model: &str, text: &str| {
        repository.onnx(&format!("{model}/1"), MLP).config(model, &format!("backend: \"hypersonic\" {text}"));
    };
    package("backend", "backend: \"tensorrt\"");
    package("platform", "platform: \"tensorflow_savedmodel\"");
    package("misspelt", &parameter("backends", "emulater"));
    package("unknown", &parameter("backends", "emulator,quantum"));
    package("none", &parameter("backends", " , "));
    package("input", "input { name: \"q\" }");
    package("type", "input { name: \"input\" data_type: TYPE_INT8 }");
    onnx("precision", &parameter("precision", "fixed<x>"));
    onnx("arithmetic", &parameter("arithmetic", "analog"));
    onnx("absent", &parameter("hypersonic_config", "absent.toml"));
    onnx("outside", &parameter("hypersonic_config", "../none/config.pbtxt"));
    onnx(
        "both",
        &(parameter("hypersonic_config", "config.pbtxt") + &parameter("hls4ml_config", "config.pbtxt")),
    );
    onnx("toml", &parameter("hypersonic_config", "config.pbtxt"));
    onnx("calibration", &parameter("calibration", "config.pbtxt"));
    repository.config(
        "identity",
        "backend: \"identity\" input { name: \"a\" dims: 1 } output { name: \"b\" dims: 1 }",
    );
    repository.file("identity/1/.keep", "");
    let server = repository.serve().await;
    for (model, part) in [
        ("backend", "backend is 'tensorrt', which this server has not"),
        ("platform", "platform is 'tensorflow_savedmodel'"),
        ("misspelt", "backends names 'emulater'; did you mean emulator?"),
        ("unknown", "backends names 'quantum'; there are emulator"),
        ("none", "parameters: backends names none"),
        ("input", "input 'q' is none of the model's"),
        ("type", "data_type is TYPE_INT8, but the model's is TYPE_FP32"),
        ("precision", "parameters: precision is 'fixed<x>'"),
        ("arithmetic", "parameters: arithmetic is 'analog'; expected native or hls4ml"),
        ("absent", "parameters: hypersonic_config: cannot read 'absent.toml'"),
        ("outside", "is no path within"),
        ("both", "exclude each other"),
        ("toml", "model 'toml' version 1"),
        ("calibration", "parameters: calibration"),
        ("identity", "'a' needs a data_type"),
    ] {
        let why = reason(&server, model);
        assert!(why.contains(part), "{model}: {why}");
    }
}
