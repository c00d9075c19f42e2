//! Each verb does its work.

use hs_runtime::{Tensor, npz};
use serde_json::json;

use crate::{CNN, MLP, can_simulate, listing, load, run};

#[test]
fn help_has_examples_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let help = run!(dir.path(), "--help").ok().stdout;
    assert!(help.contains("Exit codes:") && help.contains("emulate"), "{help}");
    for verb in [
        "compile",
        "emulate",
        "csim",
        "check",
        "inspect",
        "profile",
        "golden",
        "build",
        "bitstream",
        "xrt-emu",
        "run",
        "devices",
        "deploy",
        "config",
        "infer",
        "bench",
        "simulate",
    ] {
        let help = run!(dir.path(), verb, "--help").ok().stdout;
        assert!(help.contains(&format!("Examples:\n  hypersonic {verb} ")), "{help}");
        assert!(help.contains("--json"), "{help}");
    }
}

#[test]
fn emulate_a_model_as_people_try_it_first() {
    let dir = tempfile::tempdir().unwrap();
    let out = run!(
        dir.path(),
        "emulate",
        MLP.onnx(),
        "--input",
        MLP.x(),
        "--output",
        "Y.npy",
        "--precision",
        "fixed<32,12>"
    )
    .ok();
    assert_eq!(out.stderr, "");
    let (found, float) = (load(dir.path().join("Y.npy")), load(MLP.file("y.npy")));
    assert_eq!(found.shape(), float.shape());
    for (a, b) in found.to_f64().iter().zip(float.to_f64()) {
        assert!((a - b).abs() < 1e-3, "{a} against {b}");
    }
    assert_eq!(listing(dir.path()), ["Y.npy"]);
}

#[test]
fn without_a_type_there_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let out = run!(dir.path(), "emulate", MLP.onnx(), "--input", MLP.x(), "--output", "Y.npy").ok();
    assert!(out.stderr.starts_with("warning: "), "{}", out.stderr);
    assert!(out.stderr.contains("--precision") && out.stderr.contains("--calibrate"), "{}", out.stderr);
    let args = ["emulate", "--json", "--output", "Y.npy", "--input"];
    let args = args.iter().map(std::ffi::OsString::from).chain([MLP.x().into(), MLP.onnx().into()]);
    let json = crate::hypersonic(dir.path(), &args.collect::<Vec<_>>()).ok().json();
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(1), "{json}");
}

#[test]
fn package_and_model_give_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let precision = ["--precision", "fixed<16,6>"];
    let out = run!(dir.path(), "compile", CNN.onnx(), "-o", "pkg", precision[0], precision[1], "--json").ok();
    let json = out.json();
    assert_eq!(json["ok"], json!(true));
    assert_eq!(json["hls_project"], json!("pkg/hls"));
    assert!(at("pkg/manifest.json").is_file() && at("pkg/hls/firmware").is_dir());

    run!(dir.path(), "emulate", "pkg", "--input", CNN.x(), "--output", "p.npy").ok();
    run!(
        dir.path(),
        "emulate",
        CNN.onnx(),
        "--input",
        CNN.x(),
        "--output",
        "m.npy",
        precision[0],
        precision[1]
    )
    .ok();
    assert_eq!(load(at("p.npy")), load(at("m.npy")));

    let again = run!(dir.path(), "compile", CNN.onnx(), "-o", "pkg", precision[0], precision[1]);
    assert_eq!(again.code, 3, "{}", again.stderr);
    run!(dir.path(), "compile", CNN.onnx(), "-o", "pkg", precision[0], precision[1], "--force").ok();
    assert_eq!(listing(dir.path()), ["m.npy", "p.npy", "pkg"]);
}

