//! From sums to codes of a byte in explicit vectors, four of sums to one of codes. The loops of
//! [`close`](super::close) are its twin.
//!
//! `unsafe` here is of two kinds: loads and stores through a pointer to as many integers as a vector has, and the call
//! of a function compiled for an instruction set whose presence a [`Checked`] proves.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{close::Constants, kernel::VECTOR};
use crate::Isa;
use hs_runtime::isa::Checked;

/// Lines of sums whose codes are written together.
pub(super) const LINES: usize = 4;

/// Bytes that are written together.
const OUTPUTS: usize = LINES * VECTOR;

/// The sums of pixels and what is done to their first [`LINES`].
pub(super) struct Bytes<'a> {
    /// `lines` vectors for each pixel.
    pub(super) acc: &'a [i32],
    pub(super) lines: usize,
    /// Added to each line.
    pub(super) init: &'a [Constants],
    /// Factors and then summands of each line.
    pub(super) scale: Option<[&'a [Constants]; 2]>,
    /// Bits that are dropped then.
    pub(super) drop: u32,
    /// Bounds, unless they are those of the bytes.
    pub(super) bounds: Option<(i32, i32)>,
    pub(super) signed: bool,
    /// Begins with the codes of the first pixel, `stride` from those of the next.
    pub(super) out: &'a mut [u8],
    pub(super) stride: usize,
}

impl Bytes<'_> {
    /// Writes the codes.
    ///
    /// # Panics
    /// Without AVX-512.
    pub(super) fn write(self, isa: Checked) {
        assert!(isa.isa() >= Isa::Avx512, "planned: {:?} writes no bytes", isa.isa());
        // SAFETY: `isa` proves that the machine has the features that the function is compiled for.
        match (self.scale.is_some(), self.bounds.is_some()) {
            (false, false) => unsafe { write::<false, false>(self) },
            (false, true) => unsafe { write::<false, true>(self) },
            (true, false) => unsafe { write::<true, false>(self) },
            (true, true) => unsafe { write::<true, true>(self) },
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(from: &[i32]) -> __m512i {
    let from: &[i32] = &from[..VECTOR];
    // SAFETY: the slice has as many elements as the vector.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn loads(lines: &[Constants]) -> [__m512i; LINES] {
    let mut all = [_mm512_setzero_si512(); LINES];
    for (v, line) in all.iter_mut().zip(lines) {
        *v = load(line);
    }
    all
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn write<const SCALED: bool, const BOUNDED: bool>(job: Bytes<'_>) {
    let init = loads(job.init);
    let [factors, summands] = match job.scale {
        Some([factors, summands]) => [loads(factors), loads(summands)],
        None => [init; 2],
    };
    let drop = _mm512_set1_epi32(job.drop as i32);
    let (lo, hi) = job.bounds.unwrap_or_default();
    let (lo, hi) = (_mm512_set1_epi32(lo), _mm512_set1_epi32(hi));
    // Packing leaves four bytes of each line side by side.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (acc, out) in job.acc.chunks_exact(job.lines * VECTOR).zip(job.out.chunks_mut(job.stride)) {
        let acc: &[i32] = &acc[..OUTPUTS];
        let mut v = [_mm512_setzero_si512(); LINES];
        for l in 0..LINES {
            v[l] = _mm512_add_epi32(load(&acc[l * VECTOR..]), init[l]);
            if SCALED {
                v[l] = _mm512_add_epi32(_mm512_mullo_epi32(v[l], factors[l]), summands[l]);
            }
            v[l] = _mm512_srav_epi32(v[l], drop);
            if BOUNDED {
                v[l] = _mm512_min_epi32(_mm512_max_epi32(v[l], lo), hi);
            }
        }
        let (low, high) = (_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
        let packed = if job.signed { _mm512_packs_epi16(low, high) } else { _mm512_packus_epi16(low, high) };
        let out: &mut [u8] = &mut out[..OUTPUTS];
        // SAFETY: the slice has as many bytes as the vector.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, packed)) };
    }
}
