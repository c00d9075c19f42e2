//! Fixtures, `.npy` files and comparison.

use std::fs;
use std::path::PathBuf;

use hs_compiler::diagnostic::Diagnostics;
use hs_compiler::onnx::{self, builder::ModelBuilder};
use hs_compiler::passes::{NormalGraph, normalise};
use hs_ir::{Graph, Tensor};

/// A file under the repository's `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The rows of a little-endian `f32` array, each with a leading dimension of 1.
pub(crate) fn npy_rows(name: &str) -> Vec<Tensor> {
    let bytes = fs::read(fixture(name)).unwrap();
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let mut shape: Vec<usize> = shape.split(',').filter_map(|d| d.trim().parse().ok()).collect();
    let rows = std::mem::replace(&mut shape[0], 1);
    let data: Vec<f32> =
        bytes[10 + header_len..].as_chunks().0.iter().map(|c| f32::from_le_bytes(*c)).collect();
    let row = data.len() / rows;
    data.chunks(row).map(|r| Tensor::from_f32(shape.clone(), r.to_vec()).unwrap()).collect()
}

pub(crate) fn import(name: &str) -> Graph {
    onnx::import(&fixture(name)).unwrap().0
}

pub(crate) fn build(model: &ModelBuilder) -> Graph {
    onnx::import_bytes(&model.to_bytes(), None).unwrap().0
}

pub(crate) fn import_error(model: &ModelBuilder) -> Diagnostics {
    onnx::import_bytes(&model.to_bytes(), None).unwrap_err()
}

pub(crate) fn normal(model: &ModelBuilder) -> NormalGraph {
    normalise(build(model)).unwrap()
}

/// The largest absolute difference.
pub(crate) fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.len(), b.len());
    a.to_f64().iter().zip(b.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// `Op` of each node, in order.
pub(crate) fn ops(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|n| n.op.as_str()).collect()
}
