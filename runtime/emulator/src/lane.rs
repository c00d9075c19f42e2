//! Integers of a lane: the widths that are computed in and stored.

use std::fmt;

use hs_fixed::Interval;
use serde::Serialize;

use crate::dot::{Piece, TileLane};
use hs_runtime::isa::{Checked, Kernel};

/// Width of the integers that a node is computed in, or its tensor stored in. Sums have 32 bits or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// 8 bits, signed or not.
    I8,
    /// 16 bits, signed or not.
    I16,
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// 128 bits; nothing is stored in them.
    I128,
}

impl Width {
    /// All, from the narrowest.
    pub const ALL: [Self; 5] = [Self::I8, Self::I16, Self::I32, Self::I64, Self::I128];

    /// Those that lanes are computed in.
    pub(crate) const LANES: [Self; 3] = [Self::I32, Self::I64, Self::I128];

    /// Number of bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::I8 => 8,
            Self::I16 => 16,
            Self::I32 => 32,
            Self::I64 => 64,
            Self::I128 => 128,
        }
    }

    /// Largest value.
    fn largest(self) -> i128 {
        i128::MAX >> (128 - self.bits())
    }

    /// Whether `lo..=hi` fits.
    pub(crate) fn holds(self, lo: i128, hi: i128) -> bool {
        !self.largest() <= lo && hi <= self.largest()
    }

    /// Whether every code of the interval fits.
    pub(crate) fn fits(self, i: Interval) -> bool {
        self.holds(i.lo, i.hi)
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.bits())
    }
}

/// An integer that lanes compute in. Arithmetic wraps: the plan has proved that nothing is lost, or that only
/// the low bits matter.
pub(crate) trait Lane: TileLane + Copy + Ord + Send + Sync + 'static {
    const BITS: u32;
    const ZERO: Self;
    /// The low bits of a constant.
    fn of(v: i128) -> Self;
    fn wide(self) -> i128;
    fn of32(v: i32) -> Self;
    fn of64(v: i64) -> Self;
    fn to32(self) -> i32;
    fn to64(self) -> i64;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Division toward zero; `other` is positive.
    fn over(self, other: Self) -> Self;
    fn left(self, by: u32) -> Self;
    /// Arithmetic shift.
    fn right(self, by: u32) -> Self;
    fn and(self, other: Self) -> Self;
    /// Runs a kernel on lanes of this type in its copy for the instruction set, where there is one.
    fn kernel(isa: Checked, kernel: impl Kernel);
    /// The rows of this type among the scratch memory.
    fn rows(temps: &mut Temps) -> &mut Vec<Self>;
}

macro_rules! lane {
    ($t:ty, $field:ident, $kernel:expr) => {
        impl Lane for $t {
            const BITS: u32 = <$t>::BITS;
            const ZERO: Self = 0;
            #[inline(always)]
            fn of(v: i128) -> Self {
                v as $t
            }
            #[inline(always)]
            fn wide(self) -> i128 {
                i128::from(self)
            }
            #[inline(always)]
            fn of32(v: i32) -> Self {
                v as $t
            }
            #[inline(always)]
            fn of64(v: i64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn to32(self) -> i32 {
                self as i32
            }
            #[inline(always)]
            fn to64(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                self.wrapping_div(other)
            }
            #[inline(always)]
            fn left(self, by: u32) -> Self {
                self.wrapping_shl(by)
            }
            #[inline(always)]
            fn right(self, by: u32) -> Self {
                self.wrapping_shr(by)
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline(always)]
            fn kernel(isa: Checked, kernel: impl Kernel) {
                $kernel(isa, kernel);
            }
            fn rows(temps: &mut Temps) -> &mut Vec<Self> {
                &mut temps.$field
            }
        }
    };
}

lane!(i32, i32, Checked::run);
lane!(i64, i64, Checked::run);
// No instruction set helps 128-bit integers.
lane!(i128, i128, |_, kernel| Kernel::run(kernel));

/// Rows of lanes that a step needs while it runs; kept between blocks.
#[derive(Debug, Default)]
pub(crate) struct Temps {
    i32: Vec<i32>,
    i64: Vec<i64>,
    i128: Vec<i128>,
    pieces: Vec<Piece>,
}

impl Temps {
    /// `n` places of whatever content, and memory for the terms of a tile.
    pub(crate) fn tile(&mut self, n: usize) -> (&mut [i32], &mut Vec<Piece>) {
        if self.i32.len() < n {
            self.i32.resize(n, 0);
        }
        (&mut self.i32[..n], &mut self.pieces)
    }

    /// `n` places of whatever content.
    pub(crate) fn get<A: Lane>(&mut self, n: usize) -> &mut [A] {
        let rows = A::rows(self);
        if rows.len() < n {
            rows.resize(n, A::ZERO);
        }
        &mut rows[..n]
    }
}

/// What a step runs with.
pub(crate) struct Cx<'a> {
    pub(crate) isa: Checked,
    /// Lanes of the block, a multiple of the kernels' chunk.
    pub(crate) lanes: usize,
    pub(crate) temps: &'a mut Temps,
}

