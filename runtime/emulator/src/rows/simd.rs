//! The inner loop in explicit vectors. [`run`](super::kernel::run) has checked that pixels and words lie within the
//! input, with as many lines of weights and places for sums as they need; that, and the presence of the instruction
//! set, which a [`Checked`] proves, is what makes the `unsafe` here sound.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::kernel::{Job, Multiply, VECTOR};
use crate::Isa;
use hs_runtime::isa::Checked;

/// A kernel for `P` pixels and `L` vectors of outputs. `$parts` registers make a vector; `$each`: whether
/// each output has words of the input of its own.
macro_rules! kernel {
    (
        $name:ident, $features:literal, $register:ty, $parts:literal, $each:literal, $zero:expr, $splat:ident,
        |$p:ident| $load:expr, |$x:ident| $input:expr,
        |$sum:ident, $a:ident, $b:ident, $half:ident, $drop:ident| $add:expr, |$to:ident, $v:ident| $store:expr
    ) => {
        #[target_feature(enable = $features)]
        #[allow(unused_variables)]
        fn $name<const P: usize, const L: usize>(job: &mut Job<'_>, half: i32, drop: u32) {
            const PART: usize = VECTOR / $parts;
            let $half = $splat(half);
            let $drop = _mm_cvtsi32_si128(drop as i32);
            for (places, acc) in
                job.pixels.all().chunks_exact(P).zip(job.acc.chunks_exact_mut(P * L * VECTOR))
            {
                let mut sums = [[[$zero; $parts]; L]; P];
                let mut w = job.weights.as_ptr().cast::<i32>();
                let mut pixels = [job.x.as_ptr(); P];
                for (from, pixel) in pixels.iter_mut().zip(places) {
                    *from = from.wrapping_add(*pixel);
                }
                for at in job.words.all() {
                    let mut weights = [[$zero; $parts]; L];
                    for l in 0..L {
                        for part in 0..$parts {
                            let $p = w.wrapping_add(l * VECTOR + part * PART);
                            // SAFETY: there are `L` lines for each word.
                            weights[l][part] = unsafe { $load };
                        }
                    }
                    w = w.wrapping_add(L * VECTOR);
                    for p in 0..P {
                        let word = pixels[p].wrapping_add(*at);
                        for l in 0..L {
                            for part in 0..$parts {
                                let own = if $each { job.shifts[l] + part * PART * 4 } else { 0 };
                                let $x = word.wrapping_add(own);
                                // SAFETY: the word lies within the input for every pixel.
                                let $a = unsafe { $input };
                                let ($sum, $b) = (sums[p][l][part], weights[l][part]);
                                sums[p][l][part] = $add;
                            }
                        }
                    }
                }
                for (p, sums) in sums.into_iter().enumerate() {
                    for (l, sums) in sums.into_iter().enumerate() {
                        for (part, $v) in sums.into_iter().enumerate() {
                            let at = (p * L + l) * VECTOR + part * PART;
                            let $to = &mut acc[at..at + PART];
                            // SAFETY: the slice has as many elements as the register.
                            unsafe { $store };
                        }
                    }
                }
            }
        }
    };
}

macro_rules! avx512 {
    ($name:ident, $features:literal, $each:literal, |$x:ident| $input:expr,
     |$sum:ident, $a:ident, $b:ident, $half:ident, $drop:ident| $add:expr) => {
        kernel!(
            $name,
            $features,
            __m512i,
            1,
            $each,
            _mm512_setzero_si512(),
            _mm512_set1_epi32,
            |p| _mm512_load_si512(p.cast()),
            |$x| $input,
            |$sum, $a, $b, $half, $drop| $add,
            |to, v| _mm512_storeu_si512(to.as_mut_ptr().cast(), v)
        );
    };
}

macro_rules! avx2 {
    ($name:ident, $each:literal, |$x:ident| $input:expr,
     |$sum:ident, $a:ident, $b:ident, $half:ident, $drop:ident| $add:expr) => {
        kernel!(
            $name,
            "avx2",
            __m256i,
            2,
            $each,
            _mm256_setzero_si256(),
            _mm256_set1_epi32,
            |p| _mm256_load_si256(p.cast()),
            |$x| $input,
            |$sum, $a, $b, $half, $drop| $add,
            |to, v| _mm256_storeu_si256(to.as_mut_ptr().cast(), v)
        );
    };
}

