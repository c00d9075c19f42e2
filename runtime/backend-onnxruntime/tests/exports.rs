//! Models by real exporters give the outputs that ONNX Runtime gave when they were exported.

use std::{fs, path::Path, sync::Arc};

use hs_backend_onnxruntime::OnnxRuntime;
use hs_runtime::{Availability, Backend, Executable, Model, RunError, Tensor, npy};

/// The backend, where the library is installed; where ORT_DYLIB_PATH is set it must be.
fn backend() -> Option<OnnxRuntime> {
    let backend = OnnxRuntime::default();
    match backend.availability() {
        Availability::Available(_) => Some(backend),
        Availability::NotAvailable(why) => {
            assert!(std::env::var_os("ORT_DYLIB_PATH").is_none(), "{why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

fn exports() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/exports")
}

fn load(backend: &OnnxRuntime, path: &Path) -> Arc<dyn Executable> {
    let model = Model { name: "m".to_owned(), onnx: Some(path.to_owned()), ..Model::default() };
    backend.load(&model).unwrap()
}

#[test]
fn real_exports_give_their_outputs() {
    let Some(backend) = backend() else { return };
    let mut seen = 0;
    let mut paths: Vec<_> = fs::read_dir(exports()).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "onnx")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name.contains("qonnx") {
            // Its operators are not ONNX Runtime's.
            assert!(backend.load(&Model { onnx: Some(path.clone()), ..Model::default() }).is_err());
            continue;
        }
        let (x, y) = (
            npy::load(path.with_extension("x.npy")).unwrap(),
            npy::load(path.with_extension("y.npy")).unwrap(),
        );
        let model = load(&backend, path);
        let outputs = model.run(&[x]).unwrap();
        let same = model.outputs().iter().zip(&outputs).find(|(_, t)| t.shape() == y.shape());
        let (_, found) = same.unwrap_or_else(|| panic!("{name}: no output of shape {:?}", y.shape()));
        // Another version and another number of rows a call: the last bits may differ.
        for (a, b) in found.to_f64().iter().zip(y.to_f64()) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a} against {b}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} models");
}

#[test]
fn rows_may_be_split_and_absent() {
    let Some(backend) = backend() else { return };
    let path = exports().join("torch_legacy-digits_mlp.onnx");
    let model = load(&backend, &path);
    let x = npy::load(path.with_extension("x.npy")).unwrap();
    let all = model.run(&[x.slice_rows(0..10)]).unwrap();
    let parts: Vec<Tensor> = [0..3, 3..10].map(|r| model.run(&[x.slice_rows(r)]).unwrap().remove(0)).into();
    assert_eq!(all[0].slice_rows(0..3), parts[0]);
    assert_eq!(all[0].slice_rows(3..10), parts[1]);
    let none = model.run(&[x.slice_rows(0..0)]).unwrap();
    assert_eq!(none[0].shape(), [0, 10]);
}

#[test]
fn wrong_inputs_are_errors() {
    let Some(backend) = backend() else { return };
    let model = load(&backend, &exports().join("torch_legacy-digits_mlp.onnx"));
    assert!(matches!(model.run(&[]), Err(RunError::Inputs { found: 0, .. })));
    let wrong = Tensor::of([2, 3], vec![0f32; 6]).unwrap();
    assert!(matches!(model.run(&[wrong]), Err(RunError::Shape { .. })));
    assert!(matches!(model.run_raw(&[]), Err(RunError::NoCodes(_))));
}

#[test]
fn a_file_that_is_no_model() {
    let Some(backend) = backend() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.onnx");
    fs::write(&path, "no model").unwrap();
    assert!(backend.load(&Model { onnx: Some(path), ..Model::default() }).is_err());
    assert!(backend.load(&Model::default()).is_err());
}
