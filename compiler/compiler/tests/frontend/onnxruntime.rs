//! `QuantizeLinear`, `DequantizeLinear`, ONNX Runtime's quantised operators, labels.

use hs_compiler::lower::{Arithmetic, LowerOptions, lower};
use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::onnx::import_bytes;
use hs_compiler::onnx::proto::TensorProto;
use hs_compiler::passes::{PassOptions, normalise, normalise_with};
use hs_compiler::reference::eval;
use hs_ir::{DType, Tensor};

use crate::lowering::run;
use crate::support::{build, normal, ops};

const INT8: i32 = 3;
const UINT8: i32 = 2;

fn ints(m: &mut ModelBuilder, name: &str, ty: i32, dims: &[i64], data: &[i32]) {
    m.graph().initializer.push(TensorProto {
        name: name.to_owned(),
        data_type: ty,
        dims: dims.to_vec(),
        int32_data: data.to_vec(),
        ..Default::default()
    });
}

/// Constants `NAME_s` and `NAME_z`.
fn scale(m: &mut ModelBuilder, name: &str, ty: i32, s: f32, z: i32) {
    m.floats(&format!("{name}_s"), &[], &[s]);
    ints(m, &format!("{name}_z"), ty, &[], &[z]);
}

/// `y` = `x` through a `QuantizeLinear` and a `DequantizeLinear` with the scale `of`.
fn qdq(m: &mut ModelBuilder, x: &str, y: &str, of: &str) {
    let (s, z, q) = (format!("{of}_s"), format!("{of}_z"), format!("{y}_q"));
    m.node("QuantizeLinear", &[x, &s, &z], &[&q]).name(&format!("quantise_{y}"));
    m.node("DequantizeLinear", &[&q, &s, &z], &[y]);
}

/// Program, float reference of the imported and of the normal graph, compared with equality on codes of `step`.
fn exact(m: &ModelBuilder, features: usize, step: f64) {
    let imported = build(m);
    let graph = normalise(imported.clone()).unwrap();
    let program = lower(&graph, &LowerOptions::default()).unwrap().program;
    for row in 0..64 {
        let data = (0..features).map(|i| ((row * features + i) as f32 * 0.7371).sin() * 2.3).collect();
        let x = [Tensor::from_f32(vec![1, features], data).unwrap()];
        let code = |v: &f64| (v / step).round() as i64;
        let found: Vec<i64> = run(&program, &x)[0].iter().map(code).collect();
        for of in [&imported, graph.graph()] {
            let wanted: Vec<i64> = eval(of, &x).unwrap()[0].to_f64().iter().map(code).collect();
            assert_eq!(found, wanted, "row {row}");
        }
    }
}

/// A dense layer of 4 features with integer weights, a scale an output channel, and its bias.
fn dense(m: &mut ModelBuilder, x: &str, y: &str) {
    let w: Vec<i32> = (0..12).map(|i| (i * 37 + 11) % 255 - 127).collect();
    ints(m, "w", INT8, &[3, 4], &w);
    ints(m, "w_z", INT8, &[3], &[0; 3]);
    m.floats("w_s", &[3], &[0.0051, 0.0072, 0.0033]).floats("b", &[3], &[0.31, -0.2, 0.05]);
    m.node("DequantizeLinear", &["w", "w_s", "w_z"], &["wr"]).int("axis", 0);
    m.node("Gemm", &[x, "wr", "b"], &[y]).name("fc").int("transB", 1);
}

