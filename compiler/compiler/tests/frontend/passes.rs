//! What the passes make of small graphs.

use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::passes::{NormalGraph, normalise};
use hs_compiler::reference::eval;
use hs_ir::{Graph, Tensor};

use crate::support::{build, difference, import, normal, ops};

fn dense(model: &mut ModelBuilder) {
    model.input("x", &[-1, 2]).floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).floats("b", &[2], &[0.5, -0.5]);
}

fn same(model: &ModelBuilder) -> NormalGraph {
    let (imported, normal) = (build(model), normal(model));
    let inputs: Vec<Tensor> = normal
        .graph()
        .inputs
        .iter()
        .map(|id| {
            let shape = normal.shape(*id).to_vec();
            let count: usize = shape.iter().product();
            Tensor::from_f32(shape, (0..count).map(|i| i as f32 * 0.25 - 0.5).collect()).unwrap()
        })
        .collect();
    let (a, b) = (eval(&imported, &inputs).unwrap(), eval(normal.graph(), &inputs).unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert!(difference(a, b) < 1e-5);
    }
    normal
}

#[test]
fn output_names_survive_removed_identities() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("Gemm", &["x", "w", "b"], &["h"]).name("fc");
    m.node("Dropout", &["h"], &["d"]).name("drop");
    m.node("Identity", &["d"], &["y"]);
    m.node("Relu", &["d"], &["z"]);
    m.output("y", &[-1, 2]).output("z", &[-1, 2]);
    let graph = same(&m).into_graph();
    assert_eq!(ops(&graph), ["Dense", "Relu"]);
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
    assert_eq!(graph.nodes[0].sources, ["fc", "drop", "Identity_0"]);
}

#[test]
fn an_output_that_is_also_an_input_keeps_its_identity() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]);
    m.node("Identity", &["x"], &["a"]);
    m.node("Relu", &["x"], &["b"]);
    m.node("Identity", &["b"], &["c"]);
    m.output("a", &[-1, 2]).output("b", &[-1, 2]).output("c", &[-1, 2]);
    let graph = same(&m).into_graph();
    assert_eq!(ops(&graph), ["Identity", "Relu", "Identity"]);
}

#[test]
fn shared_results_are_not_folded_into() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("MatMul", &["x", "w"], &["h"]);
    m.node("Add", &["h", "b"], &["y"]);
    m.node("Relu", &["h"], &["z"]);
    m.output("y", &[-1, 2]).output("z", &[-1, 2]);
    assert_eq!(ops(same(&m).graph()), ["Dense", "Affine", "Relu"]);
}

#[test]
fn graph_outputs_are_not_folded_into() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("MatMul", &["x", "w"], &["h"]);
    m.node("Add", &["h", "b"], &["y"]);
    m.output("h", &[-1, 2]).output("y", &[-1, 2]);
    assert_eq!(ops(same(&m).graph()), ["Dense", "Affine"]);
}

#[test]
fn shared_weights_are_not_changed_for_others() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("Gemm", &["x", "w", "b"], &["h"]).int("transB", 1);
    m.node("Mul", &["h", "b"], &["s"]);
    m.node("Gemm", &["s", "w", "b"], &["y"]).int("transB", 1);
    m.output("y", &[-1, 2]);
    assert_eq!(ops(same(&m).graph()), ["Dense", "Dense"]);
}

#[test]
fn quantised_weights_keep_their_grid() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.floats("scale", &[], &[0.5]).floats("zero", &[], &[0.0]).floats("bits", &[], &[4.0]);
    m.node("Quant", &["w", "scale", "zero", "bits"], &["q"])
        .domain("qonnx.custom_op.general")
        .int("signed", 1);
    m.node("MatMul", &["x", "q"], &["h"]);
    m.node("Add", &["h", "b"], &["i"]);
    m.node("Mul", &["i", "b"], &["y"]);
    m.output("y", &[-1, 2]);
    let graph = same(&m).into_graph();
    assert_eq!(ops(&graph), ["Dense", "Affine"]);
    let grid = graph.value(graph.nodes[0].input(1).unwrap()).grid.clone().unwrap();
    assert_eq!((grid.axis, grid.scale.as_slice()), (None, &[0.5][..]));
    assert!(graph.nodes[0].input(2).is_none(), "the addition stays with the multiplication");
}

