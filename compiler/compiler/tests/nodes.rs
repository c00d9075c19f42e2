//! The ONNX project's backend node tests, lowered at `fixed<48,16>` and run by the reference interpreter.
//!
//! `scripts/node-tests` writes them, run by `$HYPERSONIC_PYTHON` with the package `onnx`; without these nothing is tested.
//! `HYPERSONIC_NODE_TESTS=DIR` takes cases that lie there already, `HYPERSONIC_NODE_REASONS=1` prints why each refused one
//! is. A case passes within rtol = atol = 1e-3, the resolution that tables and reciprocals leave at these types. Nothing
//! may be wrong, nothing may panic, and of each group of operators that dense and convolutional models are made of nearly
//! every case must pass.

#![allow(clippy::print_stdout, reason = "a table of operators is what this test is for")]

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;

use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx;
use hs_compiler::passes::normalise;
use hs_hw::{Op, interp};

/// Operators by group.
const GROUPS: &[(&str, &str)] = &[
    ("matrix", "Gemm MatMul"),
    ("convolution", "Conv ConvTranspose"),
    ("pool", "AveragePool GlobalAveragePool GlobalMaxPool MaxPool"),
    (
        "activation",
        "Celu Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softmax Softplus Softsign \
         Swish Tanh ThresholdedRelu",
    ),
    (
        "element-wise",
        "Abs Add BatchNormalization Ceil Div Exp Floor Log Max Mean Min Mul Neg Pow Reciprocal Round Sign Sqrt Sub Sum",
    ),
    (
        "shape",
        "Concat DepthToSpace Dropout Expand Flatten Gather Identity Pad Reshape Slice SpaceToDepth Split Squeeze Tile \
         Transpose Unsqueeze",
    ),
    (
        "reduction",
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum \
         ReduceSumSquare",
    ),
];

/// Percentage of all groups' cases that pass at least.
const LEAST: usize = 90;

/// Values beyond the type saturate, which is no error of an operator.
const LARGEST: f64 = 32767.0;

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Passed,
    Refused(String),
    Wrong(String),
}

/// Elements of an ONNX tensor of `shape`, in the order of a hardware tensor whose axis i is ONNX axis `perm[i]`.
fn order(shape: &[usize], perm: &[usize]) -> Vec<usize> {
    let steps: Vec<usize> = (0..shape.len()).map(|a| shape[a + 1..].iter().product()).collect();
    perm.iter().fold(vec![0], |places, axis| {
        let (len, step) = (shape[*axis], steps[*axis]);
        places.iter().flat_map(|p| (0..len).map(move |i| p + i * step)).collect()
    })
}

fn outcome(path: &Path) -> Outcome {
    let refused = |e: String| Outcome::Refused(e);
    let imported = match onnx::import(path) {
        Ok((graph, _)) => graph,
        Err(e) => return refused(e.to_string()),
    };
    let recorded = |name: &str| imported.constant(imported.find(name).unwrap()).unwrap().to_f64();
    let (x, y) = (recorded("test/x"), recorded("test/y"));
    let options =
        LowerOptions { precision: Some("fixed<48,16>".parse().unwrap()), ..LowerOptions::default() };
    let graph = match normalise(imported) {
        Ok(graph) => graph,
        Err(e) => return refused(e.to_string()),
    };
    let program = match lower(&graph, &options) {
        Ok(lowered) => lowered.program,
        Err(e) => return refused(e.to_string()),
    };
    let node = program.node(program.inputs()[0]);
    let Op::Input { onnx_shape, perm, .. } = &node.op else { panic!("{} is no input", node.name) };
    let codes = order(onnx_shape, perm).iter().map(|i| node.ty.quantize(x[*i]).unwrap_or(0)).collect();
    let found = interp::run(&program, &[codes]).remove(0);
    let node = program.node(program.outputs()[0]);
    let Op::Output { onnx_shape, perm, .. } = &node.op else { panic!("{} is no output", node.name) };
    let places = order(onnx_shape, perm);
    if places.len() != y.len() {
        return Outcome::Wrong(format!("{} elements instead of {}", places.len(), y.len()));
    }
    for (place, code) in places.into_iter().zip(found) {
        let (value, wanted) = (node.format().value(code), y[place]);
        let far = (value - wanted).abs() > 1e-3 + 1e-3 * wanted.abs();
        if far && wanted.abs() < LARGEST {
            return Outcome::Wrong(format!("element {place} is {value} instead of {wanted}"));
        }
    }
    Outcome::Passed
}

/// Where the cases are; why there are none.
fn cases() -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("HYPERSONIC_NODE_TESTS") {
        return Ok(dir.into());
    }
    let python = std::env::var_os("HYPERSONIC_PYTHON").ok_or(
        "the node tests need HYPERSONIC_PYTHON (scripts/setup --test, then eval \"$(scripts/env)\")",
    )?;
    let known = Command::new(&python).args(["-c", "import onnx.backend.test"]).output();
    if !known.is_ok_and(|o| o.status.success()) {
        return Err(format!(
            "{} lacks the package onnx (scripts/setup --test)",
            Path::new(&python).display()
        ));
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nodes");
    let _ = std::fs::remove_dir_all(&dir);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/node-tests");
    let written = Command::new(&python).arg(script).arg(&dir).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    Ok(dir)
}

#[test]
fn backend_node_tests() {
    let dir = match cases() {
        Ok(dir) => dir,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let mut cases: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let mut table: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut failures = Vec::new();
    for path in cases {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let op = onnx::import(&path)
            .ok()
            .and_then(|(g, _)| g.nodes.iter().find(|n| n.name != "test/reshape").map(|n| n.op.clone()));
        let row = table.entry(op.unwrap_or_else(|| "(not read)".to_owned())).or_default();
        match catch_unwind(|| outcome(&path)) {
            Ok(Outcome::Passed) => row[0] += 1,
            Ok(Outcome::Refused(why)) => {
                row[1] += 1;
                if std::env::var_os("HYPERSONIC_NODE_REASONS").is_some() {
                    println!("refused {name}: {}", why.lines().next().unwrap_or_default());
                }
            }
            Ok(Outcome::Wrong(why)) => {
                row[2] += 1;
                failures.push(format!("{name}: {why}"));
            }
            Err(_) => {
                row[2] += 1;
                failures.push(format!("{name}: panics"));
            }
        }
    }
    println!("{:<24} {:>6} {:>7} {:>5}", "operator", "passed", "refused", "wrong");
    for (op, [passed, refused, wrong]) in &table {
        println!("{op:<24} {passed:>6} {refused:>7} {wrong:>5}");
    }
    let of = |k: usize| table.values().map(|row| row[k]).sum::<usize>();
    println!("{:<24} {:>6} {:>7} {:>5}", "all", of(0), of(1), of(2));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let (mut passed, mut all) = (0, 0);
    for (group, ops) in GROUPS {
        let rows =
            ops.split_whitespace().map(|op| table.get(op).unwrap_or_else(|| panic!("no case of {op}")));
        let [p, r, _] = rows.fold([0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
        println!("{group:<24} {p:>6} {r:>7}   {}%", 100 * p / (p + r));
        (passed, all) = (passed + p, all + p + r);
    }
    assert!(100 * passed >= LEAST * all, "{passed} of {all} pass");
}