#[test]
fn quantised_layers_with_zero_points_of_any_parity() {
    for (ty, zero) in [(UINT8, 121), (UINT8, 128), (INT8, -7), (INT8, 0), (UINT8, 0)] {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[-1, 4]);
        scale(&mut m, "a", ty, 0.0193, zero);
        scale(&mut m, "c", ty, 0.0237, zero);
        qdq(&mut m, "x", "xr", "a");
        dense(&mut m, "xr", "h");
        qdq(&mut m, "h", "y", "c");
        m.output("y", &[-1, 3]);
        let graph = normal(&m);
        let layers: Vec<_> = graph.graph().nodes.iter().filter(|n| n.op == "Dense").collect();
        let weights = graph.graph().constant(layers[0].input(1).unwrap()).unwrap().to_f64();
        assert!(weights.iter().all(|w| w.fract() == 0.0), "integers times integers: {weights:?}");
        exact(&m, 4, f64::from(0.0237f32));
    }
}

#[test]
fn the_zero_point_is_added_after_rounding() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    scale(&mut m, "a", UINT8, 0.5, 3);
    qdq(&mut m, "x", "y", "a");
    m.output("y", &[-1, 4]);
    let program = lower(&normal(&m), &LowerOptions::default()).unwrap().program;
    // Halfway: 0.25 / 0.5 rounds to 0 and 0.75 / 0.5 to 2, whatever the zero point.
    let x = Tensor::from_f32(vec![1, 4], vec![0.25, 0.75, -0.75, -9.0]).unwrap();
    assert_eq!(run(&program, &[x])[0], [0.0, 1.0, -1.0, -1.5]);
}

#[test]
fn functions_between_quantisers_are_tables_of_codes() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    scale(&mut m, "a", INT8, 0.0193, 5);
    scale(&mut m, "t", UINT8, 0.0079, 127);
    qdq(&mut m, "x", "xr", "a");
    m.node("LeakyRelu", &["xr"], &["l"]).float("alpha", 0.1);
    m.node("Tanh", &["l"], &["t"]).name("tanh");
    qdq(&mut m, "t", "y", "t");
    m.output("y", &[-1, 4]);
    assert!(ops(normal(&m).graph()).contains(&"Lut"));
    exact(&m, 4, f64::from(0.0079f32));
}

#[test]
fn summands_between_quantisers_round_as_single_precision_does() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).floats("three", &[], &[3.0]);
    scale(&mut m, "a", INT8, 0.168506518, 5);
    scale(&mut m, "t", UINT8, 0.0235294122, 0);
    qdq(&mut m, "x", "xr", "a");
    m.node("Add", &["xr", "three"], &["s"]);
    qdq(&mut m, "s", "y", "t");
    m.output("y", &[-1, 4]);
    exact(&m, 4, f64::from(0.0235294122f32));
    // 3 is 127.4999976 steps, which single precision rounds to 127.5.
    let program = lower(&normal(&m), &LowerOptions::default()).unwrap().program;
    let found = run(&program, &[Tensor::from_f32(vec![1, 4], vec![0.0; 4]).unwrap()]).remove(0);
    assert!(found.iter().all(|y| (y / 0.0235294122 - 128.0).abs() < 1e-4), "{found:?}");
}

#[test]
fn codes_are_padded_with_what_their_padding_stands_for() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).ints("pads", &[0, 1, 0, 2]);
    scale(&mut m, "a", UINT8, 0.0193, 121);
    m.node("QuantizeLinear", &["x", "a_s", "a_z"], &["q"]);
    m.node("Pad", &["q", "pads", "a_z"], &["p"]);
    m.node("DequantizeLinear", &["p", "a_s", "a_z"], &["y"]);
    m.output("y", &[-1, 7]);
    exact(&m, 4, f64::from(0.0193f32));
    assert!(ops(normal(&m).graph()).contains(&"Pad"));
}

