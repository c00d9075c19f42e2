//! The passes under hls4ml's arithmetic.

use hs_compiler::lower::Arithmetic;
use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::passes::{PassOptions, normalise_with};
use hs_ir::Graph;

use crate::support::{build, ops};

fn options(unfused: &[&str], split: &[&str]) -> PassOptions {
    let set = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect();
    let arithmetic = Arithmetic::Hls4ml;
    PassOptions { arithmetic, unfused: set(unfused), split: set(split), ..PassOptions::default() }
}

/// The graph, where results of the nodes `unfused` and products of the nodes `split` have types of their own.
fn hls4ml(model: &ModelBuilder, unfused: &[&str], split: &[&str]) -> Graph {
    normalise_with(build(model), &options(unfused, split)).unwrap().into_graph()
}

fn constant(graph: &Graph, node: usize, operand: usize) -> Vec<f64> {
    graph.constant(graph.nodes[node].input(operand).unwrap()).unwrap().to_f64()
}

/// x[2] → dense "fc" → batch normalisation "bn" → y[2]
fn normalised_dense() -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.1, 0.7, -0.3, 1.1]).floats("b", &[2], &[0.3, -0.9]);
    m.floats("g", &[2], &[1.3, 0.6]).floats("be", &[2], &[0.2, 0.1]);
    m.floats("mean", &[2], &[0.7, -0.4]).floats("var", &[2], &[0.37, 2.9]);
    m.node("Gemm", &["x", "w", "b"], &["h"]).name("fc").int("transB", 1);
    m.node("BatchNormalization", &["h", "g", "be", "mean", "var"], &["y"]).name("bn").float("epsilon", 1e-3);
    m.output("y", &[-1, 2]);
    m
}

/// Scale and bias of "bn", each operation in `f32`.
fn bn() -> ([f32; 2], [f32; 2]) {
    let scale = [1.3f32 / (0.37f32 + 1e-3).sqrt(), 0.6f32 / (2.9f32 + 1e-3).sqrt()];
    (scale, [0.2f32 - 0.7f32 * scale[0], 0.1f32 - -0.4f32 * scale[1]])
}

#[test]
fn batch_normalisation_is_folded_as_numpy_computes_it() {
    let graph = hls4ml(&normalised_dense(), &[], &[]);
    assert_eq!(ops(&graph), ["Dense"]);
    assert_eq!(graph.nodes[0].sources, ["fc", "bn"]);
    let (scale, bias) = bn();
    // The factor of the bias's layer is an integer, which makes what it is multiplied with `f64`.
    let [s, t] = scale.map(f64::from);
    let w = [0.1f32, 0.7, -0.3, 1.1].map(f64::from);
    assert_eq!(constant(&graph, 0, 1), [w[0] * s, w[1] * s, w[2] * t, w[3] * t]);
    let moved = [0.3f32, -0.9].map(f64::from);
    let b = [s * moved[0] + f64::from(bias[0]), t * moved[1] + f64::from(bias[1])];
    let single = [0.3f32 * scale[0] + bias[0], -0.9f32 * scale[1] + bias[1]].map(f64::from);
    assert_ne!(b, single);
    assert_eq!(constant(&graph, 0, 2), single);
}

#[test]
fn a_convolution_has_no_such_integer() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 1, 2]).floats("w", &[1, 1, 2], &[0.1, 0.7]).floats("b", &[1], &[0.3]);
    m.floats("g", &[1], &[1.3]).floats("be", &[1], &[0.2]).floats("mean", &[1], &[0.7]).floats(
        "var",
        &[1],
        &[0.37],
    );
    m.node("Conv", &["x", "w", "b"], &["h"]).name("conv");
    m.node("BatchNormalization", &["h", "g", "be", "mean", "var"], &["y"]).name("bn").float("epsilon", 1e-3);
    m.output("y", &[-1, 1, 1]);
    let graph = hls4ml(&m, &[], &[]);
    let (scale, bias) = bn();
    assert_eq!(ops(&graph), ["Conv"]);
    assert_eq!(constant(&graph, 0, 1), [0.1f32 * scale[0], 0.7f32 * scale[0]].map(f64::from));
    assert_eq!(constant(&graph, 0, 2), [f64::from(0.3f32 * scale[0] + bias[0])]);
}

