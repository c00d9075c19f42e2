//! Lowered Programs, run by the reference interpreter, against recorded results and against the float reference.

use std::fs;

use hs_compiler::lower::{LowerOptions, Lowered, ObservedRanges, lower};
use hs_compiler::onnx;
use hs_compiler::passes::{NormalGraph, normalise};
use hs_compiler::reference::eval_all;
use hs_hw::{Op, Program, interp};
use hs_ir::{Tensor, ValueId};

use crate::support::fixture;

/// Elements of an ONNX tensor of `shape`, in the order of a hardware tensor whose axis i is ONNX axis `perm[i]`.
fn order(shape: &[usize], perm: &[usize]) -> Vec<usize> {
    let steps: Vec<usize> = (0..shape.len()).map(|a| shape[a + 1..].iter().product()).collect();
    perm.iter().fold(vec![0], |places, axis| {
        let (len, step) = (shape[*axis], steps[*axis]);
        places.iter().flat_map(|p| (0..len).map(move |i| p + i * step)).collect()
    })
}

/// The outputs of `program` for float `inputs`, in ONNX's order of elements.
pub(crate) fn run(program: &Program, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let mut codes = Vec::new();
    for (id, tensor) in program.inputs().into_iter().zip(inputs) {
        let node = program.node(id);
        let Op::Input { onnx_shape, perm, .. } = &node.op else { panic!("{} is no input", node.name) };
        let values = tensor.to_f64();
        codes.push(order(onnx_shape, perm).iter().map(|i| node.ty.quantize(values[*i]).unwrap()).collect());
    }
    let results = interp::run(program, &codes);
    let outputs = program.outputs().into_iter().zip(results).map(|(id, codes)| {
        let node = program.node(id);
        let Op::Output { onnx_shape, perm, .. } = &node.op else { panic!("{} is no output", node.name) };
        let places = order(onnx_shape, perm);
        assert_eq!(places.len(), codes.len(), "{}", node.name);
        let mut values = vec![f64::NAN; codes.len()];
        for (place, code) in places.into_iter().zip(codes) {
            values[place] = node.format().value(code);
        }
        values
    });
    outputs.collect()
}

/// Smallest and largest value of every tensor in one run.
pub(crate) fn ranges(graph: &NormalGraph, inputs: &[Tensor]) -> ObservedRanges {
    let graph = graph.graph();
    let run = eval_all(graph, inputs).unwrap();
    let values = graph.values.iter().enumerate();
    let range = |(i, value): (usize, &hs_ir::Value)| {
        let all = run.get(ValueId::new(i))?.to_f64();
        let bounds = all.iter().fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        Some((value.name.clone(), bounds))
    };
    values.filter_map(range).collect()
}

/// Lowers with `width` bits everywhere, integer bits fitted to one run.
pub(crate) fn calibrated(graph: &NormalGraph, inputs: &[Tensor], width: u32) -> Result<Lowered, String> {
    let precision = Some(format!("fixed<{width},8>").parse().unwrap());
    let options = LowerOptions { precision, ranges: Some(ranges(graph, inputs)), ..LowerOptions::default() };
    lower(graph, &options).map_err(|e| e.to_string())
}

/// Cases of `tests/fixtures/ops` that do not lower, and what is said about them.
const REFUSED: &[(&str, &str)] = &[
    (
        "average_pool_counted_ceil",
        "count_include_pad over windows that ceil_mode lets reach beyond the padding",
    ),
    ("pad_attributes", "pads with 0.25; only zeros are supported"),
    ("pad_value", "pads with 0.5; only zeros are supported"),
];

#[test]
fn every_case_agrees_when_lowered() {
    let mut cases: Vec<_> = fs::read_dir(fixture("ops")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    cases.sort();
    let (mut failures, mut refused) = (Vec::new(), 0);
    for path in cases {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (imported, _) = onnx::import(&path).unwrap();
        let recorded = |name: &str| imported.constant(imported.find(name).unwrap()).unwrap().as_ref().clone();
        let (x, y) = (recorded("test/x"), recorded("test/y"));
        let graph = normalise(imported).unwrap();
        let expected = REFUSED.iter().find(|(case, _)| *case == name);
        let program = match (calibrated(&graph, std::slice::from_ref(&x), 24), expected) {
            (Ok(lowered), None) => lowered.program,
            (Err(error), Some((_, says))) if error.contains(says) => {
                refused += 1;
                continue;
            }
            (Ok(_), Some(_)) => {
                failures.push(format!("{name}: lowers, but stands on the list of refusals"));
                continue;
            }
            (Err(error), _) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found = run(&program, &[x]);
        let y = y.to_f64();
        if found[0].len() != y.len() {
            failures.push(format!("{name}: {} elements instead of {}", found[0].len(), y.len()));
            continue;
        }
        let worst = found[0].iter().zip(&y).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
        // 24 bits, of which at least 17 are fraction bits for these values; a few roundings in a row.
        if worst.is_nan() || worst > 3e-5 {
            failures.push(format!("{name}: off by {worst:e}"));
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(refused, REFUSED.len());
}
