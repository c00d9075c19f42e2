//! QONNX's quantisers: any scale, zero points, bipolar; and what lies behind them.

use hs_compiler::config;
use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx::{builder::ModelBuilder, import_bytes};
use hs_compiler::passes::{normalise, normalise_with};
use hs_compiler::reference::eval;
use hs_hw::Op;
use hs_ir::Tensor;

use crate::lowering::run;
use crate::support::{build, normal, ops};

const QONNX: &str = "qonnx.custom_op.general";

/// `y` = the quantiser of `x` with constants under `y`'s name; `scale` along the last axes of `shape`.
fn quant(m: &mut ModelBuilder, (x, y): (&str, &str), (shape, scale): (&[i64], &[f32]), zero: f32, bits: f32) {
    let [s, z, b] = ["scale", "zero", "bits"].map(|w| format!("{y}_{w}"));
    m.floats(&s, shape, scale).floats(&z, &[], &[zero]).floats(&b, &[], &[bits]);
    let signed = i64::from(zero == 0.0);
    m.node("Quant", &[x, &s, &z, &b], &[y]).domain(QONNX).name(&format!("q_{y}")).int("signed", signed);
}

/// The largest difference between Program and float reference over rows of `x`, in which no element is halfway between
/// two quantiser steps.
fn worst(m: &ModelBuilder, rows: usize, shape: &[usize]) -> f64 {
    let imported = build(m);
    let graph = normalise(imported.clone()).unwrap();
    let program = lower(&graph, &LowerOptions::default()).unwrap().program;
    let len: usize = shape.iter().product();
    let mut worst = 0f64;
    for row in 0..rows {
        let data = (0..len).map(|i| ((row * len + i) as f32 * 0.7371).sin() * 2.3).collect();
        let x = [Tensor::from_f32(shape.to_vec(), data).unwrap()];
        let (wanted, found) = (eval(&imported, &x).unwrap(), run(&program, &x));
        for (a, b) in wanted.iter().zip(&found) {
            for (a, b) in a.to_f64().iter().zip(b) {
                worst = worst.max((a - b).abs());
            }
        }
    }
    worst
}

#[test]
fn scales_that_are_no_power_of_two_leave_integer_layers() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2, 3, 3]);
    let w: Vec<f32> = (0..3 * 2 * 2 * 2).map(|i| (i as f32 * 1.7).cos() * 0.8).collect();
    m.floats("w", &[3, 2, 2, 2], &w).floats("b", &[3], &[0.31, -0.2, 0.05]);
    m.floats("v", &[12, 2], &w);
    quant(&mut m, ("x", "xq"), (&[], &[0.019]), 0.0, 8.0);
    quant(&mut m, ("w", "wq"), (&[3, 1, 1, 1], &[0.11, 0.07, 0.13]), 0.0, 4.0);
    m.node("Conv", &["xq", "wq", "b"], &["c"]).name("conv");
    m.node("Relu", &["c"], &["r"]);
    quant(&mut m, ("r", "rq"), (&[], &[0.023]), 0.0, 8.0);
    m.node("Flatten", &["rq"], &["f"]);
    quant(&mut m, ("v", "vq"), (&[], &[0.09]), 0.0, 5.0);
    m.node("MatMul", &["f", "vq"], &["y"]).name("fc");
    m.output("y", &[-1, 2]);
    let graph = normal(&m);
    let expected =
        ["Affine", "Quant", "Conv", "Affine", "Relu", "Affine", "Quant", "Flatten", "Dense", "Affine"];
    assert_eq!(ops(graph.graph()), expected);
    assert_eq!(graph.graph().nodes[9].sources.last().unwrap(), "fc");
    let program = lower(&graph, &LowerOptions::default()).unwrap().program;
    let widths: Vec<(u32, u32)> = program
        .nodes
        .iter()
        .filter_map(|n| match &n.op {
            Op::Dot(d) => Some((program.node(n.inputs[0]).format().width(), d.weight.format.width())),
            _ => None,
        })
        .collect();
    assert!(widths.iter().all(|(x, w)| *x <= 8 && *w <= 5), "integers times integers: {widths:?}");
    assert!(worst(&m, 20, &[1, 2, 3, 3]) < 1e-4);
}

#[test]
fn zero_points_and_scales_of_channels() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 3, 2]).floats("w", &[2, 2], &[0.5, -0.25, 0.75, 0.5]);
    quant(&mut m, ("x", "xq"), (&[], &[0.031]), 90.0, 8.0);
    quant(&mut m, ("xq", "xp"), (&[1, 3, 1], &[0.0531, 0.0617, 0.0711]), 0.0, 7.0);
    m.node("MatMul", &["xp", "w"], &["y"]);
    m.output("y", &[-1, 3, 2]);
    assert!(worst(&m, 20, &[1, 3, 2]) < 1e-4);
}

