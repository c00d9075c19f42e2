//! Integers of a lane: the widths that are computed in and stored.

use std::fmt;

use hs_fixed::Interval;
use serde::Serialize;

use crate::dot::TileLane;
use hs_runtime::isa::{Checked, Kernel};

/// Width of the integers that a node is computed in, or its tensor stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// 128 bits; nothing is stored in them.
    I128,
}

impl Width {
    /// All, from the narrowest.
    pub const ALL: [Self; 3] = [Self::I32, Self::I64, Self::I128];

    /// Number of bits.
    pub fn bits(self) -> u32 {
        match self {
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
}

impl Temps {
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

/// A tensor of a block: `[element][lane]`.
#[derive(Debug)]
pub(crate) enum Buf {
    /// Codes that fit 32 bits.
    I32(Vec<i32>),
    /// Codes that fit 64 bits.
    I64(Vec<i64>),
}

impl Buf {
    pub(crate) fn new(width: Width) -> Self {
        match width {
            Width::I32 => Self::I32(Vec::new()),
            Width::I64 | Width::I128 => Self::I64(Vec::new()),
        }
    }

    /// Makes room for `n` integers.
    pub(crate) fn reserve(&mut self, n: usize) {
        match self {
            Self::I32(v) => v.resize(v.len().max(n), 0),
            Self::I64(v) => v.resize(v.len().max(n), 0),
        }
    }

    /// Element `e` of every lane into `row`.
    pub(crate) fn load<A: Lane>(&self, e: usize, row: &mut [A]) {
        let at = e * row.len();
        match self {
            Self::I32(v) => copy(&v[at..at + row.len()], row),
            Self::I64(v) => copy(&v[at..at + row.len()], row),
        }
    }

    /// `row` into element `e` of every lane.
    pub(crate) fn store<A: Lane>(&mut self, e: usize, row: &[A]) {
        self.store_at(e * row.len(), row);
    }

    /// `rows` of neighbouring elements, from position `at` on.
    pub(crate) fn store_at<A: Lane>(&mut self, at: usize, rows: &[A]) {
        match self {
            Self::I32(v) => copy_back(rows, &mut v[at..at + rows.len()]),
            Self::I64(v) => copy_back(rows, &mut v[at..at + rows.len()]),
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
