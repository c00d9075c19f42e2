//! Single-precision values to codes with AVX-512: half the instructions of the loops that the compiler makes.
//!
//! Here products and sums may be told to round towards minus infinity, and so rounded x × 2^frac + ½ is below an integer
//! if and only if it was before. Its floor is therefore the code of RND, as that of x × 2^frac is TRN's. Floors that have
//! no 32 bits, and NaN's, are the least integer.
//!
//! `unsafe` here is of two kinds: loads and stores through pointers into slices, of as many elements as both have, and a
//! call of a function compiled for an instruction set whose presence a [`Checked`] proves.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use hs_fixed::{Overflow, Rounding, Type};

use crate::isa::{Checked, Isa};

/// Elements of a vector.
const LANES: usize = 16;
const ALL: __mmask16 = !0;

const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;

/// Converts a slice into a type of at most 22 bits, with the modes that inputs have by default; `None` where this is not
/// for such a type, machine or size of elements, `Some(false)` (and `out` undefined) where a value was NaN or too large.
pub(super) fn convert<const O: usize>(
    ty: &Type,
    isa: Checked,
    x: &[[u8; 4]],
    out: &mut [[u8; O]],
) -> Option<bool> {
    if isa.isa() < Isa::Avx512 || !matches!(O, 1 | 2 | 4 | 8) || ty.format.width() > 22 {
        return None;
    }
    match (ty.rounding, ty.overflow) {
        // SAFETY: `isa` proves that the machine has the features.
        (Rounding::Rnd, Overflow::Sat) => Some(unsafe { codes::<O, true>(ty, x, out) }),
        // SAFETY: as above.
        (Rounding::Trn, Overflow::WRAP) => Some(unsafe { codes::<O, false>(ty, x, out) }),
        _ => None,
    }
}

/// RND and SAT, or else TRN and WRAP.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn codes<const O: usize, const NEAREST: bool>(ty: &Type, x: &[[u8; 4]], out: &mut [[u8; O]]) -> bool {
    let f = ty.format;
    // Exact: `frac` is far from the ends of the exponents, and bounds have few bits.
    let grid = f32::powi(2.0, -f.frac());
    let bound = |code: i128| _mm512_set1_ps(code as f32 * grid);
    let (lowest, highest) = (bound(f.min()), bound(f.max()));
    let (scale, half) = (_mm512_set1_ps(f32::powi(2.0, f.frac())), _mm512_set1_ps(0.5));
    let gap = _mm_cvtsi32_si128(32 - f.width() as i32);
    let n = x.len().min(out.len());
    let mut least = _mm512_setzero_si512();
    let mut some = |at: usize, lanes: __mmask16| {
        // SAFETY: the lanes are elements of both slices.
        let x = unsafe { _mm512_maskz_loadu_ps(lanes, x.as_ptr().add(at).cast()) };
        let code = if NEAREST {
            // Where one of both is NaN, the second is what comes out.
            let x = _mm512_max_ps(lowest, _mm512_min_ps(highest, x));
            _mm512_cvt_roundps_epi32::<DOWN>(_mm512_fmadd_round_ps::<DOWN>(x, scale, half))
        } else {
            _mm512_cvt_roundps_epi32::<DOWN>(_mm512_mul_round_ps::<DOWN>(x, scale))
        };
        least = _mm512_min_epi32(least, code);
        let code = match (NEAREST, f.is_signed()) {
            (true, _) => code,
            (false, true) => _mm512_sra_epi32(_mm512_sll_epi32(code, gap), gap),
            (false, false) => _mm512_srl_epi32(_mm512_sll_epi32(code, gap), gap),
        };
        // SAFETY: as above; elements have as many bytes as are stored for each.
        unsafe {
            let to = out.as_mut_ptr().add(at);
            match (O, lanes) {
                // Stores of some lanes are slow where lanes are narrowed at the same time.
                (1, ALL) => _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(code)),
                (2, ALL) => _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(code)),
                (1, _) => _mm512_mask_cvtepi32_storeu_epi8(to.cast(), lanes, code),
                (2, _) => _mm512_mask_cvtepi32_storeu_epi16(to.cast(), lanes, code),
                (4, _) => _mm512_mask_storeu_epi32(to.cast(), lanes, code),
                _ => {
                    let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(code));
                    let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(code));
                    let rest = to.wrapping_add(LANES / 2);
                    _mm512_mask_storeu_epi64(to.cast(), lanes as __mmask8, low);
                    _mm512_mask_storeu_epi64(rest.cast(), (lanes >> 8) as __mmask8, high);
                }
            }
        }
    };
    let whole = n - n % LANES;
    for at in (0..whole).step_by(LANES) {
        some(at, ALL);
    }
    if whole < n {
        some(whole, (1 << (n - whole)) - 1);
    }
    _mm512_reduce_min_epi32(least) > i32::MIN
}
