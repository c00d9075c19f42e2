//! Weights as the kernels read them.

use super::{
    Shape, Tile, TileLane, Vector, Weights,
    proof::Context,
    tail::{PARTS, Stage},
    tile::{Multiply, most_outputs},
};
use crate::{
    Isa,
    lane::{Packing, Width},
};

impl Context<'_> {
    /// Tiles of at most `most` outputs of one group each, without their weights.
    fn tiles(&self, shape: &Shape, most: usize, only_whole: bool) -> Vec<Tile> {
        let per_group = shape.outputs / shape.groups;
        let mut tiles = Vec::new();
        for group in 0..shape.groups {
            let end = (group + 1) * per_group;
            let mut output = group * per_group;
            while output < end {
                let left = end - output;
                let n = if left >= most {
                    most
                } else if only_whole {
                    1
                } else {
                    left
                };
                tiles.push(Tile { output, n, group, weights: 0 });
                output += n;
            }
        }
        tiles
    }

    /// Weights for the loops over lanes of any width.
    pub(super) fn portable(&self, shape: &Shape, (width, stored): (Width, Width)) -> (Vec<Tile>, Weights) {
        let most = match width {
            Width::I8 | Width::I16 | Width::I32 => <i32 as TileLane>::TILE,
            Width::I64 => <i64 as TileLane>::TILE,
            Width::I128 => <i128 as TileLane>::TILE,
        };
        let terms = self.dot.weight.len() / shape.outputs;
        let mut tiles = self.tiles(shape, most, true);
        let mut packed: Vec<i64> = Vec::with_capacity(self.dot.weight.len());
        for tile in &mut tiles {
            tile.weights = packed.len();
            let weight = |t: usize, i: usize| self.dot.weight.data[(tile.output + i) * terms + t];
            packed.extend((0..terms).flat_map(|t| (0..tile.n).map(move |i| weight(t, i))));
        }
        // Modular sums in 32 bits need the weights' low 32 bits only.
        let fitting = width == Width::I64 && stored == Width::I32 && Width::I32.fits(self.weights);
        let narrow = width == Width::I32 || fitting;
        let weights = if narrow {
            Weights::I32(packed.iter().map(|w| *w as i32).collect())
        } else {
            Weights::I64(packed.into())
        };
        (tiles, weights)
    }

    /// Weights for explicit vectors: words of as many terms as a word of the input has elements, of each output; of
    /// a split kernel first of the tile's high parts, then of the low ones.
    pub(super) fn vector(
        &self,
        shape: &Shape,
        multiply: Multiply,
        packing: Packing,
        add: &[i128],
        (isa, stages): (Isa, Option<Vec<Stage>>),
    ) -> (Vec<Tile>, Vector) {
        let group = multiply.group();
        let terms = self.dot.weight.len() / shape.outputs;
        let of = |output: usize| &self.dot.weight.data[output * terms..(output + 1) * terms];
        let bits = 32 / group as u32;
        let parts: &[fn(i64) -> i64] = match multiply {
            Multiply::Split => &PARTS,
            _ => &[|v| v],
        };
        let word = |terms: &[i64], part: fn(i64) -> i64| {
            let low = |w: i64| part(w) as u32 & (u32::MAX >> (32 - bits));
            terms.iter().rev().fold(0u64, |word, w| word << bits | u64::from(low(*w))) as i32
        };
        let mut tiles = self.tiles(shape, most_outputs(isa) / parts.len(), false);
        let mut words = Vec::with_capacity(self.dot.weight.len().div_ceil(group) * parts.len());
        let mut init = Vec::with_capacity(shape.outputs * parts.len());
        for tile in &mut tiles {
            tile.weights = words.len();
            let outputs = tile.output..tile.output + tile.n;
            for t in (0..terms).step_by(group) {
                for part in parts {
                    let end = terms.min(t + group);
                    words.extend(outputs.clone().map(|o| word(&of(o)[t..end], *part)));
                }
            }
            // Elements are stored less the packing's zero; sums are right modulo 2^32.
            for part in parts {
                init.extend(outputs.clone().map(|o| {
                    let weights = of(o).iter().fold(0i32, |sum, w| sum.wrapping_add(part(*w) as i32));
                    let start =
                        (part(add[o] as i64) as i32).wrapping_add(weights.wrapping_mul(packing.zero()));
                    if let Multiply::Sixteen { .. } = multiply { start & 0xffff } else { start }
                }));
            }
        }
        let stages = stages.map(Vec::into_boxed_slice);
        (tiles, Vector { weights: words.into(), init: init.into(), multiply, stages })
    }
}
