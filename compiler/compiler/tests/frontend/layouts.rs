//! Random chains of operators that move, mix and window axes: the lowered Program equals the float reference exactly. All
//! data are small integers, which both hold without rounding.

use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::passes::normalise;
use hs_compiler::reference::eval;
use hs_ir::Tensor;

use crate::lowering::run;
use crate::support::build;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn ints(&mut self, count: usize, most: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(2 * most + 1) as f32 - most as f32).collect()
    }

    fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            all.swap(i, self.below(i + 1));
        }
        all
    }
}

#[derive(Debug, Clone)]
struct Live {
    name: String,
    shape: Vec<usize>,
    /// No element is larger in magnitude.
    most: usize,
}

struct Model {
    rng: Rng,
    builder: ModelBuilder,
    live: Vec<Live>,
    steps: Vec<String>,
    names: usize,
}

fn i64s(v: &[usize]) -> Vec<i64> {
    v.iter().map(|x| *x as i64).collect()
}

impl Model {
    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    fn floats(&mut self, shape: &[usize], most: usize) -> String {
        let (name, data) = (self.name("c"), self.rng.ints(shape.iter().product(), most));
        self.builder.floats(&name, &i64s(shape), &data);
        name
    }

    fn ints(&mut self, data: &[i64]) -> String {
        let name = self.name("i");
        self.builder.ints(&name, data);
        name
    }

    fn done(&mut self, result: String, op: &str, shape: Vec<usize>, most: usize) {
        self.steps.push(format!("{op} {shape:?}"));
        self.live.push(Live { name: result, shape, most });
    }

    /// Something to read: mostly the latest value.
    fn pick(&mut self) -> Live {
        let n = self.live.len();
        let at = if self.rng.one_in(3) { self.rng.below(n) } else { n - 1 };
        self.live[at].clone()
    }

