//! The inner loop of dense layers and convolutions: a tile of pixels by vectors of outputs, its sums in registers.
//!
//! The input is read as 32-bit words of four, two or one element; a word meets the words of weights of sixteen
//! outputs. Sums wrap.

use super::offsets::Part;
#[cfg(target_arch = "x86_64")]
use super::simd;
use crate::Isa;
use hs_runtime::isa::{Checked, Kernel};

/// Outputs of a vector.
pub(super) const VECTOR: usize = 16;
/// Most vectors of a tile, of any instruction set.
pub(super) const MOST_LINES: usize = 4;

/// A word of weights of each output of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [i32; VECTOR]);

/// What a word of the input and a word of weights add to a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiply {
    /// Four products of 8 bits, unsigned by signed.
    Quads,
    /// Two products of 16 bits.
    Pairs,
    /// A product of 32 bits.
    Whole,
    /// `(p + half) >> drop` of the product.
    Shifted { half: i32, drop: u32 },
    /// As quads; each output has a word of the input of its own.
    EachQuads,
    /// As pairs, likewise.
    EachPairs,
    /// A product of 32 bits; each output has an input element of its own.
    EachWhole,
}

impl Multiply {
    /// Elements of a word.
    pub(super) fn group(self) -> usize {
        match self {
            Self::Quads | Self::EachQuads => 4,
            Self::Pairs | Self::EachPairs => 2,
            Self::Whole | Self::Shifted { .. } | Self::EachWhole => 1,
        }
    }

    /// Whether each output has words of the input of its own: there is then one for each input element, which holds
    /// it and the elements of its channel that follow along the last axis.
    pub(super) fn is_each(self) -> bool {
        matches!(self, Self::EachQuads | Self::EachPairs | Self::EachWhole)
    }

    /// Bytes from an input element to the next.
    pub(super) fn bytes(self) -> usize {
        if self.is_each() { 4 } else { 4 / self.group() }
    }

    /// Bytes of the input that a vector of words of weights meets.
    pub(super) fn reads(self) -> usize {
        if self.is_each() { VECTOR * 4 } else { 4 }
    }

    /// The kernel's name.
    pub(super) fn describe(self, isa: Isa) -> &'static str {
        let vnni = isa >= Isa::Avx512Vnni;
        match self {
            Self::Quads => "vnni u8 x i8, outputs in lanes",
            Self::Pairs if vnni => "vnni i16 x i16, outputs in lanes",
            Self::Pairs => "i16 x i16, outputs in lanes",
            Self::Whole => "i32 x i32, outputs in lanes",
            Self::Shifted { .. } => "i32 x i32, shift each, outputs in lanes",
            Self::EachQuads => "vnni u8 x i8, channels in lanes",
            Self::EachPairs if vnni => "vnni i16 x i16, channels in lanes",
            Self::EachPairs => "i16 x i16, channels in lanes",
            Self::EachWhole => "i32 x i32, channels in lanes",
        }
    }
}

/// `acc[pixel][output] = Σ x[pixel + …] × w[…][output]`.
pub(super) struct Job<'a> {
    pub(super) x: &'a [u8],
    /// Place of each pixel in `x`, and how many are summed together: they are a multiple of it.
    pub(super) pixels: Part<'a>,
    pub(super) tile: usize,
    /// Bytes from there to each word.
    pub(super) words: Part<'a>,
    /// A line for each vector of outputs, word after word.
    pub(super) weights: &'a [Line],
    /// Vectors of outputs.
    pub(super) lines: usize,
    /// Bytes from where each vector's input elements begin, where outputs have their own.
    pub(super) shifts: [usize; MOST_LINES],
    /// A vector for each line of each pixel.
    pub(super) acc: &'a mut [i32],
}

/// Most vectors of a tile.
pub(super) fn most_lines(isa: Isa) -> usize {
    match isa {
        Isa::Generic | Isa::Avx2 => 2,
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => MOST_LINES,
    }
}

