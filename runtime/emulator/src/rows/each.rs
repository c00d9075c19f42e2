//! Ops that treat every element alike, a piece of a row at a time.

use super::{Cx, add, storage::Tensor};
use crate::{
    eltwise::{Affine, Binary, Requant},
    finish::broadcast,
    lane::Lane,
    lut::Table,
};
use hs_runtime::isa::{Checked, Kernel};

/// Elements that are computed together.
const PIECE: usize = 512;

/// A planned op over the elements of a row.
#[derive(Debug)]
pub(super) enum Each {
    Affine(Affine),
    Requant(Requant),
    Binary(Binary),
    Table(Table),
}

/// What the second operand is read from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Tensor(&'a Tensor),
    /// The same in every row.
    Const(&'a [i64]),
}

impl Source<'_> {
    /// Elements from `at` of row `r`, of `len` elements, on.
    pub(super) fn load<A: Lane>(&self, isa: Checked, (r, len): (usize, usize), at: usize, to: &mut [A]) {
        match self {
            Self::Tensor(x) => x.load(isa, r * len + at, to),
            Self::Const(c) => to.iter_mut().zip(&c[at..]).for_each(|(to, c)| *to = A::of64(*c)),
        }
    }
}

impl Each {
    /// For rows of `len` elements.
    pub(super) fn run<A: Lane>(
        &self,
        inputs: [Option<Source<'_>>; 2],
        out: &mut Tensor,
        len: usize,
        cx: &mut Cx<'_>,
    ) {
        let [Some(x), second] = inputs else { unreachable!("verified: every op has an input") };
        if let (Self::Binary(op), Source::Tensor(a), Some(Source::Tensor(b))) = (self, x, second)
            && add::run(op, cx.isa, (a, b), out, cx.rows * len)
        {
            return;
        }
        let mut room = std::mem::take(A::rows(&mut cx.temps.lanes));
        // Whole pixels, so that each piece meets the constants of the same channels.
        let channels = match self {
            Self::Affine(a) => a.channels,
            Self::Requant(_) | Self::Binary(_) | Self::Table(_) => 1,
        };
        let piece = channels * (PIECE / channels).max(1);
        room.resize(room.len().max(3 * piece), A::ZERO);
        let (v, rest) = room.split_at_mut(piece);
        let (b, c) = rest.split_at_mut(piece);
        // Rows are one long row to an op without constants of its own.
        let alike = |s: &Source<'_>| matches!(s, Source::Tensor(_));
        let joined = !matches!(self, Self::Affine(_)) && alike(&x) && second.as_ref().is_none_or(alike);
        let (rows, len) = if joined { (1, cx.rows * len) } else { (cx.rows, len) };
        if let Self::Affine(a) = self {
            constants(a, 0, b, c);
        }
        for r in 0..rows {
            for at in (0..len).step_by(piece) {
                let n = piece.min(len - at);
                let v = &mut v[..n];
                x.load(cx.isa, (r, len), at, v);
                match self {
                    Self::Affine(a) => {
                        if a.scale.len().max(a.bias.len()) > a.channels {
                            constants(a, at, &mut b[..n], &mut c[..n]);
                        }
                        let (v, scale, bias) = (&mut *v, &b[..n], &c[..n]);
                        A::kernel(cx.isa, Scale { v, scale, bias, left: a.product_left });
                        a.finish.apply(cx.isa, 0, v);
                    }
                    Self::Requant(q) => q.finish.apply(cx.isa, 0, v),
                    Self::Binary(op) => {
                        let Some(second) = second else { unreachable!("verified: two inputs") };
                        let b = &mut b[..n];
                        second.load(cx.isa, (r, len), at, b);
                        A::kernel(cx.isa, Combine { op, a: &mut *v, b });
                        op.finish.apply(cx.isa, 0, v);
                    }
                    Self::Table(t) => t.map.apply(cx.isa, v),
                }
                out.store(cx.isa, r * len + at, v);
            }
        }
        *A::rows(&mut cx.temps.lanes) = room;
    }
}

/// Scale and shifted bias of the elements from `at` on.
fn constants<A: Lane>(affine: &Affine, at: usize, scale: &mut [A], bias: &mut [A]) {
    let code = |codes: &[i64], i: usize| A::of64(broadcast(codes, at + i, affine.channels));
    let whole =
        |codes: &[i64], n: usize| n.min(if codes.len() > affine.channels { codes.len() - at } else { n });
    let (n, m) = (whole(&affine.scale, scale.len()), whole(&affine.bias, bias.len()));
    scale[..n].iter_mut().enumerate().for_each(|(i, s)| *s = code(&affine.scale, i));
    bias[..m].iter_mut().enumerate().for_each(|(i, b)| *b = code(&affine.bias, i).left(affine.bias_left));
}

/// `v × scale << left + bias`.
struct Scale<'a, A> {
    v: &'a mut [A],
    scale: &'a [A],
    bias: &'a [A],
    left: u32,
}

impl<A: Lane> Kernel for Scale<'_, A> {
    #[inline(always)]
    fn run(self) {
        for ((v, scale), bias) in self.v.iter_mut().zip(self.scale).zip(self.bias) {
            *v = v.times(*scale).left(self.left).plus(*bias);
        }
    }
}

struct Combine<'a, A> {
    op: &'a Binary,
    a: &'a mut [A],
    b: &'a mut [A],
}

impl<A: Lane> Kernel for Combine<'_, A> {
    #[inline(always)]
    fn run(self) {
        self.op.combine(self.a, self.b);
    }
}
