//! Sums of two tensors of 8 and 16 bits, signed or not, on grids that differ, with each cast and activation.

mod common;

use common::difference;
use hs_fixed::Type;
use hs_hw::{Act, BinaryOp, Node, Op, Program, ValueId};

fn program(types: [Type; 3], op: BinaryOp, act: Act) -> Program {
    let node = |name: &str, op, inputs: &[u32], ty| Node {
        name: name.to_owned(),
        op,
        inputs: inputs.iter().copied().map(ValueId).collect(),
        shape: vec![7, 19],
        ty,
    };
    let input = |index: usize, tensor: &str| Op::Input {
        index,
        tensor: tensor.to_owned(),
        onnx_shape: vec![7, 19],
        perm: vec![0, 1],
    };
    let output = Op::Output { index: 0, tensor: "y".to_owned(), onnx_shape: vec![7, 19], perm: vec![0, 1] };
    let nodes = vec![
        node("a", input(0, "a"), &[], types[0]),
        node("b", input(1, "b"), &[], types[1]),
        node("sum", Op::Binary { op, act }, &[0, 1], types[2]),
        node("y", output, &[2], types[2]),
    ];
    let program = Program { name: "sum".to_owned(), nodes };
    program.verify().unwrap();
    program
}

#[test]
fn every_sign_grid_and_cast() {
    let pairs = [
        ["ufixed<8,4>", "ufixed<8,2>"],
        ["ufixed<8,5>", "fixed<8,3>"],
        ["fixed<8,3>", "ufixed<8,8>"],
        ["fixed<8,-2>", "fixed<7,4>"],
        ["ufixed<16,6>", "ufixed<16,4>"],
        ["ufixed<15,6>", "fixed<16,9>"],
        ["fixed<16,6>", "ufixed<16,6>"],
        ["fixed<16,6>", "fixed<12,10>"],
        ["fixed<8,4>", "fixed<16,6>"],
    ];
    let results = [
        "ufixed<8,5,RND,SAT>",
        "fixed<8,4,TRN,SAT>",
        "fixed<8,6,RND_MIN_INF,SAT_SYM>",
        "ufixed<16,7,RND,SAT>",
        "fixed<16,6,TRN,WRAP>",
        "fixed<16,12,RND_CONV,SAT>",
        "fixed<20,10,RND,SAT>",
    ];
    let acts = [Act::None, Act::RELU, Act::Clamp { lo: Some(1), hi: Some(40) }];
    let ops = [BinaryOp::Add, BinaryOp::Add, BinaryOp::Add, BinaryOp::Sub];
    let mut seed = 0;
    for pair in pairs {
        for result in results {
            seed += 1;
            let ty = |t: &str| t.parse::<Type>().unwrap();
            let types = [ty(pair[0]), ty(pair[1]), ty(result)];
            let (op, act) = (ops[seed % ops.len()], acts[seed % acts.len()].clone());
            assert_eq!(difference(&program(types, op, act), seed as u64), None, "{pair:?} to {result}");
        }
    }
}
