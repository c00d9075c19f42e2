//! Cards: what fits, what is linked, what is refused.

use std::fs;

use hs_package::{Evidence, Figures, Package, Resources, Step, StepEvidence, Tool};
use serde_json::json;

use crate::{CNN, MLP, listing, run};

/// Said wherever an estimate is shown.
const UNPROVEN: &str = "unproven until evidence.json says otherwise";

#[test]
fn a_card_decides_part_units_and_banks() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let types = ["--precision", "fixed<8,4>"];
    let out = run!(
        dir.path(),
        "compile",
        CNN.onnx(),
        "-o",
        "pkg",
        types[0],
        types[1],
        "--platform",
        "u55c",
        "--cus",
        "2",
        "--clock",
        "300"
    )
    .ok();
    assert!(out.stdout.contains("compute units  2") && out.stdout.contains(UNPROVEN), "{}", out.stdout);
    let link = fs::read_to_string(at("pkg/hls/connectivity.cfg")).unwrap();
    let kernel = "torch_legacy_digits_cnn_kernel";
    let settings: Vec<&str> = link.lines().filter(|l| !l.starts_with('#')).collect();
    let expected = [
        "[connectivity]".to_owned(),
        format!("nk={kernel}:2"),
        format!("slr={kernel}_1:SLR0"),
        format!("slr={kernel}_2:SLR1"),
        format!("sp={kernel}_1.x_input:HBM[0:3]"),
        format!("sp={kernel}_1.y_output_output:HBM[8:11]"),
        format!("sp={kernel}_2.x_input:HBM[4:7]"),
        format!("sp={kernel}_2.y_output_output:HBM[12:15]"),
    ];
    assert_eq!(settings, expected);
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(at("pkg/manifest.json")).unwrap()).unwrap();
    let kernel = &manifest["kernel"];
    assert_eq!(kernel["part"], json!("xcu55c-fsvh2892-2L-e"));
    assert_eq!(kernel["platform"], json!("xilinx_u55c_gen3x16_xdma_3_202210_1"));
    assert_eq!((&kernel["clock_mhz"], &kernel["compute_units"]), (&json!(300), &json!(2)));

    // The report of the package and `inspect` say the same.
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(at("pkg/report/estimate.json")).unwrap()).unwrap();
    let inspected = run!(dir.path(), "inspect", "pkg", "--json").ok().json();
    assert_eq!(inspected["estimate"], report);
    assert_eq!(report["clock_mhz"], json!(300));
    assert!(report["status"].as_str().unwrap().contains(UNPROVEN));
    let text = fs::read_to_string(at("pkg/report/estimate.txt")).unwrap();
    let shown = run!(dir.path(), "inspect", "pkg").ok().stdout;
    assert!(shown.contains(text.trim_end()) && text.contains(UNPROVEN), "{shown}");
    assert!(shown.contains("xilinx_u55c_gen3x16_xdma_3_202210_1"), "{shown}");
}

#[test]
fn a_part_alone_has_nothing_to_link() {
    let dir = tempfile::tempdir().unwrap();
    let part = "xcvu9p-flgb2104-2-i";
    let platform = format!("generic-part={part}");
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<8,4>", "--platform", platform)
        .ok();
    let hls = dir.path().join("pkg/hls");
    assert!(!listing(&hls).contains(&"connectivity.cfg".to_owned()));
    let config = fs::read_to_string(hls.join("hls_config.cfg")).unwrap();
    assert!(config.contains(&format!("part={part}")), "{config}");
}

#[test]
fn inspect_says_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let out = run!(dir.path(), "inspect", CNN.onnx(), "--precision", "fixed<8,4>", "--io", "stream").ok();
    for word in [UNPROVEN, "DSP", "BRAM18", "cycles a row, due to", "U55C", "aws-f1", "never"] {
        assert!(out.stdout.contains(word), "{word}: {}", out.stdout);
    }
    let json = |reuse: &str| {
        let json = run!(
            dir.path(),
            "inspect",
            CNN.onnx(),
            "--precision",
            "fixed<8,4>",
            "--io",
            "stream",
            "--reuse",
            reuse,
            "--json"
        );
        json.ok().json()["estimate"].clone()
    };
    let (fast, slow) = (json("1"), json("12"));
    let dsp = |e: &serde_json::Value| e["design"]["total"]["dsp"].as_u64().unwrap();
    let interval = |e: &serde_json::Value| e["design"]["interval"].as_u64().unwrap();
    assert!(dsp(&slow) < dsp(&fast) && interval(&slow) > interval(&fast), "{slow}\n{fast}");
    assert_eq!(fast["rows_per_second"].as_u64(), Some(250_000_000 / interval(&fast)));
    assert_eq!(fast["fits"].as_array().map(Vec::len), Some(6));
}

