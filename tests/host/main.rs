//! The host bindings of packages: they compile, and do what the runtime does.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a test that has not the tools says so")]

mod capi;
mod cards;
#[path = "../common/mod.rs"]
mod common;
mod kernel;
mod rows;
mod tools;
mod xclbin;
mod xrt;

use std::{fs, path::Path};

use hs_compiler::{
    hls::{EmittedFile, Kernel, Project},
    host,
};
use hs_fixed::Type;
use hs_hw::{Node, Op, Program, ValueId};

/// A project of a Program, with the names that a kernel would have and no files.
fn project(name: &str, program: &Program) -> Project {
    let arguments = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}_{i}")).collect();
    let kernel = Kernel {
        name: format!("{name}_kernel"),
        inputs: arguments("x", program.inputs().len()),
        outputs: arguments("y", program.outputs().len()),
        weights: None,
    };
    Project { top: name.to_owned(), kernel, files: Vec::new() }
}

/// The bindings of a Program.
fn bindings(name: &str, program: &Program) -> Vec<EmittedFile> {
    host::emit(program, &project(name, program), "hls")
}

fn write(files: &[EmittedFile], dir: &Path) {
    for file in files {
        let path = dir.join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &file.bytes).unwrap();
    }
}

/// A Program that hands its inputs on: a type, ONNX shape and order of axes each.
fn pass_through(name: &str, tensors: &[(Type, Vec<usize>, Vec<usize>)]) -> Program {
    let mut nodes = Vec::new();
    for (index, (ty, onnx_shape, perm)) in tensors.iter().enumerate() {
        let shape: Vec<usize> = perm.iter().map(|p| onnx_shape[*p]).collect();
        let (tensor, onnx_shape, perm) = (format!("x\"{index}\"\n?"), onnx_shape.clone(), perm.clone());
        let input = Op::Input { index, tensor, onnx_shape: onnx_shape.clone(), perm: perm.clone() };
        let node = |name, op, inputs| Node { name, op, inputs, shape: shape.clone(), ty: *ty };
        nodes.push(node(format!("in{index}"), input, vec![]));
        let output = Op::Output { index, tensor: format!("y{index}"), onnx_shape, perm };
        nodes.push(node(format!("out{index}"), output, vec![ValueId(2 * index as u32)]));
    }
    let program = Program { name: name.to_owned(), nodes };
    program.verify().unwrap_or_else(|e| panic!("{e:?}"));
    program
}

#[test]
fn emission_is_reproducible_and_in_order() {
    let program = pass_through("a", &[("fixed<8,3>".parse().unwrap(), vec![3], vec![0])]);
    let files = bindings("a", &program);
    assert_eq!(files, bindings("a", &program));
    assert!(files.is_sorted_by(|a, b| a.path < b.path));
    let makefile = files.iter().find(|f| f.path == "Makefile").unwrap();
    let library = hs_package::card_library("a_kernel");
    assert!(String::from_utf8_lossy(&makefile.bytes).contains(&format!("all: {library}")));
}
