//! The steps that a Program is compiled to, and how one runs on a block.

use std::sync::Arc;

use crate::{
    dot::DotStep,
    eltwise::{Affine, Binary, Requant},
    isa::Kernel,
    lane::{Buf, Lane, Temps, Width},
    lut::Table,
    moves::{Concat, Gather},
    pool::PoolStep,
    softmax::SoftmaxStep,
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
    pub(crate) op: StepOp,
    pub(crate) inputs: Vec<Operand>,
    /// Buffer of the result.
    pub(crate) out: usize,
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
    Pool(PoolStep),
    Softmax(Box<SoftmaxStep>),
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
    #[inline(always)]
    pub(crate) fn load<A: Lane>(&self, e: usize, row: &mut [A]) {
        match self {
            Self::Buf(b) => b.load(e, row),
            Self::Const(c) => row.fill(A::of64(c[e])),
        }
    }

    /// The buffer; constants are read by `Binary` and `Concat` only.
    #[inline(always)]
    pub(crate) fn buf(&self) -> &Buf {
        match self {
            Self::Buf(b) => b,
            Self::Const(_) => unreachable!("verified: this op reads no constant"),
        }
    }
}

/// A step about to run on one block.
pub(crate) struct Job<'a> {
    pub(crate) step: &'a Step,
    pub(crate) bufs: &'a [Buf],
    pub(crate) out: &'a mut Buf,
    pub(crate) lanes: usize,
    pub(crate) temps: &'a mut Temps,
}

/// A step that computes in one width.
pub(crate) struct In<'a, A>(pub(crate) Job<'a>, pub(crate) std::marker::PhantomData<A>);

impl<A: Lane> Kernel for In<'_, A> {
    #[inline(always)]
    fn run(self) {
        let Self(job, _) = self;
        let sources = |i: usize| match &job.step.inputs[i] {
            Operand::Slot(s) => Source::Buf(&job.bufs[*s]),
            Operand::Const(c) => Source::Const(c),
        };
        let (len, lanes) = (job.step.len, job.lanes);
        match &job.step.op {
            StepOp::Input(_) => unreachable!("inputs are filled, not run"),
            StepOp::Dot(d) => d.run::<A>(sources(0).buf(), job.out, lanes, job.temps),
            StepOp::Affine(a) => a.run::<A>(sources(0).buf(), job.out, len, lanes, job.temps),
            StepOp::Requant(r) => r.run::<A>(sources(0).buf(), job.out, len, lanes, job.temps),
            StepOp::Binary(b) => b.run::<A>([sources(0), sources(1)], job.out, len, lanes, job.temps),
            StepOp::Table(t) => t.run::<A>(sources(0).buf(), job.out, len, lanes, job.temps),
            StepOp::Pool(p) => p.run::<A>(sources(0).buf(), job.out, lanes, job.temps),
            StepOp::Softmax(s) => s.run::<A>(sources(0).buf(), job.out, len, lanes, job.temps),
            StepOp::Gather(g) => g.run::<A>(sources(0).buf(), job.out, lanes, job.temps),
            StepOp::Concat(c) => {
                for (i, part) in c.parts.iter().enumerate() {
                    part.run::<A>(sources(i), job.out, lanes, job.temps);
                }
            }
        }
    }
}
