//! What each kind of model answers.

use hs_emulator::{Emulator, Options};
use hs_package::Package;
use hs_runtime::Executable;

use super::*;

const CNN: &str = "torch_legacy-digits_cnn";

#[tokio::test(flavor = "multi_thread")]
async fn a_package_answers_with_the_emulators_bits() {
    let repository = Repository::new();
    repository.package("digits/1", CNN, "fixed<16,6>");
    let server = repository.serve().await;
    assert!(server.is_ready() && server.is_model_ready("digits", "1"));
    let package = Package::open(repository.path("digits/1")).unwrap();
    let emulator = Emulator::new(package.program().clone(), &Options::default()).unwrap();
    let x = rows(CNN);
    let response = ask(&server, "digits", &[x.clone()]).await.unwrap();
    assert_eq!(output(&response), emulator.run(&[x]).unwrap().remove(0));
    assert_eq!((&*response.backend, response.exact, response.version), ("emulator", true, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onnx_file_answers_in_float() {
    let repository = Repository::new();
    repository.onnx("digits/1", CNN);
    let server = repository.serve().await;
    if let Some((_, false, why)) = server.backends().into_iter().find(|(name, ..)| name == "onnxruntime") {
        eprintln!("skipped: onnxruntime is not available: {why}");
        return;
    }
    let response = ask(&server, "digits", &[rows(CNN)]).await.unwrap();
    let y = npy::load(fixture_path(CNN, "y.npy")).unwrap();
    let worst =
        output(&response).to_f64().iter().zip(y.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4, "{worst}");
    assert!(!response.exact);
}
