//! The inner loop of dense layers and convolutions: a tile of pixels by vectors of outputs, its sums in registers.
//!
//! The input is read as 32-bit words of four, two or one element; a word meets the words of weights of sixteen
//! outputs. Sums wrap.

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
    /// A product of 16 bits; each output has an input element of its own, sign-extended.
    EachShort,
    /// A product of 32 bits; each output has an input element of its own.
    EachWhole,
}

impl Multiply {
    /// Elements of a word of weights.
    pub(super) fn group(self) -> usize {
        match self {
            Self::Quads => 4,
            Self::Pairs => 2,
            Self::Whole | Self::Shifted { .. } | Self::EachShort | Self::EachWhole => 1,
        }
    }

    /// Bytes of an input element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Quads => 1,
            Self::Pairs | Self::EachShort => 2,
            Self::Whole | Self::Shifted { .. } | Self::EachWhole => 4,
        }
    }

    /// Bytes of the input that a word of weights meets, for `lines` vectors of outputs.
    pub(super) fn reads(self, lines: usize) -> usize {
        match self {
            Self::Quads | Self::Pairs | Self::Whole | Self::Shifted { .. } => 4,
            Self::EachShort | Self::EachWhole => lines * VECTOR * self.bytes(),
        }
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
            Self::EachShort => "i16 x i16, channels in lanes",
            Self::EachWhole => "i32 x i32, channels in lanes",
        }
    }
}

/// `acc[pixel][output] = Σ x[pixel + …] × w[…][output]`.
pub(super) struct Job<'a> {
    pub(super) x: &'a [u8],
    /// Place of each pixel in `x`.
    pub(super) pixels: &'a [usize],
    /// Bytes from there to each word.
    pub(super) words: &'a [usize],
    /// Bytes that are read from a pixel's place on.
    pub(super) reach: usize,
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
    let each = matches!(multiply, Multiply::EachShort | Multiply::EachWhole);
    match (isa, lines) {
        (Isa::Generic, _) => 2,
        (Isa::Avx2, 1) => 4,
        (Isa::Avx2, _) => 2,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, _) if each => 2,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, 1..=3) => 8,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2, _) => 6,
    }
}

/// Computes a tile.
pub(super) fn run(isa: Checked, multiply: Multiply, mut job: Job<'_>) {
    let last = job.pixels.iter().max().map_or(0, |p| p + job.reach);
    assert!(
        last <= job.x.len() && job.weights.len() == job.words.len() * job.lines,
        "a tile within its tensor"
    );
    assert!(job.acc.len() == job.pixels.len() * job.lines * VECTOR, "a vector for each pixel and line");
    let most = job.shifts[..job.lines].iter().max().map_or(0, |s| s + multiply.reads(1));
    debug_assert!(job.words.iter().all(|word| word + most <= job.reach));
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
                for (acc, pixel) in job.acc.chunks_exact_mut(job.lines * VECTOR).zip(job.pixels) {
                    acc.fill(0);
                    for (word, lines) in job.words.iter().zip(job.weights.chunks_exact(job.lines)) {
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
            Multiply::Quads => sum!(|x, lane, w| {
                let w = w.to_ne_bytes();
                let products = std::array::from_fn::<i32, 4, _>(|i| i32::from(x[i]) * i32::from(w[i] as i8));
                products.iter().sum::<i32>()
            }),
            Multiply::Pairs => sum!(|x, lane, w| {
                let (low, high) = (short(x, 0) * i32::from(w as i16), short(x, 1) * (w >> 16));
                low.wrapping_add(high)
            }),
            Multiply::Whole => sum!(|x, lane, w| word(x, 0).wrapping_mul(w)),
            Multiply::Shifted { half, drop } => {
                sum!(|x, lane, w| word(x, 0).wrapping_mul(w).wrapping_add(half).wrapping_shr(drop));
            }
            Multiply::EachShort => sum!(|x, lane, w| short(x, lane) * i32::from(w as i16)),
            Multiply::EachWhole => sum!(|x, lane, w| word(x, lane).wrapping_mul(w)),
        }
    }
}

#[inline(always)]
fn short(x: &[u8], i: usize) -> i32 {
    i32::from(i16::from_ne_bytes([x[2 * i], x[2 * i + 1]]))
}

#[inline(always)]
fn word(x: &[u8], i: usize) -> i32 {
    i32::from_ne_bytes([x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]])
}
