//! The v2 protocol as its clients speak it: pytest drives `hypersonic serve` with the real tritonclient, raw HTTP, raw
//! gRPC, perf_analyzer and Chromium. The same tests run against a real Triton (`make conformance-triton`), so they are
//! true.

use std::{env, path::Path, process::Command};

/// Runs the tests that `marks` selects, a pytest expression.
fn pytest(marks: &str) {
    let Some(python) = env::var_os("HYPERSONIC_PYTHON") else {
        eprintln!(
            "skipped: conformance tests need tritonclient and pytest (scripts/setup --test, scripts/env)"
        );
        return;
    };
    let out = Command::new(python)
        .args(["-B", "-m", "pytest", "--quiet", "--tb=short", "-rs", "--server", "hypersonic", "-m", marks])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance"))
        .env("HYPERSONIC_BINARY", assert_cmd::cargo::cargo_bin("hypersonic"))
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "pytest -m '{marks}': {}\n{text}", out.status);
    for why in text.lines().filter_map(|line| line.strip_prefix("SKIPPED ")) {
        eprintln!("skipped: {why}");
    }
}

#[test]
fn protocol() {
    pytest("not perf_analyzer and not other_servers and not browser");
}

#[test]
fn other_servers() {
    pytest("other_servers");
}

#[test]
fn perf_analyzer() {
    pytest("perf_analyzer");
}

#[test]
fn browser() {
    pytest("browser");
}
