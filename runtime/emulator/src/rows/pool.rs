//! Pooling over rows: channels lie side by side, so they are what a vector holds.

use super::{Cx, storage::Tensor};
use crate::{
    lane::{Cx as LanesCx, Lane},
    pool::PoolStep,
    windows::Windows,
};
use hs_runtime::isa::Kernel;

/// From rows of `from` elements to rows of `to`.
pub(super) fn run<A: Lane>(
    pool: &PoolStep,
    x: &Tensor,
    out: &mut Tensor,
    (from, to): (usize, usize),
    cx: &mut Cx<'_>,
) {
    let (isa, rows, channels) = (cx.isa, cx.rows, pool.channels());
    if let Some(windows) = pool.largest() {
        macro_rules! largest {
            ($($kind:ident)*) => {
                match (x, &mut *out) {
                    $((Tensor::$kind(x), Tensor::$kind(out)) => {
                        let (x, out) = (&x[..rows * from], &mut out[..rows * to]);
                        return isa.run(Largest { windows, channels, x, out, sizes: (from, to) });
                    })*
                    // A narrower result, of windows that all lie in a part of the input.
                    _ => {}
                }
            };
        }
        largest!(U8 I8 I16 U16 I32 I64);
    }
    let mut lanes = LanesCx { isa, lanes: channels, temps: &mut cx.temps.lanes };
    for r in 0..rows {
        let load = |e: usize, row: &mut [A]| x.load(isa, r * from + e * channels, row);
        let store = |e: usize, row: &[A]| out.store(isa, r * to + e * channels, row);
        pool.reduce::<A>(1, load, store, &mut lanes);
    }
}

/// The largest element of each window.
struct Largest<'a, S> {
    windows: &'a Windows,
    channels: usize,
    x: &'a [S],
    out: &'a mut [S],
    sizes: (usize, usize),
}

impl<S: Copy + Ord> Kernel for Largest<'_, S> {
    #[inline(always)]
    fn run(self) {
        let Self { windows, channels, x, out, sizes: (from, to) } = self;
        for (x, out) in x.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            for (p, out) in out.chunks_exact_mut(channels).enumerate() {
                let pixel = |at: u32| &x[at as usize * channels..][..channels];
                let Some((first, rest)) = windows.covered(p).split_first() else { continue };
                out.copy_from_slice(pixel(*first));
                for at in rest {
                    for (out, x) in out.iter_mut().zip(pixel(*at)) {
                        *out = (*out).max(*x);
                    }
                }
            }
        }
    }
}
