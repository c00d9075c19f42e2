//! Rows of a batch to lanes of 32-bit words, and lanes to rows of floats: transpositions, in explicit vectors where
//! the machine has them. The portable loops are their twins.
//!
//! A tile is four columns by as many rows as a vector has words. Each quarter of a vector (128 bits) takes the four
//! words of every fourth row, so that four vectors are transposed by unpacking within quarters alone.
//!
//! `unsafe` here is of two kinds: loads and stores through pointers into slices of checked length, and calls of
//! functions compiled for an instruction set whose presence a [`Checked`] proves.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::Isa;
use hs_runtime::isa::{Checked, Kernel};

/// Bytes beyond the last row that may be read, whatever they are.
pub(crate) const SLACK: usize = 16;

/// Numbers of rows that are transposed together are multiples of this.
pub(crate) const TILE: usize = 16;

/// Words of a tile's row.
const COLUMNS: usize = 4;

/// Rows of bytes that become lanes.
pub(crate) struct Words<'a> {
    /// Rows, a multiple of [`TILE`], one after the other, and [`SLACK`] bytes.
    pub(crate) rows: &'a [u8],
    /// Bytes of a row.
    pub(crate) stride: usize,
    /// Bits that differ in what is stored.
    pub(crate) flip: i32,
    /// `[word][lane]`.
    pub(crate) to: &'a mut [i32],
    pub(crate) lanes: usize,
    /// Lane of the first row.
    pub(crate) first: usize,
}

impl Words<'_> {
    /// Stores every word of every row; what is left of a last word is zero bytes before its bits are flipped.
    pub(crate) fn run(mut self, isa: Checked) {
        let rows = (self.rows.len() - SLACK) / self.stride;
        let words = self.stride.div_ceil(4);
        assert!(
            rows.is_multiple_of(TILE) && self.rows.len() >= rows * self.stride + SLACK,
            "whole tiles of rows"
        );
        assert!(
            self.first + rows <= self.lanes && words * self.lanes <= self.to.len(),
            "places for all words"
        );
        match isa.isa() {
            Isa::Generic => self.portable(rows),
            // SAFETY: `isa` proves that the machine has the features, and the lengths were checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { words_avx2(&mut self, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => unsafe { words_avx512(&mut self, rows) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => self.portable(rows),
        }
    }

    fn portable(&mut self, rows: usize) {
        let Self { rows: from, stride, flip, ref mut to, lanes, first } = *self;
        for (at, to) in to.chunks_exact_mut(lanes).take(stride.div_ceil(4)).enumerate() {
            for (row, to) in from.chunks_exact(stride).zip(&mut to[first..first + rows]) {
                let row = &row[at * 4..];
                let bytes = match row.first_chunk() {
                    Some(whole) => *whole,
                    None => std::array::from_fn(|i| row.get(i).copied().unwrap_or(0)),
                };
                *to = i32::from_le_bytes(bytes) ^ flip;
            }
        }
    }
}

/// Lanes that become rows of floats.
pub(crate) struct Floats<'a> {
    /// `[element][lane]`.
    pub(crate) codes: &'a [i32],
    pub(crate) lanes: usize,
    /// What codes are multiplied with, once converted.
    pub(crate) scale: f32,
    /// Rows of `len` elements, one after the other.
    pub(crate) to: &'a mut [f32],
    pub(crate) len: usize,
}

impl Floats<'_> {
    /// Stores every element of every row.
    pub(crate) fn run(mut self, isa: Checked) {
        let rows = self.to.len() / self.len;
        assert!(rows <= self.lanes && self.len * self.lanes <= self.codes.len(), "codes of all rows");
        assert!(self.lanes.is_multiple_of(TILE), "whole tiles of lanes");
        if self.len < COLUMNS {
            return isa.run(Narrow(self));
        }
        match isa.isa() {
            Isa::Generic => Narrow(self).run(),
            // SAFETY: `isa` proves that the machine has the features, and the lengths were checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { floats_avx2(&mut self, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => unsafe { floats_avx512(&mut self, rows) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => Narrow(self).run(),
        }
    }
}

/// Element by element: rows narrower than a tile, and the twin of the explicit vectors.
struct Narrow<'a>(Floats<'a>);

