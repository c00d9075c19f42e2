//! Every command in the documents, with the output that they show.

use std::{fs, path::Path, process::Command};

/// Commands of ```` ```console ```` blocks and the lines shown below each.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            match line.strip_prefix("$ ") {
                Some(command) => found.push((command.to_owned(), Vec::new())),
                None => found.last_mut().expect("a command first").1.push(line.to_owned()),
            }
        }
    }
    found
}

/// One blank between words, whatever the width of a table's columns.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
fn runs(document: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    for folder in ["tests", "examples"] {
        std::os::unix::fs::symlink(root.join(folder), dir.path().join(folder)).unwrap();
    }
    let binary = assert_cmd::cargo::cargo_bin("hypersonic");
    let mut path = vec![binary.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let path = std::env::join_paths(path).unwrap();
    let all = commands(&fs::read_to_string(root.join(document)).unwrap());
    for (command, shown) in &all {
        let mut bash = Command::new("bash");
        let out = bash.args(["-c", command]).current_dir(dir.path()).env("PATH", &path).output().unwrap();
        let text =
            format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{command}\n{text}");
        for line in shown {
            assert!(words(&text).contains(&words(line)), "{command}\n'{line}' is not in:\n{text}");
        }
    }
    all.len()
}

#[cfg(unix)]
#[test]
fn coming_from_hls4ml() {
    assert!(runs("docs/hls4ml.md") > 10);
}

#[cfg(unix)]
#[test]
fn hosts() {
    assert_eq!(runs("docs/host.md"), 2);
}

#[cfg(unix)]
#[test]
fn from_a_model_to_a_bitstream() {
    assert!(runs("docs/fpga.md") > 2);
}
