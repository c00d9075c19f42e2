//! `cargo xtask bench rows`, `cargo xtask bench xrt`, `cargo xtask bench emulator`, and `cargo xtask bench serve`: the server beside a bare echo and, where it is there, beside a real Triton.
//!
//! All servers run at the same time and are measured in turn at each level: what disturbs the machine disturbs all.

mod clients;
mod emulator;
mod models;
mod process;
mod rows;
mod table;
mod xrt;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

pub(crate) use emulator::emulator;
use models::{Dialect, TENSORS};
use process::Running;
pub(crate) use rows::rows;
pub(crate) use xrt::xrt;

pub(crate) const USAGE: &str = "\
cargo xtask bench serve [OPTIONS]    the server beside an echo and Triton; see benches/README.md
    --duration SECONDS        of each measurement [default: 5]
    --warmup SECONDS          before it [default: 1]
    --concurrency N,…         [default: 1,4,16]
    --only NAME,…             of hypersonic, echo, triton, triton-others
    --triton PROGRAM          a tritonserver with its Python backend [default: $HYPERSONIC_TRITON]
    --triton-backends DIR     backends of Triton's; 'identity' among them is measured as well
    --out DIR                 for serve.md and serve.json [default: target/bench]
    --no-build                measure what is built already
cargo xtask bench emulator [OPTIONS] the emulator beside hls4ml, alkaid, ONNX Runtime and NumPy; see benches/README.md
    --rounds N                [default: 7]
    --seconds SECONDS         of a contestant in a round [default: 0.4]
    --threads N,…             [default: 1 and as many as there are cores]
    --only CASE,…             an unknown one is answered with all names
    --contestants NAME,…      of hypersonic, onnxruntime, numpy, alkaid, hls4ml
    --folder DIR              of resnet50 with its data [default: target/models]
    --served                  the served case alone: 16,000 rows over shared memory
    --hypersonic PROGRAM      measure this one, without a build
    --out DIR                 for tables, numbers and pictures [default: target/bench]
    --page                    also write the last runs into benches/
    --no-build                measure what is built already

cargo xtask bench rows [OPTIONS]     a card's packed rows beside a copy; see benches/README.md
    --only TEXT               cases whose name contains it

cargo xtask bench xrt                what a run on a card costs the host; see benches/README.md";

/// What goes wrong in a bench.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{0}")]
    Usage(String),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("{command} failed:\n{output}")]
    Command { command: String, output: String },
    #[error("{name} did not come up; the end of its log:\n{log}")]
    Start { name: String, log: String },
    #[error("{what}: not understood: {text}")]
    Output { what: &'static str, text: String },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let what = what.into();
    move |error| BenchError::Io { what, error }
}

struct Options {
    duration: f64,
    warmup: f64,
    concurrency: Vec<u32>,
    only: Option<Vec<String>>,
    triton: Option<PathBuf>,
    triton_backends: Option<PathBuf>,
    out: PathBuf,
    build: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, BenchError> {
        let mut options = Self {
            duration: 5.0,
            warmup: 1.0,
            concurrency: vec![1, 4, 16],
            only: None,
            triton: env::var_os("HYPERSONIC_TRITON").map(PathBuf::from),
            triton_backends: None,
            out: target().join("bench"),
            build: true,
        };
        let usage = |text: String| BenchError::Usage(format!("{text}\n{USAGE}"));
        let mut args = args.iter();
        while let Some(name) = args.next() {
            if name == "--no-build" {
                options.build = false;
                continue;
            }
            let value = args.next().ok_or_else(|| usage(format!("{name} needs a value, or is unknown")))?;
            let number = || {
                value
                    .parse::<f64>()
                    .ok()
                    .filter(|v| *v > 0.0)
                    .ok_or_else(|| usage(format!("{name} {value}: no time")))
            };
            match name.as_str() {
                "--duration" => options.duration = number()?,
                "--warmup" => options.warmup = number()?,
                "--concurrency" => {
                    let all: Result<Vec<u32>, _> = value.split(',').map(str::parse).collect();
                    options.concurrency =
                        all.map_err(|_| usage(format!("{name} {value}: expected numbers")))?;
                }
                "--only" => options.only = Some(value.split(',').map(str::to_owned).collect()),
                "--triton" => options.triton = Some(value.into()),
                "--triton-backends" => options.triton_backends = Some(value.into()),
                "--out" => options.out = value.into(),
                _ => return Err(usage(format!("unknown option {name}"))),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|o| o == name))
    }
}

/// The elements of an array, none of anything else.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Where cargo builds to.
fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

fn output(command: &mut Command) -> Result<String, BenchError> {
    let name = format!("{command:?}");
    let out = command.output().map_err(failed(name.clone()))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(text);
    }
    Err(BenchError::Command { command: name, output: text + &String::from_utf8_lossy(&out.stderr) })
}