#[test]
fn scales_of_input_channels_are_rounded_into_the_weights() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.51, -0.25, 0.75, 0.5]);
    quant(&mut m, ("x", "xq"), (&[], &[0.125]), 0.0, 8.0);
    quant(&mut m, ("w", "wq"), (&[2, 1], &[0.11, 0.13]), 0.0, 4.0);
    m.node("MatMul", &["xq", "wq"], &["y"]);
    m.output("y", &[-1, 2]);
    assert_eq!(ops(normal(&m).graph()), ["Quant", "Dense"]);
    assert!(worst(&m, 20, &[1, 2]) < 1e-5);
}

#[test]
fn bipolar_weights_and_activations() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 3]).floats("w", &[3, 2], &[0.5, -0.25, 0.0, -0.1, 0.75, 0.5]);
    m.floats("one", &[], &[1.0]).floats("s", &[], &[0.37]);
    m.node("BipolarQuant", &["x", "s"], &["xq"]).domain(QONNX);
    m.node("BipolarQuant", &["w", "one"], &["wq"]).domain(QONNX);
    m.node("MatMul", &["xq", "wq"], &["h"]);
    m.node("BipolarQuant", &["w", "s"], &["vq"]).domain(QONNX);
    m.node("Transpose", &["vq"], &["v"]);
    m.node("MatMul", &["h", "v"], &["y"]);
    m.output("h", &[-1, 2]).output("y", &[-1, 3]);
    assert!(worst(&m, 8, &[1, 3]) < 1e-3);
    let graph = normal(&m);
    let signs = graph.graph().constant(graph.graph().nodes[1].input(1).unwrap()).unwrap().to_f64();
    assert_eq!(signs, [1.0, 1.0, 1.0, -1.0, -1.0, 1.0]);
}

#[test]
fn functions_behind_quantised_layers_keep_fraction_bits() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 3]).floats("w", &[3, 3], &[0.5, -0.25, 0.0, -0.5, 0.75, 0.5, 1.0, 0.25, -0.75]);
    quant(&mut m, ("x", "xq"), (&[], &[0.03125]), 0.0, 8.0);
    quant(&mut m, ("w", "wq"), (&[], &[0.25]), 0.0, 4.0);
    m.node("MatMul", &["xq", "wq"], &["h"]);
    m.node("Sigmoid", &["h"], &["s"]);
    m.node("Softmax", &["h"], &["p"]).int("axis", -1);
    m.node("Elu", &["h"], &["e"]);
    m.output("s", &[-1, 3]).output("p", &[-1, 3]).output("e", &[-1, 3]);
    assert!(worst(&m, 20, &[1, 3]) < 2e-4);
}

#[test]
fn constants_quantised_by_element() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.53, -0.26, 0.77, 0.5]);
    m.floats("s", &[2, 2], &[0.25, 0.125, 0.5, 0.0625]).floats("z", &[], &[0.0]);
    m.floats("b", &[2, 2], &[4.0, 3.0, 0.0, 2.0]);
    m.node("Quant", &["w", "s", "z", "b"], &["wq"]).domain(QONNX).int("signed", 1);
    m.node("MatMul", &["x", "wq"], &["y"]);
    m.output("y", &[-1, 2]);
    let graph = normal(&m);
    let weights = graph.graph().constant(graph.graph().nodes[0].input(1).unwrap()).unwrap().to_f64();
    // Rows are outputs; 0.77 has no bits, and 0.5 is held to one step of 0.0625.
    assert_eq!(weights, [0.5, 0.0, -0.25, 0.0625]);
}

