//! Small ONNX files, written by hand.

#![allow(dead_code, reason = "each test uses its part")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

use std::path::{Path, PathBuf};

use hs_runtime::{Availability, Backend};

/// Whether ONNX Runtime is there; says why not.
pub(crate) fn is_here(backend: &impl Backend) -> bool {
    match backend.availability() {
        Availability::Available(_) => true,
        Availability::NotAvailable(why) => {
            eprintln!("skipped: onnxruntime is not available: {why}");
            false
        }
    }
}

/// The folder of models by real exporters.
pub(crate) fn exports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/exports")
}

/// An axis of a tensor.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Size(u64),
    Name(&'static str),
}

/// `FLOAT` among ONNX's element types.
pub(crate) const FLOAT: u64 = 1;
/// `STRING`.
pub(crate) const STRING: u64 = 8;

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A field of a protobuf message: bytes.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A field of a protobuf message: a number.
fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A tensor at the border of a graph.
pub(crate) fn port(name: &str, element: u64, dims: &[Dim]) -> Vec<u8> {
    let dim = |d: &Dim| match d {
        Dim::Size(n) => field(1, &number(1, *n)),
        Dim::Name(name) => field(1, &field(2, name.as_bytes())),
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, element), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A node of one output.
pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|i| field(1, i.as_bytes())).collect();
    [inputs, field(2, output.as_bytes()), field(4, op.as_bytes())].concat()
}

/// A file.
pub(crate) fn model(nodes: &[Vec<u8>], inputs: &[Vec<u8>], outputs: &[Vec<u8>]) -> Vec<u8> {
    let all =
        |number: u64, parts: &[Vec<u8>]| parts.iter().flat_map(|p| field(number, p)).collect::<Vec<u8>>();
    let graph = [all(1, nodes), field(2, b"g"), all(11, inputs), all(12, outputs)].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 13))].concat()
}