#[test]
fn a_normalisation_behind_a_typed_product_takes_over_the_bias() {
    let (scale, bias) = bn();
    let graph = hls4ml(&normalised_dense(), &[], &["fc"]);
    assert_eq!(ops(&graph), ["Dense", "Affine"]);
    assert_eq!((graph.nodes[0].input(2), graph.nodes[1].name.as_str()), (None, "bn"));
    assert_eq!(constant(&graph, 1, 1), scale.map(f64::from));
    let both = [0.3f32 * scale[0] + bias[0], -0.9f32 * scale[1] + bias[1]];
    assert_eq!(constant(&graph, 1, 2), both.map(f64::from));
    // Unless the sum has a type of its own too.
    let graph = hls4ml(&normalised_dense(), &["fc"], &["fc"]);
    assert_eq!(ops(&graph), ["Dense", "Affine", "Affine"]);
    assert_eq!(graph.nodes[1].name, "fc/bias");
    assert_eq!(constant(&graph, 1, 2), [0.3f32, -0.9].map(f64::from));
    assert_eq!(constant(&graph, 2, 2), bias.map(f64::from));
}

#[test]
fn batch_normalisation_behind_an_unfused_layer_stays() {
    let graph = hls4ml(&normalised_dense(), &["fc"], &[]);
    assert_eq!(ops(&graph), ["Dense", "Affine"]);
    assert_eq!(graph.nodes[1].name, "bn");
    assert_eq!(constant(&graph, 0, 2), [0.3f32, -0.9].map(f64::from));
    assert_eq!(constant(&graph, 1, 1), bn().0.map(f64::from));
}

/// x[2] → MatMul "fc" → Add "bias" → Add "more" → Mul "gain" → Mul "again" → y[2]
fn chain() -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).floats("b", &[2], &[0.5, -0.5]);
    m.node("MatMul", &["x", "w"], &["h"]).name("fc");
    m.node("Add", &["h", "b"], &["i"]).name("bias");
    m.node("Add", &["i", "b"], &["j"]).name("more");
    m.node("Mul", &["j", "b"], &["k"]).name("gain");
    m.node("Mul", &["k", "b"], &["y"]).name("again");
    m.output("y", &[-1, 2]);
    m
}

#[test]
fn scalings_are_merged_up_to_the_next_type() {
    let graph = hls4ml(&chain(), &[], &[]);
    assert_eq!(ops(&graph), ["Dense"]);
    assert_eq!(constant(&graph, 0, 1), [0.25, 0.75, 0.5, 1.0]);
    assert_eq!(constant(&graph, 0, 2), [0.25, -0.25]);
    let graph = hls4ml(&chain(), &["fc"], &[]);
    assert_eq!(ops(&graph), ["Dense", "Affine"]);
    assert_eq!(graph.nodes[1].name, "again");
    assert_eq!((constant(&graph, 1, 1), constant(&graph, 1, 2)), (vec![0.25, 0.25], vec![0.25, -0.25]));
    let graph = hls4ml(&chain(), &["fc", "bias", "gain"], &[]);
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["fc", "bias", "gain", "again"]);
    // A factor of 1 and a summand of 0 that the model does not have are integers of one bit; merged ones are not.
    assert!(graph.nodes[1].input(1).is_none() && graph.nodes[3].input(2).is_none());
    assert_eq!((constant(&graph, 2, 1), constant(&graph, 2, 2)), (vec![0.5, -0.5], vec![0.25, 0.25]));
}

#[test]
fn what_does_nothing_is_dropped_whatever_its_type() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).floats("b", &[2], &[0.0, 0.0]);
    m.node("Gemm", &["x", "w", "b"], &["h"]).name("fc");
    m.node("Relu", &["h"], &["y"]).name("act");
    m.output("y", &[-1, 2]);
    assert_eq!(ops(&hls4ml(&m, &["fc"], &["fc"])), ["Dense", "Relu"]);
}

#[test]
fn an_addition_behind_a_convolution_stays() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2, 1]).floats("w", &[1, 2, 1], &[1.0, 2.0]).floats("b", &[1, 1, 1], &[0.5]);
    m.node("Conv", &["x", "w"], &["h"]).name("conv");
    m.node("Add", &["h", "b"], &["y"]).name("shift");
    m.output("y", &[-1, 1, 1]);
    assert_eq!(ops(&hls4ml(&m, &[], &[])), ["Conv", "Affine"]);
}