fn cargo(args: &[&str]) -> Result<(), BenchError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).current_dir(root()).status().map_err(failed("cargo"))?;
    if status.success() {
        return Ok(());
    }
    Err(BenchError::Command { command: format!("cargo {}", args.join(" ")), output: String::new() })
}

/// A server to measure.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    program: PathBuf,
    dialect: Dialect,
    /// Where other backends of Triton's are.
    backends: Option<PathBuf>,
}

/// Runs the bench and prints its table.
#[allow(clippy::print_stdout)]
pub(crate) fn serve(args: &[String]) -> Result<(), BenchError> {
    let options = Options::parse(args)?;
    if options.build {
        cargo(&["build", "--release", "--locked", "--quiet", "--bin", "hypersonic"])?;
        cargo(&["build", "--release", "--locked", "--quiet", "-p", "hs-client", "--example", "echo"])?;
    }
    let hypersonic = target().join("release/hypersonic");
    let mut subjects = vec![
        Subject {
            name: "echo".into(),
            program: target().join("release/examples/echo"),
            dialect: Dialect::Echo,
            backends: None,
        },
        Subject {
            name: "hypersonic".into(),
            program: hypersonic.clone(),
            dialect: Dialect::Hypersonic,
            backends: None,
        },
    ];
    if let Some(program) = &options.triton {
        let triton = |name: &str, dialect, backends| Subject {
            name: name.into(),
            program: program.clone(),
            dialect,
            backends,
        };
        subjects.push(triton("triton", Dialect::Python, None));
        if let Some(dir) = &options.triton_backends {
            subjects.push(triton("triton-others", Dialect::Identity, Some(dir.clone())));
        }
    }
    subjects.retain(|s| options.wants(&s.name));
    if subjects.is_empty() {
        return Err(BenchError::Usage(format!("--only leaves nothing\n{USAGE}")));
    }
    fs::create_dir_all(&options.out).map_err(failed("the folder of --out"))?;
    let work = tempfile::tempdir().map_err(failed("a temporary folder"))?;

    let mut lives = Vec::new();
    if subjects.iter().any(|s| s.dialect == Dialect::Hypersonic) {
        for packages in [1, 10] {
            say(&format!("hypersonic with {packages} packages"));
            let repository = work.path().join(format!("packages_{packages}"));
            models::packages(&hypersonic, &repository, packages)?;
            let subject = Subject {
                name: format!("hypersonic, {packages} of the emulator"),
                program: hypersonic.clone(),
                dialect: Dialect::Hypersonic,
                backends: None,
            };
            lives.push(process::life(&subject, &repository, work.path())?);
        }
    }
    let mut running = Vec::new();
    for subject in &subjects {
        say(&format!("{}: start and stop", subject.name));
        let repository = work.path().join(&subject.name);
        models::write(&repository, subject.dialect)?;
        lives.push(process::life(subject, &repository, work.path())?);
    }
    for subject in &subjects {
        running.push(Running::start(subject, &work.path().join(&subject.name), work.path())?);
    }
    let bench = clients::Bench::new(&options, &hypersonic, work.path());
    let mut rows = Vec::new();
    let mut report = json!({
        "machine": machine(), "revision": revision(), "duration_seconds": options.duration, "lives": lives,
    });
    for tensor in &TENSORS {
        for protocol in ["http", "grpc"] {
            for clients in &options.concurrency {
                for server in &running {
                    say(&format!("{} {protocol}, {clients} clients: {}", tensor.name, server.name));
                    rows.push(bench.measure(server, tensor, protocol, *clients)?);
                    // What is measured is kept, whatever comes next.
                    report["rows"] = json!(rows);
                    write(&options.out, &report)?;
                }
            }
        }
    }
    println!("{}", table::markdown(&report));
    say(&format!("written to {}", options.out.display()));
    for server in running {
        server.stop(Duration::from_secs(30))?;
    }
    Ok(())
}

/// Writes the report in both of its forms.
fn write(out: &Path, report: &Value) -> Result<(), BenchError> {
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    for (name, text) in [("serve.md", table::markdown(report)), ("serve.json", json)] {
        fs::write(out.join(name), text).map_err(failed(name))?;
    }
    Ok(())
}

fn say(text: &str) {
    eprintln!("bench: {text}");
}

fn machine() -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches(['\t', ':', ' ']);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cpu": model, "cores": cores, "load_before": load.split(' ').next() })
}

fn revision() -> String {
    let git = |args: &[&str]| output(Command::new("git").args(args).current_dir(root())).unwrap_or_default();
    git(&["describe", "--always", "--dirty"]).trim().to_owned()
}
