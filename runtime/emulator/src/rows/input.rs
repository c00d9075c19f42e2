//! The input of a dot product as its kernel reads it: elements of one width, zeros around them, so that every output
//! pixel finds its terms at the same distances from its own place.

use hs_hw::{Dot, Window};

use super::{
    grown,
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
    /// Whether the stored rows are the prepared ones.
    direct: bool,
    /// What becomes of prepared elements where each output has words of its own.
    taps: Option<Taps>,
}

/// Each element becomes a word of itself and those that follow it.
#[derive(Debug, Clone, Copy)]
struct Taps {
    /// Elements of a word, from 1 to 4, and the distance between them.
    n: usize,
    step: usize,
}

/// Memory for prepared rows, and for their words.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    elements: Vec<i32>,
    words: Vec<i32>,
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
        let bytes = 4 / multiply.group();
        let same = match bytes {
            1 => storage == Storage::U8,
            2 => storage == Storage::I16,
            _ => storage == Storage::I32,
        };
        let direct = same && zero == 0 && !padded;
        let (n, step) = dot.window.last().map_or((1, 0), |w| (w.kernel, w.dilation * channels));
        let taps = Taps { n: n.min(multiply.group()), step };
        let taps = (multiply.is_each() && bytes < 4).then_some(taps);
        (Self { zero, bytes, stored, prepared, pieces: pieces.into(), direct, taps }, places)
    }

    /// Bytes of a prepared row.
    pub(super) fn row(&self) -> usize {
        self.prepared * if self.taps.is_some() { 4 } else { self.bytes }
    }

    /// Bytes of memory that preparing a row takes.
    pub(super) fn scratch(&self) -> usize {
        let elements = if self.direct { 0 } else { self.prepared * self.bytes };
        elements + self.taps.map_or(0, |_| self.row())
    }

    /// Prepares rows.
    pub(super) fn prepare<'a>(
        &self,
        isa: Checked,
        x: &'a Tensor,
        rows: usize,
        memory: &'a mut Prepared,
    ) -> &'a [u8] {
        let Prepared { elements, words } = memory;
        let elements = if self.direct { x.bytes() } else { self.elements(isa, x, rows, elements) };
        let Some(taps) = self.taps else { return elements };
        let n = rows * self.prepared;
        let to = grown(words, n + SLACK / 4);
        let (elements, of) = (&elements[..n * self.bytes], &mut to[..n]);
        match self.bytes {
            1 => isa.run(Words { from: elements, to: of, taps }),
            _ => isa.run(Words { from: bytemuck::cast_slice::<_, u16>(elements), to: of, taps }),
        }
        bytemuck::cast_slice(to)
    }

    fn elements<'a>(&self, isa: Checked, x: &Tensor, rows: usize, to: &'a mut Vec<i32>) -> &'a [u8] {
        let input = self;
        let to = grown(to, (rows * self.prepared * self.bytes + SLACK).div_ceil(4));
        match self.bytes {
            1 => {
                each!(x, x => isa.run(Prepare { input, rows, x, to: bytemuck::cast_slice_mut::<_, u8>(to) }))
            }
            2 => {
                each!(x, x => isa.run(Prepare { input, rows, x, to: bytemuck::cast_slice_mut::<_, i16>(to) }))
            }
            _ => each!(x, x => isa.run(Prepare { input, rows, x, to: &mut *to })),
        }
        bytemuck::cast_slice(to)
    }
}

/// Makes words of elements; there are none beyond the last.
struct Words<'a, S> {
    from: &'a [S],
    to: &'a mut [i32],
    taps: Taps,
}

impl<S: Copy + Into<u32>> Words<'_, S> {
    #[inline(always)]
    fn of<const N: usize>(self) {
        let Self { from, to, taps: Taps { step, .. } } = self;
        let bits = 8 * size_of::<S>();
        let whole = from.len().saturating_sub((N - 1) * step);
        let (main, rest) = to.split_at_mut(whole);
        let streams: [&[S]; N] =
            std::array::from_fn(|i| if whole > 0 { &from[i * step..][..whole] } else { &[] });
        for (e, to) in main.iter_mut().enumerate() {
            let mut word = 0u32;
            for (i, stream) in streams.iter().enumerate() {
                word |= stream[e].into() << (i * bits);
            }
            *to = word as i32;
        }
        for (e, to) in rest.iter_mut().enumerate() {
            let element = |i: usize| from.get(whole + e + i * step).map_or(0, |x| (*x).into());
            *to = (0..N).fold(0, |word, i| word | element(i) << (i * bits)) as i32;
        }
    }
}

impl<S: Copy + Into<u32>> Kernel for Words<'_, S> {
    #[inline(always)]
    fn run(self) {
        match self.taps.n {
            1 => self.of::<1>(),
            2 => self.of::<2>(),
            3 => self.of::<3>(),
            _ => self.of::<4>(),
        }
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
        let nothing = O::from_lane(input.zero.wrapping_neg());
        let from = x.chunks_exact(input.stored);
        for (x, to) in from.zip(to.chunks_exact_mut(input.prepared)).take(rows) {
            let mut end = 0;
            for piece in &input.pieces {
                let x = &x[piece.from..piece.from + piece.n];
                to[end..piece.to].fill(nothing);
                end = piece.to + piece.n;
                for (x, to) in x.iter().zip(&mut to[piece.to..end]) {
                    *to = O::from_lane(x.lane::<i32>().wrapping_sub(input.zero));
                }
            }
            to[end..].fill(nothing);
        }
    }
}
