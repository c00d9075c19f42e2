//! Reference vectors: written, verified, and refused where they are of other bits.

use std::fs;

use hs_runtime::{Tensor, npz};
use serde_json::json;

use crate::{CNN, MLP, can_simulate, listing, run};

const TYPE: [&str; 2] = ["--precision", "fixed<16,6>"];

#[test]
fn written_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "compile", CNN.onnx(), "-o", "pkg", TYPE[0], TYPE[1]).ok();
    run!(d, "golden", "write", "pkg", "--input", CNN.x(), "--rows", "25", "-o", "g.npz").ok();
    run!(d, "golden", "write", "pkg", "--input", CNN.x(), "--rows", "25", "-o", "again.npz").ok();
    assert_eq!(fs::read(d.join("g.npz")).unwrap(), fs::read(d.join("again.npz")).unwrap());
    let out = run!(d, "golden", "verify", "pkg", "g.npz").ok();
    assert!(out.stdout.contains("250 codes, all equal"), "{}", out.stdout);
    // The model itself, compiled alike, is as good as the package.
    let json = run!(d, "golden", "verify", CNN.onnx(), "g.npz", TYPE[0], TYPE[1], "--json").ok().json();
    assert_eq!(json["rows"], json!(25));
    let by: Vec<_> = json["checks"].as_array().unwrap().iter().map(|c| c["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["input quantiser", "emulator"]);
    assert_eq!(json["checks"][1]["mismatches"], json!(0));
    assert_eq!(json["checks"][1]["values"], json!(250));
    assert_eq!(listing(d), ["again.npz", "g.npz", "pkg"]);
}

#[test]
fn random_rows_reach_the_edges() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "compile", MLP.onnx(), "-o", "pkg", TYPE[0], TYPE[1]).ok();
    run!(d, "golden", "write", "pkg", "-o", "g.npz").ok();
    let members = npz::load(d.join("g.npz")).unwrap();
    let input = &members.iter().find(|(n, _)| n.starts_with("input/")).unwrap().1;
    let codes = input.as_slice::<i64>().unwrap();
    assert_eq!(input.rows(), 64);
    assert_eq!((codes.iter().min(), codes.iter().max()), (Some(&-32768), Some(&32767)));
    run!(d, "golden", "verify", "pkg", "g.npz").ok();
    run!(d, "golden", "write", "pkg", "-o", "other.npz", "--seed", "1").ok();
    assert_ne!(fs::read(d.join("g.npz")).unwrap(), fs::read(d.join("other.npz")).unwrap());
    run!(d, "golden", "verify", "pkg", "other.npz").ok();
}

#[test]
fn the_c_simulation_is_verified_too() {
    if !can_simulate() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "compile", MLP.onnx(), "-o", "pkg", TYPE[0], TYPE[1]).ok();
    run!(d, "golden", "write", "pkg", "-o", "g.npz").ok();
    let json = run!(d, "golden", "verify", "pkg", "g.npz", "--csim", "--json").ok().json();
    assert_eq!(json["checks"][1]["by"], json!("C simulation"));
    assert_eq!(json["checks"][1]["values"], json!(640));
    assert_eq!(json["checks"][1]["mismatches"], json!(0));
}

/// Rewrites the archive.
fn edit(path: &std::path::Path, change: impl Fn(&str, Tensor) -> Tensor) {
    let members: Vec<_> =
        npz::load(path).unwrap().into_iter().map(|(n, t)| (n.clone(), change(&n, t))).collect();
    npz::save(path, members.iter().map(|(n, t)| (n.as_str(), t))).unwrap();
}

/// Changes one output code: number 37.
pub(crate) fn falsify(path: &std::path::Path) {
    edit(path, |name, t| {
        if !name.starts_with("output/") {
            return t;
        }
        let mut codes = t.as_slice::<i64>().unwrap().to_vec();
        codes[37] += 1;
        Tensor::of(t.shape(), codes).unwrap()
    });
}

#[test]
fn one_wrong_code_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "compile", MLP.onnx(), "-o", "pkg", TYPE[0], TYPE[1]).ok();
    run!(d, "golden", "write", "pkg", "-o", "g.npz").ok();
    falsify(&d.join("g.npz"));
    let out = run!(d, "golden", "verify", "pkg", "g.npz");
    assert_eq!(out.code, 1, "{}", out.stderr);
    assert!(
        out.stdout.contains("1 of 640 codes differ") && out.stdout.contains("row 3, element 7"),
        "{}",
        out.stdout
    );
    let json = run!(d, "golden", "verify", "pkg", "g.npz", "--json");
    assert_eq!((json.code, json.json()["ok"].clone()), (1, json!(false)));
}

#[test]
fn vectors_of_other_bits_are_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "golden", "write", MLP.onnx(), TYPE[0], TYPE[1], "--rows", "4", "-o", "g.npz").ok();
    let other = run!(d, "golden", "verify", MLP.onnx(), "g.npz", "--precision", "fixed<14,6>");
    assert_eq!(other.code, 3, "{}", other.stdout);
    for part in ["fingerprint", "fixed<16,6,RND,SAT>", "fixed<14,6,RND,SAT>", "help:", "golden write"] {
        assert!(other.stderr.contains(part), "'{part}' is not in: {}", other.stderr);
    }
    // Same types, other weights: another model.
    let other = run!(d, "golden", "verify", CNN.onnx(), "g.npz", TYPE[0], TYPE[1]);
    assert_eq!(other.code, 3);
}

#[test]
fn what_is_no_golden_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run!(d, "compile", MLP.onnx(), "-o", "pkg", TYPE[0], TYPE[1]).ok();
    let refused = |why: &str| {
        let out = run!(d, "golden", "verify", "pkg", "g.npz");
        assert_eq!(out.code, 3, "{}", out.stdout);
        assert!(
            out.stderr.contains(why) && !out.stderr.contains("panicked"),
            "'{why}' is not in: {}",
            out.stderr
        );
    };
    refused("g.npz");
    fs::write(d.join("g.npz"), "no zip").unwrap();
    refused("not a readable .npz");
    let t = Tensor::of([1], vec![1i64]).unwrap();
    npz::save(d.join("g.npz"), [("x", &t)]).unwrap();
    refused("golden.json");

    run!(d, "golden", "write", "pkg", "--rows", "5", "-o", "good.npz").ok();
    let again = || fs::copy(d.join("good.npz"), d.join("g.npz")).unwrap();
    let about = |from: &str, to: &str| {
        again();
        edit(&d.join("g.npz"), |name, t| {
            if name != "golden.json" {
                return t;
            }
            let text = String::from_utf8(t.as_slice::<u8>().unwrap().to_vec()).unwrap();
            assert!(text.contains(from), "{text}");
            let text = text.replace(from, to).into_bytes();
            Tensor::of([text.len()], text).unwrap()
        });
    };
    about("\"format_version\": 1", "\"format_version\": 7");
    refused("format version 7");
    about("\"rows\": 5", "\"rows\": 6");
    refused("has 5 rows, not 6");
    about("hypersonic-golden", "something-else");
    refused("hypersonic-golden");
    // A code that the input's type does not have.
    again();
    edit(&d.join("g.npz"), |name, t| {
        if !name.starts_with("input/") {
            return t;
        }
        Tensor::of(t.shape(), vec![1i64 << 40; t.data().len()]).unwrap()
    });
    refused("input");
}
