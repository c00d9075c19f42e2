//! Who may import whom (ARCHITECTURE.md), read off `cargo metadata`.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

/// Each workspace crate and the workspace crates that it may depend on, its own tests included: a test that
/// needs both sides of a border belongs into the root package.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("hs-fixed", &[]),
    ("hs-ir", &["hs-fixed"]),
    ("hs-hw", &["hs-fixed"]),
    ("hs-package", &["hs-fixed", "hs-hw"]),
    ("hs-compiler", &["hs-fixed", "hs-ir", "hs-hw", "hs-package"]),
    ("hs-runtime", &["hs-fixed", "hs-hw", "hs-package"]),
    ("hs-emulator", DEVICE),
    ("hs-backend-identity", DEVICE),
    ("hs-backend-onnxruntime", DEVICE),
    (
        "hs-backend-xrt",
        &[
            "hs-bitstream",
            "hs-card",
            "hs-emulator",
            "hs-hw",
            "hs-opencl",
            "hs-package",
            "hs-runtime",
            "hs-xrt",
        ],
    ),
    ("hs-xclbin", &["hs-hw"]),
    ("hs-bitstream", &["hs-hw", "hs-package", "hs-xclbin"]),
    ("hs-capi", &["hs-emulator", "hs-hw", "hs-package", "hs-runtime"]),
    ("hs-xrt-sys", &[]),
    ("hs-xrt", &["hs-xclbin", "hs-xrt-sys"]),
    ("hs-xrt-emu", &[]),
    ("hs-opencl", &["hs-xclbin", "hs-xrt"]),
    ("hs-card", &[]),
    ("hs-model-config", &[]),
    ("hs-proto", &["hs-model-config"]),
    ("hs-serve", &["hs-model-config", "hs-runtime"]),
    ("hs-client", &["hs-proto", "hs-runtime"]),
    ("hs-server", &["hs-model-config", "hs-proto", "hs-runtime", "hs-serve"]),
    ("hs-fuzz-targets", &["hs-compiler", "hs-hw", "hs-ir", "hs-xclbin"]),
    ("xtask", &[]),
];

const DEVICE: &[&str] = &["hs-fixed", "hs-hw", "hs-package", "hs-runtime"];

/// Crates from elsewhere that some part must not know, by the crate that must not.
const NEVER: &[(&str, &[&str])] = &[
    ("hs-fixed", &["half", "ndarray"]),
    ("hs-hw", &["prost"]),
    ("hs-package", &["prost"]),
    ("hs-compiler", &["tokio", "axum", "tonic", "libloading", "ort"]),
    ("hs-runtime", &["tokio", "axum", "tonic", "prost"]),
    ("hs-xclbin", &["libloading", "tokio"]),
    ("hs-bitstream", &["tokio", "libloading"]),
    ("hs-serve", &["axum", "tonic", "hyper", "prost"]),
    ("hs-model-config", &["tokio", "axum", "tonic"]),
];

const ROOT: &str = "hypersonic";

fn workspace() -> Vec<(String, BTreeSet<String>, String)> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let crates: Vec<_> = packages
        .iter()
        .map(|p| {
            let imports = p["dependencies"].as_array().unwrap().iter().map(|d| text(&d["name"])).collect();
            (text(&p["name"]), imports, text(&p["manifest_path"]))
        })
        .collect();
    assert!(crates.len() > 1, "the workspace has no members");
    crates
}

#[test]
fn imports_go_in_one_direction() {
    let crates = workspace();
    let members: BTreeSet<&str> = crates.iter().map(|(name, ..)| name.as_str()).collect();
    let mut wrong = Vec::new();
    for (name, imports, _) in crates.iter().filter(|(name, ..)| name != ROOT) {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(n, _)| n == name) else {
            wrong.push(format!("{name} has no line in MAY_IMPORT (tests/deps.rs)"));
            continue;
        };
        for import in imports.iter().filter(|i| members.contains(i.as_str())) {
            if !allowed.contains(&import.as_str()) {
                wrong.push(format!("{name} must not import {import}"));
            }
        }
        for (_, never) in NEVER.iter().filter(|(n, _)| n == name) {
            wrong.extend(
                never.iter().filter(|i| imports.contains(**i)).map(|i| format!("{name} must not import {i}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for (name, _, manifest) in workspace() {
        let text = fs::read_to_string(manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{name} lacks `[lints] workspace = true`");
    }
}