#[test]
fn what_does_not_fit_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    // Products of 32 bits take four DSP each.
    let out = run!(
        dir.path(),
        "compile",
        CNN.onnx(),
        "-o",
        "pkg",
        "--precision",
        "fixed<32,12>",
        "--io",
        "stream",
        "--platform",
        "U50"
    );
    assert_eq!(out.code, 3, "{}", out.stdout);
    for word in ["DSP", "1806", "/f/f.4/Conv", "help:", "reuse factor", "fewer bits", "unproven"] {
        assert!(out.stderr.contains(word), "{word}: {}", out.stderr);
    }
    let out = run!(
        dir.path(),
        "compile",
        CNN.onnx(),
        "-o",
        "pkg",
        "--precision",
        "fixed<8,4>",
        "--platform",
        "U50",
        "--cus",
        "31"
    );
    assert_eq!(out.code, 3, "{}", out.stdout);
    assert!(out.stderr.contains("31 compute units") && out.stderr.contains("--cus 2"), "{}", out.stderr);
    assert_eq!(listing(dir.path()), Vec::<String>::new());
}

#[test]
fn platforms_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["--platform", "U99"], "U55C, U50, U200, U250, U280, aws-f1"),
        (&["--platform", "generic-part=vu9p"], "no FPGA part"),
        (&["--platform", "generic-part=xcvu9p-flgb2104-2-i", "--cus", "2"], "--cus needs a card"),
        (&["--cus", "2"], "--platform"),
        (&["--platform", "U55C", "--cus", "32"], "1..=31"),
        (&["--clock", "5000"], "50..=600"),
    ];
    for (args, message) in cases {
        let mut all = vec!["compile".into(), MLP.onnx().into_os_string(), "-o".into(), "pkg".into()];
        all.extend(args.iter().map(Into::into));
        let out = crate::hypersonic(dir.path(), &all);
        assert_eq!(out.code, 2, "{args:?}: {}", out.stderr);
        assert!(out.stderr.contains(message), "{args:?}: {}", out.stderr);
        assert_eq!(listing(dir.path()), Vec::<String>::new());
    }
}

#[test]
fn evidence_stands_beside_the_estimate() {
    let dir = tempfile::tempdir().unwrap();
    run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<8,4>").ok();
    let json = run!(dir.path(), "inspect", "pkg", "--json").ok().json();
    assert_eq!(json["evidence"], json!(null));
    let package = Package::open(dir.path().join("pkg")).unwrap();
    let mut evidence = Evidence::of(&package);
    evidence.record(StepEvidence {
        step: Step::Csynth,
        date: "2026-01-02T03:04:05Z".to_owned(),
        tools: vec![Tool { name: "vitis_hls".to_owned(), version: "2023.2".to_owned() }],
        part: "xcu55c-fsvh2892-2L-e".to_owned(),
        platform: None,
        figures: Figures {
            resources: Resources { lut: Some(4321), dsp: Some(77), ..Resources::default() },
            ..Figures::default()
        },
        missing: Vec::new(),
        reports: Vec::new(),
    });
    package.write_evidence(&evidence).unwrap();
    let text = run!(dir.path(), "inspect", "pkg").ok().stdout;
    for word in ["evidence.json", "csynth", "4,321", "77", "vitis_hls 2023.2", "2026-01-02T03:04:05Z"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json = run!(dir.path(), "inspect", "pkg", "--json").ok().json();
    assert_eq!(json["evidence"]["steps"][0]["figures"]["resources"]["lut"], json!(4321));
    assert!(json["estimate"]["design"]["total"]["lut"].as_u64().is_some());
}