/// With `per_channel` each output channel has 8 bits for its own weights: the layer is the one over weights rounded so,
/// whatever the others are.
#[test]
fn weights_fitted_to_each_output_channel() {
    let sizes = [4.0, 0.03, 0.0, 0.0009, 1.0];
    let weight = |o: usize, i: usize| ((o * 7 + i * 5 + 3) % 11) as f64 / 11.0 * sizes[o] - 0.4 * sizes[o];
    let rows: Vec<f64> = (0..3).flat_map(|i| (0..5).map(move |o| weight(o, i))).collect();
    let floats: Vec<f32> = rows.iter().map(|w| *w as f32).collect();
    let bias = [0.5, -0.01, 0.25, 0.002, 3.0];
    for conv in [false, true] {
        let mut m = ModelBuilder::new(17);
        if conv {
            let by_channel: Vec<f32> =
                (0..5).flat_map(|o| (0..3).map(move |i| weight(o, i) as f32)).collect();
            m.input("x", &[-1, 3, 2]).floats("w", &[5, 3, 1], &by_channel).floats("b", &[5], &bias);
            m.node("Conv", &["x", "w", "b"], &["a"]).name("layer");
        } else {
            m.input("x", &[-1, 3]).floats("w", &[3, 5], &floats).floats("b", &[5], &bias);
            m.node("Gemm", &["x", "w", "b"], &["a"]).name("layer");
        }
        m.node("Relu", &["a"], &["y"]).name("act");
        m.output("y", if conv { &[-1, 5, 2] } else { &[-1, 5] });
        let text =
            "[model]\nprecision = \"fixed<8,4>\"\nper_channel = true\n[node.act]\nresult = \"fixed<40,6>\"\n";
        let (graph, _) = import_bytes(&m.to_bytes(), None).unwrap();
        let config = config::parse(text, &graph).unwrap();
        let normal = normalise_with(graph, &config.pass_options()).unwrap();
        let x: Vec<f64> = (0..if conv { 6 } else { 3 }).map(|i| f64::from(i) * 0.5 - 1.25).collect();
        let shape = if conv { vec![1, 3, 2] } else { vec![1, 3] };
        let x = Tensor::from_f32(shape, x.iter().map(|v| *v as f32).collect()).unwrap();
        let ranges = [("x", (-2.0, 2.0)), ("y", (0.0, 20.0))].map(|(n, r)| (n.to_owned(), r.into()));
        let options = LowerOptions { ranges: Some(ranges.into()), ..config.lower_options() };
        let lowered = lower(&normal, &options).unwrap();
        let Some(Op::Dot(dot)) =
            lowered.program.nodes.iter().map(|n| &n.op).find(|op| matches!(op, Op::Dot(_)))
        else {
            panic!("{}", hs_hw::text::print(&lowered.program))
        };
        assert!(dot.weight.format.width() <= 8, "{}", dot.weight.format);
        // By hand: 8 bits for the largest weight of each channel; biases of 16 bits.
        let channel = |o: usize| (0..3).map(|i| f64::from(weight(o, i) as f32)).collect::<Vec<_>>();
        let rounded = |o: usize| {
            let w = channel(o);
            let frac = (0..40)
                .rev()
                .find(|f| w.iter().all(|w| (-128.0..128.0).contains(&(w * 2f64.powi(*f)).round_ties_even())));
            let step = 2f64.powi(-frac.unwrap());
            w.iter().map(|w| (w / step).round_ties_even() * step).collect::<Vec<_>>()
        };
        let got = &run(&lowered.program, std::slice::from_ref(&x))[0];
        let x = x.to_f64();
        let places = if conv { 2 } else { 1 };
        for (at, got) in got.iter().enumerate() {
            let (o, place) = (at / places, at % places);
            let sum: f64 = rounded(o).iter().enumerate().map(|(i, w)| w * x[i * places + place]).sum();
            let bias = (f64::from(bias[o]) * 2f64.powi(13)).round_ties_even() / 2f64.powi(13);
            assert!((got - (sum + bias).max(0.0)).abs() < 1e-6, "channel {o}: {got} {sum} {bias}");
        }
    }
}

/// What the model makes of one row, by Program and by float reference, which must agree.
fn row(m: &ModelBuilder, x: &[f32]) -> Vec<f64> {
    let imported = build(m);
    let graph = normalise(imported.clone()).unwrap();
    let program = lower(&graph, &LowerOptions::default()).unwrap().program;
    let x = [Tensor::from_f32(vec![1, x.len()], x.to_vec()).unwrap()];
    let near = |v: Vec<f64>| v.iter().map(|v| (v * 1e6).round() / 1e6).collect::<Vec<_>>();
    let found = near(run(&program, &x).remove(0));
    assert_eq!(found, near(eval(&imported, &x).unwrap()[0].to_f64()));
    found
}

/// A quantiser named `op` alone, with scale, zero point and bits.
fn alone(op: &str, [scale, zero, bits]: [f32; 3], flags: [i64; 2], mode: &str) -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).floats("s", &[], &[scale]).floats("z", &[], &[zero]).floats("b", &[], &[bits]);
    let node = m.node(op, &["x", "s", "z", "b"], &["y"]).domain(QONNX);
    node.int("signed", flags[0]).int("narrow", flags[1]).str("rounding_mode", mode);
    m.output("y", &[-1, 4]);
    m
}

