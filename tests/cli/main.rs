//! The command line as its users meet it: the binary, on models by real exporters.

mod bad_input;
mod bench;
mod bitstream;
mod build;
mod ci;
mod deploy;
mod docs;
mod emu;
mod golden;
mod hostile;
mod platforms;
mod profile;
mod registry;
mod served;
mod silent;
mod simulate;
mod verbs;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use hs_runtime::{Tensor, npy};
use serde_json::Value;

/// A model of the fixtures.
struct Fixture(&'static str);

const MLP: Fixture = Fixture("torch_legacy-digits_mlp");
const CNN: Fixture = Fixture("torch_legacy-digits_cnn");

impl Fixture {
    fn file(&self, extension: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/exports")
            .join(format!("{}.{extension}", self.0))
    }

    fn onnx(&self) -> PathBuf {
        self.file("onnx")
    }

    fn x(&self) -> PathBuf {
        self.file("x.npy")
    }

    fn labels(&self) -> PathBuf {
        self.file("labels.npy")
    }
}

/// What a run of the binary left behind.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }

    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs the binary in `dir`.
fn hypersonic<A: AsRef<std::ffi::OsStr>>(dir: &Path, args: &[A]) -> Run {
    let out = Command::cargo_bin("hypersonic").unwrap().current_dir(dir).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: out.status.code().expect("no signal"), stdout: text(out.stdout), stderr: text(out.stderr) }
}

macro_rules! run {
    ($dir:expr, $($arg:expr),* $(,)?) => {
        crate::hypersonic($dir, &[$(std::ffi::OsStr::new(&$arg)),*])
    };
}
use run;

/// Names in a directory, sorted.
fn listing(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn load(path: impl AsRef<Path>) -> Tensor {
    npy::load(path).unwrap()
}

/// Whether C simulation can run here; says so when not. Where HYPERSONIC_AP_TYPES is set it must.
fn can_simulate() -> bool {
    let headers = hs_compiler::hls::csim::find_ap_types(None).is_ok();
    let compiler = std::process::Command::new("g++").arg("--version").output().is_ok();
    let can = headers && compiler;
    if !can {
        assert!(std::env::var_os("HYPERSONIC_AP_TYPES").is_none(), "headers: {headers}, g++: {compiler}");
        eprintln!("skipped: C simulation needs g++ and the ap_types headers (scripts/setup)");
    }
    can
}
