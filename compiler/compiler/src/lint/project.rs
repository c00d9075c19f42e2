//! Rules on the scripts and configurations of a project.

use std::borrow::Cow;

use super::Finding;
use crate::hls::EmittedFile;

struct Project<'a> {
    files: &'a [EmittedFile],
    findings: &'a mut Vec<Finding>,
}

pub(super) fn check(files: &[EmittedFile], findings: &mut Vec<Finding>) {
    let mut project = Project { files, findings };
    project.placeholders();
    project.launcher();
    project.configuration();
    project.one_clock();
    project.software_emulation();
}

/// Value of `key=value` or of Tcl's `set key value` on a line.
fn value<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let rest = line.trim().strip_prefix("set ").unwrap_or(line.trim()).strip_prefix(key)?;
    rest.strip_prefix('=').or_else(|| rest.strip_prefix(' ')).map(str::trim)
}

fn is_placeholder(line: &str) -> bool {
    let mut parts = line.split('@').skip(1).step_by(2);
    parts.any(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
}

impl<'a> Project<'a> {
    fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        self.files.iter().find(|f| f.path == path).map(|f| String::from_utf8_lossy(&f.bytes))
    }

    fn broken(&mut self, path: &str, line: usize, rule: &'static str, found: &str) {
        self.findings.push(Finding { path: path.to_owned(), line, rule, found: found.to_owned() });
    }

    /// Every placeholder of a template is filled.
    fn placeholders(&mut self) {
        for file in self.files.iter().filter(|f| !f.path.ends_with(".bin")) {
            let text = String::from_utf8_lossy(&file.bytes);
            if let Some(n) = text.lines().position(is_placeholder) {
                self.broken(&file.path, n + 1, "template", "a placeholder is left");
            }
        }
    }

    /// `vitis_hls -f` up to 2024.2, `vitis-run --mode hls --tcl` after, which hands no arguments to Tcl: each step is a
    /// script without arguments, and the options are in a file that it sources.
    fn launcher(&mut self) {
        let scripts: Vec<&EmittedFile> = self.files.iter().filter(|f| f.path.ends_with(".tcl")).collect();
        for file in &scripts {
            let text = String::from_utf8_lossy(&file.bytes);
            for (n, line) in text.lines().enumerate() {
                if ["$argv", "$::argv", "argc"].iter().any(|w| line.contains(w)) {
                    self.broken(
                        &file.path,
                        n + 1,
                        "options-in-a-file",
                        "vitis-run hands no arguments to Tcl",
                    );
                }
            }
            let sourced = match file.path.as_str() {
                "options.tcl" => continue,
                "project.tcl" => "options.tcl",
                _ => "project.tcl",
            };
            if !text.lines().any(|l| l.starts_with("source ") && l.contains(sourced)) {
                self.broken(&file.path, 1, "options-in-a-file", &format!("it does not source {sourced}"));
            }
            let steps = !["options.tcl", "project.tcl"].contains(&file.path.as_str());
            if steps && text.lines().last().is_none_or(|l| l != "exit") {
                self.broken(&file.path, 1, "launcher", "a script that does not exit leaves the tool waiting");
            }
        }
        if scripts.is_empty() {
            return;
        }
        let Some(makefile) = self.text("Makefile") else { return };
        for launcher in ["vitis_hls -f", "vitis-run --mode hls --tcl"] {
            if !makefile.lines().any(|l| !l.starts_with('#') && l.contains(launcher)) {
                self.broken("Makefile", 1, "launcher", &format!("it has no '{launcher}'"));
            }
        }
    }

    /// Part, kernel, target, format, clock and its uncertainty are given, each where the tool reads it.
    fn configuration(&mut self) {
        if let Some(config) = self.text("hls_config.cfg") {
            let section = config.lines().position(|l| l.trim() == "[hls]").unwrap_or(usize::MAX);
            for (n, line) in config.lines().enumerate() {
                if n > section && ["part", "platform"].iter().any(|key| value(line, key).is_some()) {
                    self.broken("hls_config.cfg", n + 1, "part-outside-section", line);
                }
            }
            for (key, expected) in [
                ("part", ""),
                ("flow_target", "vitis"),
                ("clock", ""),
                ("clock_uncertainty", ""),
                ("syn.top", ""),
                ("package.output.format", "xo"),
            ] {
                let found = config.lines().enumerate().find_map(|(n, l)| Some((n, value(l, key)?)));
                let inside = found.is_some_and(|(n, v)| (n > section || key == "part") && !v.is_empty());
                if !inside || !expected.is_empty() && found.is_some_and(|(_, v)| v != expected) {
                    self.broken("hls_config.cfg", 1, "explicit-options", &format!("{key}={expected}"));
                }
            }
        }
        if let Some(config) = self.text("hls_config.cfg") {
            for (n, line) in config.lines().enumerate() {
                let named = ["syn.file", "tb.file"].iter().find_map(|key| value(line, key));
                if named.is_some_and(|named| self.text(named).is_none()) {
                    self.broken("hls_config.cfg", n + 1, "named-files", line);
                }
            }
        }
        for (path, required) in [
            (
                "options.tcl",
                ["set part ", "set clock_period ", "set clock_uncertainty ", "set kernel "].as_slice(),
            ),
            ("project.tcl", &["set_top $kernel", "set_part $part", "create_clock -period $clock_period"]),
            ("project.tcl", &["set_clock_uncertainty $clock_uncertainty", "-flow_target vitis"]),
            ("xo.tcl", &["export_design -format xo"]),
        ] {
            let Some(text) = self.text(path) else { continue };
            for words in required {
                if !text.lines().any(|l| !l.starts_with('#') && l.contains(words)) {
                    self.broken(path, 1, "explicit-options", words);
                }
            }
        }
    }

    /// Synthesis, compiler and linker are asked for the same clock.
    fn one_clock(&mut self) {
        let read = |path: &str, key: &str, mhz: &dyn Fn(&str) -> Option<f64>| {
            let text = self.text(path)?;
            let found = text.lines().enumerate().find_map(|(n, l)| Some((n, value(l, key)?.to_owned())));
            Some(match found {
                Some((n, value)) => (path.to_owned(), n + 1, mhz(&value), format!("{key} {value}")),
                None => (path.to_owned(), 1, None, format!("no {key}")),
            })
        };
        let number = |v: &str| v.parse::<f64>().ok().filter(|v| *v > 0.0);
        let clocks: Vec<_> = [
            read("options.tcl", "clock_period", &|v| number(v).map(|ns| 1000.0 / ns)),
            read("hls_config.cfg", "clock", &|v| number(v.strip_suffix("MHz")?)),
            read("compile.cfg", "clock", &|v| number(v.split(':').next()?).map(|hz| hz / 1e6)),
            read("link.cfg", "kernel_frequency", &number),
        ]
        .into_iter()
        .flatten()
        .collect();
        let first = clocks.first().and_then(|(_, _, mhz, _)| *mhz);
        for (path, line, mhz, found) in clocks {
            // A period has three decimals.
            let same = mhz.zip(first).is_some_and(|(a, b)| (a - b).abs() <= 2e-3 * b);
            if !same {
                self.broken(&path, line, "one-clock", &found);
            }
        }
    }

    /// Vitis has no software emulation since 2025.1: what starts it asks for the version first.
    fn software_emulation(&mut self) {
        for file in self.files.iter().filter(|f| f.path == "Makefile" || f.path.ends_with(".cfg")) {
            let text = String::from_utf8_lossy(&file.bytes);
            let mut guarded = false;
            for (n, line) in text.lines().enumerate() {
                guarded &= line.starts_with('\t');
                guarded |= line.contains("-le 20242");
                let starts = line.contains("-t sw_emu") || line.trim() == "target=sw_emu";
                if starts && !guarded {
                    self.broken(&file.path, n + 1, "sw-emu-until-2024.2", line.trim());
                }
            }
        }
    }
}
