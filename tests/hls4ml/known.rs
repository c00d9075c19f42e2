//! What hls4ml 1.3.0's ONNX front end refuses, or computes wrongly without a word: under both arithmetics and both io
//! types the interpreter and the emulator agree on every code, and the values are near the float model's.

use std::sync::Arc;

use hs_compiler::{
    lower::{self, Arithmetic, LowerOptions},
    onnx::{self, builder::ModelBuilder},
    passes::{self, PassOptions},
    reference,
};
use hs_hw::{Io, interp};
use hs_ir::Tensor as Float;
use hs_runtime::{Tensor, codes::Layout};

const ROWS: usize = 20;
/// Half of the smallest step, times what may add up in a sum of a few products.
const NEAR: f64 = 1e-3;

/// Values between -2 and 2, different from place to place.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 127) as f32 / 31.75 - 2.0).collect()
}

/// Runs a model of one input and one output every way there is. `shape`: of a row.
fn works(model: &ModelBuilder, shape: &[usize]) {
    let len: usize = shape.iter().product();
    let x = values(ROWS * len);
    let imported = onnx::import_bytes(&model.to_bytes(), None).unwrap().0;
    let row = |x: &[f32]| {
        let shape = [&[1], shape].concat();
        reference::eval(&imported, &[Float::from_f32(shape, x.to_vec()).unwrap()]).unwrap()[0].to_f64()
    };
    let float: Vec<f64> = x.chunks(len).flat_map(row).collect();
    let tensor = Tensor::of([&[ROWS], shape].concat(), x).unwrap();
    for arithmetic in [Arithmetic::Native, Arithmetic::Hls4ml] {
        for io in [Io::Parallel, Io::Stream] {
            let what = format!("{arithmetic:?}, {io:?}");
            let options = PassOptions { arithmetic, ..PassOptions::default() };
            let graph = passes::normalise_with(imported.clone(), &options).unwrap();
            let options = LowerOptions {
                arithmetic,
                io: Some(io),
                precision: Some("fixed<28,10>".parse().unwrap()),
                ..LowerOptions::default()
            };
            let program =
                Arc::new(lower::lower(&graph, &options).unwrap_or_else(|e| panic!("{what}: {e}")).program);
            let layout = |id: hs_hw::ValueId| Layout::of(program.node(id)).unwrap();
            let (input, output) = (layout(program.inputs()[0]), layout(program.outputs()[0]));
            let mut codes = vec![0; ROWS * len];
            input.encode(&tensor, 0..ROWS, &mut codes).unwrap();
            let interpreted: Vec<i64> = codes
                .chunks(len)
                .flat_map(|row| {
                    interp::run(&program, &[row.iter().map(|c| i128::from(*c)).collect()]).remove(0)
                })
                .map(|c| i64::try_from(c).unwrap())
                .collect();
            super::emulated(&program, (&codes, ROWS), &interpreted).unwrap_or_else(|e| panic!("{what}: {e}"));
            let mut found = vec![0f64; interpreted.len()];
            output.decode_f64(&interpreted, &mut found);
            assert_eq!(found.len(), float.len(), "{what}");
            let worst = found.iter().zip(&float).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < NEAR, "{what}: off by {worst}");
            // Not by being constant.
            assert!(interpreted.iter().any(|c| *c != interpreted[0]), "{what}");
        }
    }
}

#[test]
fn gemm() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).floats("w", &[3, 4], &values(12)).floats("b", &[3], &values(3));
    m.node("Gemm", &["x", "w", "b"], &["y"])
        .name("fc")
        .int("transB", 1)
        .float("alpha", 0.5)
        .float("beta", 2.0);
    m.output("y", &[-1, 3]);
    works(&m, &[4]);
}

/// A Transpose and a Flatten between a Conv and a Gemm are an AttributeError there.
#[test]
fn gemm_behind_transpose_and_flatten() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2, 3, 3]).floats("w", &[18, 2], &values(36)).floats("b", &[2], &values(2));
    m.node("Transpose", &["x"], &["t"]).name("last").ints("perm", &[0, 2, 3, 1]);
    m.node("Flatten", &["t"], &["f"]).name("flat").int("axis", 1);
    m.node("Gemm", &["f", "w", "b"], &["y"]).name("fc");
    m.output("y", &[-1, 2]);
    works(&m, &[2, 3, 3]);
}

#[test]
fn average_pool() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2, 6, 6]);
    m.node("AveragePool", &["x"], &["y"]).name("pool").ints("kernel_shape", &[2, 3]).ints("strides", &[2, 3]);
    m.output("y", &[-1, 2, 3, 2]);
    works(&m, &[2, 6, 6]);
}

/// There it reads a channels-first tensor as channels-last.
#[test]
fn global_average_pool() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 3, 5, 5]).floats("w", &[5, 3, 1, 1], &values(15));
    m.node("Conv", &["x", "w"], &["h"]).name("conv");
    m.node("GlobalAveragePool", &["h"], &["y"]).name("pool");
    m.output("y", &[-1, 5, 1, 1]);
    works(&m, &[3, 5, 5]);
}

#[test]
fn one_dimensional_pools() {
    for (op, out) in [("MaxPool", 4), ("AveragePool", 4), ("GlobalMaxPool", 1), ("GlobalAveragePool", 1)] {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[-1, 3, 8]);
        let node = m.node(op, &["x"], &["y"]).name("pool");
        if out == 4 {
            node.ints("kernel_shape", &[2]).ints("strides", &[2]);
        }
        m.output("y", &[-1, 3, out]);
        works(&m, &[3, 8]);
    }
}

#[test]
fn prelu() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 3, 4, 4]).floats("slope", &[3, 1, 1], &[0.25, -0.5, 0.1]);
    m.node("PRelu", &["x", "slope"], &["y"]).name("act");
    m.output("y", &[-1, 3, 4, 4]);
    works(&m, &[3, 4, 4]);
}

#[test]
fn hard_sigmoid() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 6]);
    m.node("HardSigmoid", &["x"], &["y"]).name("act").float("alpha", 0.4).float("beta", 0.5);
    m.output("y", &[-1, 6]);
    works(&m, &[6]);
}

#[test]
fn concat_of_more_than_two() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).floats("w", &[4, 3], &values(12));
    m.node("MatMul", &["x", "w"], &["a"]).name("fc");
    m.node("Relu", &["x"], &["b"]).name("relu");
    m.node("LeakyRelu", &["x"], &["c"]).name("leaky").float("alpha", 0.25);
    m.node("Concat", &["a", "b", "c", "x"], &["y"]).name("all").int("axis", 1);
    m.output("y", &[-1, 15]);
    works(&m, &[4]);
}

/// Products with result types of the user's that meet in a Sub are a RuntimeError there.
#[test]
fn typed_products_that_meet() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).floats("w", &[4, 3], &values(12)).floats("v", &[4, 3], &values(24)[12..]);
    m.node("MatMul", &["x", "w"], &["a"]).name("one");
    m.node("MatMul", &["x", "v"], &["b"]).name("two");
    m.node("Sub", &["a", "b"], &["y"]).name("apart");
    m.output("y", &[-1, 3]);
    works(&m, &[4]);
}
