//! `cargo xtask bench emulator`: the emulator beside hls4ml, alkaid, ONNX Runtime and NumPy.
//!
//! `benches/emulator` measures; here it is built, started, and what it found becomes a page and pictures.

mod bars;
mod peaks;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{BenchError, USAGE, cargo, failed, machine, output, revision, root, say, target};

/// Where the page has what is measured here.
const BEGIN: &str = "<!-- measured by cargo xtask bench emulator --page -->\n";
const END: &str = "<!-- end of what is measured -->\n";

struct Options {
    page: bool,
    served: bool,
    build: bool,
    hypersonic: Option<PathBuf>,
    out: PathBuf,
    /// For the program that measures.
    passed: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, BenchError> {
        let mut options = Self {
            page: false,
            served: false,
            build: true,
            hypersonic: None,
            out: target().join("bench"),
            passed: Vec::new(),
        };
        let usage = |text: String| BenchError::Usage(format!("{text}\n{USAGE}"));
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let mut value =
                || args.next().cloned().ok_or_else(|| usage(format!("{name} needs a value, or is unknown")));
            match name.as_str() {
                "--page" => options.page = true,
                "--served" => options.served = true,
                "--no-build" => options.build = false,
                "--hypersonic" => options.hypersonic = Some(value()?.into()),
                "--out" => options.out = value()?.into(),
                "--rounds" | "--seconds" | "--threads" | "--only" | "--contestants" | "--folder" => {
                    let value = value()?;
                    options.passed.extend([name.clone(), value]);
                }
                _ => return Err(usage(format!("unknown option {name}"))),
            }
        }
        Ok(options)
    }
}

/// Runs the bench, prints its page and keeps it with its numbers and pictures.
#[allow(clippy::print_stdout)]
pub(crate) fn emulator(args: &[String]) -> Result<(), BenchError> {
    let options = Options::parse(args)?;
    let hypersonic = match &options.hypersonic {
        Some(program) => program.clone(),
        None => {
            if options.build {
                cargo(&["build", "--release", "--locked", "--quiet", "--bin", "hypersonic"])?;
            }
            target().join("release/hypersonic")
        }
    };
    let python = output(&mut Command::new(root().join("scripts/emulator-peers")))?.trim().to_owned();
    fs::create_dir_all(&options.out).map_err(failed("the folder of --out"))?;
    let machine = machine();
    let peaks = if options.served {
        Value::Null
    } else {
        say("what a core can multiply");
        peaks::measure()
    };
    let name = if options.served { "emulator-served" } else { "emulator" };
    let file = options.out.join(format!("{name}.json"));
    let mut command = Command::new(&python);
    command.arg("-B").arg(root().join("benches/emulator")).arg("--hypersonic").arg(&hypersonic);
    command.arg("--out").arg(&file).arg("--work").arg(target().join("bench/emulator"));
    command.args(&options.passed).args(options.served.then_some("--served"));
    let status = command.status().map_err(failed(python))?;
    if !status.success() {
        return Err(BenchError::Command { command: format!("{command:?}"), output: status.to_string() });
    }
    let mut report = read(&file)?;
    report["machine"] = machine;
    report["revision"] = json!(revision());
    report["peaks"] = peaks;
    write(&file, &serde_json::to_string_pretty(&report).unwrap_or_default())?;
    let page = table::markdown(&report);
    write(&options.out.join(format!("{name}.md")), &page)?;
    let pictures = table::pictures(&report);
    for (name, svg) in &pictures {
        write(&options.out.join(name), svg)?;
    }
    println!("{page}");
    say(&format!("written to {}", options.out.display()));
    if options.page { publish(&options.out) } else { Ok(()) }
}

/// Puts the last runs of both kinds into `benches/README.md`, their pictures beside it.
fn publish(out: &Path) -> Result<(), BenchError> {
    let folder = root().join("benches");
    let mut text = String::new();
    for name in ["emulator", "emulator-served"] {
        let file = out.join(format!("{name}.json"));
        if !file.exists() {
            say(&format!("no {}: the page is without it", file.display()));
            continue;
        }
        let report = read(&file)?;
        text.push_str(&format!("{}\n", table::markdown(&report)));
        for (name, svg) in table::pictures(&report) {
            write(&folder.join(&name), &svg)?;
            text.push_str(&format!("![{}]({name})\n\n", name.trim_end_matches(".svg")));
        }
    }
    let page = folder.join("README.md");
    let old = fs::read_to_string(&page).map_err(failed("benches/README.md"))?;
    let new = replaced(&old, text.trim_end()).ok_or_else(|| BenchError::Output {
        what: "benches/README.md",
        text: format!("the lines {BEGIN:?} and {END:?} are not there"),
    })?;
    write(&page, &new)
}

/// `page` with `text` between the lines that enclose what is measured; `None` where they are missing.
fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n\n{END}{after}"))
}

fn read(file: &Path) -> Result<Value, BenchError> {
    let text = fs::read_to_string(file).map_err(failed(file.display().to_string()))?;
    serde_json::from_str(&text)
        .map_err(|e| BenchError::Output { what: "what benches/emulator wrote", text: e.to_string() })
}

fn write(file: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(file, text).map_err(failed(file.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_measured_is_replaced() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replaced(&page, "new").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n\n{END}b\n"));
        assert_eq!(replaced(&new, "new"), Some(new.clone()));
        assert_eq!(replaced("a\n", "new"), None);
    }

    #[test]
    fn the_page_has_room_for_what_is_measured() {
        let page = fs::read_to_string(root().join("benches/README.md")).unwrap();
        assert!(replaced(&page, "").is_some());
    }
}
