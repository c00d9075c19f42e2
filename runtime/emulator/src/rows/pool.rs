//! Pooling over rows: channels lie side by side, so they are what a vector holds.

use super::{Cx, Temps, grown, storage::Tensor};
use crate::{
    lane::{Cx as LanesCx, Lane, Stored},
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
    if let Some(windows) = pool.sums() {
        macro_rules! averages {
            ($($kind:ident)*) => {
                match x {
                    $(Tensor::$kind(x) => {
                        let Temps { sums, lanes, .. } = &mut *cx.temps;
                        let (sums, acc) = (grown(sums, channels), lanes.get::<A>(channels));
                        for (r, x) in x[..rows * from].chunks_exact(from).enumerate() {
                            for p in 0..windows.pixels() {
                                isa.run(Total { covered: windows.covered(p), x, sums: &mut *sums });
                                acc.iter_mut().zip(&*sums).for_each(|(acc, sum)| *acc = A::of32(*sum));
                                pool.average(isa, p, acc);
                                out.store(isa, r * to + p * channels, acc);
                            }
                        }
                        return;
                    })*
                    Tensor::I32(_) | Tensor::I64(_) => {}
                }
            };
        }
        averages!(U8 I8 I16 U16);
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

impl<S: Stored + Ord> Kernel for Largest<'_, S> {
    #[inline(always)]
    fn run(self) {
        let Self { windows, channels, x, out, sizes: (from, to) } = self;
        for (x, out) in x.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            for (p, out) in out.chunks_exact_mut(channels).enumerate() {
                let covered = windows.covered(p);
                let mut c = 0;
                macro_rules! pieces {
                    ($($n:literal)*) => { $(
                        while channels - c >= $n {
                            largest::<S, $n>(covered, (channels, c), x, out);
                            c += $n;
                        }
                    )* };
                }
                // Of sizes known to the compiler, so that they stay in registers.
                pieces!(64 32 16 8 1);
            }
        }
    }
}

/// The largest of `N` channels from `c` on.
#[inline(always)]
fn largest<S: Stored + Ord, const N: usize>(
    covered: &[u32],
    (channels, c): (usize, usize),
    x: &[S],
    out: &mut [S],
) {
    let Some((first, rest)) = covered.split_first() else { return };
    let piece = |at: &u32| *at as usize * channels + c;
    let mut most = [S::from_lane(0i32); N];
    most.copy_from_slice(&x[piece(first)..][..N]);
    for at in rest {
        for (most, x) in most.iter_mut().zip(&x[piece(at)..][..N]) {
            *most = (*most).max(*x);
        }
    }
    out[c..c + N].copy_from_slice(&most);
}

/// The sums of a window's elements, channel by channel.
struct Total<'a, S> {
    covered: &'a [u32],
    x: &'a [S],
    sums: &'a mut [i32],
}

impl<S: Stored> Kernel for Total<'_, S> {
    #[inline(always)]
    fn run(self) {
        let Self { covered, x, sums } = self;
        let channels = sums.len();
        let mut c = 0;
        macro_rules! pieces {
            ($($n:literal)*) => { $(
                while channels - c >= $n {
                    sums[c..c + $n].copy_from_slice(&total::<S, $n>(covered, (channels, c), x));
                    c += $n;
                }
            )* };
        }
        pieces!(64 32 16 8 1);
    }
}

/// The sums of `N` channels from `c` on.
#[inline(always)]
fn total<S: Stored, const N: usize>(covered: &[u32], (channels, c): (usize, usize), x: &[S]) -> [i32; N] {
    let mut sums = [0i32; N];
    for at in covered {
        for (sum, x) in sums.iter_mut().zip(&x[*at as usize * channels + c..][..N]) {
            *sum = sum.wrapping_add(x.lane());
        }
    }
    sums
}
