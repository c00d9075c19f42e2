//! What data does to a model.

use std::fs;

use serde_json::{Value, json};

use crate::{CNN, MLP, listing, run};

fn layers(json: &Value) -> &Vec<Value> {
    json["layers"].as_array().unwrap()
}

#[test]
fn a_table_a_page_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let args = ["--precision", "fixed<12,4>", "--rows", "40"];
    let out = run!(
        d,
        "profile",
        CNN.onnx(),
        "--input",
        CNN.x(),
        "--html",
        "p.html",
        args[0],
        args[1],
        args[2],
        args[3]
    )
    .ok();
    for part in ["own SQNR", "the worst layer is '", "p.html", "rows"] {
        assert!(out.stdout.contains(part), "'{part}' is not in: {}", out.stdout);
    }
    let page = fs::read_to_string(d.join("p.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<svg") && !page.contains("<script") && !page.contains("http"));
    assert_eq!(listing(d), ["p.html"]);

    let json =
        run!(d, "profile", CNN.onnx(), "--input", CNN.x(), "--json", args[0], args[1], args[2], args[3])
            .ok()
            .json();
    assert_eq!(json["rows"], json!(40));
    let worst = json["worst"].as_u64().unwrap() as usize;
    let own = |l: &Value| l["own"]["sqnr_db"].as_f64().unwrap_or(f64::INFINITY);
    let lowest = layers(&json).iter().map(own).fold(f64::INFINITY, f64::min);
    assert_eq!(own(&layers(&json)[worst]), lowest);
    assert_eq!(json["worst_layer"], layers(&json)[worst]["node"]);
    for l in layers(&json) {
        let values = l["values"].as_u64().unwrap();
        let zeros = l["zeros"].as_u64().unwrap();
        let sum =
            |key: &str, at: &dyn Fn(&Value) -> u64| l[key].as_array().unwrap().iter().map(at).sum::<u64>();
        assert_eq!(sum("histogram", &|b| b["count"].as_u64().unwrap()), values, "{l}");
        assert_eq!(sum("magnitudes", &|b| b[1].as_u64().unwrap()) + zeros, values, "{l}");
    }
}

#[test]
fn an_overflow_is_found_and_the_proposal_cures_it() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // The digits' logits reach beyond ±4.
    let json = run!(d, "profile", MLP.onnx(), "--input", MLP.x(), "--precision", "fixed<14,3>", "--json")
        .ok()
        .json();
    let outside =
        |json: &Value| layers(json).iter().map(|l| l["outside"]["elements"].as_u64().unwrap()).sum::<u64>();
    assert!(outside(&json) > 0, "{json}");
    let before = outside(&json);
    fs::write(d.join("m.toml"), json["configuration"].as_str().unwrap()).unwrap();
    let cured = run!(
        d,
        "profile",
        MLP.onnx(),
        "--input",
        MLP.x(),
        "--precision",
        "fixed<14,3>",
        "--config",
        "m.toml",
        "--json"
    )
    .ok()
    .json();
    assert_eq!(outside(&cured), 0, "of {before}: {cured}");
}

#[test]
fn wide_types_leave_nothing_to_say() {
    let dir = tempfile::tempdir().unwrap();
    let json = run!(
        dir.path(),
        "profile",
        MLP.onnx(),
        "--input",
        MLP.x(),
        "--precision",
        "fixed<28,10>",
        "--target-db",
        "60",
        "--json"
    )
    .ok()
    .json();
    assert!(layers(&json).iter().all(|l| l["cause"] == json!("fine") && l["advice"].is_null()), "{json}");
    assert!(json["configuration"].is_null());
}

#[test]
fn bad_requests() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<16,6>").ok();
    let out = run!(d, "profile", "pkg", "--input", MLP.x());
    assert_eq!(out.code, 2);
    assert!(out.stderr.contains("float model"), "{}", out.stderr);
    let out = run!(d, "profile", MLP.onnx(), "--input", MLP.x(), "--target-db", "-3");
    assert_eq!(out.code, 2);
    let out = run!(
        d,
        "profile",
        MLP.onnx(),
        "--input",
        MLP.x(),
        "--precision",
        "fixed<16,6>",
        "--html",
        "no/p.html"
    );
    assert_eq!(out.code, 3, "{}", out.stderr);
}
