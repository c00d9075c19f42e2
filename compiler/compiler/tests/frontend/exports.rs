//! Models that real exporters wrote.

use hs_compiler::passes::normalise;
use hs_compiler::reference::eval;
use hs_ir::Graph;

use crate::support::{difference, import, npy_rows, ops};

/// Imports, normalises and runs the fixture; each row must be within `tolerance` of what is recorded. Every 20th row of
/// the imported graph is checked too.
fn agrees(name: &str, tolerance: f64) -> Graph {
    let imported = import(&format!("exports/{name}.onnx"));
    let normal = normalise(imported.clone()).unwrap();
    let (xs, ys) = (npy_rows(&format!("exports/{name}.x.npy")), npy_rows(&format!("exports/{name}.y.npy")));
    assert_eq!(xs.len(), ys.len());
    for (row, (x, y)) in xs.iter().zip(&ys).enumerate() {
        let x = x.clone().reshaped(normal.shape(normal.graph().inputs[0]).to_vec()).unwrap();
        let mut graphs = vec![normal.graph()];
        if row % 20 == 0 {
            graphs.push(&imported);
        }
        for graph in graphs {
            let found = &eval(graph, std::slice::from_ref(&x)).unwrap()[0];
            let difference = difference(found, y);
            assert!(difference <= tolerance, "row {row} of {name} is off by {difference}");
        }
    }
    let text: Graph = normal.graph().to_text().parse().unwrap();
    assert_eq!(text.to_text(), normal.graph().to_text());
    normal.into_graph()
}

#[test]
fn torch_legacy_mlp() {
    let graph = agrees("torch_legacy-digits_mlp", 1e-4);
    assert_eq!(ops(&graph), ["Dense", "Relu", "Dense", "Relu", "Dense", "Softmax"]);
    assert_eq!(graph.nodes[0].name, "/inner/net/net.0/Gemm");
}

#[test]
fn torch_legacy_cnn() {
    let graph = agrees("torch_legacy-digits_cnn", 1e-4);
    let expected =
        ["Conv", "Relu", "MaxPool", "Conv", "LeakyRelu", "MaxPool", "Reshape", "Dense", "Tanh", "Dense"];
    assert_eq!(ops(&graph), expected);
}

#[test]
fn torch_dynamo_mlp_with_external_data() {
    agrees("torch_dynamo-digits_mlp_extdata", 1e-4);
}

#[test]
fn torch_dynamo_residual_depthwise() {
    let graph = agrees("torch_dynamo-digits_resdw", 1e-4);
    assert!(["HardSwish", "PRelu", "ReduceMean"].iter().all(|op| ops(&graph).contains(op)));
}

#[test]
fn keras3_cnn() {
    let graph = agrees("keras3_export-digits_cnn", 1e-4);
    let expected = [
        "Reshape",
        "Conv",
        "Relu",
        "MaxPool",
        "Conv",
        "Tanh",
        "AveragePool",
        "Transpose",
        "Reshape",
        "Dense",
        "Relu",
        "Dense",
        "Softmax",
    ];
    assert_eq!(ops(&graph), expected);
    let dense = &graph.nodes[9];
    assert_eq!(dense.sources, ["functional_1_1/dense_3_1/MatMul", "functional_1_1/dense_3_1/BiasAdd"]);
}

#[test]
fn tf2onnx_conv1d() {
    let graph = agrees("tf2onnx-digits_conv1d", 1e-4);
    assert!(graph.nodes.iter().all(|n| n.op != "Pad" && n.op != "Add"), "{graph}");
}

#[test]
fn float16_mlp() {
    agrees("float16-digits_mlp", 5e-3);
}

#[test]
fn brevitas_qonnx_cnn() {
    let graph = agrees("brevitas_qonnx-digits_cnn_w6a6_pow2", 1e-4);
    let conv = graph.nodes.iter().find(|n| n.op == "Conv").unwrap();
    let grid = graph.value(conv.input(1).unwrap()).grid.as_ref().expect("weights keep their grid");
    assert_eq!((grid.bits, grid.signed, grid.narrow), (6, true, true));
    let after = graph.nodes.iter().skip_while(|n| n.op != "Conv").nth(1).unwrap();
    assert_eq!(after.op, "Affine", "batch normalisation is not folded into quantised weights");
}

#[test]
fn brevitas_qcdq_mlp() {
    let graph = agrees("brevitas_qcdq-digits_mlp_w8a8_pow2", 1e-6);
    assert_eq!(ops(&graph), ["Quant", "Dense", "Relu", "Quant", "Dense", "Relu", "Quant", "Dense"]);
}

#[test]
fn onnxruntime_qdq_cnn() {
    let graph = agrees("ort_quant-digits_cnn_qdq_u8s8", 1e-6);
    let quantisers = ops(&graph).iter().filter(|op| ["Quant", "Lut"].contains(*op)).count();
    assert_eq!(quantisers, 7, "of input, two convolutions, LeakyRelu, two dense layers and Tanh: {graph}");
}

#[test]
fn onnxruntime_qoperator_mlp() {
    agrees("ort_quant-digits_mlp_qoperator", 1e-6);
}

#[test]
fn scikit_learn_without_labels() {
    let graph = agrees("skl2onnx-digits_mlp", 1e-5);
    assert_eq!(graph.outputs.len(), 1);
    let graph = agrees("skl2onnx-breast_cancer_scaled_mlp", 1e-5);
    assert_eq!(graph.value(graph.outputs[0]).name, "probabilities");
}