#[test]
fn a_package_says_whose_arithmetic_it_has() {
    let dir = tempfile::tempdir().unwrap();
    for rules in ["native", "hls4ml"] {
        run!(
            dir.path(),
            "compile",
            MLP.onnx(),
            "-o",
            rules,
            "--precision",
            "fixed<16,6>",
            "--arithmetic",
            rules
        )
        .ok();
        let manifest = std::fs::read_to_string(dir.path().join(rules).join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["arithmetic"], json!(rules));
    }
}

#[test]
fn calibration_keeps_the_width_and_fits_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |more: &[&str]| {
        let mut args = vec!["inspect".into(), MLP.onnx().into_os_string(), "--json".into()];
        args.extend(more.iter().map(Into::into));
        crate::hypersonic(dir.path(), &args).ok().json()
    };
    let x = MLP.x().into_os_string().into_string().unwrap();
    let plain = inspect(&["--precision", "fixed<16,6>"]);
    let fitted = inspect(&["--precision", "fixed<16,6>", "--calibrate", &x]);
    let types = |v: &serde_json::Value| {
        v["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_ne!(types(&plain), types(&fitted));
    assert!(types(&fitted).iter().all(|t| t.contains("fixed<")), "{fitted}");
}

#[test]
fn archives_and_raw_codes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let name = {
        let json =
            run!(dir.path(), "inspect", MLP.onnx(), "--precision", "fixed<16,6>", "--json").ok().json();
        let layers = json["layers"].as_array().unwrap();
        assert_eq!(layers[0]["op"], json!("input"));
        layers[0]["name"].as_str().unwrap().to_owned()
    };
    let x = load(MLP.x());
    npz::save(at("X.npz"), [(name.as_str(), &x)]).unwrap();
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<16,6>").ok();
    run!(dir.path(), "emulate", "pkg", "--input", "X.npz", "--output", "Y.npz").ok();
    let from_archive = npz::load(at("Y.npz")).unwrap();
    run!(dir.path(), "emulate", "pkg", "--input", MLP.x(), "--output", "Y.npy").ok();
    assert_eq!(from_archive.len(), 1);
    assert_eq!(from_archive[0].1, load(at("Y.npy")));

    // fixed<16,6> has 10 fraction bits, and the digits are exact in it.
    let codes: Vec<i64> = x.to_f64().iter().map(|v| (v * 1024.0) as i64).collect();
    assert!(x.to_f64().iter().zip(&codes).all(|(v, c)| v * 1024.0 == *c as f64), "fixture changed");
    hs_runtime::npy::save(at("codes.npy"), &Tensor::of(x.shape(), codes).unwrap()).unwrap();
    run!(dir.path(), "emulate", "pkg", "--input", "codes.npy", "--output", "raw.npy", "--raw").ok();
    let raw = load(at("raw.npy"));
    assert_eq!(raw.dtype(), hs_runtime::Dtype::I64);
    let ratio =
        raw.to_f64().iter().zip(load(at("Y.npy")).to_f64()).find(|(_, y)| *y != 0.0).map(|(c, y)| c / y);
    let scale = ratio.expect("an output that is not zero");
    assert_eq!(scale.log2().fract(), 0.0, "{scale}");
    let values: Vec<f64> = raw.to_f64().iter().map(|c| c / scale).collect();
    assert_eq!(values, load(at("Y.npy")).to_f64());
}

#[test]
fn csim_gives_the_emulators_bits() {
    if !can_simulate() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    hs_runtime::npy::save(at("X.npy"), &load(MLP.x()).slice_rows(0..20)).unwrap();
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<16,6>", "--io", "stream").ok();
    run!(dir.path(), "emulate", "pkg", "--input", "X.npy", "--output", "e.npy").ok();
    run!(dir.path(), "csim", "pkg", "--input", "X.npy", "--output", "c.npy").ok();
    assert_eq!(load(at("e.npy")), load(at("c.npy")));
}

