//! Real exporters' files through ONNX Runtime.

mod common;

use std::sync::Arc;

use common::{Dim, FLOAT, exports, is_here, model, node, port};
use hs_backend_onnxruntime::OnnxRuntime;
use hs_runtime::{Backend, Executable, Model, Tensor, npy};

/// `None`, with the reason printed, when the machine has no ONNX Runtime.
fn load(name: &str) -> Option<Arc<dyn Executable>> {
    let backend = OnnxRuntime::default();
    if !is_here(&backend) {
        return None;
    }
    let onnx = Some(exports().join(format!("{name}.onnx")));
    let model = Model { name: name.to_owned(), onnx, ..Model::default() };
    Some(backend.load(&model).unwrap())
}

fn npy(name: &str, what: &str) -> Tensor {
    npy::load(exports().join(format!("{name}.{what}.npy"))).unwrap()
}

#[track_caller]
fn check(name: &str, tolerance: f64) {
    let Some(model) = load(name) else { return };
    let (x, y) = (npy(name, "x"), npy(name, "y"));
    let got = model.run(std::slice::from_ref(&x)).unwrap().remove(0);
    assert_eq!(got.shape(), y.shape());
    let worst = got.to_f64().iter().zip(y.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "{name}: {worst}");
    let part = model.run(&[x.slice_rows(0..3)]).unwrap().remove(0);
    assert_eq!(part.rows(), 3);
    assert_eq!(model.run(&[x.slice_rows(0..0)]).unwrap()[0].rows(), 0);
}

#[test]
fn torch() {
    check("torch_legacy-digits_mlp", 1e-4);
    check("torch_legacy-digits_cnn", 1e-4);
}

#[test]
fn external_data_is_read_from_the_models_folder() {
    check("torch_dynamo-digits_mlp_extdata", 1e-4);
}

#[test]
fn half_precision() {
    check("float16-digits_mlp", 2e-2);
}

#[test]
fn keras_and_tensorflow() {
    check("keras3_export-digits_cnn", 1e-4);
    check("tf2onnx-digits_conv1d", 1e-4);
}

/// `y = Neg(x)` for tensors of shape `[batch, 3]`.
fn negation(batch: u64) -> Vec<u8> {
    let port = |name: &str| port(name, FLOAT, &[Dim::Size(batch), Dim::Size(3)]);
    model(&[node("Neg", &["x"], "y")], &[port("x")], &[port("y")])
}

#[test]
fn a_fixed_batch_is_filled_up() {
    let backend = OnnxRuntime::default();
    if !is_here(&backend) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for batch in [1, 4] {
        let path = dir.path().join(format!("neg{batch}.onnx"));
        std::fs::write(&path, negation(batch)).unwrap();
        let model = Model { name: "neg".to_owned(), onnx: Some(path), ..Model::default() };
        let model = backend.load(&model).unwrap();
        for rows in [0, 1, 4, 5, 9] {
            let x: Vec<f32> = (0..rows * 3).map(|i| i as f32).collect();
            let y: Vec<f32> = x.iter().map(|v| -v).collect();
            let got = model.run(&[Tensor::of([rows, 3], x).unwrap()]).unwrap();
            assert_eq!(got, [Tensor::of([rows, 3], y).unwrap()], "batch {batch}, {rows} rows");
        }
    }
}

#[test]
fn errors_name_the_input() {
    let Some(model) = load("torch_legacy-digits_mlp") else { return };
    let e = model.run(&[]).unwrap_err().to_string();
    assert!(e.contains(&model.inputs()[0].name), "{e}");
    let e = model.run(&[Tensor::of([2, 3], vec![0f32; 6]).unwrap()]).unwrap_err().to_string();
    assert!(e.contains("has shape [2, 3]"), "{e}");
    assert!(model.run_raw(&[]).unwrap_err().to_string().contains("no raw codes"));
}

#[test]
fn broken_files_are_errors() {
    let backend = OnnxRuntime::default();
    if !is_here(&backend) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.onnx");
    std::fs::write(&path, b"not a model").unwrap();
    for onnx in [path, dir.path().join("absent.onnx")] {
        let model = Model { name: "m".to_owned(), onnx: Some(onnx), ..Model::default() };
        let e = backend.load(&model).err().unwrap().to_string();
        assert!(e.contains("m: ONNX Runtime refuses"), "{e}");
    }
    let e = backend.load(&Model { name: "m".to_owned(), ..Model::default() }).err().unwrap().to_string();
    assert!(e.contains("an ONNX file"), "{e}");
}
