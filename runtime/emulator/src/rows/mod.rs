//! The second way to run a Program: tensors of a block lie as `[row][element]`, channels last, in the narrowest
//! integers that hold their range.
//!
//! Convolutions read each input element many times, so it pays that elements are small, that a few rows fit the
//! cache and that outputs, not rows, share a vector. What has no kernel here runs in lanes, between transpositions.

mod add;
#[cfg(target_arch = "x86_64")]
mod bytes;
mod close;
mod compile;
mod cut;
mod dot;
mod each;
mod input;
mod kernel;
mod lanes;
mod moves;
mod offsets;
mod pool;
mod sections;
#[cfg(target_arch = "x86_64")]
mod simd;
mod storage;

use std::ops::Range;

use hs_hw::Program;
use hs_runtime::{codes::Layout, isa::Checked};

use crate::{
    Isa, PlanError, Width,
    compile::Slot,
    io::{self, Results},
    lane::{self, Buf},
    moves::Concat,
    plan::NodePlan,
    pool::PoolStep,
    run::{Inputs, Sink},
    step::Operand,
};
use cut::Cut;
use dot::Dot;
use each::{Each, Source};
use input::Prepared;
use lanes::Lanes;
use moves::Gather;
use offsets::Offsets;
use storage::{Storage, Tensor, each};

/// Bytes of a block's tensors that should stay in the second-level cache.
const CACHE: usize = 512 << 10;
/// Most rows of a block: what more of them would save on reading weights is little.
const MOST_ROWS: usize = 64;

/// A Program ready to run on rows.
#[derive(Debug)]
pub(crate) struct Rows {
    steps: Vec<Step>,
    slots: Vec<Slot<Storage>>,
    /// Bytes of memory beside the buffers for each row.
    scratch: usize,
    cut: Option<Cut>,
    /// Buffer of each model output.
    outputs: Vec<usize>,
    pub(crate) nodes: Vec<NodePlan>,
}

/// One node's work.
#[derive(Debug)]
struct Step {
    /// Index of the node.
    node: usize,
    operation: Operation,
    inputs: Vec<Operand>,
    /// Elements of each input.
    lens: Vec<usize>,
    /// Buffer of the result, and its elements.
    out: usize,
    len: usize,
    /// Width computed in.
    width: Width,
}

#[derive(Debug)]
enum Operation {
    /// Model input of this index.
    Input(usize),
    Dot(Box<Dot>),
    Each(Box<Each>),
    Pool(Box<PoolStep>),
    Gather(Gather),
    Concat(Concat),
    Lanes(Box<Lanes>),
}

/// Memory of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    tensors: Vec<Tensor>,
    temps: Temps,
}

/// Memory that a step needs while it runs; kept between blocks.
#[derive(Default)]
struct Temps {
    /// Input of a dot product as its kernel reads it.
    prepared: Prepared,
    /// Places of output pixels in it.
    places: Offsets,
    sums: Vec<i32>,
    lanes: lane::Temps,
    /// Tensors of a step that runs in lanes.
    bufs: Vec<Buf>,
}

/// The first `n` places, of whatever content.
fn grown(v: &mut Vec<i32>, n: usize) -> &mut [i32] {
    if v.len() < n {
        v.resize(n, 0);
    }
    &mut v[..n]
}

/// What a step runs with.
struct Cx<'a> {
    isa: Checked,
    rows: usize,
    temps: &'a mut Temps,
}

impl Rows {
    /// Compiles a verified Program for integers of at least `least`.
    pub(crate) fn compile(program: &Program, least: Width, isa: Isa) -> Result<Self, PlanError> {
        compile::compile(program, least, isa)
    }

    /// Memory for `rows` rows of the buffers from `first` on.
    fn reserve(&self, slots: &[Slot<Storage>], first: usize, rows: usize, scratch: &mut Scratch) {
        let tensors = &mut scratch.tensors;
        if tensors.is_empty() {
            tensors.extend(self.slots.iter().map(|s| Tensor::new(s.width)));
        }
        for (slot, tensor) in slots.iter().zip(&mut tensors[first..]) {
            tensor.reserve(slot.len * rows);
        }
    }

    /// Runs some steps on some rows of the block, which lie at the begin of each buffer.
    fn steps(
        &self,
        steps: &[Step],
        rows: Range<usize>,
        isa: Checked,
        inputs: &mut Inputs<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch { tensors, temps } = scratch;
        for step in steps {
            let clock = inputs.clock();
            let mut out = std::mem::take(&mut tensors[step.out]);
            if let Operation::Input(i) = &step.operation {
                out.receive(rows.len() * step.len, |codes| inputs.read(*i, rows.clone(), codes));
            } else if inputs.first.is_none() {
                let mut cx = Cx { isa, rows: rows.len(), temps: &mut *temps };
                match step.width {
                    Width::I8 | Width::I16 | Width::I32 => step.run::<i32>(tensors, &mut out, &mut cx),
                    Width::I64 => step.run::<i64>(tensors, &mut out, &mut cx),
                    Width::I128 => step.run::<i128>(tensors, &mut out, &mut cx),
                }
            }
            tensors[step.out] = out;
            inputs.took(step.node, clock);
        }
    }

    /// Model output `i` of the `rows` that ran last.
    pub(crate) fn output(
        &self,
        (i, rows): (usize, usize),
        scratch: &Scratch,
        layout: &Layout,
        sink: Sink<'_>,
        results: &mut Results,
    ) {
        let (tensor, isa) = (&scratch.tensors[self.outputs[i]], layout.checked());
        match (sink, io::scale(layout)) {
            (Sink::F32(to), Some(scale)) => {
                each!(tensor, v => to.iter_mut().zip(v).for_each(|(to, code)| *to = *code as f32 * scale));
            }
            (sink, _) => {
                let n = rows * layout.row_len();
                results.pass(n, layout, sink, |codes, _| tensor.load(isa, 0, codes));
            }
        }
    }
}

impl Step {
    fn run<A: lane::Lane>(&self, tensors: &[Tensor], out: &mut Tensor, cx: &mut Cx<'_>) {
        let tensor = |i: usize| match &self.inputs[i] {
            Operand::Slot(s) => &tensors[*s],
            Operand::Const(_) => unreachable!("verified: this op reads no constant"),
        };
        let source = |i: usize| {
            self.inputs.get(i).map(|o| match o {
                Operand::Slot(s) => Source::Tensor(&tensors[*s]),
                Operand::Const(c) => Source::Const(c),
            })
        };
        match &self.operation {
            Operation::Input(_) => unreachable!("inputs are stored, not run"),
            Operation::Dot(d) => d.run(tensor(0), out, cx),
            Operation::Each(e) => e.run::<A>([source(0), source(1)], out, self.len, cx),
            Operation::Pool(p) => pool::run::<A>(p, tensor(0), out, (self.lens[0], self.len), cx),
            Operation::Gather(g) => g.run(tensor(0), out, (self.lens[0], self.len), cx.rows),
            Operation::Concat(c) => {
                let inputs = (0..self.inputs.len()).filter_map(source).zip(self.lens.iter().copied());
                moves::concat::<A>(c, inputs, out, self.len, cx);
            }
            Operation::Lanes(l) => {
                let tensors = self.inputs.iter().map(|o| match o {
                    Operand::Slot(s) => Some(&tensors[*s]),
                    Operand::Const(_) => None,
                });
                l.run(tensors, out, cx);
            }
        }
    }
}
