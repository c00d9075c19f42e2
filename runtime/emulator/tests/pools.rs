//! The largest of windows that reach into padding: every one that the verifier lets through, on one to three axes.

mod common;

use common::difference;
use hs_emulator::{Emulator, Layout, Options};
use hs_hw::{Node, Op, Pool, PoolKind, Program, ValueId, Window, testing::Rng};

/// Types of inputs, stored in integers of each kind, and a type that their largest elements are cast into.
const TYPES: [[&str; 2]; 6] = [
    ["fixed<8,4>", "fixed<6,4,RND,SAT>"],
    ["ufixed<8,4>", "fixed<6,4,TRN,WRAP>"],
    ["fixed<16,6>", "ufixed<8,6,RND_CONV,SAT>"],
    ["ufixed<16,6>", "fixed<12,6,RND_ZERO,SAT_SYM>"],
    ["fixed<20,6>", "ufixed<17,6,TRN_ZERO,SAT_ZERO>"],
    ["fixed<40,10>", "fixed<30,12,RND,WRAP>"],
];

/// A pool for each of `pools`, a window for each axis, in turn over an input of each type; its own type is the input's
/// or the one to cast into.
fn program(spatial: &[usize], channels: usize, pools: &[Vec<Window>]) -> Program {
    let mut nodes = Vec::new();
    let mut push = |op, inputs: &[ValueId], shape: &[usize], ty: &str| {
        let (name, ty) = (format!("n{}", nodes.len()), ty.parse().unwrap());
        nodes.push(Node { name, op, inputs: inputs.to_vec(), shape: shape.to_vec(), ty });
        ValueId(nodes.len() as u32 - 1)
    };
    let (perm, from) = ((0..=spatial.len()).collect::<Vec<_>>(), [spatial, &[channels]].concat());
    let inputs = TYPES.map(|[ty, _]| ty).into_iter().enumerate().map(|(index, ty)| {
        let (onnx_shape, perm) = (from.clone(), perm.clone());
        push(Op::Input { index, tensor: format!("x{index}"), onnx_shape, perm }, &[], &from, ty)
    });
    let inputs: Vec<ValueId> = inputs.collect();
    for (index, window) in pools.iter().enumerate() {
        let outputs = window.iter().zip(spatial).map(|(w, n)| w.output(*n).unwrap());
        let shape: Vec<usize> = outputs.chain([channels]).collect();
        let (input, cast) = (index % TYPES.len(), index / TYPES.len() % 2);
        let ty = TYPES[input][cast];
        let op = Op::Pool(Pool { kind: PoolKind::Max, window: window.clone() });
        let pool = push(op, &[inputs[input]], &shape, ty);
        let (onnx_shape, perm) = (shape.clone(), perm.clone());
        push(Op::Output { index, tensor: format!("y{index}"), onnx_shape, perm }, &[pool], &shape, ty);
    }
    Program { name: "pools".to_owned(), nodes }
}

/// Windows along an axis of `n` elements, with as much padding as any may have and more: those that cover an element
/// everywhere, and the others.
fn windows(n: usize) -> (Vec<Window>, Vec<Window>) {
    let mut all = Vec::new();
    for (kernel, dilation) in [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2)] {
        let extent = (kernel - 1) * dilation + 1;
        for stride in 1..=3 {
            for pad_begin in 0..=extent {
                let window = |pad_end| Window { kernel, stride, dilation, pad_begin, pad_end };
                all.extend((0..extent + stride).map(window).filter(|w| w.output(n).is_some()));
            }
        }
    }
    let covers = |w: &Window, output: usize| {
        let first = (output * w.stride) as i64 - w.pad_begin as i64;
        (0..w.kernel).any(|k| (0..n as i64).contains(&(first + (k * w.dilation) as i64)))
    };
    all.into_iter().partition(|w| (0..w.output(n).unwrap()).all(|output| covers(w, output)))
}

#[track_caller]
fn check(program: &Program, seed: u64) {
    assert_eq!(program.verify(), Ok(()));
    assert_eq!(difference(program, seed), None);
}

#[test]
fn one_axis() {
    for n in 1..=4 {
        let (all, _) = windows(n);
        assert!(all.iter().any(|w| w.pad_begin > 0 && w.pad_end > 0 && w.dilation > 1), "{n}");
        let pools: Vec<Vec<Window>> = all.into_iter().map(|w| vec![w]).collect();
        check(&program(&[n], [1, 3, 17, 33][n - 1], &pools), n as u64);
    }
}

#[test]
fn more_axes() {
    let mut rng = Rng::new(1);
    for (spatial, channels, number) in [(&[3, 4][..], 5, 150), (&[4, 1], 18, 60), (&[2, 3, 2], 3, 60)] {
        let all: Vec<Vec<Window>> = spatial.iter().map(|n| windows(*n).0).collect();
        let mut pool = |_| all.iter().map(|windows| *rng.pick(windows)).collect();
        check(&program(spatial, channels, &(0..number).map(&mut pool).collect::<Vec<_>>()), 2);
    }
}

/// Nothing is the largest of nothing.
#[test]
fn windows_of_padding_alone_are_refused() {
    let refused = |spatial: &[usize], pool: Vec<Window>| {
        let text = format!("{pool:?} over {spatial:?}");
        let errors = program(spatial, 2, &[pool]).verify().expect_err(&text);
        assert!(
            errors.iter().any(|e| e.to_string().contains("covers nothing but padding")),
            "{text}: {errors:?}"
        );
    };
    for n in 1..=4 {
        let (some, none) = windows(n);
        assert!(!none.is_empty());
        for window in none {
            refused(&[n], vec![window]);
            refused(&[n, n], vec![some[some.len() / 2], window]);
            refused(&[n, n], vec![window, some[some.len() / 2]]);
        }
    }
}

/// Padding is no zero among negative elements.
#[test]
fn padding_is_never_the_largest() {
    let window = Window { kernel: 3, stride: 1, dilation: 1, pad_begin: 1, pad_end: 2 };
    let program = program(&[3], 1, &[vec![window]]);
    let unread = [0; 3];
    let inputs = TYPES.map(|[ty, _]| if ty == "fixed<8,4>" { &[-5, -3, -7][..] } else { &unread[..] });
    for layout in [Layout::Lanes, Layout::Rows] {
        let options = Options { layout: Some(layout), ..Options::default() };
        let emulator = Emulator::new(program.clone(), &options).unwrap();
        assert_eq!(emulator.run_codes(&inputs, 1).unwrap(), [[-3, -3, -3, -7]], "{layout:?}");
    }
}
