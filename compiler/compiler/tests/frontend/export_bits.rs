//! The Programs of models that real exporters wrote, run by the reference interpreter, against the recorded outputs.

use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx;
use hs_compiler::passes::normalise;

use crate::lowering::{ranges_of, run};
use crate::support::{fixture, npy_rows};

/// Types that the model itself does not state.
enum Types {
    /// None: the model's quantisers state them all.
    Own,
    /// Wide enough that rounding does not show.
    Wide(&'static str),
    /// 16 bits, integer bits fitted to the rows.
    Calibrated,
}

/// Largest difference to the recorded output, and how many rows name another class than it, of how many.
fn against(name: &str, types: &Types) -> (f64, usize, usize) {
    let (graph, _) = onnx::import(&fixture(&format!("exports/{name}.onnx"))).unwrap();
    let graph = normalise(graph).unwrap();
    let (xs, ys) = (npy_rows(&format!("exports/{name}.x.npy")), npy_rows(&format!("exports/{name}.y.npy")));
    let shape = graph.shape(graph.graph().inputs[0]).to_vec();
    let xs: Vec<_> = xs.into_iter().map(|x| [x.reshaped(shape.clone()).unwrap()]).collect();
    let options = match types {
        Types::Own => LowerOptions::default(),
        Types::Wide(ty) => LowerOptions { precision: Some(ty.parse().unwrap()), ..LowerOptions::default() },
        Types::Calibrated => LowerOptions { ranges: Some(ranges_of(&graph, &xs)), ..LowerOptions::default() },
    };
    let program = lower(&graph, &options).unwrap().program;
    let class = |v: &[f64]| (0..v.len()).rev().max_by(|a, b| v[*a].total_cmp(&v[*b]));
    let (mut worst, mut other) = (0f64, 0);
    for (x, y) in xs.iter().zip(&ys) {
        let (found, y) = (run(&program, x).remove(0), y.to_f64());
        worst = found.iter().zip(&y).map(|(a, b)| (a - b).abs()).fold(worst, f64::max);
        other += usize::from(class(&found) != class(&y));
    }
    (worst, other, xs.len())
}

#[test]
fn quantised_models_are_equal() {
    for name in [
        "brevitas_qcdq-digits_mlp_w8a8_pow2",
        "brevitas_qonnx-digits_cnn_w6a6_pow2",
        "ort_quant-digits_cnn_qdq_u8s8",
        "ort_quant-digits_mlp_qoperator",
    ] {
        let (worst, other, _) = against(name, &Types::Own);
        // The recorded outputs are codes times scales, in f32: a code off is at least 0.003.
        assert!(worst < 1e-6 && other == 0, "{name}: off by {worst}, {other} other classes");
    }
}

#[test]
fn calibration_changes_nothing_between_quantisers() {
    for name in ["ort_quant-digits_cnn_qdq_u8s8", "ort_quant-digits_mlp_qoperator"] {
        let (worst, _, _) = against(name, &Types::Calibrated);
        assert!(worst < 1e-2, "{name}: off by {worst}");
    }
}

const FLOAT: &[&str] = &[
    "float16-digits_mlp",
    "keras3_export-digits_cnn",
    "skl2onnx-breast_cancer_scaled_mlp",
    "skl2onnx-digits_mlp",
    "tf2onnx-digits_conv1d",
    "torch_dynamo-digits_mlp_extdata",
    "torch_dynamo-digits_resdw",
    "torch_legacy-digits_cnn",
    "torch_legacy-digits_mlp",
];

#[test]
fn float_models_at_wide_types() {
    for name in FLOAT {
        let (worst, _, _) = against(name, &Types::Wide("fixed<40,16>"));
        assert!(worst < 1e-4, "{name}: off by {worst}");
    }
}

#[test]
fn float_models_at_16_calibrated_bits_name_the_same_class() {
    for name in FLOAT {
        let (_, other, rows) = against(name, &Types::Calibrated);
        assert!(other * 200 <= rows, "{name}: {other} of {rows} rows");
    }
}