avx512!(
    quads_vnni,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    false,
    |x| _mm512_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, _half, _drop| _mm512_dpbusd_epi32(sum, a, b)
);
avx512!(
    pairs_vnni,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    false,
    |x| _mm512_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, _half, _drop| _mm512_dpwssd_epi32(sum, a, b)
);
avx512!(
    pairs_avx512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    false,
    |x| _mm512_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, _half, _drop| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
);
avx512!(
    whole_avx512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    false,
    |x| _mm512_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, _half, _drop| _mm512_add_epi32(sum, _mm512_mullo_epi32(a, b))
);
avx512!(
    shifted_avx512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    false,
    |x| _mm512_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, half, drop| _mm512_add_epi32(
        sum,
        _mm512_sra_epi32(_mm512_add_epi32(_mm512_mullo_epi32(a, b), half), drop)
    )
);
avx512!(
    each_quads_vnni,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    true,
    |x| _mm512_loadu_si512(x.cast()),
    |sum, a, b, _half, _drop| _mm512_dpbusd_epi32(sum, a, b)
);
avx512!(
    each_pairs_vnni,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    true,
    |x| _mm512_loadu_si512(x.cast()),
    |sum, a, b, _half, _drop| _mm512_dpwssd_epi32(sum, a, b)
);
avx512!(
    each_pairs_avx512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    true,
    |x| _mm512_loadu_si512(x.cast()),
    |sum, a, b, _half, _drop| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
);
avx512!(
    each_whole_avx512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    true,
    |x| _mm512_loadu_si512(x.cast()),
    |sum, a, b, _half, _drop| _mm512_add_epi32(sum, _mm512_mullo_epi32(a, b))
);
avx2!(
    pairs_avx2,
    false,
    |x| _mm256_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, _half, _drop| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
);
avx2!(
    whole_avx2,
    false,
    |x| _mm256_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, _half, _drop| _mm256_add_epi32(sum, _mm256_mullo_epi32(a, b))
);
avx2!(
    shifted_avx2,
    false,
    |x| _mm256_set1_epi32(x.cast::<i32>().read_unaligned()),
    |sum, a, b, half, drop| {
        _mm256_add_epi32(sum, _mm256_sra_epi32(_mm256_add_epi32(_mm256_mullo_epi32(a, b), half), drop))
    }
);
avx2!(each_pairs_avx2, true, |x| _mm256_loadu_si256(x.cast()), |sum, a, b, _half, _drop| {
    _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
});
avx2!(each_whole_avx2, true, |x| _mm256_loadu_si256(x.cast()), |sum, a, b, _half, _drop| _mm256_add_epi32(
    sum,
    _mm256_mullo_epi32(a, b)
));

/// Runs the kernel of the job's size.
macro_rules! sized {
    ($kernel:ident, $job:expr, ($half:expr, $drop:expr), $($lines:literal x $pixels:literal),*) => {
        // SAFETY: `isa` proves that the machine has the features that the functions are compiled for.
        match ($job.lines, $job.tile) {
            $(
                ($lines, 1) => unsafe { $kernel::<1, $lines>($job, $half, $drop) },
                ($lines, $pixels) => unsafe { $kernel::<$pixels, $lines>($job, $half, $drop) },
            )*
            (lines, tile) => unreachable!("planned: no tile of {lines} vectors by {tile} pixels"),
        }
    };
}

macro_rules! sized512 {
    ($kernel:ident, $job:expr, $shift:tt) => {
        sized!($kernel, $job, $shift, 1 x 8, 2 x 8, 3 x 8, 4 x 6)
    };
}

macro_rules! sized512_each {
    ($kernel:ident, $job:expr) => {
        sized!($kernel, $job, (0, 0), 1 x 4, 2 x 4, 3 x 4, 4 x 4)
    };
}

macro_rules! sized2 {
    ($kernel:ident, $job:expr, $shift:tt) => {
        sized!($kernel, $job, $shift, 1 x 4, 2 x 2)
    };
}

/// Computes a tile.
pub(super) fn run(isa: Checked, multiply: Multiply, job: &mut Job<'_>) {
    match isa.isa() {
        Isa::Generic => unreachable!("the portable loop runs it"),
        Isa::Avx2 => match multiply {
            Multiply::Quads | Multiply::EachQuads => unreachable!("planned: quads need VNNI"),
            Multiply::Pairs => sized2!(pairs_avx2, job, (0, 0)),
            Multiply::Whole => sized2!(whole_avx2, job, (0, 0)),
            Multiply::Shifted { half, drop } => sized2!(shifted_avx2, job, (half, drop)),
            Multiply::EachPairs => sized2!(each_pairs_avx2, job, (0, 0)),
            Multiply::EachWhole => sized2!(each_whole_avx2, job, (0, 0)),
        },
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => match multiply {
            Multiply::Quads | Multiply::EachQuads if isa.isa() == Isa::Avx512 => {
                unreachable!("planned: quads need VNNI")
            }
            Multiply::Quads => sized512!(quads_vnni, job, (0, 0)),
            Multiply::Pairs if isa.isa() == Isa::Avx512 => sized512!(pairs_avx512, job, (0, 0)),
            Multiply::Pairs => sized512!(pairs_vnni, job, (0, 0)),
            Multiply::Whole => sized512!(whole_avx512, job, (0, 0)),
            Multiply::Shifted { half, drop } => sized512!(shifted_avx512, job, (half, drop)),
            Multiply::EachQuads => sized512_each!(each_quads_vnni, job),
            Multiply::EachPairs if isa.isa() == Isa::Avx512 => sized512_each!(each_pairs_avx512, job),
            Multiply::EachPairs => sized512_each!(each_pairs_vnni, job),
            Multiply::EachWhole => sized512_each!(each_whole_avx512, job),
        },
    }
}
