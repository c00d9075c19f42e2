//! The passes under hls4ml's arithmetic.

use hs_compiler::lower::Arithmetic;
use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::passes::{PassOptions, normalise_with};
use hs_ir::Graph;

use crate::support::{build, ops};

fn hls4ml(model: &ModelBuilder, unfused: &[&str]) -> Graph {
    let unfused = unfused.iter().map(|s| (*s).to_owned()).collect();
    let options = PassOptions { arithmetic: Arithmetic::Hls4ml, unfused, ..PassOptions::default() };
    normalise_with(build(model), &options).unwrap().into_graph()
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

#[test]
fn batch_normalisation_is_folded_in_single_precision() {
    let graph = hls4ml(&normalised_dense(), &[]);
    assert_eq!(ops(&graph), ["Dense"]);
    assert_eq!(graph.nodes[0].sources, ["fc", "bn"]);
    let scale = [1.3f32 / (0.37f32 + 1e-3).sqrt(), 0.6f32 / (2.9f32 + 1e-3).sqrt()];
    let bias = [0.2f32 - 0.7f32 * scale[0], 0.1f32 - -0.4f32 * scale[1]];
    let w = [0.1f32 * scale[0], 0.7f32 * scale[0], -0.3f32 * scale[1], 1.1f32 * scale[1]];
    let b = [0.3f32 * scale[0] + bias[0], -0.9f32 * scale[1] + bias[1]];
    assert_eq!(constant(&graph, 0, 1), w.map(f64::from));
    assert_eq!(constant(&graph, 0, 2), b.map(f64::from));
}

#[test]
fn batch_normalisation_behind_an_unfused_layer_stays() {
    let graph = hls4ml(&normalised_dense(), &["fc"]);
    assert_eq!(ops(&graph), ["Dense", "Affine"]);
    assert_eq!(graph.nodes[1].name, "bn");
    let scale = [1.3f32 / (0.37f32 + 1e-3).sqrt(), 0.6f32 / (2.9f32 + 1e-3).sqrt()];
    assert_eq!(constant(&graph, 1, 1), scale.map(f64::from));
}

#[test]
fn only_the_bias_of_a_product_is_folded_and_chains_stay() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).floats("b", &[2], &[0.5, -0.5]);
    m.node("MatMul", &["x", "w"], &["h"]).name("fc");
    m.node("Add", &["h", "b"], &["i"]).name("bias");
    m.node("Add", &["i", "b"], &["j"]).name("more");
    m.node("Mul", &["j", "b"], &["k"]).name("gain");
    m.node("Mul", &["k", "b"], &["y"]).name("again");
    m.output("y", &[-1, 2]);
    let graph = hls4ml(&m, &["fc"]);
    assert_eq!(ops(&graph), ["Dense", "Affine", "Affine", "Affine"]);
    assert_eq!(graph.nodes[0].sources, ["fc", "bias"]);
    assert_eq!(constant(&graph, 0, 2), [0.5, -0.5]);
}

#[test]
fn an_addition_behind_a_convolution_stays() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2, 1]).floats("w", &[1, 2, 1], &[1.0, 2.0]).floats("b", &[1, 1, 1], &[0.5]);
    m.node("Conv", &["x", "w"], &["h"]).name("conv");
    m.node("Add", &["h", "b"], &["y"]).name("shift");
    m.output("y", &[-1, 1, 1]);
    assert_eq!(ops(&hls4ml(&m, &[])), ["Conv", "Affine"]);
}