/// x[2] → quantiser "qx" → MatMul "fc" by quantised weights → y[2]; with `fork`, a Relu reads the quantised data too.
fn quantised(fork: bool) -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.1, -0.2, 0.3, 0.1]);
    for (name, scale) in [("x", 0.3f32), ("w", 0.1)] {
        let [s, z, b, y] = ["scale", "zero", "bits", "q"].map(|part| format!("{name}_{part}"));
        m.floats(&s, &[], &[scale]).floats(&z, &[], &[0.0]).floats(&b, &[], &[4.0]);
        let q = format!("q{name}");
        m.node("Quant", &[name, &s, &z, &b], &[&y])
            .domain("qonnx.custom_op.general")
            .name(&q)
            .int("signed", 1);
    }
    m.node("MatMul", &["x_q", "w_q"], &["y"]).name("fc");
    m.output("y", &[-1, 2]);
    if fork {
        m.node("Relu", &["x_q"], &["z"]).name("other");
        m.output("z", &[-1, 2]);
    }
    m
}

#[test]
fn scales_of_quantisers_move_behind_the_layer() {
    let graph = hls4ml(&quantised(false), &[], &[]);
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
    // Both scales, merged.
    assert_eq!(names, ["qx/scale", "qx", "fc", "fc/rescale"]);
    assert_eq!(constant(&graph, 0, 1), [f64::from(1.0f32 / 0.3)]);
    assert_eq!(constant(&graph, 2, 1), [1.0, 3.0, -2.0, 1.0]);
    assert_eq!(constant(&graph, 3, 1), [f64::from(0.3f32 * 0.1)]);
    let graph = hls4ml(&quantised(false), &["qx/rescale"], &[]);
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["qx/scale", "qx", "fc", "qx/rescale", "fc/rescale"]);
}

#[test]
fn a_scale_that_others_would_lose_is_refused() {
    let error = normalise_with(build(&quantised(true)), &options(&[], &[])).unwrap_err().to_string();
    assert!(error.contains("'other' (Relu)") && error.contains("'qx'") && error.contains("help"), "{error}");
    // As a second operand, and twice.
    for operands in [["x", "x_q"], ["x_q", "x_q"]] {
        let mut m = quantised(false);
        m.graph().node.retain(|n| n.name != "fc" && n.name != "qw");
        m.node("Add", &operands, &["y"]).name("sum");
        let error = normalise_with(build(&m), &options(&[], &[])).unwrap_err().to_string();
        assert!(error.contains("'sum' (Add): hls4ml gives this node the integers"), "{error}");
    }
}

#[test]
fn a_scale_that_another_reader_would_get_is_refused() {
    let mut m = quantised(false);
    m.node("Relu", &["x"], &["z"]).name("first");
    m.output("z", &[-1, 2]);
    assert!(normalise_with(build(&m), &options(&[], &[])).is_ok());
    m.graph().node.rotate_right(1);
    let error = normalise_with(build(&m), &options(&[], &[])).unwrap_err().to_string();
    assert!(error.contains("'first' (Relu): hls4ml scales what this node reads"), "{error}");
}

#[test]
fn a_merged_constant_keeps_its_quantiser_or_is_refused() {
    let mut m = quantised(false);
    m.graph().node.iter_mut().find(|n| n.name == "fc").unwrap().output[0] = "h".to_owned();
    m.floats("b", &[2], &[0.3, -0.2]);
    m.floats("step", &[], &[0.125]).floats("eight", &[], &[8.0]);
    m.node("Quant", &["b", "step", "x_zero", "eight"], &["b_q"])
        .domain("qonnx.custom_op.general")
        .name("qb")
        .int("signed", 1);
    m.node("Add", &["h", "b_q"], &["y"]).name("bias");
    let error = normalise_with(build(&m), &options(&[], &[])).unwrap_err().to_string();
    assert!(error.contains("'bias' (Add): hls4ml merges this node with 'fc/rescale'"), "{error}");
    // A layer of its own is exact.
    let graph = hls4ml(&m, &["fc/rescale"], &[]);
    assert_eq!(constant(&graph, 4, 2), [0.25, -0.25]);
}
