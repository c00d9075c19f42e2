//! A machine without ONNX Runtime. A test of its own: a process opens one library.

use hs_backend_onnxruntime::OnnxRuntime;
use hs_runtime::{Availability, Backend, LoadError, Model};

#[test]
fn absence_is_reported_with_advice() {
    let backend = OnnxRuntime::with_library("/no/such/libonnxruntime.so");
    let Availability::NotAvailable(why) = backend.availability() else { panic!("available") };
    assert!(why.contains("/no/such/libonnxruntime.so") && why.contains("ORT_DYLIB_PATH"), "{why}");
    assert!(matches!(backend.load(&Model::default()), Err(LoadError::NotAvailable { .. })));
}
