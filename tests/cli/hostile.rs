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

/// What is refused costs little: all of it in an address space of 2 GiB.
#[test]
#[cfg(target_os = "linux")]
fn what_is_refused_takes_little_memory() {
    let graph = |build: &dyn Fn(&mut ModelBuilder)| {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[-1, 16]);
        build(&mut m);
        m.output("y", &[-1]);
        m
    };
    let fill = |shape: [i64; 2]| {
        graph(&move |m| {
            m.ints("s", &shape);
            m.node("ConstantOfShape", &["s"], &["w"]).name("fill");
            m.node("MatMul", &["x", "w"], &["y"]).name("fc");
        })
    };
    let doubled = graph(&|m| {
        m.floats("c0", &[16, 1], &[1.0; 16]);
        for i in 0..40 {
            let (from, to) = (format!("c{i}"), format!("c{}", i + 1));
            m.node("Concat", &[&from, &from], &[&to]).int("axis", 1).name(&to);
        }
        m.node("MatMul", &["x", "c40"], &["y"]).name("fc");
    });
    let tiled = graph(&|m| {
        m.ints("t", &[1, 1 << 24]);
        m.node("Tile", &["x", "t"], &["y"]).name("tile");
    });
    let wide = graph(&|m| {
        m.ints("a", &[-1, 4096, 1]).ints("b", &[-1, 1, 4096]).ints("t", &[1, 256]);
        m.node("Tile", &["x", "t"], &["x4096"]).name("tile");
        m.node("Reshape", &["x4096", "a"], &["column"]);
        m.node("Reshape", &["x4096", "b"], &["row"]);
        m.node("Mul", &["column", "row"], &["outer"]).name("outer");
        m.node("Sigmoid", &["outer"], &["y"]).name("act");
    });
    let chain = graph(&|m| {
        for i in 0..60_000 {
            let from = if i == 0 { "x".to_owned() } else { format!("r{i}") };
            m.node("Relu", &[&from], &[&format!("r{}", i + 1)]);
        }
        m.node("Relu", &["r60000"], &["y"]);
    });
    let mut outside = small();
    let w = &mut outside.graph().initializer[0];
    (w.dims, w.data_location) = (vec![2, 1 << 29], 1);
    w.raw_data.clear();
    w.float_data.clear();
    let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    w.external_data = vec![entry("location", "holes.bin")];

    for (name, model, expected) in [
        ("a constant of a shape", fill([16, 1 << 26]), "larger than 67108864 elements"),
        ("a large constant", fill([1 << 14, 1 << 13]), "larger than 67108864 elements"),
        ("constants that double", doubled, "--limit constants="),
        ("a tile", tiled, "too large"),
        ("an outer product", wide, "node '"),
        ("a long chain", chain, "--limit depth="),
        ("a file of holes", outside, "--limit elements="),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("m.onnx"), model.to_bytes()).unwrap();
        fs::File::create(dir.path().join("holes.bin")).unwrap().set_len(4 << 30).unwrap();
        let binary = assert_cmd::cargo::cargo_bin("hypersonic");
        let run = std::process::Command::new("bash")
            .args(["-c", "ulimit -v 2097152; exec \"$0\" compile m.onnx -o pkg --precision 'fixed<16,6>'"])
            .arg(binary)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(3), "{name}: {error}");
        assert!(error.contains(expected) && !error.contains("panicked"), "{name}: {error}");
        assert_eq!(listing(dir.path()), ["holes.bin", "m.onnx"], "{name}");
    }
}