/// A stored integer.
pub(crate) trait Stored: Copy + Send + Sync {
    fn lane<A: Lane>(self) -> A;
    fn from_lane<A: Lane>(a: A) -> Self;
}

impl Stored for i32 {
    #[inline(always)]
    fn lane<A: Lane>(self) -> A {
        A::of32(self)
    }
    #[inline(always)]
    fn from_lane<A: Lane>(a: A) -> Self {
        a.to32()
    }
}

impl Stored for i64 {
    #[inline(always)]
    fn lane<A: Lane>(self) -> A {
        A::of64(self)
    }
    #[inline(always)]
    fn from_lane<A: Lane>(a: A) -> Self {
        a.to64()
    }
}

/// How the codes of a tensor lie in 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// A code a word.
    Single,
    /// Two neighbouring elements a word; 16 signed bits hold code - zero.
    Pairs { zero: i32 },
    /// Four neighbouring elements a word; 8 unsigned bits hold code - zero.
    Quads { zero: i32 },
}

impl Packing {
    /// The packing of `group` codes of a range, where they fit.
    pub(crate) fn of(group: usize, range: Interval) -> Option<Self> {
        let within = |lo: i128, hi: i128| lo <= range.lo && range.hi <= hi;
        match group {
            4 if within(0, 255) => Some(Self::Quads { zero: 0 }),
            4 if within(-128, 127) => Some(Self::Quads { zero: -128 }),
            2 if within(-32768, 32767) => Some(Self::Pairs { zero: 0 }),
            2 if within(0, 65535) => Some(Self::Pairs { zero: 32768 }),
            1 => Some(Self::Single),
            _ => None,
        }
    }

    /// Codes a word.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Pairs { .. } => 2,
            Self::Quads { .. } => 4,
        }
    }

    /// Whether no code of a packed tensor is lost when values are clamped to what the packing holds, and not to these
    /// bounds: they are at its ends, or beyond them, where the tensor's range proves that nothing goes.
    pub(crate) fn clamps(self, lo: i32, hi: i32) -> bool {
        let (least, most) = match self {
            Self::Single => return false,
            Self::Pairs { zero } => (zero - 32768, zero + 32767),
            Self::Quads { zero } => (zero, zero + 255),
        };
        lo <= least && hi >= most
    }

    /// The code that zero bits stand for.
    pub(crate) fn zero(self) -> i32 {
        match self {
            Self::Single => 0,
            Self::Pairs { zero } | Self::Quads { zero } => zero,
        }
    }
}

/// A tensor of a block: `[element][lane]`, or `[group of elements][lane]` where several share a word.
#[derive(Debug)]
pub(crate) enum Buf {
    /// Codes that fit 32 bits.
    I32 { words: Vec<i32>, packing: Packing },
    /// Codes that fit 64 bits.
    I64(Vec<i64>),
}

