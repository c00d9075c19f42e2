//! Bad input: one clear error, the documented exit code, nothing written.

use std::{fs, path::Path};

use hs_runtime::{Tensor, npy};

use crate::{MLP, hypersonic, listing, load, run};

/// Emulates `model` and expects exit code `code` with `message` in the error and nothing new in the directory.
#[track_caller]
fn refused(dir: &Path, args: &[&std::ffi::OsStr], code: i32, message: &str) {
    let before = listing(dir);
    let run = hypersonic(dir, args);
    assert_eq!(run.code, code, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(message), "'{message}' is not in: {}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("error:").count(), 1, "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert_eq!(listing(dir), before);

    let json = hypersonic(dir, &[args, &["--json".as_ref()]].concat());
    assert_eq!(json.code, code);
    assert_eq!(json.json()["exit_code"], serde_json::json!(code));
    assert_eq!(json.json()["ok"], serde_json::json!(false));
    assert_eq!(listing(dir), before);
}

macro_rules! refused {
    ($dir:expr, [$($arg:expr),* $(,)?], $code:expr, $message:expr) => {
        refused($dir, &[$(std::ffi::OsStr::new(&$arg)),*], $code, $message)
    };
}

#[test]
fn a_model_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    refused!(dir.path(), ["compile", "none.onnx", "-o", "pkg"], 3, "none.onnx");
    refused!(dir.path(), ["emulate", "none.onnx", "--input", "X.npy", "--output", "Y.npy"], 3, "none.onnx");
}

#[test]
fn a_truncated_model() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(MLP.onnx()).unwrap();
    fs::write(dir.path().join("half.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    refused!(dir.path(), ["compile", "half.onnx", "-o", "pkg"], 3, "help:");
}

#[test]
fn a_model_that_is_text() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.onnx"), "this is no model\n").unwrap();
    refused!(dir.path(), ["inspect", "a.onnx"], 3, "ONNX");
}

#[test]
fn a_directory_that_is_no_package() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    refused!(dir.path(), ["inspect", "d"], 3, "is not a package");
    fs::write(dir.path().join("d/notes.txt"), "mine").unwrap();
    refused!(dir.path(), ["compile", MLP.onnx(), "-o", "d", "--force"], 3, "it is not a package");
    assert_eq!(listing(&dir.path().join("d")), ["notes.txt"]);
}

#[test]
fn a_package_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<16,6>").ok();
    let weights = dir.path().join("pkg/weights.bin");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[0] ^= 1;
    fs::write(&weights, bytes).unwrap();
    refused!(dir.path(), ["inspect", "pkg"], 3, "was changed");
}

#[test]
fn options_of_compile_for_a_package() {
    let dir = tempfile::tempdir().unwrap();
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<16,6>").ok();
    refused!(dir.path(), ["inspect", "pkg", "--io", "stream"], 2, "--io");
}

#[test]
fn wrong_use() {
    let dir = tempfile::tempdir().unwrap();
    refused!(
        dir.path(),
        ["compile", MLP.onnx(), "-o", "pkg", "--precision", "float"],
        2,
        "'float' is not a type"
    );
    refused!(dir.path(), ["compile", MLP.onnx(), "-o", "pkg", "--reuse", "0"], 2, "0 is not in");
    refused!(dir.path(), ["compile", MLP.onnx()], 2, "--output");
    refused!(
        dir.path(),
        ["emulate", MLP.onnx(), "--input", MLP.x(), "--output", "a.npy", "--output", "b.npy"],
        2,
        "twice"
    );
}

#[test]
fn rows_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let save = |name: &str, t: &Tensor| npy::save(dir.path().join(name), t).unwrap();
    let x = load(MLP.x());
    let emulate = |input: &str, code, message| {
        let args = ["emulate", "m.onnx", "--precision", "fixed<16,6>", "--output", "Y.npy", "--input", input];
        refused(dir.path(), &args.map(AsRef::as_ref), code, message);
    };
    fs::copy(MLP.onnx(), dir.path().join("m.onnx")).unwrap();

    save("shape.npy", &Tensor::of([2, 3], vec![0f32; 6]).unwrap());
    emulate("shape.npy", 3, "shape");
    let mut values: Vec<f32> = x.to_f64().iter().map(|v| *v as f32).collect();
    values[70] = f32::NAN;
    save("nan.npy", &Tensor::of(x.shape(), values).unwrap());
    emulate("nan.npy", 3, "row 1, element 6 is NaN");
    fs::write(dir.path().join("text.npy"), "1 2 3").unwrap();
    emulate("text.npy", 3, "text.npy");
    emulate("none.npy", 3, "none.npy");
}

#[test]
fn an_output_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    refused!(
        dir.path(),
        [
            "emulate",
            MLP.onnx(),
            "--precision",
            "fixed<16,6>",
            "--input",
            MLP.x(),
            "--output",
            "no/such/Y.npy"
        ],
        3,
        "no/such"
    );
}

#[test]
fn labels_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    npy::save(dir.path().join("L.npy"), &Tensor::of([3], vec![1i64, 2, 3]).unwrap()).unwrap();
    refused!(
        dir.path(),
        [
            "check",
            MLP.onnx(),
            "--precision",
            "fixed<16,6>",
            "--input",
            MLP.x(),
            "--labels",
            "L.npy",
            "--no-csim"
        ],
        3,
        "3 labels for"
    );
}

#[test]
fn csim_without_headers_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let out = assert_cmd::Command::cargo_bin("hypersonic")
        .unwrap()
        .env("HYPERSONIC_AP_TYPES", dir.path())
        .current_dir(dir.path())
        .args(["csim", "--precision", "fixed<16,6>", "--output", "Y.npy", "--input"])
        .args([MLP.x(), MLP.onnx()])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(4));
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(stderr.contains("scripts/fetch-ap-types"), "{stderr}");
    assert_eq!(listing(dir.path()), Vec::<String>::new());
}
