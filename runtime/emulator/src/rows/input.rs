//! The input of a dot product as its kernel reads it: elements of one width, zeros around them, so that every output
//! pixel finds its terms at the same distances from its own place.

use hs_hw::{Dot, Window};

use super::{
    kernel::Multiply,
    storage::{Storage, Tensor, each},
};
use crate::lane::Stored;
use hs_runtime::isa::{Checked, Kernel};

/// Bytes beyond the end of the prepared rows, so that whole vectors may be read there.
const SLACK: usize = 256;

/// How an input is prepared.
#[derive(Debug)]
pub(super) struct Input {
    /// Code that zero bits stand for.
    pub(super) zero: i32,
    /// Bytes of a prepared element.
    bytes: usize,
    /// Elements of a row as it is stored, and prepared.
    stored: usize,
    prepared: usize,
    /// Pieces of a row.
    pieces: Box<[Piece]>,
    padded: bool,
    /// Whether the stored rows are the prepared ones.
    direct: bool,
}

/// Neighbouring elements: where they are stored, and where prepared.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from: usize,
    to: usize,
    n: usize,
}

/// Where terms lie in a prepared row, in elements.
pub(super) struct Places {
    /// Place of each output pixel.
    pub(super) pixels: Vec<usize>,
    /// Distance from there of each position of the kernel.
    pub(super) positions: Vec<usize>,
}

impl Input {
    /// The input of shape `[spatial…, channels]`, stored as `storage`, for windows whose outputs have the shape
    /// `output`.
    pub(super) fn plan(
        dot: &Dot,
        (spatial, channels): (&[usize], usize),
        output: &[usize],
        storage: Storage,
        (multiply, zero): (Multiply, i32),
    ) -> (Self, Places) {
        let axes = || dot.window.iter().zip(spatial);
        let around: Vec<usize> = axes().map(|(w, n)| w.pad_begin + n + w.pad_end).collect();
        let mut strides = vec![channels; around.len()];
        for axis in (1..around.len()).rev() {
            strides[axis - 1] = strides[axis] * around[axis];
        }
        let stored: usize = spatial.iter().product::<usize>() * channels;
        let prepared: usize = around.iter().product::<usize>() * channels;
        let padded = prepared > stored;
        let mut pieces = vec![Piece { from: 0, to: 0, n: stored }];
        if padded {
            // The last axis is contiguous; begins of the others' elements.
            let n = spatial.last().map_or(1, |n| *n) * channels;
            let begin = dot.window.last().map_or(0, |w| w.pad_begin * channels);
            let outer = dot.window.len() - 1;
            let at = offsets(&spatial[..outer], &strides[..outer], |axis, i| i + dot.window[axis].pad_begin);
            let piece = |(row, to): (usize, &usize)| Piece { from: row * n, to: to + begin, n };
            pieces = at.iter().enumerate().map(piece).collect();
        }
        let kernel: Vec<usize> = dot.window.iter().map(|w| w.kernel).collect();
        let step = |of: fn(&Window) -> usize| move |axis: usize, i: usize| i * of(&dot.window[axis]);
        let places = Places {
            pixels: offsets(output, &strides, step(|w| w.stride)),
            positions: offsets(&kernel, &strides, step(|w| w.dilation)),
        };
        let same = match multiply {
            Multiply::Quads => storage == Storage::U8,
            Multiply::Pairs | Multiply::EachShort => storage == Storage::I16,
            Multiply::Whole | Multiply::Shifted { .. } | Multiply::EachWhole => storage == Storage::I32,
        };
        let direct = same && zero == 0 && !padded;
        let (bytes, pieces) = (multiply.bytes(), pieces.into());
        (Self { zero, bytes, stored, prepared, pieces, padded, direct }, places)
    }

    /// Bytes of a prepared row.
    pub(super) fn row(&self) -> usize {
        self.prepared * self.bytes
    }

    /// Bytes of memory that preparing a row takes.
    pub(super) fn scratch(&self) -> usize {
        if self.direct { 0 } else { self.row() }
    }

    /// Prepares rows.
    pub(super) fn prepare<'a>(
        &self,
        isa: Checked,
        x: &'a Tensor,
        rows: usize,
        buffer: &'a mut Vec<i32>,
    ) -> &'a [u8] {
        if self.direct {
            return x.bytes();
        }
        let words = (rows * self.row() + SLACK).div_ceil(4);
        if buffer.len() < words {
            buffer.resize(words, 0);
        }
        let input = self;
        match self.bytes {
            1 => {
                each!(x, x => isa.run(Prepare { input, rows, x, to: bytemuck::cast_slice_mut::<_, u8>(buffer) }))
            }
            2 => {
                each!(x, x => isa.run(Prepare { input, rows, x, to: bytemuck::cast_slice_mut::<_, i16>(buffer) }))
            }
            _ => each!(x, x => isa.run(Prepare { input, rows, x, to: &mut buffer[..] })),
        }
        bytemuck::cast_slice(buffer)
    }
}

/// Flat places of all indices of a shape, row-major.
fn offsets(shape: &[usize], strides: &[usize], place: impl Fn(usize, usize) -> usize) -> Vec<usize> {
    let mut all = vec![0];
    for (axis, n) in shape.iter().enumerate() {
        let along = |at: &usize| {
            let at = *at;
            (0..*n).map(move |i| (at, i))
        };
        let step = |(at, i)| at + place(axis, i) * strides[axis];
        all = all.iter().flat_map(along).map(step).collect();
    }
    all
}

struct Prepare<'a, S, O> {
    input: &'a Input,
    rows: usize,
    x: &'a [S],
    to: &'a mut [O],
}

impl<S: Stored, O: Stored> Kernel for Prepare<'_, S, O> {
    #[inline(always)]
    fn run(self) {
        let Self { input, rows, x, to } = self;
        if input.padded {
            to[..rows * input.prepared].fill(O::from_lane(input.zero.wrapping_neg()));
        }
        let from = x.chunks_exact(input.stored);
        for (x, to) in from.zip(to.chunks_exact_mut(input.prepared)).take(rows) {
            for piece in &input.pieces {
                let x = &x[piece.from..piece.from + piece.n];
                let to = &mut to[piece.to..piece.to + piece.n];
                for (x, to) in x.iter().zip(to) {
                    *to = O::from_lane(x.lane::<i32>().wrapping_sub(input.zero));
                }
            }
        }
    }
}
