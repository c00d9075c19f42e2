//! The small models of the zoo, `examples/models`: compiled at 16 bits and at 8 bits with scales of channels, their emulated
//! results agree with float; at 16 bits C simulation and the golden vectors are the emulator's, bit for bit.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use hs_runtime::{Data, Tensor, npy, npz};
use serde_json::Value;

fn file(model: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/models").join(format!("{model}.{extension}"))
}

/// Runs the binary and gives what it prints as JSON.
fn hypersonic<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Value {
    let out = Command::cargo_bin("hypersonic").unwrap().args(args).arg("--json").output().unwrap();
    let stdout = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

macro_rules! run {
    ($($arg:expr),* $(,)?) => { hypersonic(&[$(std::ffi::OsStr::new(&$arg)),*]) };
}

/// Whether C simulation can run here. Where HYPERSONIC_AP_TYPES is set it must.
fn can_simulate() -> bool {
    let can = hs_compiler::hls::csim::find_ap_types(None).is_ok();
    assert!(can || std::env::var_os("HYPERSONIC_AP_TYPES").is_none(), "no ap_types headers there");
    can
}

/// Compiles `model` into `package`.
fn compile(model: &str, bits: u32, package: &Path) {
    let (precision, channels): (_, &[&str]) = match bits {
        8 => ("fixed<8,4>", &["--per-channel"]),
        _ => ("fixed<16,6>", &[]),
    };
    let onnx = file(model, "onnx");
    let calibration = file(model, "calibration.npz");
    let mut args = vec!["compile".as_ref(), onnx.as_os_str(), "-o".as_ref(), package.as_os_str()];
    args.extend([
        "--precision".as_ref(),
        precision.as_ref(),
        "--calibrate".as_ref(),
        calibration.as_os_str(),
    ]);
    args.extend(channels.iter().map(std::ffi::OsStr::new));
    hypersonic(&args);
}

/// The largest of each row's values: the first of them where several are.
fn classes(rows: usize, values: &[f64]) -> Vec<usize> {
    let width = values.len() / rows;
    let best = |row: &[f64]| (0..width).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    values.chunks(width).map(best).collect()
}

/// Share of rows in another class than `float`'s, or RMS error relative to `float`'s RMS.
fn disagreement(classifies: bool, float: &Tensor, ours: &Tensor) -> f64 {
    let (f, y) = (float.to_f64(), ours.to_f64());
    assert_eq!(f.len(), y.len());
    if classifies {
        let rows = float.rows();
        let (f, y) = (classes(rows, &f), classes(rows, &y));
        return f.iter().zip(&y).filter(|(f, y)| f != y).count() as f64 / rows as f64;
    }
    let square: f64 = f.iter().map(|f| f * f).sum();
    let error: f64 = f.iter().zip(&y).map(|(f, y)| (f - y) * (f - y)).sum();
    (error / square).sqrt()
}

/// Compiles, emulates all test rows, and compares with float: at least 99 % (at 8 bits 97 %) of classes are the same, and
/// regressions have at most 1 % (5 %) of RMS error. At 16 bits, simulates two rows of C++, and verifies the golden vectors.
fn agrees(model: &str, bits: u32) {
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("package");
    compile(model, bits, &package);
    let (x, y) = (file(model, "x.npz"), dir.path().join("y.npz"));
    run!("emulate", package, "--input", x, "--output", y);
    let classifies = !matches!(npy::load(file(model, "y.npy")).unwrap().data(), Data::F32(_));
    let bound = match (classifies, bits) {
        (true, 8) => 0.03,
        (false, 8) => 0.05,
        _ => 0.01,
    };
    let ours = npz::load(&y).unwrap();
    let float = npz::load(file(model, "float.npz")).unwrap();
    assert_eq!(ours.len(), float.len());
    for ((name, ours), (_, float)) in ours.iter().zip(&float) {
        let found = disagreement(classifies, float, ours);
        assert!(found <= bound, "{model}, {bits} bits, output {name}: {found}");
        assert!(found > 0.0 || classifies, "{model}: float's own numbers");
    }
    if bits == 16 {
        let verified = run!("golden", "verify", package, file(model, "golden.npz"));
        assert_eq!(verified["checks"][1]["mismatches"], 0);
        if can_simulate() {
            let checked = run!("check", package, "--input", x, "--rows", "2");
            assert_eq!(checked["csim"]["mismatches"], 0, "{checked}");
        }
    }
}

macro_rules! models {
    ($($model:ident)*) => {
        $(mod $model {
            #[test]
            fn at_16_bits() {
                crate::agrees(stringify!($model), 16);
            }

            #[test]
            fn at_8_bits() {
                crate::agrees(stringify!($model), 8);
            }
        })*

        const MODELS: &[&str] = &[$(stringify!($model)),*];
    };
}

models! { deepclean deepmet ds_cnn facile facile_v2 jets resnet8 svhn }

/// Each model that is there has its tests.
#[test]
fn all_models_are_tested() {
    let mut found: Vec<String> = std::fs::read_dir(file("facile", "onnx").parent().unwrap())
        .unwrap()
        .filter_map(|e| {
            e.unwrap().file_name().into_string().unwrap().strip_suffix(".onnx").map(str::to_owned)
        })
        .collect();
    found.sort();
    assert_eq!(found, MODELS);
}