impl Buf {
    pub(crate) fn new(width: Width) -> Self {
        match width {
            Width::I8 | Width::I16 | Width::I32 => Self::I32 { words: Vec::new(), packing: Packing::Single },
            Width::I64 | Width::I128 => Self::I64(Vec::new()),
        }
    }

    /// Makes room for `n` words.
    pub(crate) fn reserve(&mut self, n: usize) {
        match self {
            Self::I32 { words, .. } => words.resize(words.len().max(n), 0),
            Self::I64(v) => v.resize(v.len().max(n), 0),
        }
    }

    /// Takes a tensor that lies in this way.
    pub(crate) fn begin(&mut self, as_packed: Packing) {
        if let Self::I32 { packing, .. } = self {
            *packing = as_packed;
        }
    }

    /// Element `e` of every lane into `row`.
    pub(crate) fn load<A: Lane>(&self, isa: Checked, e: usize, row: &mut [A]) {
        isa.run(Load { buf: self, e, row });
    }

    /// `row` into element `e` of every lane.
    pub(crate) fn store<A: Lane>(&mut self, isa: Checked, e: usize, row: &[A]) {
        isa.run(Store { buf: self, e, row });
    }

    /// `rows` of `lanes` into neighbouring elements, from element `e` on.
    pub(crate) fn store_rows<A: Lane>(&mut self, isa: Checked, e: usize, lanes: usize, rows: &[A]) {
        for (i, row) in rows.chunks_exact(lanes).enumerate() {
            self.store(isa, e + i, row);
        }
    }
}

struct Load<'a, A> {
    buf: &'a Buf,
    e: usize,
    row: &'a mut [A],
}

impl<A: Lane> Kernel for Load<'_, A> {
    #[inline(always)]
    fn run(self) {
        let Self { buf, e, row } = self;
        let n = row.len();
        match buf {
            Buf::I32 { words, packing } => {
                let at = e / packing.group() * n;
                let words = &words[at..at + n];
                match *packing {
                    Packing::Single => copy(words, row),
                    Packing::Pairs { zero } => {
                        let up = 16 * (1 - e % 2) as u32;
                        for (w, to) in words.iter().zip(row) {
                            *to = A::of32((w.wrapping_shl(up) >> 16).wrapping_add(zero));
                        }
                    }
                    Packing::Quads { zero } => {
                        let down = 8 * (e % 4) as u32;
                        for (w, to) in words.iter().zip(row) {
                            *to = A::of32((w.wrapping_shr(down) & 0xff).wrapping_add(zero));
                        }
                    }
                }
            }
            Buf::I64(v) => copy(&v[e * n..(e + 1) * n], row),
        }
    }
}

struct Store<'a, A> {
    buf: &'a mut Buf,
    e: usize,
    row: &'a [A],
}

impl<A: Lane> Kernel for Store<'_, A> {
    #[inline(always)]
    fn run(self) {
        let Self { buf, e, row } = self;
        let n = row.len();
        match buf {
            Buf::I32 { words, packing } => {
                let at = e / packing.group() * n;
                let words = &mut words[at..at + n];
                let (mask, at) = match packing {
                    Packing::Single => return copy_back(row, words),
                    Packing::Pairs { .. } => (0xffff, 16 * (e % 2) as u32),
                    Packing::Quads { .. } => (0xff, 8 * (e % 4) as u32),
                };
                let (zero, hole) = (packing.zero(), !i32::wrapping_shl(mask, at));
                for (v, word) in row.iter().zip(words) {
                    *word = *word & hole | (v.to32().wrapping_sub(zero) & mask).wrapping_shl(at);
                }
            }
            Buf::I64(v) => copy_back(row, &mut v[e * n..(e + 1) * n]),
        }
    }
}

#[inline(always)]
fn copy<S: Stored, A: Lane>(from: &[S], to: &mut [A]) {
    for (from, to) in from.iter().zip(to) {
        *to = from.lane();
    }
}

#[inline(always)]
fn copy_back<S: Stored, A: Lane>(from: &[A], to: &mut [S]) {
    for (from, to) in from.iter().zip(to) {
        *to = S::from_lane(*from);
    }
}
