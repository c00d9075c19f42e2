//! Tiles of outputs that explicit vectors compute.

use super::{
    kernel::{Product, Terms},
    tail::Stage,
};
use crate::{Isa, lane::Packing};

/// Lanes that a block has a multiple of: two of the longest vectors.
pub(crate) const CHUNK: usize = 32;

/// Most outputs of a tile: the sums and what is multiplied fit the registers.
pub(super) fn most_outputs(isa: Isa) -> usize {
    match isa {
        Isa::Generic | Isa::Avx2 => 4,
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => 8,
    }
}

/// What a word of activations and a word of weights add to a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Multiply {
    /// Four products of 8 bits, unsigned by signed.
    Quads,
    /// Two products of 16 bits.
    Pairs,
    /// Two products of 16 bits with the high parts of weights, and with the low parts, which are 8 bits.
    Split,
    /// Two products of 16 bits, of each the 16 bits from `drop` on, summed in 16 bits.
    Sixteen { drop: u32 },
    /// A product.
    Whole,
    /// `(p + half) >> drop` of the product.
    Shifted { half: i32, drop: u32 },
}

impl Multiply {
    /// For elements that lie as `packing`.
    pub(crate) fn of(packing: Packing, product: Product, split: bool) -> Self {
        match (packing, product) {
            (Packing::Pairs { .. }, Product::Shifted { drop, .. }) => Self::Sixteen { drop },
            (Packing::Quads { .. }, _) => Self::Quads,
            (Packing::Pairs { .. }, _) if split => Self::Split,
            (Packing::Pairs { .. }, _) => Self::Pairs,
            (Packing::Single, Product::Whole) => Self::Whole,
            (Packing::Single, Product::Shifted { half, drop }) => Self::Shifted { half: half as i32, drop },
        }
    }

    /// Elements of a word.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Quads => 4,
            Self::Pairs | Self::Split | Self::Sixteen { .. } => 2,
            Self::Whole | Self::Shifted { .. } => 1,
        }
    }

    /// The kernel's name.
    pub(crate) fn describe(self, isa: Isa) -> &'static str {
        match (self, isa) {
            (Self::Quads, _) => "u8 x i8, vpdpbusd",
            (Self::Sixteen { .. }, Isa::Avx512Vbmi2) => "i16, vpmullw, vpmulhw, vpshrdvw",
            (Self::Sixteen { .. }, _) => "i16, vpmullw, vpmulhw, shift each",
            (Self::Pairs, Isa::Avx512Vnni | Isa::Avx512Vbmi2) => "i16 x i16, vpdpwssd",
            (Self::Pairs, _) => "i16 x i16, vpmaddwd",
            (Self::Split, Isa::Avx512Vnni | Isa::Avx512Vbmi2) => "i16 x (i9, i8), vpdpwssd",
            (Self::Split, _) => "i16 x (i9, i8), vpmaddwd",
            (Self::Whole, _) => "i32, vpmulld",
            (Self::Shifted { .. }, _) => "i32, vpmulld, shift each",
        }
    }

    /// Whether the instruction set has it.
    pub(crate) fn is_available(self, isa: Isa) -> bool {
        match isa {
            Isa::Generic => false,
            Isa::Avx2 | Isa::Avx512 => self != Self::Quads,
            Isa::Avx512Vnni | Isa::Avx512Vbmi2 => true,
        }
    }
}

/// Most outputs of a tile, of any instruction set.
pub(super) const MOST_OUTPUTS: usize = 8;

/// Words of consecutive terms, whose elements are consecutive words of the input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// The first word of the input, of those of a lane.
    pub(crate) x: usize,
    /// The first word of terms.
    pub(crate) w: usize,
    /// How many.
    pub(crate) n: usize,
}

impl Piece {
    /// Those of some terms, where a word holds `group` of them.
    pub(super) fn all(terms: Terms<'_>, group: usize) -> impl Iterator<Item = Self> {
        let words = group.trailing_zeros();
        let of = move |(element, term, n): (usize, usize, usize)| Self {
            x: element >> words,
            w: term >> words,
            n: n.div_ceil(group),
        };
        terms.runs.iter().flat_map(move |run| terms.pieces(run)).map(of)
    }
}

/// A tile of outputs for all lanes.
pub(crate) struct VectorTile<'a> {
    /// Words of the input tensor, and the terms to add.
    pub(crate) x: &'a [i32],
    pub(crate) pieces: &'a [Piece],
    /// A word of weights of each output, word of terms after word of terms.
    pub(crate) w: &'a [i32],
    /// The first output.
    pub(crate) first: usize,
    /// The start of each sum.
    pub(crate) init: &'a [i32],
    pub(crate) multiply: Multiply,
    /// What is done to the sums.
    pub(crate) stages: &'a [Stage],
    /// Where the words of the results go, and how they lie; the first output begins a word.
    pub(crate) to: &'a mut [i32],
    pub(crate) packing: Packing,
    pub(crate) lanes: usize,
}
