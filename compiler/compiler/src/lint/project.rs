//! Rules on the scripts of a project.

use super::Finding;
use crate::hls::EmittedFile;

pub(super) fn check(files: &[EmittedFile], findings: &mut Vec<Finding>) {
    let text = |path: &str| files.iter().find(|f| f.path == path).map(|f| String::from_utf8_lossy(&f.bytes));
    let mut broken = |path: &str, line: usize, rule: &'static str, found: &str| {
        findings.push(Finding { path: path.to_owned(), line, rule, found: found.to_owned() });
    };
    for file in files {
        let text = String::from_utf8_lossy(&file.bytes);
        let is_text = !file.path.ends_with(".bin");
        if is_text && let Some(n) = text.lines().position(|l| l.contains("@TOP@") || l.contains("@MODEL@")) {
            broken(&file.path, n + 1, "template", "a placeholder is left");
        }
    }
    if let Some(config) = text("hls_config.cfg") {
        let section = config.lines().position(|l| l.trim() == "[hls]").unwrap_or(usize::MAX);
        for (n, line) in config.lines().enumerate() {
            if (line.starts_with("part=") || line.starts_with("platform=")) && n > section {
                broken("hls_config.cfg", n + 1, "part-outside-section", line);
            }
        }
        for key in ["flow_target=", "clock=", "clock_uncertainty=", "part="] {
            if !config.lines().any(|l| l.starts_with(key)) {
                broken("hls_config.cfg", 1, "explicit-options", key);
            }
        }
    }
    if let Some(options) = text("options.tcl") {
        for key in ["set part ", "set clock_period ", "set clock_uncertainty "] {
            if !options.lines().any(|l| l.starts_with(key)) {
                broken("options.tcl", 1, "explicit-options", key);
            }
        }
    }
    if let Some(script) = text("build.tcl")
        && script.contains("argv")
    {
        broken("build.tcl", 1, "options-in-a-file", "vitis-run hands no arguments to Tcl");
    }
}
