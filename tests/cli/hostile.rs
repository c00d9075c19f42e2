//! Models made to do harm, from file to package: one clear error, the documented exit code, nothing written.

use std::{fs, path::Path};

use hs_compiler::onnx::{builder::ModelBuilder, proto::StringStringEntryProto};
use hs_runtime::{Tensor, npy};

use crate::{can_simulate, listing, load, run};

/// y = x w, two in, two out.
fn small() -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.5, -1.0, 0.25, 2.0]);
    m.node("MatMul", &["x", "w"], &["y"]).name("fc");
    m.output("y", &[-1, 2]);
    m
}

#[track_caller]
fn refused(model: &ModelBuilder, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m.onnx"), model.to_bytes()).unwrap();
    let run = run!(dir.path(), "compile", "m.onnx", "-o", "pkg", "--precision", "fixed<16,6>");
    assert_eq!(run.code, 3, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains(message), "{}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert_eq!(listing(dir.path()), ["m.onnx"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let mut m = small();
    m.graph().initializer[0].float_data = vec![0.5, f32::NAN, 0.25, 2.0];
    m.graph().initializer[0].raw_data.clear();
    refused(&m, "NaN");
}

#[test]
fn shapes_that_lie() {
    let mut m = small();
    m.graph().initializer[0].dims = vec![2, 3];
    refused(&m, "'w'");
}

#[test]
fn a_cycle() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]);
    m.node("Add", &["x", "b"], &["a"]).name("first");
    m.node("Relu", &["a"], &["b"]).name("second");
    m.output("b", &[-1, 2]);
    refused(&m, "cycle");
}

#[test]
fn a_missing_initialiser() {
    let mut m = small();
    m.graph().initializer.clear();
    refused(&m, "'w'");
}

#[test]
fn data_outside_the_folder() {
    let mut m = small();
    let w = &mut m.graph().initializer[0];
    w.raw_data.clear();
    w.float_data.clear();
    w.data_location = 1;
    w.external_data =
        vec![StringStringEntryProto { key: "location".to_owned(), value: "../../x".to_owned() }];
    refused(&m, "outside the model's own folder");
}

#[test]
fn huge_shapes() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 1 << 40, 1 << 40]);
    m.node("Relu", &["x"], &["y"]).name("r");
    m.output("y", &[-1, 1 << 40, 1 << 40]);
    refused(&m, "'x'");
}

#[test]
fn an_operator_that_nobody_knows() {
    let mut m = small();
    m.node("Frobnicate", &["y"], &["z"]).name("frob");
    m.graph().output[0].name = "z".to_owned();
    refused(&m, "node 'frob' (Frobnicate)");
}

#[test]
fn names_that_are_code_stay_names() {
    let evil = "x\"; system(\"touch owned\"); //\n#include </etc/passwd>\n*/ \\";
    let mut m = ModelBuilder::new(17);
    m.graph().name = evil.to_owned();
    m.input(evil, &[-1, 2]).floats("w", &[2, 2], &[0.5, -1.0, 0.25, 2.0]);
    m.node("MatMul", &[evil, "w"], &["y"]).name(evil);
    m.node("Relu", &["y"], &["../../z"]).name("../../../tmp/owned");
    m.output("../../z", &[-1, 2]);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("m.onnx"), m.to_bytes()).unwrap();
    npy::save(at("X.npy"), &Tensor::of([3, 2], vec![1f32, 2.0, -3.0, 0.5, 0.0, 4.0]).unwrap()).unwrap();
    run!(dir.path(), "compile", "m.onnx", "-o", "pkg", "--precision", "fixed<16,6>").ok();
    for file in files(&at("pkg/hls")) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        // As a comment on one line a name may be seen.
        let code = text.lines().map(|l| l.split("//").next().unwrap_or_default());
        for line in code.filter(|_| file.extension().is_some_and(|e| e == "cpp" || e == "h")) {
            assert!(!line.contains("system(") && !line.contains("/etc/passwd"), "{}: {line}", file.display());
        }
    }
    run!(dir.path(), "emulate", "pkg", "--input", "X.npy", "--output", "e.npy").ok();
    if can_simulate() {
        run!(dir.path(), "csim", "pkg", "--input", "X.npy", "--output", "c.npy").ok();
        assert_eq!(load(at("c.npy")), load(at("e.npy")));
        fs::remove_file(at("c.npy")).unwrap();
    }
    assert_eq!(listing(dir.path()), ["X.npy", "e.npy", "m.onnx", "pkg"]);
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for name in listing(dir) {
        let path = dir.join(name);
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}
