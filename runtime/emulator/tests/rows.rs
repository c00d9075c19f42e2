//! Convolutions of every shape: strides, dilation, padding, groups, numbers of channels that fill no vector, and the
//! codes at the ends of 8 and 16 bits.

mod common;

use common::difference;
use hs_emulator::{Emulator, Isa, Layout, Options};
use hs_fixed::{Format, Type};
use hs_hw::{Accum, Act, Codes, Dot, Node, Op, Program, ValueId, Window, testing::Rng};

struct Case {
    spatial: &'static [usize],
    /// Channels of input and output, and groups.
    channels: (usize, usize, usize),
    /// Kernel, stride, dilation and padding of each axis.
    window: &'static [(usize, usize, usize, [usize; 2])],
    /// Types of input, weights and result.
    types: [&'static str; 3],
    relu: bool,
}

fn program(case: &Case, seed: u64) -> Program {
    let mut rng = Rng::new(seed);
    let [x, w, y] = case.types.map(|t| t.parse::<Type>().unwrap());
    let (inputs, outputs, groups) = case.channels;
    let window = |(kernel, stride, dilation, pad): &(usize, usize, usize, [usize; 2])| Window {
        kernel: *kernel,
        stride: *stride,
        dilation: *dilation,
        pad_begin: pad[0],
        pad_end: pad[1],
    };
    let window: Vec<Window> = case.window.iter().map(window).collect();
    let kernel: usize = window.iter().map(|w| w.kernel).product();
    let terms = kernel * (inputs / groups);
    let ends = [w.format.min() as i64, w.format.max() as i64];
    let mut weight = |i: usize| match i {
        0 | 1 => ends[i],
        _ if rng.chance(20) => *rng.pick(&ends),
        _ => rng.code(w.format) as i64,
    };
    let weights: Vec<i64> = (0..outputs * terms).map(&mut weight).collect();
    let product = x.format.mul(w.format).unwrap();
    let bits = product.width() + 2 + usize::BITS - terms.leading_zeros();
    let accum = Format::new(true, bits, bits as i32 - product.frac()).unwrap();
    let biases: Vec<i64> = (0..outputs).map(|_| rng.code(w.format) as i64).collect();
    let spatial = |w: (&Window, &usize)| w.0.output(*w.1).unwrap();
    let mut shape: Vec<usize> = window.iter().zip(case.spatial).map(spatial).collect();
    shape.push(outputs);
    let from: Vec<usize> = case.spatial.iter().copied().chain([inputs]).collect();
    let node = |name: &str, op, inputs: Vec<u32>, shape: &[usize], ty| Node {
        name: name.to_owned(),
        op,
        inputs: inputs.into_iter().map(ValueId).collect(),
        shape: shape.to_vec(),
        ty,
    };
    let outside = |shape: &[usize]| (shape.to_vec(), (0..shape.len()).collect::<Vec<_>>());
    let ((x_shape, x_perm), (y_shape, y_perm)) = (outside(&from), outside(&shape));
    let dot = Dot {
        window,
        groups,
        weight: Codes::new(w.format, weights),
        bias: Some(Codes::new(w.format, biases)),
        accum: Accum::Exact(accum),
        act: if case.relu { Act::RELU } else { Act::None },
    };
    let program = Program {
        name: "conv".to_owned(),
        nodes: vec![
            node(
                "x",
                Op::Input { index: 0, tensor: "x".to_owned(), onnx_shape: x_shape, perm: x_perm },
                vec![],
                &from,
                x,
            ),
            node("conv", Op::Dot(dot), vec![0], &shape, y),
            node(
                "y",
                Op::Output { index: 0, tensor: "y".to_owned(), onnx_shape: y_shape, perm: y_perm },
                vec![1],
                &shape,
                y,
            ),
        ],
    };
    program.verify().unwrap();
    program
}

#[track_caller]
fn check(case: &Case) {
    for seed in 0..2 {
        assert_eq!(difference(&program(case, seed), seed), None);
    }
}

/// Types whose kernels differ: 8 bits unsigned and signed, 16 bits both, halves of 16-bit weights, more.
const TYPES: [[&str; 3]; 9] = [
    ["ufixed<8,4>", "fixed<8,4>", "ufixed<8,4,RND,SAT>"],
    ["fixed<8,4>", "fixed<8,4>", "fixed<8,4,TRN,WRAP>"],
    ["fixed<8,4>", "ufixed<8,4>", "fixed<10,5,RND_CONV,SAT_SYM>"],
    ["fixed<16,6>", "fixed<8,4>", "fixed<16,6,RND,SAT>"],
    ["ufixed<16,6>", "fixed<16,2>", "ufixed<16,6,RND,SAT>"],
    ["fixed<16,6>", "fixed<16,6>", "fixed<16,6,TRN,WRAP>"],
    ["fixed<20,6>", "fixed<10,6>", "fixed<18,8,RND,SAT>"],
    ["fixed<18,6>", "fixed<6,4>", "fixed<18,8,TRN,WRAP>"],
    ["fixed<16,6>", "fixed<12,2>", "fixed<16,8,RND,SAT>"],
];

fn shapes(
    spatial: &'static [usize],
    channels: &[(usize, usize, usize)],
    window: &'static [(usize, usize, usize, [usize; 2])],
) {
    for (i, channels) in channels.iter().enumerate() {
        for (j, types) in TYPES.into_iter().enumerate() {
            check(&Case { spatial, channels: *channels, window, types, relu: (i + j) % 2 == 0 });
        }
    }
}

#[test]
fn dense_layers() {
    shapes(&[], &[(1, 1, 1), (5, 17, 1), (67, 10, 1), (33, 70, 1), (3, 100, 1)], &[]);
}

/// As models with a scale for each channel have them: codes of a byte from 64 sums at a time, and of what is left.
#[test]
fn scaled_sums_become_bytes() {
    let mut rng = Rng::new(3);
    let mut codes = |n: usize, lo: i64, hi: i64| {
        let ends = [lo, hi];
        let code = |i: usize| ends.get(i).copied().unwrap_or_else(|| rng.int(lo..=hi));
        (0..n).map(code).map(|c| c.to_string()).collect::<Vec<_>>().join(", ")
    };
    for y in [
        "ufixed<8,7,RND,SAT>",
        "fixed<8,8,TRN,SAT>",
        "fixed<7,7,RND,SAT_SYM>",
        "ufixed<6,6,TRN,SAT>",
        "fixed<8,4,TRN,WRAP>",
    ] {
        for (outputs, x) in
            [(64, "fixed<8,8,TRN,WRAP>"), (100, "ufixed<8,8,TRN,WRAP>"), (190, "fixed<12,12,TRN,WRAP>")]
        {
            let text = format!(
                "program \"bytes\" version 1\n\n%0 = input \"x\" {{index: 0, tensor: \"x\", onnx_shape: [5, 3], \
                 perm: [0, 1]}} : [5, 3] {x}\n%1 = dot(%0) \"d\" {{\n  window: [{{kernel: 2, stride: 1, dilation: 1, \
                 pad: [1, 0]}}],\n  groups: 1,\n  weight: fixed<8,8>[{}],\n  accum: exact{{format: \
                 fixed<24,24>}},\n  act: none,\n}} : [5, {outputs}] fixed<24,24,TRN,WRAP>\n%2 = affine(%1) \"s\" {{scale: \
                 ufixed<6,0>[{}], bias: fixed<16,10>[{}], act: none}} : [5, {outputs}] {y}\n%3 = output(%2) \"y\" \
                 {{index: 0, tensor: \"y\", onnx_shape: [5, {outputs}], perm: [0, 1]}} : [5, {outputs}] {y}\n",
                codes(6 * outputs, -128, 127),
                codes(outputs, 0, 63),
                codes(outputs, -32768, 32767),
            );
            let program = hs_hw::text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(program.verify(), Ok(()));
            let options = Options { layout: Some(Layout::Rows), ..Options::default() };
            let plan = Emulator::new(program.clone(), &options).unwrap().plan();
            assert!(plan.nodes[1].kernel.contains("scaled"), "{plan}");
            assert_eq!(difference(&program, 1), None, "{text}");
        }
    }
}

#[test]
fn sums_of_low_parts_in_sections() {
    for types in [TYPES[6], TYPES[8]] {
        check(&Case { spatial: &[], channels: (12_600, 2, 1), window: &[], types, relu: false });
    }
}

#[test]
fn padding_on_all_sides() {
    let window = &[(3, 1, 1, [1, 1]), (3, 1, 1, [2, 1])];
    shapes(&[4, 5], &[(1, 3, 1), (3, 5, 1), (5, 17, 1), (17, 40, 1)], window);
}

#[test]
fn strides_and_dilation() {
    shapes(&[9, 8], &[(3, 17, 1), (4, 5, 1)], &[(3, 2, 2, [0, 3]), (2, 3, 2, [1, 0])]);
    shapes(&[11], &[(1, 16, 1), (6, 3, 1)], &[(4, 1, 1, [0, 0])]);
    shapes(&[7], &[(5, 33, 1)], &[(1, 2, 1, [0, 0])]);
}

#[test]
fn three_axes() {
    shapes(&[3, 4, 3], &[(2, 5, 1)], &[(2, 1, 1, [1, 0]), (3, 2, 1, [1, 1]), (2, 1, 1, [0, 1])]);
}

#[test]
fn groups_and_depthwise() {
    let window = &[(3, 1, 1, [1, 1]), (3, 2, 1, [0, 1])];
    shapes(&[4, 5], &[(4, 6, 2), (6, 34, 2), (5, 5, 5), (17, 17, 17), (70, 70, 70), (3, 6, 3)], window);
}

#[test]
fn every_kernel_has_its_case() {
    let kernel = |channels, window, types: usize, isa| {
        let spatial: &[usize] = &[7, 6];
        let case = Case { spatial, channels, window, types: TYPES[types], relu: true };
        let options = Options { isa: Some(isa), layout: Some(Layout::Rows), ..Options::default() };
        Emulator::new(program(&case, 1), &options).unwrap().plan().nodes[1].kernel.clone()
    };
    let (small, large): (&[_], &[_]) =
        (&[(3, 1, 1, [1, 1]), (3, 1, 1, [1, 1])], &[(7, 1, 1, [0, 0]), (6, 1, 1, [0, 0])]);
    let generic = |channels, window, types| kernel(channels, window, types, Isa::Generic);
    assert_eq!(generic((5, 17, 1), small, 1), "i16 x i16, outputs in lanes");
    assert_eq!(generic((5, 5, 5), small, 0), "i16 x i16, channels in lanes");
    assert_eq!(generic((5, 17, 1), small, 7), "i32 x i32, outputs in lanes, casts in stages");
    assert_eq!(generic((5, 5, 5), small, 7), "i32 x i32, channels in lanes, casts in stages");
    assert_eq!(generic((5, 17, 1), small, 6), "i32 x i32, outputs in lanes, weights in halves");
    assert_eq!(generic((5, 17, 1), small, 4), "i16 x i16, outputs in lanes, weights in halves");
    assert_eq!(generic((60, 1, 1), large, 6), "i32 x i32, outputs in lanes, weights in halves and sections");
    assert_eq!(generic((300, 1, 1), large, 8), "i16 x i16, outputs in lanes, weights in halves and sections");
    if Isa::Avx512Vnni.is_available() {
        let vnni = |types| kernel((5, 17, 1), small, types, Isa::Avx512Vnni);
        assert_eq!(vnni(1), "vnni u8 x i8, outputs in lanes");
        assert_eq!(vnni(3), "vnni i16 x i16, outputs in lanes");
    }
}
