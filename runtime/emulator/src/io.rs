//! Rows of a batch and lanes of a block.

use std::ops::Range;

use hs_runtime::{RunError, codes::Layout, isa::Checked};

use crate::{
    lane::{Buf, Packing},
    run::Sink,
    transpose::{Floats, SLACK, TILE, Words},
};

/// Codes of rows, one row after the other, as so many of their low bytes as their place in a block has.
pub(crate) enum Codes<'a> {
    B1(&'a mut [[u8; 1]]),
    B2(&'a mut [[u8; 2]]),
    B4(&'a mut [[u8; 4]]),
    B8(&'a mut [[u8; 8]]),
}

/// Writes the codes of an input's rows, in hardware order; it may use the memory.
pub(crate) type Encode<'a> =
    dyn Fn(usize, Range<usize>, Codes<'_>, &mut Vec<u8>) -> Result<(), RunError> + Sync + 'a;

/// Calls a method of a layout that is generic over the number of bytes.
macro_rules! by_bytes {
    ($codes:expr, |$out:ident| $call:expr) => {
        match $codes {
            $crate::io::Codes::B1($out) => $call,
            $crate::io::Codes::B2($out) => $call,
            $crate::io::Codes::B4($out) => $call,
            $crate::io::Codes::B8($out) => $call,
        }
    };
}
pub(crate) use by_bytes;

/// Bytes of rows that are encoded before they are transposed: they stay in the first-level cache.
const STRIP: usize = 8 << 10;

/// `rows` of `len` elements from `encode`, which is asked for some of them at a time, into a buffer's lanes; lanes
/// without a row are code 0. `bytes` is memory.
pub(crate) fn fill(
    isa: Checked,
    buf: &mut Buf,
    (rows, len, lanes): (usize, usize, usize),
    bytes: &mut Vec<u8>,
    mut encode: impl FnMut(Range<usize>, Codes<'_>),
) {
    let size = match buf {
        Buf::I32 { packing, .. } => 4 / packing.group(),
        Buf::I64(_) => 8,
    };
    let stride = len * size;
    let strip = (STRIP / stride / TILE * TILE).clamp(TILE, lanes);
    if bytes.len() < strip * stride + SLACK {
        bytes.resize(strip * stride + SLACK, 0);
    }
    for first in (0..lanes).step_by(strip) {
        let bytes = &mut bytes[..strip.min(lanes - first) * stride + SLACK];
        let here = first.min(rows)..rows.min(first + strip);
        let (codes, empty) = bytes.split_at_mut(here.len() * stride);
        empty.fill(0);
        if !here.is_empty() {
            encode(
                here,
                match size {
                    1 => Codes::B1(bytemuck::cast_slice_mut(codes)),
                    2 => Codes::B2(bytemuck::cast_slice_mut(codes)),
                    4 => Codes::B4(bytemuck::cast_slice_mut(codes)),
                    _ => Codes::B8(bytemuck::cast_slice_mut(codes)),
                },
            );
        }
        match buf {
            Buf::I32 { words, packing } => {
                // Stored is code - zero, in 8 or 16 bits: one bit differs, or none.
                let flip = match *packing {
                    Packing::Single => 0,
                    Packing::Pairs { zero } => (zero & 0xffff).wrapping_mul(0x0001_0001),
                    Packing::Quads { zero } => (zero & 0xff).wrapping_mul(0x0101_0101),
                };
                Words { rows: bytes, stride, flip, to: words, lanes, first }.run(isa);
            }
            Buf::I64(words) => {
                for (row, codes) in bytes[..bytes.len() - SLACK].chunks_exact(stride).enumerate() {
                    for (word, code) in
                        words[first + row..].iter_mut().step_by(lanes).zip(codes.as_chunks().0)
                    {
                        *word = i64::from_le_bytes(*code);
                    }
                }
            }
        }
    }
}

/// Memory for results.
#[derive(Default)]
pub(crate) struct Results {
    codes: Vec<i64>,
    narrow: Vec<i32>,
    wide: Vec<i64>,
}

impl Results {
    /// Hands all codes to a sink: `write` puts them in hardware order, row after row.
    pub(crate) fn pass(
        &mut self,
        n: usize,
        layout: &Layout,
        sink: Sink<'_>,
        write: impl FnOnce(&mut [i64], &mut Vec<i64>),
    ) {
        let codes = &mut self.codes;
        codes.resize(n, 0);
        write(codes, &mut self.wide);
        match sink {
            Sink::F32(to) => layout.decode_f32(codes, to),
            Sink::F64(to) => layout.decode_f64(codes, to),
            Sink::Raw(to) => layout.decode_raw(codes, to),
            Sink::Codes(to) => to.copy_from_slice(codes),
        }
    }
}

/// What codes are multiplied with where that and a conversion are all it takes to single precision.
pub(crate) fn scale(layout: &Layout) -> Option<f32> {
    layout.f32_scale().filter(|_| layout.is_in_order())
}

/// A buffer's lanes as rows of values or codes.
pub(crate) fn drain(
    buf: &Buf,
    (rows, lanes): (usize, usize),
    layout: &Layout,
    sink: Sink<'_>,
    results: &mut Results,
) {
    let (len, isa) = (layout.row_len(), layout.checked());
    let scale = scale(layout).filter(|_| matches!(buf, Buf::I32 { .. }));
    let (to, scale) = match (sink, scale) {
        (Sink::F32(to), Some(scale)) => (to, scale),
        (sink, _) => {
            return results.pass(rows * len, layout, sink, |codes, wide| {
                wide.resize(lanes, 0);
                for e in 0..len {
                    buf.load(isa, e, wide);
                    codes[e..].iter_mut().step_by(len).zip(&*wide).for_each(|(to, code)| *to = *code);
                }
            });
        }
    };
    let codes = match buf {
        Buf::I32 { words, packing: Packing::Single } => words,
        Buf::I32 { .. } | Buf::I64(_) => {
            let codes = &mut results.narrow;
            codes.resize(len * lanes, 0);
            codes.chunks_exact_mut(lanes).enumerate().for_each(|(e, row)| buf.load(isa, e, row));
            &*codes
        }
    };
    Floats { codes, lanes, scale, to, len }.run(isa);
}