impl Kernel for Narrow<'_> {
    #[inline(always)]
    fn run(self) {
        let Floats { codes, lanes, scale, to, len } = self.0;
        if len == 1 {
            for (to, code) in to.iter_mut().zip(codes) {
                *to = *code as f32 * scale;
            }
            return;
        }
        for (e, codes) in codes.chunks_exact(lanes).take(len).enumerate() {
            for (row, code) in to.chunks_exact_mut(len).zip(codes) {
                row[e] = *code as f32 * scale;
            }
        }
    }
}

/// Both transpositions with vectors of `$quarters` × 128 bits. `$load` combines the rows of the quarters.
#[cfg(target_arch = "x86_64")]
macro_rules! vectors {
    (
        ($words:ident, $floats:ident, $features:literal, $quarters:literal, $vector:ty),
        |$p:ident, $stride:ident| $gather:expr,
        ($load:ident, $store:ident, $splat:ident, $xor:ident, $and:ident),
        ($low32:ident, $high32:ident, $low64:ident, $high64:ident),
        |$code:ident, $scale:ident| $convert:expr, $splat_float:ident,
        |$v:ident| $split:expr
    ) => {
        /// # Safety
        /// As [`Words::run`] checks.
        #[target_feature(enable = $features)]
        unsafe fn $words(job: &mut Words<'_>, rows: usize) {
            const ROWS: usize = 4 * $quarters;
            let (words, $stride, lanes) = (job.stride.div_ceil(4), job.stride, job.lanes);
            let flip = $splat(job.flip);
            let all = $splat(-1);
            let last = $splat((u32::MAX >> (8 * (4 * words - $stride))) as i32);
            for word in (0..words).step_by(COLUMNS) {
                let columns = COLUMNS.min(words - word);
                let mut kept = [all; COLUMNS];
                if word + columns == words {
                    kept[columns - 1] = last;
                }
                let from = job.rows[4 * word..].as_ptr();
                let to = job.to[word * lanes + job.first..].as_mut_ptr();
                for row in (0..rows).step_by(ROWS) {
                    let from = from.wrapping_add(row.wrapping_mul($stride));
                    // SAFETY: the rows have that many words of this tile, or the slack behind them is read.
                    let tile: [$vector; COLUMNS] = std::array::from_fn(|i| unsafe {
                        let $p = from.wrapping_add(i.wrapping_mul($stride));
                        $gather
                    });
                    transpose!(tile, $low32, $high32, $low64, $high64);
                    let to = to.wrapping_add(row);
                    let mut store = |i: usize| {
                        let to = to.wrapping_add(i.wrapping_mul(lanes));
                        // SAFETY: all lanes of each of the words are there.
                        unsafe { $store(to.cast(), $xor($and(tile[i], kept[i]), flip)) };
                    };
                    if columns == COLUMNS {
                        (0..COLUMNS).for_each(&mut store);
                    } else {
                        (0..columns).for_each(&mut store);
                    }
                }
            }
        }

        /// # Safety
        /// As [`Floats::run`] checks; rows have at least four elements.
        #[target_feature(enable = $features)]
        unsafe fn $floats(job: &mut Floats<'_>, rows: usize) {
            const ROWS: usize = 4 * $quarters;
            let (len, lanes) = (job.len, job.lanes);
            let $scale = $splat_float(job.scale);
            for row in (0..rows).step_by(ROWS) {
                let some = ROWS.min(rows - row);
                // The last tile of a row lies over the one before: it stores the same once more.
                for e in (0..len).step_by(COLUMNS).map(|e| e.min(len - COLUMNS)) {
                    let from = job.codes[e * lanes + row..].as_ptr();
                    let to = job.to[row * len + e..].as_mut_ptr();
                    let tile: [$vector; COLUMNS] = std::array::from_fn(|i| {
                        // SAFETY: all lanes of each of the four elements are there.
                        let $code = unsafe { $load(from.wrapping_add(i.wrapping_mul(lanes)).cast()) };
                        $convert
                    });
                    transpose!(tile, $low32, $high32, $low64, $high64);
                    let quarters: [[__m128i; $quarters]; COLUMNS] = tile.map(|$v| $split);
                    let mut store = |i: usize| {
                        let to = to.wrapping_add(i.wrapping_mul(len));
                        // SAFETY: the row is there, with four elements from here on.
                        unsafe { _mm_storeu_si128(to.cast(), quarters[i % 4][i / 4]) };
                    };
                    if some == ROWS {
                        (0..ROWS).for_each(&mut store);
                    } else {
                        (0..some).for_each(&mut store);
                    }
                }
            }
        }
    };
}

