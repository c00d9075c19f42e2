//! The inner loop in explicit vectors: sums of 32 bits of a tile of outputs for two vectors of lanes, which stay in
//! registers over all terms and through the casts. A word of each lane holds one, two or four elements; weights
//! lie alike and are broadcast.
//!
//! `unsafe` here is of two kinds: loads and stores through a pointer to as many integers as a vector has, and calls
//! of functions compiled for an instruction set whose presence a [`Checked`] proves.

#![allow(unsafe_code)]

use super::{
    tail,
    tile::{Multiply, VectorTile},
};
use crate::{Isa, lane::Packing};
use hs_runtime::isa::Checked;

/// Vectors of one length; see the same names in the other.
macro_rules! vectors {
    (
        $name:ident, $features:literal, $vector:ty, $lanes:literal, $load:ident, $store:ident, $splat:ident,
        $add:ident, $sub:ident, $max:ident, $min:ident, $and:ident, $or:ident, $sra:ident, $sll:ident, $mul:ident,
        $madd:ident
    ) => {
        mod $name {
            use std::arch::x86_64::*;

            pub(super) type Vector = $vector;
            pub(super) const LANES: usize = $lanes;

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn load(from: &[i32]) -> Vector {
                let from: &[i32] = &from[..LANES];
                // SAFETY: the slice has as many elements as the vector.
                unsafe { $load(from.as_ptr().cast()) }
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn store(to: &mut [i32], v: Vector) {
                let to: &mut [i32] = &mut to[..LANES];
                // SAFETY: the slice has as many elements as the vector.
                unsafe { $store(to.as_mut_ptr().cast(), v) }
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn splat(v: i32) -> Vector {
                $splat(v)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn add(a: Vector, b: Vector) -> Vector {
                $add(a, b)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn sub(a: Vector, b: Vector) -> Vector {
                $sub(a, b)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn clamp(v: Vector, lo: Vector, hi: Vector) -> Vector {
                $min($max(v, lo), hi)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn and(a: Vector, b: Vector) -> Vector {
                $and(a, b)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn or(a: Vector, b: Vector) -> Vector {
                $or(a, b)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn right(v: Vector, by: u32) -> Vector {
                $sra(v, _mm_cvtsi32_si128(by as i32))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn left(v: Vector, by: u32) -> Vector {
                $sll(v, _mm_cvtsi32_si128(by as i32))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn pairs(sum: Vector, x: Vector, w: Vector, _: (Vector, u32)) -> Vector {
                $add(sum, $madd(x, w))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn whole(sum: Vector, x: Vector, w: Vector, _: (Vector, u32)) -> Vector {
                $add(sum, $mul(x, w))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn shifted(sum: Vector, x: Vector, w: Vector, (half, drop): (Vector, u32)) -> Vector {
                $add(sum, right($add($mul(x, w), half), drop))
            }

            /// As `shifted`, without a half.
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn dropped(sum: Vector, x: Vector, w: Vector, (_, drop): (Vector, u32)) -> Vector {
                $add(sum, right($mul(x, w), drop))
            }
        }
    };
}

vectors!(
    v256,
    "avx2",
    __m256i,
    8,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_sub_epi32,
    _mm256_max_epi32,
    _mm256_min_epi32,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_sra_epi32,
    _mm256_sll_epi32,
    _mm256_mullo_epi32,
    _mm256_madd_epi16
);
vectors!(
    v512,
    "avx2,avx512f,avx512bw,avx512dq,avx512vl",
    __m512i,
    16,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    _mm512_add_epi32,
    _mm512_sub_epi32,
    _mm512_max_epi32,
    _mm512_min_epi32,
    _mm512_and_si512,
    _mm512_or_si512,
    _mm512_sra_epi32,
    _mm512_sll_epi32,
    _mm512_mullo_epi32,
    _mm512_madd_epi16
);

/// Products that only VNNI has.
mod vnni {
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn quads(sum: __m512i, x: __m512i, w: __m512i, _: (__m512i, u32)) -> __m512i {
        _mm512_dpbusd_epi32(sum, x, w)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn pairs(sum: __m512i, x: __m512i, w: __m512i, _: (__m512i, u32)) -> __m512i {
        _mm512_dpwssd_epi32(sum, x, w)
    }
}

/// A tile of `T` outputs by one product of one instruction set.
macro_rules! kernel {
    ($name:ident, $features:literal, $v:ident, $multiply:path) => {
        /// Of `T` sums; where they are `SPLIT`, of half as many outputs.
        #[target_feature(enable = $features)]
        fn $name<const T: usize, const SPLIT: bool>(tile: &mut VectorTile<'_>, (half, drop): (i32, u32)) {
            const STEP: usize = 2 * $v::LANES;
            let (lanes, group) = (tile.lanes, tile.multiply.group());
            let extra = ($v::splat(half), drop);
            for first in (0..lanes).step_by(STEP) {
                let mut sums = [[$v::splat(0); 2]; T];
                for (sums, init) in sums.iter_mut().zip(tile.init) {
                    *sums = [$v::splat(*init); 2];
                }
                for run in tile.terms.runs {
                    for (element, term, len) in tile.terms.pieces(run) {
                        let (element, term, len) = (element / group, term / group, len.div_ceil(group));
                        let x = &tile.x[element * lanes..(element + len) * lanes];
                        let w = &tile.w[term * T..(term + len) * T];
                        for (row, w) in x.chunks_exact(lanes).zip(w.chunks_exact(T)) {
                            let row = &row[first..first + STEP];
                            let x = [$v::load(row), $v::load(&row[$v::LANES..])];
                            for (sums, w) in sums.iter_mut().zip(w) {
                                let w = $v::splat(*w);
                                sums[0] = $multiply(sums[0], x[0], w, extra);
                                sums[1] = $multiply(sums[1], x[1], w, extra);
                            }
                        }
                    }
                }
                let mut outputs = T;
                if SPLIT {
                    outputs = T / 2;
                    let (high, low) = sums.split_at_mut(outputs);
                    for (high, low) in high.as_flattened_mut().iter_mut().zip(low.as_flattened()) {
                        *high = $v::add(*high, $v::right(*low, tail::SPLIT));
                    }
                }
                let sums = &mut sums[..outputs];
                for stage in tile.stages {
                    if stage.left > 0 {
                        for v in sums.as_flattened_mut() {
                            *v = $v::left(*v, stage.left);
                        }
                    }
                    if stage.drop > 0 {
                        let add = $v::splat(stage.add);
                        for v in sums.as_flattened_mut() {
                            *v = $v::right($v::add(*v, add), stage.drop);
                        }
                    }
                    if let Some((lo, hi)) = stage.clamp {
                        let (lo, hi) = ($v::splat(lo), $v::splat(hi));
                        for v in sums.as_flattened_mut() {
                            *v = $v::clamp(*v, lo, hi);
                        }
                    }
                    match stage.wrap {
                        None => {}
                        Some((bits, true)) => {
                            for v in sums.as_flattened_mut() {
                                *v = $v::right($v::left(*v, 32 - bits), 32 - bits);
                            }
                        }
                        Some((bits, false)) => {
                            let mask = $v::splat(((1u64 << bits) - 1) as i32);
                            for v in sums.as_flattened_mut() {
                                *v = $v::and(*v, mask);
                            }
                        }
                    }
                }
                let zero = tile.packing.zero();
                let place = |word: usize, part: usize| word * lanes + first + part * $v::LANES;
                match tile.packing {
                    Packing::Single => {
                        for (t, sums) in sums.iter().enumerate() {
                            $v::store(&mut tile.to[place(t, 0)..], sums[0]);
                            $v::store(&mut tile.to[place(t, 1)..], sums[1]);
                        }
                    }
                    Packing::Pairs { .. } => {
                        let (zero, mask) = ($v::splat(zero), $v::splat(0xffff));
                        for (word, sums) in sums.chunks(2).enumerate() {
                            for part in 0..2 {
                                let low = $v::and($v::sub(sums[0][part], zero), mask);
                                let high = sums.get(1).map_or(zero, |s| s[part]);
                                let high = $v::left($v::sub(high, zero), 16);
                                $v::store(&mut tile.to[place(word, part)..], $v::or(low, high));
                            }
                        }
                    }
                    // Each byte is within 0 to 255, so nothing is carried.
                    Packing::Quads { .. } => {
                        let zeros = $v::splat(zero.wrapping_mul(0x0101_0101));
                        for (word, sums) in sums.chunks(4).enumerate() {
                            for part in 0..2 {
                                let mut v = $v::sub(sums[0][part], zeros);
                                for (i, sums) in sums.iter().enumerate().skip(1) {
                                    v = $v::add(v, $v::left(sums[part], 8 * i as u32));
                                }
                                $v::store(&mut tile.to[place(word, part)..], v);
                            }
                        }
                    }
                }
            }
        }
    };
}

kernel!(pairs_256, "avx2", v256, v256::pairs);
kernel!(whole_256, "avx2", v256, v256::whole);
kernel!(shifted_256, "avx2", v256, v256::shifted);
kernel!(dropped_256, "avx2", v256, v256::dropped);
kernel!(pairs_512, "avx2,avx512f,avx512bw,avx512dq,avx512vl", v512, v512::pairs);
kernel!(whole_512, "avx2,avx512f,avx512bw,avx512dq,avx512vl", v512, v512::whole);
kernel!(shifted_512, "avx2,avx512f,avx512bw,avx512dq,avx512vl", v512, v512::shifted);
kernel!(dropped_512, "avx2,avx512f,avx512bw,avx512dq,avx512vl", v512, v512::dropped);
kernel!(quads_vnni, "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", v512, vnni::quads);
kernel!(pairs_vnni, "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", v512, vnni::pairs);

/// Computes a tile of at most [`most_outputs`].
///
/// # Panics
/// When the instruction set has no such product.
pub(super) fn run(isa: Checked, mut tile: VectorTile<'_>) {
    macro_rules! outputs {
        ($extra:expr, $kernel:ident, $split:literal: $($t:literal)*) => {
            // SAFETY: `isa` proves that the machine has the features that the function is compiled for.
            match tile.init.len() {
                $($t => unsafe { $kernel::<$t, $split>(&mut tile, $extra) },)*
                n => unreachable!("planned: a tile of {n} outputs"),
            }
        };
    }
    let none = (0, 0);
    match (isa.isa(), tile.multiply) {
        (Isa::Avx512Vnni, Multiply::Quads) => outputs!(none, quads_vnni, false: 1 2 3 4 5 6 7 8),
        (Isa::Avx512Vnni, Multiply::Pairs) => outputs!(none, pairs_vnni, false: 1 2 3 4 5 6 7 8),
        (Isa::Avx512, Multiply::Pairs) => outputs!(none, pairs_512, false: 1 2 3 4 5 6 7 8),
        (Isa::Avx512Vnni, Multiply::Split) => outputs!(none, pairs_vnni, true: 2 4 6 8),
        (Isa::Avx512, Multiply::Split) => outputs!(none, pairs_512, true: 2 4 6 8),
        (Isa::Avx2, Multiply::Split) => outputs!(none, pairs_256, true: 2 4),
        (Isa::Avx512 | Isa::Avx512Vnni, Multiply::Whole) => outputs!(none, whole_512, false: 1 2 3 4 5 6 7 8),
        (Isa::Avx512 | Isa::Avx512Vnni, Multiply::Shifted { half: 0, drop }) => {
            outputs!((0, drop), dropped_512, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx512 | Isa::Avx512Vnni, Multiply::Shifted { half, drop }) => {
            outputs!((half, drop), shifted_512, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx2, Multiply::Pairs) => outputs!(none, pairs_256, false: 1 2 3 4),
        (Isa::Avx2, Multiply::Whole) => outputs!(none, whole_256, false: 1 2 3 4),
        (Isa::Avx2, Multiply::Shifted { half: 0, drop }) => outputs!((0, drop), dropped_256, false: 1 2 3 4),
        (Isa::Avx2, Multiply::Shifted { half, drop }) => outputs!((half, drop), shifted_256, false: 1 2 3 4),
        (Isa::Generic, _) | (Isa::Avx2 | Isa::Avx512, Multiply::Quads) => {
            unreachable!("planned: {:?} has {:?}", isa.isa(), tile.multiply)
        }
    }
}
