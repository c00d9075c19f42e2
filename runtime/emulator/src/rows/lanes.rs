//! Ops that run in lanes: their tensors are transposed there and back.

use super::{
    Cx,
    storage::{Tensor, each},
};
use crate::{
    dot::CHUNK,
    lane::{Buf, Cx as LanesCx, Packing, Width},
    run::run_step,
    step::Step,
};

/// A step over `[element][lane]` between tensors of rows.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Its operands and its result are buffers by [`place`].
    pub(super) step: Step,
    /// For each input the elements of a row and its buffer; `None` for a constant.
    pub(super) inputs: Vec<Option<(usize, usize)>>,
}

/// The buffer of input `i`: there is one for each width, since a buffer keeps its own.
pub(super) fn place(i: usize, width: Width) -> usize {
    2 * i + usize::from(width > Width::I32)
}

impl Lanes {
    /// `inputs`: the tensor of each input that is no constant.
    pub(super) fn run<'a>(
        &self,
        inputs: impl Iterator<Item = Option<&'a Tensor>>,
        out: &mut Tensor,
        cx: &mut Cx<'_>,
    ) {
        let lanes = cx.rows.next_multiple_of(CHUNK);
        let bufs = &mut cx.temps.bufs;
        let most = self.inputs.iter().flatten().map(|(_, place)| *place).chain([self.step.out]).max();
        while bufs.len() <= most.unwrap_or(0) {
            bufs.push(Buf::new(if bufs.len().is_multiple_of(2) { Width::I32 } else { Width::I64 }));
        }
        for (place, x) in self.inputs.iter().zip(inputs) {
            if let (Some((len, place)), Some(x)) = (place, x) {
                fill(x, &mut bufs[*place], *len, (cx.rows, lanes));
            }
        }
        let mut result = std::mem::replace(&mut bufs[self.step.out], Buf::new(Width::I32));
        result.reserve(self.step.len * lanes);
        result.begin(Packing::Single);
        run_step(
            &self.step,
            bufs,
            &mut result,
            &mut LanesCx { isa: cx.isa, lanes, temps: &mut cx.temps.lanes },
        );
        drain(&result, out, self.step.len, (cx.rows, lanes));
        bufs[self.step.out] = result;
    }
}

/// Rows into lanes; lanes without a row are zero.
fn fill(x: &Tensor, buf: &mut Buf, len: usize, (rows, lanes): (usize, usize)) {
    buf.reserve(len * lanes);
    buf.begin(Packing::Single);
    macro_rules! transpose {
        ($to:expr, $t:ty) => {
            each!(x, x => for (e, to) in $to.chunks_exact_mut(lanes).enumerate().take(len) {
                let (used, rest) = to.split_at_mut(rows);
                used.iter_mut().enumerate().for_each(|(r, to)| *to = x[r * len + e] as $t);
                rest.fill(0);
            })
        };
    }
    match buf {
        Buf::I32 { words, .. } => transpose!(words, i32),
        Buf::I64(words) => transpose!(words, i64),
    }
}

/// Lanes into rows.
fn drain(buf: &Buf, out: &mut Tensor, len: usize, (rows, lanes): (usize, usize)) {
    macro_rules! transpose {
        ($from:expr) => {
            each!(out, out => for (r, out) in out.chunks_exact_mut(len).enumerate().take(rows) {
                out.iter_mut().enumerate().for_each(|(e, to)| *to = $from[e * lanes + r] as _);
            })
        };
    }
    match buf {
        Buf::I32 { words, .. } => transpose!(words),
        Buf::I64(words) => transpose!(words),
    }
}