    fn step(&mut self) {
        let x = self.pick();
        let rank = x.shape.len();
        let y = self.name("v");
        let batched = x.shape[0] == 1;
        match self.rng.below(16) {
            0 | 1 => {
                let mut perm = vec![0];
                perm.extend(self.rng.shuffled(rank - 1).iter().map(|a| a + 1));
                if self.rng.one_in(10) {
                    perm = self.rng.shuffled(rank);
                }
                self.builder.node("Transpose", &[&x.name], &[&y]).ints("perm", &i64s(&perm));
                let shape = perm.iter().map(|p| x.shape[*p]).collect();
                self.done(y, &format!("Transpose {perm:?}"), shape, x.most);
            }
            2 | 3 => {
                let mut shape = vec![1];
                let mut left: usize = x.shape.iter().product();
                while left > 1 {
                    let factors: Vec<usize> = (2..=left).filter(|f| left.is_multiple_of(*f)).collect();
                    let f = factors[self.rng.below(factors.len())];
                    shape.push(f);
                    left /= f;
                    if shape.len() == 4 {
                        *shape.last_mut().unwrap() *= left;
                        break;
                    }
                    if self.rng.one_in(4) {
                        shape.push(1);
                    }
                }
                if shape.len() == 1 {
                    shape.push(1);
                }
                let s = self.ints(&i64s(&shape));
                self.builder.node("Reshape", &[&x.name, &s], &[&y]);
                self.done(y, "Reshape", shape, x.most);
            }
            4 => {
                self.builder.node("Flatten", &[&x.name], &[&y]);
                let shape = vec![x.shape[0], x.shape[1..].iter().product()];
                self.done(y, "Flatten", shape, x.most);
            }
            5 if rank < 5 => {
                let axis = 1 + self.rng.below(rank);
                let axes = self.ints(&[axis as i64]);
                self.builder.node("Unsqueeze", &[&x.name, &axes], &[&y]);
                let mut shape = x.shape.clone();
                shape.insert(axis, 1);
                self.done(y, "Unsqueeze", shape, x.most);
            }
            6 if rank > 2 => {
                let Some(axis) = (1..rank).find(|a| x.shape[*a] == 1) else { return };
                let axes = self.ints(&[axis as i64]);
                self.builder.node("Squeeze", &[&x.name, &axes], &[&y]);
                let mut shape = x.shape.clone();
                shape.remove(axis);
                self.done(y, "Squeeze", shape, x.most);
            }
            7 | 8 if batched && (3..=4).contains(&rank) => self.convolution(&x, y),
            9 if batched && (3..=4).contains(&rank) => {
                let kernel: Vec<usize> = x.shape[2..].iter().map(|n| 1 + self.rng.below(2.min(*n))).collect();
                let node = self.builder.node("MaxPool", &[&x.name], &[&y]);
                node.ints("kernel_shape", &i64s(&kernel));
                let space = x.shape[2..].iter().zip(&kernel).map(|(n, k)| n + 1 - k);
                let shape = x.shape[..2].iter().copied().chain(space).collect();
                self.done(y, "MaxPool", shape, x.most);
            }
            10 if batched && x.most < 1 << 14 => {
                let (n, m) = (x.shape[rank - 1], 1 + self.rng.below(4));
                let w = self.floats(&[n, m], 2);
                self.builder.node("MatMul", &[&x.name, &w], &[&y]);
                let mut shape = x.shape.clone();
                shape[rank - 1] = m;
                self.done(y, "MatMul", shape, x.most * 2 * n);
            }
            11 | 12 if x.most < 1 << 18 => {
                let shape: Vec<usize> =
                    x.shape.iter().map(|n| if self.rng.one_in(2) { *n } else { 1 }).collect();
                let skip = if self.rng.one_in(2) { 0 } else { self.rng.below(rank) };
                let c = self.floats(&shape[skip..], 3);
                let (op, inputs, most) = match self.rng.below(4) {
                    0 => ("Mul", [&x.name, &c], x.most * 3),
                    1 => ("Add", [&x.name, &c], x.most + 3),
                    2 => ("Add", [&c, &x.name], x.most + 3),
                    _ => ("Sub", [&c, &x.name], x.most + 3),
                };
                self.builder.node(op, &inputs.map(String::as_str), &[&y]);
                self.done(y, &format!("{op} {:?}", &shape[skip..]), x.shape, most);
            }
            13 => {
                if self.rng.one_in(2) {
                    self.builder.node("Relu", &[&x.name], &[&y]);
                    self.done(y, "Relu", x.shape, x.most);
                } else {
                    let (lo, hi) = (self.name("lo"), self.name("hi"));
                    self.builder.floats(&lo, &[], &[-9.0]).floats(&hi, &[], &[7.0]);
                    self.builder.node("Clip", &[&x.name, &lo, &hi], &[&y]);
                    self.done(y, "Clip", x.shape, x.most.min(9));
                }
            }
            14 => self.join(&x, y),
            _ if batched && rank > 1 && x.shape.iter().product::<usize>() < 100 => {
                let mut pads = vec![0i64; 2 * rank];
                let axis = 1 + self.rng.below(rank - 1);
                (pads[axis], pads[rank + axis]) = (self.rng.below(2) as i64, self.rng.below(3) as i64);
                let p = self.ints(&pads);
                self.builder.node("Pad", &[&x.name, &p], &[&y]);
                let mut shape = x.shape.clone();
                shape[axis] += (pads[axis] + pads[rank + axis]) as usize;
                self.done(y, &format!("Pad {pads:?}"), shape, x.most);
            }
            _ => {}
        }
    }

    fn convolution(&mut self, x: &Live, y: String) {
        if x.most >= 1 << 14 {
            return;
        }
        let channels = x.shape[1];
        let groups = if self.rng.one_in(3) { channels } else { 1 };
        let out = groups * (1 + self.rng.below(3));
        let pad = self.rng.below(2);
        let kernel: Vec<usize> = x.shape[2..].iter().map(|n| 1 + self.rng.below(2.min(*n))).collect();
        let mut weight = vec![out, channels / groups];
        weight.extend(&kernel);
        let (w, b) = (self.floats(&weight, 2), self.floats(&[out], 3));
        let inputs = [x.name.as_str(), &w, &b];
        let inputs = if self.rng.one_in(2) { &inputs[..] } else { &inputs[..2] };
        let node = self.builder.node("Conv", inputs, &[&y]).int("group", groups as i64);
        node.ints("pads", &vec![pad as i64; 2 * kernel.len()]);
        let space = x.shape[2..].iter().zip(&kernel).map(|(n, k)| n + 2 * pad + 1 - k);
        let shape = [1, out].into_iter().chain(space).collect();
        let terms: usize = weight[1..].iter().product();
        self.done(y, &format!("Conv {weight:?} pad {pad}"), shape, x.most * 2 * terms + 3);
    }

