//! Models that ONNX Runtime's tools quantised (`scripts/quantised-models`), code by code against ONNX Runtime.

use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::passes::normalise;

use crate::lowering::run;
use crate::support::{import, npy_rows};

/// How many of the model's outputs are a step off, of how many; none is off by more. The steps of a model are the smallest
/// difference between its recorded outputs.
fn off(name: &str) -> (usize, usize) {
    let graph = normalise(import(&format!("quantised/{name}.onnx"))).unwrap();
    let program = lower(&graph, &LowerOptions::default()).unwrap().program;
    let rows = |what: &str| npy_rows(&format!("quantised/{name}.{what}.npy"));
    let (xs, ys) = (rows("x"), rows("y"));
    let mut all: Vec<f64> = ys.iter().flat_map(|y| y.to_f64()).collect();
    let count = all.len();
    all.sort_by(f64::total_cmp);
    let gaps = all.windows(2).map(|w| w[1] - w[0]).filter(|gap| *gap > 1e-6);
    let step = gaps.fold(f64::INFINITY, f64::min);
    let shape = graph.shape(graph.graph().inputs[0]).to_vec();
    let mut off = 0;
    for (row, (x, y)) in xs.into_iter().zip(&ys).enumerate() {
        let found = run(&program, &[x.reshaped(shape.clone()).unwrap()]).remove(0);
        for (found, wanted) in found.iter().zip(y.to_f64()) {
            let steps = ((found - wanted) / step).abs();
            assert!(steps < 1.5, "row {row} of {name}: {found}, not {wanted}, with steps of {step}");
            off += usize::from(steps > 0.5);
        }
    }
    (off, count)
}

#[test]
fn eight_bits_are_equal() {
    for name in [
        "dense_qdq_u8s4",
        "dense_qdq_u8u8",
        "depthwise_qdq_s8s8_channel",
        "depthwise_qdq_s8s8_symmetric",
        "depthwise_qdq_u8s8_float_bias",
        "functions_qdq_u8s8",
        "functions_qoperator_s8s8_channel",
        "gates_qoperator_u8s8",
        "residual_qdq_u8s8_channel",
        "residual_qoperator_u8s8",
    ] {
        assert_eq!(off(name).0, 0, "{name}");
    }
}

#[test]
fn sixteen_bits_are_within_one_step() {
    // ONNX Runtime computes these in single precision, whose sums of products are off by a hundredth of a step.
    let (off, count) = off("dense_qdq_s16s8");
    assert!(off * 20 <= count, "{off} of {count}");
}
