//! `simulate`: sizing without a card.

use serde_json::{Value, json};

use crate::{CNN, MLP, listing, run};

const UNPROVEN: &str = "unproven until evidence.json says otherwise";

fn package(dir: &std::path::Path) {
    run!(
        dir,
        "compile",
        MLP.onnx(),
        "-o",
        "pkg",
        "--precision",
        "fixed<8,4>",
        "--platform",
        "U55C",
        "--cus",
        "2",
        "--clock",
        "300"
    )
    .ok();
}

#[test]
fn a_package_is_simulated_as_it_was_linked() {
    let dir = tempfile::tempdir().unwrap();
    package(dir.path());
    let simulated = |more: &[&str]| {
        let mut args =
            vec!["simulate", "pkg", "--card", "u55c", "--clients", "16", "--rows", "4096", "--json"];
        args.extend(more);
        crate::hypersonic(dir.path(), &args).ok().json()
    };
    let out = simulated(&[]);
    assert!(out["status"].as_str().unwrap().contains(UNPROVEN), "{out}");
    assert!(out["status"].as_str().unwrap().starts_with("simulated"), "{out}");
    assert!(out["sources"]["link"].as_str().unwrap().contains("published"), "{out}");
    assert_eq!((&out["compute_units"], &out["slots"], &out["clients"]), (&json!(2), &json!(4), &json!(16)));

    // The kernel is that of `inspect`'s estimate: 64 inputs and 10 outputs of 8 bits.
    let design = run!(dir.path(), "inspect", "pkg", "--json").ok().json()["estimate"]["design"].clone();
    let kernel = &out["kernel"];
    assert_eq!(
        (&kernel["interval_cycles"], &kernel["latency_cycles"]),
        (&design["interval"], &design["latency"])
    );
    assert_eq!((&kernel["clock_mhz"], &kernel["input_bytes"]), (&json!(300), &json!(64)));

    let number = |out: &Value, name: &str| out["result"][name].as_f64().unwrap();
    // Little's law: clients = throughput x mean latency.
    let latency = out["result"]["latency_ns"]["mean"].as_f64().unwrap() / 1e9;
    let clients = number(&out, "requests_per_second") * latency;
    assert!((clients / 16.0 - 1.0).abs() < 0.02, "{clients} {out}");
    assert_eq!(number(&out, "rows_per_second"), 4096.0 * number(&out, "requests_per_second"));
    assert_eq!(out["result"]["binds"], json!("compute-units"));

    // More units are faster, one client waits for nobody, and the same again gives the same.
    let more = simulated(&["--cus", "3"]);
    assert!(number(&more, "rows_per_second") > 1.2 * number(&out, "rows_per_second"), "{more}");
    let alone = simulated(&["--slots", "1", "--cus", "1", "--duration", "0.5"]);
    assert_eq!((&alone["result"]["binds"], &alone["duration_s"]), (&json!("slots"), &json!(0.5)));
    assert_eq!(simulated(&[]), out);
    assert_eq!(listing(dir.path()), ["pkg"]);
}

#[test]
fn a_person_reads_what_limits_and_that_nothing_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let out = run!(
        dir.path(),
        "simulate",
        MLP.onnx(),
        "--precision",
        "fixed<8,4>",
        "--card",
        "U250",
        "--clients",
        "1"
    )
    .ok();
    for word in ["Simulated, no card was used", UNPROVEN, "assumed", "rows/s", "p99", "binds", "the clients"]
    {
        assert!(out.stdout.contains(word), "{word}: {}", out.stdout);
    }
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let onnx = CNN.onnx().display().to_string();
        let mut all = vec!["simulate", &onnx, "--precision", "fixed<8,4>", "--io", "stream"];
        all.extend(args);
        let out = crate::hypersonic(dir.path(), &all);
        assert_eq!(out.code, code, "{args:?} {} {}", out.stdout, out.stderr);
        for word in words {
            assert!(out.stderr.contains(word), "{word}: {}", out.stderr);
        }
    };
    refused(&["--card", "U50", "--clients", "1"], 2, &["U55C, U250, aws-f1"]);
    refused(&["--card", "U55C"], 2, &["--clients"]);
    refused(&["--card", "U55C", "--clients", "0"], 2, &["--clients"]);
    refused(&["--card", "U55C", "--clients", "1", "--duration", "nan"], 2, &["0.001 to 3600"]);
    refused(&["--card", "U55C", "--clients", "1", "--cus", "31"], 3, &["31 compute units", "fit the U55C"]);
    let large = ["--card", "U55C", "--clients", "100000", "--rows", "10000000"];
    refused(&large, 2, &["launches at a time", "--launch-rows"]);
    let short = ["--card", "U55C", "--clients", "1", "--rows", "1000000", "--duration", "0.001"];
    refused(&short, 2, &["no request was answered", "--duration"]);
}
