//! Networks whose late layers have more weights than the cache holds: their rows go through the early layers alone and
//! through the late ones together.

use hs_emulator::{Emulator, Isa, Layout, Options};
use hs_fixed::{Format, Type};
use hs_hw::{
    Accum, Act, BinaryOp, Codes, Dot, Node, Op, Pool, PoolKind, Program, ValueId, Window, interp,
    testing::{Rng, random_inputs},
};

const ROWS: usize = 8;

struct Builder {
    nodes: Vec<Node>,
    rng: Rng,
    ty: Type,
}

impl Builder {
    fn add(&mut self, name: &str, op: Op, inputs: &[u32], shape: &[usize]) -> u32 {
        let inputs = inputs.iter().copied().map(ValueId).collect();
        self.nodes.push(Node { name: name.to_owned(), op, inputs, shape: shape.to_vec(), ty: self.ty });
        self.nodes.len() as u32 - 1
    }

    fn dot(&mut self, name: &str, x: u32, window: Vec<Window>, shape: &[usize]) -> u32 {
        let w: Type = "fixed<8,2>".parse().unwrap();
        let (channels, outputs) = (self.nodes[x as usize].channels(), *shape.last().unwrap());
        let terms = channels * window.iter().map(|w| w.kernel).product::<usize>();
        let weights: Vec<i64> = (0..outputs * terms).map(|_| self.rng.code(w.format) as i64).collect();
        let biases: Vec<i64> = (0..outputs).map(|_| self.rng.code(w.format) as i64).collect();
        let product = self.ty.format.mul(w.format).unwrap();
        let bits = product.width() + 2 + usize::BITS - terms.leading_zeros();
        let dot = Dot {
            window,
            groups: 1,
            weight: Codes::new(w.format, weights),
            bias: Some(Codes::new(w.format, biases)),
            accum: Accum::Exact(Format::new(true, bits, bits as i32 - product.frac()).unwrap()),
            act: Act::RELU,
        };
        self.add(name, Op::Dot(dot), &[x], shape)
    }

    fn output(&mut self, index: usize, of: u32) {
        let shape = self.nodes[of as usize].shape.clone();
        let name = format!("y{index}");
        let perm = (0..shape.len()).collect();
        let op = Op::Output { index, tensor: name.clone(), onnx_shape: shape.clone(), perm };
        self.add(&name, op, &[of], &shape);
    }
}

/// Two convolutions and their sum, of 51,200 elements each; a pool; two dense layers of 1.3 million weights in all. The
/// second convolution's result is an output as well, and the first one's is read again at the end.
fn program(ty: &str) -> Program {
    let mut b = Builder { nodes: Vec::new(), rng: Rng::new(5), ty: ty.parse().unwrap() };
    let axis = |kernel, stride, pad| Window { kernel, stride, dilation: 1, pad_begin: pad, pad_end: pad };
    let large = [40, 40, 32];
    let op = Op::Input { index: 0, tensor: "x".to_owned(), onnx_shape: vec![40, 40, 3], perm: vec![0, 1, 2] };
    let x = b.add("x", op, &[], &[40, 40, 3]);
    let first = b.dot("first", x, vec![axis(3, 1, 1); 2], &large);
    let second = b.dot("second", first, vec![axis(1, 1, 0); 2], &large);
    let op = Op::Binary { op: BinaryOp::Add, act: Act::None };
    let sum = b.add("sum", op, &[first, second], &large);
    let pool = |window| Op::Pool(Pool { kind: PoolKind::Max, window });
    let small = b.add("pool", pool(vec![axis(4, 4, 0); 2]), &[sum], &[10, 10, 32]);
    let again = b.add("again", pool(vec![axis(8, 8, 0); 2]), &[first], &[5, 5, 32]);
    let flat = b.add("flat", Op::Reshape, &[small], &[3200]);
    let dense = b.dot("dense", flat, Vec::new(), &[400]);
    let flat = b.add("flat again", Op::Reshape, &[again], &[800]);
    let both = b.add("both", Op::Concat { axis: 0 }, &[dense, flat], &[1200]);
    let last = b.dot("last", both, Vec::new(), &[20]);
    b.output(0, last);
    b.output(1, second);
    let program = Program { name: "late".to_owned(), nodes: b.nodes };
    program.verify().unwrap();
    program
}

fn check(ty: &str) {
    let program = program(ty);
    let rows = random_inputs(&program, 3, ROWS);
    let expected: Vec<Vec<Vec<i128>>> = rows.iter().map(|row| interp::run(&program, row)).collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for (block, threads, n) in
            [(None, 1, ROWS), (None, 2, 7), (Some(1), 1, 2), (Some(7), 1, ROWS), (Some(3), 3, 8)]
        {
            let options = Options {
                isa: Some(isa),
                threads: Some(threads),
                block,
                layout: Some(Layout::Rows),
                ..Options::default()
            };
            let emulator = Emulator::new(program.clone(), &options).unwrap();
            assert_eq!(emulator.plan().block, block.unwrap_or(6), "late rows go together");
            let codes: Vec<i64> = rows[..n].iter().flat_map(|r| &r[0]).map(|c| *c as i64).collect();
            let got = emulator.run_codes(&[&codes], n).unwrap();
            for (o, got) in got.iter().enumerate() {
                let want: Vec<i64> = expected[..n].iter().flat_map(|r| &r[o]).map(|c| *c as i64).collect();
                assert!(*got == want, "{options:?}: output {o}");
            }
        }
    }
}

#[test]
fn bytes() {
    check("ufixed<8,4,RND,SAT>");
}

#[test]
fn words() {
    check("fixed<10,4,TRN,WRAP>");
}

/// The early tensors are small, those of the late layers are not: both bound a block.
#[test]
fn blocks_fit_the_cache_where_all_is_late() {
    let mut b = Builder { nodes: Vec::new(), rng: Rng::new(6), ty: "ufixed<8,4,RND,SAT>".parse().unwrap() };
    let op = Op::Input { index: 0, tensor: "x".to_owned(), onnx_shape: vec![100], perm: vec![0] };
    let x = b.add("x", op, &[], &[100]);
    let wide = b.dot("wide", x, Vec::new(), &[20_000]);
    let y = b.dot("y", wide, Vec::new(), &[100]);
    b.output(0, y);
    let program = Program { name: "late".to_owned(), nodes: b.nodes };
    program.verify().unwrap();
    let options = Options { layout: Some(Layout::Rows), ..Options::default() };
    let plan = Emulator::new(program, &options).unwrap().plan();
    assert!((6..=512 * 1024 / 20_000).contains(&plan.block), "{}", plan.block);
    assert!(plan.block_bytes < 600 * 1024, "{}", plan.block_bytes);
}
