//! A machine without a usable library. A test of its own: the first library opened serves the whole process.

use hs_backend_onnxruntime::OnnxRuntime;
use hs_runtime::{Availability, Backend, Model};

#[test]
fn a_missing_or_broken_library_is_a_reason_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("libonnxruntime.so");
    std::fs::write(&broken, b"no library").unwrap();
    for library in [dir.path().join("absent.so"), broken] {
        let backend = OnnxRuntime { library: Some(library.clone()), ..OnnxRuntime::default() };
        let Availability::NotAvailable(why) = backend.availability() else {
            panic!("{library:?} was opened")
        };
        assert!(why.contains(&library.display().to_string()), "{why}");
        let e = backend.load(&Model::default()).err().unwrap().to_string();
        assert!(e.starts_with("backend 'onnxruntime' is not available: "), "{e}");
    }
}
