//! The inner loop in explicit vectors: sums of 32 bits of a tile of outputs for two vectors of lanes, which stay in
//! registers over all terms and through the casts. A word of each lane holds one, two or four elements; weights
//! lie alike and are broadcast.
//!
//! `unsafe` here is of two kinds: loads and stores through a pointer to as many integers as a vector has, which a slice
//! checked once a piece or a tile holds (checks at each word would take a tenth of the time), and calls of functions
//! compiled for an instruction set whose presence a [`Checked`] proves.

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
        $add:ident, $max:ident, $min:ident, $and:ident, $xor:ident, $srav:ident, $sllv:ident, $mul:ident,
        $madd:ident, $mullo16:ident, $mulhi16:ident, $srl16:ident, $sll16:ident, $add16:ident, $packs32:ident, $packus32:ident, $packs16:ident, $packus16:ident, $shuffle:ident, $quarters:ident
    ) => {
        mod $name {
            use std::arch::x86_64::*;

            pub(super) type Vector = $vector;
            pub(super) const LANES: usize = $lanes;

            /// Two vectors that lie side by side.
            ///
            /// # Safety
            /// `from` points at as many integers.
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) unsafe fn load(from: *const i32) -> [Vector; 2] {
                // SAFETY: the caller's.
                unsafe { [$load(from.cast()), $load(from.add(LANES).cast())] }
            }

            /// # Safety
            /// As many integers as the vectors have may be written to `to`.
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) unsafe fn store(to: *mut i32, [a, b]: [Vector; 2]) {
                // SAFETY: the caller's.
                unsafe {
                    $store(to.cast(), a);
                    $store(to.add(LANES).cast(), b);
                }
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
            pub(super) fn times(a: Vector, b: Vector) -> Vector {
                $mul(a, b)
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

            /// Words of the low 16 bits of each, once clamped to what they hold: signed ones when `zero` is 0,
            /// else unsigned ones, stored less 2^15.
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn pack_pairs([a, b]: [Vector; 2], zero: i32) -> Vector {
                let order = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
                let v =
                    if zero == 0 { $packs32(a, b) } else { $xor($packus32(a, b), $splat(i32::MIN | 0x8000)) };
                $shuffle(v, $quarters(order))
            }

            /// Words of the low 8 bits of each, once clamped to what they hold: unsigned ones when `zero` is 0, else
            /// signed ones, stored less -128.
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn pack_quads([a, b, c, d]: [Vector; 4], zero: i32) -> Vector {
                let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                let (low, high) = ($packs32(a, b), $packs32(c, d));
                let v = if zero == 0 {
                    $packus16(low, high)
                } else {
                    $xor($packs16(low, high), $splat(i32::from_ne_bytes([0x80; 4])))
                };
                $shuffle(v, $quarters(order))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn right(v: Vector, by: u32) -> Vector {
                $srav(v, $splat(by as i32))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn left(v: Vector, by: u32) -> Vector {
                $sllv(v, $splat(by as i32))
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

            /// Bits of each product that are summed in 16 bits; `drop` is from 1 to 15.
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn sixteen(sum: Vector, x: Vector, w: Vector, (_, drop): (Vector, u32)) -> Vector {
                let low = $srl16($mullo16(x, w), _mm_cvtsi32_si128(drop as i32));
                let high = $sll16($mulhi16(x, w), _mm_cvtsi32_si128(16 - drop as i32));
                // The bits lie apart.
                $add16(sum, $xor(low, high))
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
    _mm256_max_epi32,
    _mm256_min_epi32,
    _mm256_and_si256,
    _mm256_xor_si256,
    _mm256_srav_epi32,
    _mm256_sllv_epi32,
    _mm256_mullo_epi32,
    _mm256_madd_epi16,
    _mm256_mullo_epi16,
    _mm256_mulhi_epi16,
    _mm256_srl_epi16,
    _mm256_sll_epi16,
    _mm256_add_epi16,
    _mm256_packs_epi32,
    _mm256_packus_epi32,
    _mm256_packs_epi16,
    _mm256_packus_epi16,
    _mm256_shuffle_epi8,
    _mm256_broadcastsi128_si256
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
    _mm512_max_epi32,
    _mm512_min_epi32,
    _mm512_and_si512,
    _mm512_xor_si512,
    _mm512_srav_epi32,
    _mm512_sllv_epi32,
    _mm512_mullo_epi32,
    _mm512_madd_epi16,
    _mm512_mullo_epi16,
    _mm512_mulhi_epi16,
    _mm512_srl_epi16,
    _mm512_sll_epi16,
    _mm512_add_epi16,
    _mm512_packs_epi32,
    _mm512_packus_epi32,
    _mm512_packs_epi16,
    _mm512_packus_epi16,
    _mm512_shuffle_epi8,
    _mm512_broadcast_i32x4
);

/// What only some processors have.
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

    /// As that of all processors; `drops` holds the number of bits in each 16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
    pub(super) fn sixteen(sum: __m512i, x: __m512i, w: __m512i, (drops, _): (__m512i, u32)) -> __m512i {
        let bits = _mm512_shrdv_epi16(_mm512_mullo_epi16(x, w), _mm512_mulhi_epi16(x, w), drops);
        _mm512_add_epi16(sum, bits)
    }
}

/// A tile by one product of one instruction set. Loops over outputs have constant bounds and indices, so that the
/// sums stay in registers.
macro_rules! kernel {
    ($name:ident, $features:literal, $v:ident, $multiply:path) => {
        /// Of `T` sums; where they are `SPLIT`, of half as many outputs.
        #[target_feature(enable = $features)]
        fn $name<const T: usize, const SPLIT: bool>(tile: &mut VectorTile<'_>, (half, drop): (i32, u32)) {
            const STEP: usize = 2 * $v::LANES;
            let outputs = const { if SPLIT { T / 2 } else { T } };
            let lanes = tile.lanes;
            let extra = ($v::splat(half), drop);
            let init: &[i32; T] = tile.init.try_into().expect("a start for each sum");
            assert!(lanes.is_multiple_of(STEP), "planned: whole vectors of lanes");
            let group = tile.packing.group();
            let to = tile.to[..outputs.div_ceil(group) * lanes].as_mut_ptr();
            for first in (0..lanes).step_by(STEP) {
                let mut a = [$v::splat(0); T];
                for t in 0..T {
                    a[t] = $v::splat(init[t]);
                }
                let mut b = a;
                for piece in tile.pieces {
                    let x = &tile.x[piece.x * lanes..(piece.x + piece.n) * lanes];
                    let (w, _) = tile.w[piece.w * T..(piece.w + piece.n) * T].as_chunks::<T>();
                    let mut from = x.as_ptr().wrapping_add(first);
                    for w in w {
                        // SAFETY: `x` has as many words as `w`, and `STEP` lanes of each from `first` on.
                        let [x, y] = unsafe { $v::load(from) };
                        from = from.wrapping_add(lanes);
                        for t in 0..T {
                            let w = $v::splat(w[t]);
                            a[t] = $multiply(a[t], x, w, extra);
                            b[t] = $multiply(b[t], y, w, extra);
                        }
                    }
                }
                if let Multiply::Sixteen { .. } = tile.multiply {
                    for t in 0..T {
                        a[t] = $v::add($v::right($v::left(a[t], 16), 16), $v::right(a[t], 16));
                        b[t] = $v::add($v::right($v::left(b[t], 16), 16), $v::right(b[t], 16));
                    }
                }
                if SPLIT {
                    for t in 0..outputs {
                        a[t] = $v::add(a[t], $v::right(a[outputs + t], tail::SPLIT));
                        b[t] = $v::add(b[t], $v::right(b[outputs + t], tail::SPLIT));
                    }
                }
                macro_rules! all {
                    (|$s:ident| $f:expr) => {
                        for t in 0..outputs {
                            let $s = a[t];
                            a[t] = $f;
                            let $s = b[t];
                            b[t] = $f;
                        }
                    };
                }
                for (i, stage) in tile.stages.iter().enumerate() {
                    let at = tile.first;
                    if let Some(scale) = &stage.scale {
                        let scale = &scale[at..at + outputs];
                        for t in 0..outputs {
                            let scale = $v::splat(scale[t]);
                            (a[t], b[t]) = ($v::times(a[t], scale), $v::times(b[t], scale));
                        }
                    }
                    if let Some(bias) = &stage.bias {
                        let bias = &bias[at..at + outputs];
                        for t in 0..outputs {
                            let bias = $v::splat(bias[t]);
                            (a[t], b[t]) = ($v::add(a[t], bias), $v::add(b[t], bias));
                        }
                    }
                    if stage.left > 0 {
                        all!(|s| $v::left(s, stage.left));
                    }
                    if stage.add != 0 {
                        let add = $v::splat(stage.add);
                        all!(|s| $v::add(s, add));
                    }
                    if stage.drop > 0 {
                        all!(|s| $v::right(s, stage.drop));
                    }
                    // The instructions that pack clamp as well.
                    let last = i + 1 == tile.stages.len() && stage.wrap.is_none();
                    if let Some((lo, hi)) = stage.clamp
                        && !(last && tile.packing.clamps(lo, hi))
                    {
                        let (lo, hi) = ($v::splat(lo), $v::splat(hi));
                        all!(|s| $v::clamp(s, lo, hi));
                    }
                    match stage.wrap {
                        None => {}
                        Some((bits, true)) => all!(|s| $v::right($v::left(s, 32 - bits), 32 - bits)),
                        Some((bits, false)) => {
                            let mask = $v::splat(((1u64 << bits) - 1) as i32);
                            all!(|s| $v::and(s, mask));
                        }
                    }
                }
                let mut next = to.wrapping_add(first);
                let mut put = |words| {
                    // SAFETY: `to` has a word for each `group` outputs, and `STEP` lanes of it from `first` on.
                    unsafe { $v::store(next, words) };
                    next = next.wrapping_add(lanes);
                };
                match tile.packing {
                    Packing::Single => {
                        for t in 0..outputs {
                            put([a[t], b[t]]);
                        }
                    }
                    Packing::Pairs { zero } => {
                        for t in (0..outputs).step_by(2) {
                            // An odd output fills its word with itself.
                            let next = if t + 1 < outputs { t + 1 } else { t };
                            put([
                                $v::pack_pairs([a[t], a[next]], zero),
                                $v::pack_pairs([b[t], b[next]], zero),
                            ]);
                        }
                    }
                    Packing::Quads { zero } => {
                        for t in (0..outputs).step_by(4) {
                            let at = [0, 1, 2, 3].map(|i| if t + i < outputs { t + i } else { t });
                            let a = $v::pack_quads([a[at[0]], a[at[1]], a[at[2]], a[at[3]]], zero);
                            put([a, $v::pack_quads([b[at[0]], b[at[1]], b[at[2]], b[at[3]]], zero)]);
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
kernel!(sixteen_256, "avx2", v256, v256::sixteen);
kernel!(sixteen_512, "avx2,avx512f,avx512bw,avx512dq,avx512vl", v512, v512::sixteen);
kernel!(sixteen_vbmi2, "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2", v512, vnni::sixteen);
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
        (Isa::Avx512Vnni | Isa::Avx512Vbmi2, Multiply::Quads) => {
            outputs!(none, quads_vnni, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx512Vnni | Isa::Avx512Vbmi2, Multiply::Pairs) => {
            outputs!(none, pairs_vnni, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx512, Multiply::Pairs) => outputs!(none, pairs_512, false: 1 2 3 4 5 6 7 8),
        (Isa::Avx512Vnni | Isa::Avx512Vbmi2, Multiply::Split) => outputs!(none, pairs_vnni, true: 2 4 6 8),
        (Isa::Avx512Vbmi2, Multiply::Sixteen { drop }) => {
            let drops = (drop * 0x0001_0001) as i32;
            outputs!((drops, drop), sixteen_vbmi2, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx512 | Isa::Avx512Vnni, Multiply::Sixteen { drop }) => {
            outputs!((0, drop), sixteen_512, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx2, Multiply::Sixteen { drop }) => outputs!((0, drop), sixteen_256, false: 1 2 3 4),
        (Isa::Avx512, Multiply::Split) => outputs!(none, pairs_512, true: 2 4 6 8),
        (Isa::Avx2, Multiply::Split) => outputs!(none, pairs_256, true: 2 4),
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, Multiply::Whole) => {
            outputs!(none, whole_512, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, Multiply::Shifted { half: 0, drop }) => {
            outputs!((0, drop), dropped_512, false: 1 2 3 4 5 6 7 8)
        }
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, Multiply::Shifted { half, drop }) => {
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
