//! The steps that a Program is compiled to, and how one runs on a block.

use std::sync::Arc;

use hs_runtime::isa::Checked;

use crate::{
    dot::DotStep,
    eltwise::{Affine, Binary, Requant},
    lane::{Buf, Cx, Lane, Packing, Width},
    lut::Table,
    moves::{Concat, Gather},
    pool::PoolStep,
    softmax::{ArgmaxStep, SoftmaxStep},
};

/// Where a step reads a tensor.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// A buffer of the block.
    Slot(usize),
    /// A constant, the same in every lane.
    Const(Arc<[i64]>),
}

/// One node's work.
#[derive(Debug)]
pub(crate) struct Step {
    /// Index of the node.
    pub(crate) node: usize,
    pub(crate) op: StepOp,
    pub(crate) inputs: Vec<Operand>,
    /// Buffer of the result, and how it lies there.
    pub(crate) out: usize,
    pub(crate) packing: Packing,
    /// Elements of the result.
    pub(crate) len: usize,
    /// Width computed in.
    pub(crate) width: Width,
}

#[derive(Debug)]
pub(crate) enum StepOp {
    /// Model input of this index: codes of the block's rows.
    Input(usize),
    Dot(Box<DotStep>),
    Affine(Affine),
    Requant(Requant),
    Binary(Binary),
    Table(Table),
    Pool(Box<PoolStep>),
    Softmax(Box<SoftmaxStep>),
    Argmax(ArgmaxStep),
    Gather(Gather),
    Concat(Concat),
}

/// A tensor as a step reads it.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Buf(&'a Buf),
    Const(&'a [i64]),
}

impl Source<'_> {
    /// Element `e` of every lane.
    pub(crate) fn load<A: Lane>(&self, isa: Checked, e: usize, row: &mut [A]) {
        match self {
            Self::Buf(b) => b.load(isa, e, row),
            Self::Const(c) => row.fill(A::of64(c[e])),
        }
    }

    /// The buffer; constants are read by `Binary` and `Concat` only.
    pub(crate) fn buf(&self) -> &Buf {
        match self {
            Self::Buf(b) => b,
            Self::Const(_) => unreachable!("verified: this op reads no constant"),
        }
    }
}

impl Step {
    /// Runs on one block, in lanes of type `A`.
    pub(crate) fn run<A: Lane>(&self, bufs: &[Buf], out: &mut Buf, cx: &mut Cx<'_>) {
        let source = |i: usize| match &self.inputs[i] {
            Operand::Slot(s) => Source::Buf(&bufs[*s]),
            Operand::Const(c) => Source::Const(c),
        };
        match &self.op {
            StepOp::Input(_) => unreachable!("inputs are filled, not run"),
            StepOp::Dot(d) => d.run::<A>(source(0).buf(), out, cx),
            StepOp::Affine(a) => a.run::<A>(source(0).buf(), out, self.len, cx),
            StepOp::Requant(r) => r.run::<A>(source(0).buf(), out, self.len, cx),
            StepOp::Binary(b) => b.run::<A>([source(0), source(1)], out, self.len, cx),
            StepOp::Table(t) => t.run::<A>(source(0).buf(), out, self.len, cx),
            StepOp::Pool(p) => p.run::<A>(source(0).buf(), out, cx),
            StepOp::Softmax(s) => s.run::<A>(source(0).buf(), out, self.len, cx),
            StepOp::Argmax(a) => a.run::<A>(source(0).buf(), out, self.len, cx),
            StepOp::Gather(g) => g.run::<A>(source(0).buf(), out, cx),
            StepOp::Concat(c) => {
                for (i, part) in c.parts.iter().enumerate() {
                    part.run::<A>(source(i), out, cx);
                }
            }
        }
    }
}