#[test]
fn activations_through_quantisers_are_not_folded_across() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.floats("scale", &[], &[0.5]).floats("zero", &[], &[0.0]).floats("bits", &[], &[4.0]);
    m.node("MatMul", &["x", "w"], &["h"]);
    m.node("Quant", &["h", "scale", "zero", "bits"], &["q"]).domain("onnx.brevitas").int("signed", 1);
    m.node("Mul", &["q", "b"], &["y"]);
    m.output("y", &[-1, 2]);
    assert_eq!(ops(same(&m).graph()), ["Dense", "Quant", "Affine"]);
}

#[test]
fn dead_unsupported_nodes_do_not_matter() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("Gemm", &["x", "w"], &["y"]);
    m.node("TopK", &["y"], &["label"]);
    m.output("y", &[-1, 2]);
    assert_eq!(ops(normal(&m).graph()), ["Dense"]);
}

#[test]
fn every_unsupported_node_is_reported_once() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("NonZero", &["x"], &["n"]).name("first");
    m.node("Relu", &["n"], &["r"]).name("behind");
    m.node("Mod", &["x", "x"], &["g"]).name("second");
    m.node("NonZero", &["g"], &["e"]).name("third");
    m.output("r", &[]).output("e", &[]);
    let errors = normalise(build(&m)).unwrap_err();
    let named: Vec<_> = errors.0.iter().map(|e| e.node.as_deref().unwrap()).collect();
    assert_eq!(named, ["first", "second", "third"]);
    assert!(errors.to_string().contains("node 'first' (NonZero): this operator is not supported"));
}

#[test]
fn batch_normalisation_in_training_is_refused() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("p", &[2], &[1.0, 1.0]);
    m.node("BatchNormalization", &["x", "p", "p", "p", "p"], &["y", "m", "v"])
        .name("bn")
        .int("training_mode", 1);
    m.output("y", &[-1, 2]);
    let errors = normalise(build(&m)).unwrap_err();
    assert!(errors.to_string().contains("model.eval()"), "{errors}");
}

#[test]
fn an_output_that_contradicts_its_declaration_is_refused() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("Gemm", &["x", "w"], &["y"]).name("fc");
    m.output("y", &[-1, 3]);
    let errors = normalise(build(&m)).unwrap_err();
    assert_eq!(errors.0.len(), 1);
    assert!(errors.to_string().contains("[1, 2] for 'y', which the model declares as [1, 3]"), "{errors}");
}

#[test]
fn normal_graphs_are_normal() {
    let mut m = ModelBuilder::new(17);
    dense(&mut m);
    m.node("Gemm", &["x", "w", "b"], &["h"]).float("alpha", 0.5);
    m.node("Relu", &["h"], &["y"]);
    m.output("y", &[-1, 2]);
    let once = normal(&m);
    let text: Graph = once.graph().to_text().parse().unwrap();
    assert_eq!(NormalGraph::check(text.clone()).unwrap().graph(), &text);
    assert_eq!(normalise(text.clone()).unwrap().graph(), &text);
}

#[test]
fn computed_constants_are_bounded() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).ints("shape", &[1 << 20, 1 << 20]);
    m.node("ConstantOfShape", &["shape"], &["big"]).name("fill");
    m.node("Add", &["x", "big"], &["y"]);
    m.output("y", &[]);
    let errors = normalise(build(&m)).unwrap_err();
    assert_eq!(errors.0[0].node.as_deref(), Some("fill"));
}

#[test]
fn normalisation_behind_a_transposed_convolution_is_folded() {
    for name in ["conv_transpose_batch_norm_1", "conv_transpose_batch_norm_2"] {
        let graph = normalise(import(&format!("ops/{name}.onnx"))).unwrap();
        assert_eq!(ops(graph.graph()), ["ConvTranspose", "Relu"], "{name}");
    }
}