#[test]
fn quantised_operators_and_what_moves_their_codes() {
    const RUNTIME: &str = "com.microsoft";
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    for (name, s, z) in [("a", 0.0193, 121), ("c", 0.0237, 99), ("g", 0.0119, 77), ("p", 0.00390625, 0)] {
        scale(&mut m, name, UINT8, s, z);
    }
    let w: Vec<i32> = (0..16).map(|i| (i * 37 + 11) % 256).collect();
    ints(&mut m, "w", UINT8, &[4, 4], &w);
    ints(&mut m, "w_z", UINT8, &[], &[131]);
    m.floats("w_s", &[], &[0.0041]);
    m.node("QuantizeLinear", &["x", "a_s", "a_z"], &["xq"]);
    m.node("QLinearMatMul", &["xq", "a_s", "a_z", "w", "w_s", "w_z", "c_s", "c_z"], &["h"]).name("fc");
    m.ints("shape", &[-1, 4]);
    m.node("Reshape", &["h", "shape"], &["hr"]);
    m.node("QLinearAdd", &["hr", "c_s", "c_z", "xq", "a_s", "a_z", "g_s", "g_z"], &["s"]).domain(RUNTIME);
    m.node("QLinearSigmoid", &["s", "g_s", "g_z", "p_s", "p_z"], &["o"]).domain(RUNTIME);
    m.node("DequantizeLinear", &["o", "p_s", "p_z"], &["y"]);
    m.output("y", &[-1, 4]);
    exact(&m, 4, 1.0 / 256.0);
}

#[test]
fn integers_that_leave_the_model_are_refused() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    scale(&mut m, "a", UINT8, 0.5, 3);
    m.node("QuantizeLinear", &["x", "a_s", "a_z"], &["q"]).name("last");
    m.output("q", &[-1, 4]);
    let errors = normalise(build(&m)).unwrap_err();
    assert_eq!(errors.0[0].op.as_deref(), Some("QuantizeLinear"), "{errors}");
    assert!(errors.0[0].help.is_some());
}

#[test]
fn quantisers_are_refused_under_hls4mls_arithmetic() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    scale(&mut m, "a", INT8, 0.25, 0);
    qdq(&mut m, "x", "xr", "a");
    dense(&mut m, "xr", "y");
    m.output("y", &[-1, 3]);
    let options = PassOptions { arithmetic: Arithmetic::Hls4ml, ..PassOptions::default() };
    let errors = normalise_with(build(&m), &options).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].node.as_deref(), Some("quantise_xr"), "{errors}");
    assert!(errors.0[0].help.as_deref().unwrap().contains("native"), "{errors}");
    // A quantised constant alone is refused, too.
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    dense(&mut m, "x", "y");
    m.output("y", &[-1, 3]);
    let errors = normalise_with(build(&m), &options).unwrap_err();
    assert_eq!(errors.0[0].op.as_deref(), Some("DequantizeLinear"), "{errors}");
}

#[test]
fn labels_are_dropped_beside_scores() {
    const ML: &str = "ai.onnx.ml";
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.5, -0.25, 0.75, 0.5]);
    m.graph().initializer.push(TensorProto {
        name: "classes".to_owned(),
        data_type: 8,
        dims: vec![2],
        ..Default::default()
    });
    m.node("MatMul", &["x", "w"], &["s"]);
    m.node("ArgMax", &["s"], &["i"]).int("axis", 1);
    m.node("ArrayFeatureExtractor", &["classes", "i"], &["l"]).domain(ML);
    m.node("ZipMap", &["s"], &["p"]).domain(ML);
    m.output("l", &[-1, 1]).output("p", &[-1, 2]);
    let (graph, warnings) = import_bytes(&m.to_bytes(), None).unwrap();
    assert_eq!(graph.outputs.len(), 1);
    assert!(warnings.iter().all(|w| w.help.is_some()) && warnings.len() == 2, "{warnings:?}");
    let graph = normalise(graph).unwrap();
    assert_eq!(ops(graph.graph()), ["Dense"]);
    let p = graph.graph().value(graph.graph().outputs[0]);
    assert_eq!((p.name.as_str(), p.dtype), ("p", Some(DType::F32)));
    m.graph().output.pop();
    let errors = import_bytes(&m.to_bytes(), None).unwrap_err();
    assert!(errors.to_string().contains("strings"), "{errors}");
}