#[test]
fn modes_and_ranges_that_hardware_types_lack() {
    let x = [0.26, -0.74, 9.0, -9.0];
    for scale in [0.5, 0.3] {
        let times = |q: [f64; 4]| q.map(|q| (q * scale * 1e6).round() / 1e6).to_vec();
        let of = |flags, mode| row(&alone("Quant", [scale as f32, 0.0, 3.0], flags, mode), &x);
        assert_eq!(of([1, 0], "CEIL"), times([1.0, if scale == 0.5 { -1.0 } else { -2.0 }, 3.0, -4.0]));
        assert_eq!(of([0, 1], "FLOOR"), times([0.0, 0.0, 6.0, 0.0]));
    }
    assert_eq!(row(&alone("Quant", [0.5, 3.0, 4.0], [0, 1], "CEIL"), &x), [0.5, -0.5, 5.5, -1.5]);
}

#[test]
fn a_zero_point_that_is_added_before_rounding_decides_ties() {
    let x = [0.25, 0.75, -0.75, -9.0];
    assert_eq!(row(&alone("Quant", [0.5, 3.0, 8.0], [0, 0], "ROUND"), &x), [0.5, 0.5, -0.5, -1.5]);
    assert_eq!(row(&alone("Quant", [0.5, 4.0, 8.0], [0, 0], "ROUND"), &x), [0.0, 1.0, -1.0, -2.0]);
}

#[test]
fn one_signed_bit_is_bipolar() {
    let signs = row(&alone("IntQuant", [0.3, 0.0, 1.0], [1, 0], "ROUND"), &[0.2, -0.2, 0.0, -7.0]);
    assert_eq!(signs, [0.3, -0.3, 0.3, -0.3]);
}

#[test]
fn truncated_integers() {
    let x = [0.13, 0.58, 1.22, 9.0];
    for (version, expected) in [(1, [0.0, 0.1, 0.3, 0.3]), (2, [0.0, 0.4, 1.2, 1.2])] {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[-1, 4]).floats("s", &[], &[0.1]).floats("z", &[], &[0.0]);
        m.floats("in", &[], &[4.0]).floats("out", &[], &[2.0]).floats("t", &[], &[0.4]);
        m.node("Quant", &["x", "s", "z", "in"], &["q"]).domain(QONNX).int("signed", 0);
        let operands: &[&str] = if version == 1 {
            &["q", "s", "z", "in", "out"]
        } else {
            &["q", "s", "z", "in", "t", "z", "out"]
        };
        let node = m.node("Trunc", operands, &["y"]).domain(QONNX).str("rounding_mode", "FLOOR");
        if version == 2 {
            node.int("signed", 0).int("narrow", 0);
        }
        m.output("y", &[-1, 4]);
        assert_eq!(row(&m, &x), expected, "version {version}");
    }
}

/// Two layers of 4 features around a sum that also reads what the first one reads; the sum has steps of `scale`.
fn forked(scale: f32) -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]);
    let w: Vec<f32> = (0..16).map(|i| (i as f32 * 1.7).cos() * 0.8).collect();
    m.floats("w", &[4, 4], &w).floats("v", &[4, 4], &w);
    quant(&mut m, ("x", "xq"), (&[], &[0.019]), 0.0, 8.0);
    quant(&mut m, ("w", "wq"), (&[], &[0.11]), 0.0, 4.0);
    quant(&mut m, ("v", "vq"), (&[], &[0.13]), 0.0, 4.0);
    m.node("MatMul", &["xq", "wq"], &["h"]).name("fc1");
    quant(&mut m, ("h", "hq"), (&[], &[0.057]), 0.0, 8.0);
    m.node("Add", &["hq", "xq"], &["s"]);
    quant(&mut m, ("s", "sq"), (&[], &[scale]), 0.0, 8.0);
    m.node("MatMul", &["sq", "vq"], &["y"]).name("fc2");
    m.output("y", &[-1, 4]);
    m
}

#[test]
fn layers_behind_a_fork_multiply_integers() {
    assert!(worst(&forked(0.0413), 20, &[1, 4]) < 1e-5);
    let program = lower(&normal(&forked(0.038)), &LowerOptions::default()).unwrap().program;
    let dots: Vec<_> = program.nodes.iter().filter(|n| matches!(n.op, Op::Dot(_))).collect();
    let widths: Vec<u32> = dots.iter().map(|n| program.node(n.inputs[0]).format().width()).collect();
    assert_eq!(widths, [8, 8], "{program}");
    // The sum's operands become steps of its result at once, so that half a step is exactly that.
    let factor = |n: &hs_hw::Node| match &n.op {
        Op::Affine { scale, .. } => Some(scale.format.value(i128::from(scale.data[0]))),
        _ => None,
    };
    assert!(program.nodes.iter().filter_map(factor).any(|s| s == 0.5), "{program}");
}
