//! The ONNX project's backend node tests, lowered at `fixed<48,16>` and run by the reference interpreter.
//!
//! `scripts/node-tests DIR` writes them, `HYPERSONIC_NODE_TESTS=DIR` says where they are; without it nothing is run. A
//! case passes within rtol = atol = 1e-3, the resolution that tables and reciprocals leave at these types. What is
//! refused is listed by operator; nothing may be wrong, and nothing may panic.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;

use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx;
use hs_compiler::passes::normalise;
use hs_hw::{Op, interp};

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

#[test]
fn backend_node_tests() {
    let Some(dir) = std::env::var_os("HYPERSONIC_NODE_TESTS") else { return };
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
}
