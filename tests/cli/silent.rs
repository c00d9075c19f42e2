//! What hls4ml computes wrongly without a word is said by every verb that compiles: as text and as JSON.

use serde_json::Value;

use crate::{CNN, MLP, run};

/// The warnings about `node`, each with its advice.
fn about(json: &Value, node: &str) -> Vec<String> {
    let all = json["warnings"].as_array().unwrap().iter();
    let text = |w: &Value| format!("{}; {}", w["message"].as_str().unwrap(), w["help"].as_str().unwrap());
    all.filter(|w| w["node"] == node).map(text).collect()
}

fn says(found: &[String], parts: &[&str]) {
    let one = |text: &String| parts.iter().all(|part| text.contains(part));
    assert!(found.iter().any(one), "{parts:?} is not in: {found:#?}");
}

#[test]
fn a_degenerate_softmax() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let args = ["--arithmetic", "hls4ml"];
    let json = run!(d, "compile", MLP.onnx(), "-o", "pkg", args[0], args[1], "--json").ok().json();
    let parts = ["the softmax is degenerate", "are 128 wide", "'/inner/net/net.5/Gemm' a narrower result"];
    says(&about(&json, "/Softmax"), &parts);
    for verb in ["emulate", "inspect"] {
        let out = if verb == "inspect" {
            run!(d, verb, MLP.onnx(), args[0], args[1])
        } else {
            run!(d, verb, MLP.onnx(), args[0], args[1], "--input", MLP.x(), "--output", "Y.npy")
        };
        let out = out.ok();
        assert!(
            out.stderr.contains("node '/Softmax' (Softmax): the softmax is degenerate"),
            "{}",
            out.stderr
        );
    }
    // And it is true: every result is 1/n, in fixed<16,6> 102/1024.
    let y = crate::load(d.join("Y.npy")).to_f64();
    assert!(y.iter().all(|v| *v == 102.0 / 1024.0), "{:?}", &y[..10]);
}

#[test]
fn an_accumulator_that_wraps() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(
        d.join("narrow.yml"),
        "Model: {Precision: 'fixed<16,4>', ReuseFactor: 1, Strategy: Latency}\n",
    )
    .unwrap();
    let json =
        run!(d, "compile", CNN.onnx(), "-o", "pkg", "--hls4ml-config", "narrow.yml", "--json").ok().json();
    let parts =
        ["the accumulator fixed<16,4,TRN,WRAP> wraps beyond -8 to 7.99", "accum = \"fixed<20,8,TRN,WRAP>\""];
    says(&about(&json, "/f/f.4/Conv"), &parts);
    // Native accumulators are as wide as it takes.
    let json =
        run!(d, "compile", CNN.onnx(), "-o", "native", "--precision", "fixed<16,4>", "--json").ok().json();
    assert_eq!(about(&json, "/f/f.4/Conv"), [""; 0]);
}

#[test]
fn a_constant_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let compile = |arithmetic: &str| {
        run!(
            d,
            "compile",
            MLP.onnx(),
            "-o",
            "pkg",
            "--precision",
            "fixed<8,0>",
            "--arithmetic",
            arithmetic,
            "--json"
        )
    };
    let refused = compile("native");
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    for part in ["\"/inner/net/net.0/Gemm\"", "weight 18 is 0.509", "fixed<8,0> cannot hold", "fixed<9,1>"] {
        assert!(refused.stdout.contains(part), "'{part}' is not in: {}", refused.stdout);
    }
    assert!(!d.join("pkg").exists());
    let json = compile("hls4ml").ok().json();
    let parts = [
        "weight 18 is 0.509",
        "outside fixed<8,0,TRN,WRAP>: it becomes -0.49",
        "weight = \"fixed<9,1,TRN,WRAP>\"",
    ];
    says(&about(&json, "/inner/net/net.0/Gemm"), &parts);
}