#[test]
fn check_ends_in_a_table() {
    if !can_simulate() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = ["--precision", "fixed<16,6>", "--rows", "50"];
    let out = run!(
        dir.path(),
        "check",
        CNN.onnx(),
        "--input",
        CNN.x(),
        "--labels",
        CNN.labels(),
        "-o",
        "pkg",
        base[0],
        base[1],
        base[2],
        base[3]
    )
    .ok();
    for line in ["float accuracy", "fixed accuracy", "rows compared", "mismatches", "pkg/hls"] {
        assert!(out.stdout.contains(line), "{}", out.stdout);
    }
    let json = run!(
        dir.path(),
        "check",
        "pkg",
        "--float",
        CNN.onnx(),
        "--input",
        CNN.x(),
        "--labels",
        CNN.labels(),
        "--rows",
        "50",
        "--json"
    )
    .ok()
    .json();
    assert_eq!(json["csim"]["mismatches"], json!(0));
    assert_eq!(json["csim"]["values"], json!(500));
    assert_eq!(json["rows"], json!(50));
    assert!(json["accuracy"].as_f64().unwrap() > 0.9, "{json}");
    assert!(json["float"]["accuracy"].as_f64().unwrap() > 0.9, "{json}");
}

#[test]
fn a_failed_check_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let run = run!(
        dir.path(),
        "check",
        MLP.onnx(),
        "--input",
        MLP.x(),
        "--no-csim",
        "--precision",
        "fixed<8,4>",
        "--tolerance",
        "1e-9",
        "--json"
    );
    assert_eq!(run.code, 1, "{}", run.stderr);
    let json = run.json();
    assert_eq!(json["ok"], json!(false));
    assert_eq!(json["failures"].as_array().map(Vec::len), Some(1), "{json}");
}

#[test]
fn inspect_counts() {
    let dir = tempfile::tempdir().unwrap();
    let out = run!(dir.path(), "inspect", MLP.onnx(), "--precision", "fixed<16,6>").ok();
    for word in ["layer", "fixed<16,6,RND,SAT>", "parameters", "dot"] {
        assert!(out.stdout.contains(word), "{}", out.stdout);
    }
    let json = run!(dir.path(), "inspect", MLP.onnx(), "--precision", "fixed<16,6>", "--json").ok().json();
    let layers = json["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|l| l["parameters"].as_u64().unwrap()).sum();
    assert_eq!(json["parameters"].as_u64(), Some(sum));
    assert!(sum > 1000, "{json}");
}

#[test]
fn a_configuration_to_start_from_decides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    run!(dir.path(), "config", CNN.onnx(), "-o", "model.toml").ok();
    let text = std::fs::read_to_string(dir.path().join("model.toml")).unwrap();
    assert!(text.contains("/f/f.0/Conv"), "{text}");
    let with = run!(dir.path(), "inspect", CNN.onnx(), "--config", "model.toml", "--json").ok();
    let without = run!(dir.path(), "inspect", CNN.onnx(), "--json").ok();
    let print = |out: &str| serde_json::from_str::<serde_json::Value>(out).unwrap()["fingerprint"].clone();
    assert_eq!(print(&with.stdout), print(&without.stdout));
}

#[test]
fn layout_never_changes_a_bit_of_native_arithmetic() {
    let dir = tempfile::tempdir().unwrap();
    let mut prints = std::collections::BTreeSet::new();
    for layout in [
        vec![],
        vec!["--io", "parallel"],
        vec!["--io", "stream"],
        vec!["--io", "parallel", "--strategy", "latency"],
        vec!["--io", "parallel", "--strategy", "resource", "--reuse", "8"],
        vec!["--io", "stream", "--strategy", "resource", "--reuse", "3"],
    ] {
        let mut args = vec!["inspect".to_owned(), CNN.onnx().display().to_string(), "--json".to_owned()];
        args.extend(layout.iter().map(|a| (*a).to_owned()));
        let out = crate::hypersonic(dir.path(), &args).ok();
        let json: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
        prints.insert(json["fingerprint"].to_string());
    }
    assert_eq!(prints.len(), 1, "{prints:?}");
}
