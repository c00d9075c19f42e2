//! Sums of two tensors of 8 or of 16 bits, as residual branches end in, cast in the same pass over memory.

use super::storage::Tensor;
use crate::{dot::Stage, eltwise::Binary, lane::Stored};
use hs_runtime::isa::{Checked, Kernel};

/// Writes the first `n` sums; false, and nothing is written, where it takes more than a pass.
pub(super) fn run(op: &Binary, isa: Checked, (a, b): (&Tensor, &Tensor), out: &mut Tensor, n: usize) -> bool {
    let Some(stage) = &op.sum else { return false };
    let left = op.left;
    macro_rules! kinds {
        ($($a:ident $b:ident $to:ident),*) => {
            match (a, b, out) {
                $((Tensor::$a(a), Tensor::$b(b), Tensor::$to(to)) => {
                    isa.run(Pass { a: &a[..n], b: &b[..n], to: &mut to[..n], left, stage });
                })*
                _ => return false,
            }
        };
    }
    kinds!(
        U8 U8 U8, U8 U8 I8, U8 I8 U8, U8 I8 I8, I8 U8 U8, I8 U8 I8, I8 I8 U8, I8 I8 I8,
        U16 U16 U16, U16 U16 I16, U16 I16 U16, U16 I16 I16, I16 U16 U16, I16 U16 I16, I16 I16 U16, I16 I16 I16
    );
    true
}

struct Pass<'a, A, B, T> {
    a: &'a [A],
    b: &'a [B],
    to: &'a mut [T],
    /// Shifts to the sum's grid.
    left: [u32; 2],
    stage: &'a Stage,
}

impl<A: Stored, B: Stored, T: Stored> Kernel for Pass<'_, A, B, T> {
    #[inline(always)]
    fn run(self) {
        let Self { a, b, to, left, stage } = self;
        let (up, add, drop) = (stage.left, stage.add, stage.drop);
        let (lo, hi) = stage.clamp.unwrap_or((i32::MIN, i32::MAX));
        for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
            let (a, b): (i32, i32) = (a.lane(), b.lane());
            let sum = a.wrapping_shl(left[0]).wrapping_add(b.wrapping_shl(left[1]));
            let v = sum.wrapping_shl(up).wrapping_add(add).wrapping_shr(drop);
            *to = T::from_lane(v.max(lo).min(hi));
        }
    }
}
