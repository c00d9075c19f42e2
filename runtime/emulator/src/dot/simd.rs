//! The inner loop in explicit vectors for 32-bit activations and weights, summed in 64 bits. The portable loop is its
//! twin.
//!
//! Sums of a chunk of lanes stay in registers over all terms; weights are broadcast.
//!
//! `unsafe` here is of two kinds: loads and stores through a pointer to a chunk of checked length, and calls of
//! functions compiled for an instruction set whose presence a [`Checked`] proves.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::kernel::{Product, TileJob};
use crate::Isa;
use hs_runtime::isa::Checked;

/// Lanes whose sums stay in registers; blocks have a multiple of it.
const CHUNK: usize = 16;

/// Lanes that the explicit kernels sum in.
pub(super) trait Vectors: Sized {
    /// Computes a tile of `T` outputs; false when there is no kernel for the instruction set.
    fn tile<const T: usize>(isa: Checked, x: &[i32], w: &[i32], job: &mut TileJob<'_, Self>) -> bool;
}

macro_rules! kernel {
    (
        $name:ident, $features:literal, $lane:ty, $vector:ty, $step:literal,
        |$p:ident| $load:expr, |$s:ident| $splat:expr, |$a:ident, $b:ident| $mul:expr, $add:ident,
        |$v:ident, $drop:ident| $shift:expr, |$to:ident, $sum:ident| $store:expr
    ) => {
        #[target_feature(enable = $features)]
        fn $name<const T: usize, const SHIFT: bool>(
            x: &[i32],
            w: &[i32],
            job: &mut TileJob<'_, $lane>,
            (half, $drop): ($lane, u32),
        ) {
            const PARTS: usize = CHUNK / $step;
            let terms = job.terms;
            let lanes = job.acc.len() / T;
            let w = &w[job.weights..];
            let splat = |$s: $lane| -> $vector { $splat };
            let half = splat(half);
            for first in (0..lanes).step_by(CHUNK) {
                let mut sums = [[splat(0); PARTS]; T];
                for (sums, init) in sums.iter_mut().zip(job.init) {
                    *sums = [splat(*init); PARTS];
                }
                for run in terms.runs {
                    for (element, term, len) in terms.pieces(run) {
                        let x = &x[element * lanes..(element + len) * lanes];
                        let w = &w[term * T..(term + len) * T];
                        for (row, w) in x.chunks_exact(lanes).zip(w.chunks_exact(T)) {
                            let row: &[i32] = &row[first..first + CHUNK];
                            let mut v = [splat(0); PARTS];
                            for (part, v) in v.iter_mut().enumerate() {
                                let $p: &[i32] = &row[part * $step..(part + 1) * $step];
                                // SAFETY: the slice has as many elements as the vector is loaded from.
                                *v = unsafe { $load };
                            }
                            for (sums, w) in sums.iter_mut().zip(w) {
                                let $b = splat(<$lane>::from(*w));
                                for (sum, $a) in sums.iter_mut().zip(v) {
                                    let mut $v = $mul;
                                    if SHIFT {
                                        $v = $add($v, half);
                                        $v = $shift;
                                    }
                                    *sum = $add(*sum, $v);
                                }
                            }
                        }
                    }
                }
                for (t, sums) in sums.into_iter().enumerate() {
                    for (part, $sum) in sums.into_iter().enumerate() {
                        let at = t * lanes + first + part * $step;
                        let $to: &mut [$lane] = &mut job.acc[at..at + $step];
                        // SAFETY: the slice has as many elements as the vector.
                        unsafe { $store };
                    }
                }
            }
        }
    };
}

// The low halves of the 64-bit lanes are multiplied, which hold the operands whole.
kernel!(
    i64_avx2,
    "avx2",
    i64,
    __m256i,
    4,
    |p| _mm256_cvtepi32_epi64(_mm_loadu_si128(p.as_ptr().cast())),
    |s| _mm256_set1_epi64x(s),
    |a, b| _mm256_mul_epi32(a, b),
    _mm256_add_epi64,
    // AVX2 has no arithmetic shift of 64 bits; the planner's shifts go to the portable loop.
    |v, _drop| v,
    |to, sum| _mm256_storeu_si256(to.as_mut_ptr().cast(), sum)
);
kernel!(
    i64_avx512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    i64,
    __m512i,
    8,
    |p| _mm512_cvtepi32_epi64(_mm256_loadu_si256(p.as_ptr().cast())),
    |s| _mm512_set1_epi64(s),
    |a, b| _mm512_mul_epi32(a, b),
    _mm512_add_epi64,
    |v, drop| _mm512_sra_epi64(v, _mm_cvtsi32_si128(drop as i32)),
    |to, sum| _mm512_storeu_si512(to.as_mut_ptr().cast(), sum)
);

impl Vectors for i64 {
    fn tile<const T: usize>(isa: Checked, x: &[i32], w: &[i32], job: &mut TileJob<'_, Self>) -> bool {
        // SAFETY: `isa` proves that the machine has the features that the functions are compiled for.
        match (isa.isa(), job.product) {
            (Isa::Generic, _) | (Isa::Avx2, Product::Shifted { .. }) => return false,
            (Isa::Avx2, Product::Whole) => unsafe { i64_avx2::<T, false>(x, w, job, (0, 0)) },
            (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, Product::Whole) => unsafe {
                i64_avx512::<T, false>(x, w, job, (0, 0))
            },
            (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, Product::Shifted { half, drop }) => unsafe {
                i64_avx512::<T, true>(x, w, job, (half, drop));
            },
        }
        true
    }
}