/// Transposes four by four words within every quarter of four vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! transpose {
    ($tile:ident, $low32:ident, $high32:ident, $low64:ident, $high64:ident) => {
        let [a, b, c, d] = $tile;
        let (ab, cd) = ([$low32(a, b), $high32(a, b)], [$low32(c, d), $high32(c, d)]);
        let $tile =
            [$low64(ab[0], cd[0]), $high64(ab[0], cd[0]), $low64(ab[1], cd[1]), $high64(ab[1], cd[1])];
    };
}

#[cfg(target_arch = "x86_64")]
vectors!(
    (words_avx2, floats_avx2, "avx2", 2, __m256i),
    |p, stride| _mm256_inserti128_si256::<1>(
        _mm256_castsi128_si256(_mm_loadu_si128(p.cast())),
        _mm_loadu_si128(p.wrapping_add(stride.wrapping_mul(4)).cast())
    ),
    (_mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_xor_si256, _mm256_and_si256),
    (_mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64),
    |code, scale| _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(code), scale)),
    _mm256_set1_ps,
    |v| [_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v)]
);

#[cfg(target_arch = "x86_64")]
vectors!(
    (words_avx512, floats_avx512, "avx2,avx512f,avx512bw,avx512dq,avx512vl", 4, __m512i),
    |p, stride| {
        let v = _mm512_castsi128_si512(_mm_loadu_si128(p.cast()));
        let v = _mm512_inserti32x4::<1>(v, _mm_loadu_si128(p.wrapping_add(stride.wrapping_mul(4)).cast()));
        let v = _mm512_inserti32x4::<2>(v, _mm_loadu_si128(p.wrapping_add(stride.wrapping_mul(8)).cast()));
        _mm512_inserti32x4::<3>(v, _mm_loadu_si128(p.wrapping_add(stride.wrapping_mul(12)).cast()))
    },
    (_mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_xor_si512, _mm512_and_si512),
    (_mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64),
    |code, scale| _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(code), scale)),
    _mm512_set1_ps,
    |v| [
        _mm512_extracti32x4_epi32::<0>(v),
        _mm512_extracti32x4_epi32::<1>(v),
        _mm512_extracti32x4_epi32::<2>(v),
        _mm512_extracti32x4_epi32::<3>(v),
    ]
);

#[cfg(test)]
mod tests {
    use super::*;

    fn isas() -> impl Iterator<Item = Checked> {
        Isa::ALL.into_iter().filter_map(Checked::new)
    }

    /// Bytes without a pattern.
    fn bytes(n: usize) -> Vec<u8> {
        let mut seed = 1u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn words_are_where_they_belong() {
        for isa in isas() {
            for stride in 1..50 {
                for (tiles, first, lanes) in [(1, 0, 16), (1, 16, 64), (2, 32, 64), (4, 0, 64)] {
                    let (rows, flip) = (tiles * TILE, 0x0080_8001);
                    let from = bytes(rows * stride + SLACK);
                    let words = stride.div_ceil(4);
                    let mut to = vec![7; words * lanes + 3];
                    Words { rows: &from, stride, flip, to: &mut to, lanes, first }.run(isa);
                    let mut want = vec![7; words * lanes + 3];
                    for row in 0..rows {
                        for i in 0..4 * words {
                            let byte = if i < stride { from[row * stride + i] } else { 0 };
                            let word = &mut want[i / 4 * lanes + first + row];
                            let shift = 8 * (i % 4);
                            *word = if i % 4 == 0 { flip } else { *word } ^ i32::from(byte) << shift;
                        }
                    }
                    assert_eq!(to, want, "{isa:?}, {rows} rows of {stride} bytes from {first} of {lanes}");
                }
            }
        }
    }

    #[test]
    fn floats_are_where_they_belong() {
        for isa in isas() {
            for len in 1..50 {
                for rows in 1..70usize {
                    let lanes = rows.next_multiple_of(32);
                    let codes: Vec<i32> =
                        bytes(4 * len * lanes).as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
                    let mut to = vec![0.0; rows * len];
                    Floats { codes: &codes, lanes, scale: 0.125, to: &mut to, len }.run(isa);
                    let value = |i: usize| codes[i % len * lanes + i / len] as f32 * 0.125;
                    let want: Vec<f32> = (0..rows * len).map(value).collect();
                    assert_eq!(to, want, "{isa:?}, {rows} rows of {len}");
                }
            }
        }
    }
}