/// Pixels of a tile of `lines` vectors, so many that sums and operands fit the registers; a tile of a single pixel is
/// always possible.
pub(super) fn pixels(isa: Isa, multiply: Multiply, lines: usize) -> usize {
    match (isa, lines) {
        (Isa::Generic, _) => 2,
        (Isa::Avx2, 1) => 4,
        (Isa::Avx2, _) => 2,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, _) if multiply.is_each() => 4,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, 1..=3) => 8,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, _) => 6,
    }
}

/// Computes sums of tiles.
pub(super) fn run(isa: Checked, multiply: Multiply, mut job: Job<'_>) {
    let (pixels, words) = (job.pixels.all().len(), job.words.all().len());
    let shift = job.shifts[..job.lines].iter().max().map_or(0, |shift| *shift);
    let end = [job.words.most(), shift, multiply.reads()]
        .into_iter()
        .try_fold(job.pixels.most(), usize::checked_add);
    assert!(end.is_some_and(|end| end <= job.x.len()), "words within the input");
    assert!(job.weights.len() == words * job.lines, "a line of weights for each word and vector");
    assert!(job.acc.len() == pixels * job.lines * VECTOR, "a vector for each pixel and line");
    assert!(pixels.is_multiple_of(job.tile), "whole tiles of pixels");
    match isa.isa() {
        Isa::Generic => isa.run(Portable { multiply, job: &mut job }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => simd::run(isa, multiply, &mut job),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => {
            isa.run(Portable { multiply, job: &mut job })
        }
    }
}

/// The twin of the explicit kernels.
struct Portable<'a, 'b> {
    multiply: Multiply,
    job: &'a mut Job<'b>,
}

impl Kernel for Portable<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let job = self.job;
        macro_rules! sum {
            (|$word:ident, $lane:ident, $w:ident| $sum:expr) => {
                for (acc, pixel) in job.acc.chunks_exact_mut(job.lines * VECTOR).zip(job.pixels.all()) {
                    acc.fill(0);
                    for (word, lines) in job.words.all().iter().zip(job.weights.chunks_exact(job.lines)) {
                        for (l, line) in lines.iter().enumerate() {
                            let $word = &job.x[pixel + word + job.shifts[l]..];
                            for $lane in 0..VECTOR {
                                let $w = line.0[$lane];
                                let sum = &mut acc[l * VECTOR + $lane];
                                *sum = sum.wrapping_add($sum);
                            }
                        }
                    }
                }
            };
        }
        match self.multiply {
            Multiply::Quads => sum!(|x, lane, w| quads(x, 0, w)),
            Multiply::Pairs => sum!(|x, lane, w| pairs(x, 0, w)),
            Multiply::Whole => sum!(|x, lane, w| word(x, 0).wrapping_mul(w)),
            Multiply::Shifted { half, drop } => {
                sum!(|x, lane, w| word(x, 0).wrapping_mul(w).wrapping_add(half).wrapping_shr(drop));
            }
            Multiply::EachQuads => sum!(|x, lane, w| quads(x, lane, w)),
            Multiply::EachPairs => sum!(|x, lane, w| pairs(x, lane, w)),
            Multiply::EachWhole => sum!(|x, lane, w| word(x, lane).wrapping_mul(w)),
        }
    }
}

/// Four products of the bytes of word `i`, unsigned, and those of `w`.
#[inline(always)]
fn quads(x: &[u8], i: usize, w: i32) -> i32 {
    let w = w.to_ne_bytes();
    let products = std::array::from_fn::<i32, 4, _>(|at| i32::from(x[4 * i + at]) * i32::from(w[at] as i8));
    products.iter().sum()
}

/// Two products of the 16-bit integers of word `i` and those of `w`.
#[inline(always)]
fn pairs(x: &[u8], i: usize, w: i32) -> i32 {
    let x = word(x, i);
    (i32::from(x as i16) * i32::from(w as i16)).wrapping_add((x >> 16) * (w >> 16))
}

#[inline(always)]
fn word(x: &[u8], i: usize) -> i32 {
    i32::from_le_bytes([x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]])
}