    /// Two values along an axis, or summed.
    fn join(&mut self, x: &Live, y: String) {
        let rank = x.shape.len();
        let same = self.live.iter().rev().find(|l| l.shape == x.shape && l.name != x.name).cloned();
        let other = same.unwrap_or_else(|| {
            let name = self.floats(&x.shape, 5);
            Live { name, shape: x.shape.clone(), most: 5 }
        });
        let pair = if self.rng.one_in(2) { [&x.name, &other.name] } else { [&other.name, &x.name] }
            .map(String::as_str);
        if rank > 1 && x.shape[0] == 1 && self.rng.one_in(2) {
            let axis = 1 + self.rng.below(rank - 1);
            self.builder.node("Concat", &pair, &[&y]).int("axis", axis as i64);
            let mut shape = x.shape.clone();
            shape[axis] *= 2;
            self.done(y, &format!("Concat {pair:?} {axis}"), shape, x.most.max(other.most));
        } else if x.most + other.most < 1 << 20 {
            self.builder.node("Add", &pair, &[&y]);
            self.done(y, &format!("Add {pair:?}"), x.shape.clone(), x.most + other.most);
        }
    }
}

/// A model of `seed`, and an input for it.
fn random(seed: u64) -> (Model, Tensor) {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut shape = vec![1];
    for _ in 0..1 + rng.below(3) {
        shape.push(if rng.one_in(5) { 1 } else { 2 + rng.below(3) });
    }
    let data = rng.ints(shape.iter().product(), 4);
    let x = Tensor::from_f32(shape.clone(), data).unwrap();
    let mut builder = ModelBuilder::new(17);
    builder.input("x", &i64s(&shape));
    let live = vec![Live { name: "x".to_owned(), shape: shape.clone(), most: 4 }];
    let mut model = Model { rng, builder, live, steps: vec![format!("Input {shape:?}")], names: 0 };
    for _ in 0..3 + model.rng.below(10) {
        model.step();
    }
    // An output must be computed.
    if model.live.len() == 1 {
        model.builder.node("Relu", &["x"], &["last"]);
        model.done("last".to_owned(), "Relu", shape, 4);
    }
    let last = model.live.len() - 1;
    model.builder.output(&model.live[last].name.clone(), &i64s(&model.live[last].shape.clone()));
    let other = 1 + model.rng.below(last);
    if other != last && model.rng.one_in(3) {
        model.builder.output(&model.live[other].name.clone(), &i64s(&model.live[other].shape.clone()));
        model.steps.push(format!("second output after step {other}"));
    }
    (model, x)
}

#[test]
fn random_layouts_are_exact() {
    let options =
        LowerOptions { precision: Some("fixed<32,26>".parse().unwrap()), ..LowerOptions::default() };
    let (mut failures, mut refused) = (Vec::new(), Vec::new());
    for seed in 0..CASES {
        let (model, x) = random(seed);
        let graph = build(&model.builder);
        let wanted = eval(&graph, std::slice::from_ref(&x)).unwrap();
        let lowered = normalise(graph)
            .map_err(|e| e.to_string())
            .and_then(|graph| lower(&graph, &options).map_err(|e| e.to_string()));
        let found = match lowered {
            Ok(lowered) => run(&lowered.program, &[x]),
            Err(error) => {
                refused.push(format!("seed {seed}: {error}\n  {}", model.steps.join("\n  ")));
                continue;
            }
        };
        if found != wanted.iter().map(Tensor::to_f64).collect::<Vec<_>>() {
            failures.push(format!("seed {seed}:\n  {}", model.steps.join("\n  ")));
        }
    }
    failures.sort_by_key(String::len);
    assert!(failures.is_empty(), "{} differ, the shortest: {}", failures.len(), failures[0]);
    refused.sort_by_key(String::len);
    assert!(
        refused.len() * 20 < CASES as usize,
        "{} refused:\n{}",
        refused.len(),
        refused[..20.min(refused.len())].join("\n")
    );
}

#[test]
fn a_tensor_and_its_transpose_keep_their_own_order() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[1, 2, 2]);
    m.node("Transpose", &["x"], &["t"]).ints("perm", &[0, 2, 1]);
    m.node("Sub", &["t", "x"], &["y"]);
    m.output("y", &[1, 2, 2]);
    let x = Tensor::from_f32(vec![1, 2, 2], vec![1.0, 2.0, 3.0, 5.0]).unwrap();
    let graph = normalise(build(&m)).unwrap();
    let options = LowerOptions { precision: Some("fixed<8,6>".parse().unwrap()), ..LowerOptions::default() };
    let program = lower(&graph, &options).unwrap().program;
    assert_eq!(run(&program, &[x]), [[0.0, 1.0, -1.0, 0.0]]);
}

/// Models tried.
const CASES: u64 = 3000;
