//! Tensors of a block as rows: `[row][element]`, in the narrowest integers that hold their range.

use hs_fixed::Interval;

use crate::{
    io::Codes,
    lane::{Lane, Stored, Width},
};
use hs_runtime::isa::{Checked, Kernel};

/// Elements that a buffer has beyond its tensor's end, so that whole vectors may be read there.
const SLACK: usize = 64;

/// Integers that a tensor is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    U8,
    I8,
    I16,
    U16,
    I32,
    I64,
}

impl Storage {
    /// From the one that is tried first.
    const ALL: [Self; 6] = [Self::U8, Self::I8, Self::I16, Self::U16, Self::I32, Self::I64];

    /// The narrowest for codes of a range, zero included.
    pub(super) fn of(range: Interval) -> Self {
        let fits = |s: &Self| s.range().0 <= range.lo.min(0) && range.hi.max(0) <= s.range().1;
        Self::ALL.into_iter().find(fits).unwrap_or(Self::I64)
    }

    fn range(self) -> (i128, i128) {
        match self {
            Self::U8 => (0, i128::from(u8::MAX)),
            Self::I8 => (i128::from(i8::MIN), i128::from(i8::MAX)),
            Self::I16 => (i128::from(i16::MIN), i128::from(i16::MAX)),
            Self::U16 => (0, i128::from(u16::MAX)),
            Self::I32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
            Self::I64 => (i128::from(i64::MIN), i128::from(i64::MAX)),
        }
    }

    /// Width of an element.
    pub(super) fn width(self) -> Width {
        match self {
            Self::U8 | Self::I8 => Width::I8,
            Self::I16 | Self::U16 => Width::I16,
            Self::I32 => Width::I32,
            Self::I64 => Width::I64,
        }
    }

    /// Bytes of an element.
    pub(super) fn bytes(self) -> usize {
        (self.width().bits() / 8) as usize
    }
}

macro_rules! stored {
    ($($t:ty)*) => { $(
        impl Stored for $t {
            #[inline(always)]
            fn lane<A: Lane>(self) -> A {
                A::of32(i32::from(self))
            }
            #[inline(always)]
            fn from_lane<A: Lane>(a: A) -> Self {
                a.to32() as $t
            }
        }
    )* };
}

stored!(u8 i8 i16 u16);

/// A buffer of a block.
#[derive(Debug)]
pub(super) enum Tensor {
    U8(Vec<u8>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

/// The same expression for every kind of element.
macro_rules! each {
    ($tensor:expr, $v:ident => $body:expr) => {
        match $tensor {
            Tensor::U8($v) => $body,
            Tensor::I8($v) => $body,
            Tensor::I16($v) => $body,
            Tensor::U16($v) => $body,
            Tensor::I32($v) => $body,
            Tensor::I64($v) => $body,
        }
    };
}
pub(super) use each;

impl Default for Tensor {
    fn default() -> Self {
        Self::U8(Vec::new())
    }
}

impl Tensor {
    pub(super) fn new(storage: Storage) -> Self {
        match storage {
            Storage::U8 => Self::U8(Vec::new()),
            Storage::I8 => Self::I8(Vec::new()),
            Storage::I16 => Self::I16(Vec::new()),
            Storage::U16 => Self::U16(Vec::new()),
            Storage::I32 => Self::I32(Vec::new()),
            Storage::I64 => Self::I64(Vec::new()),
        }
    }

    /// Makes room for `n` elements.
    pub(super) fn reserve(&mut self, n: usize) {
        each!(self, v => v.resize(v.len().max(n + SLACK), 0));
    }

    /// The bytes, in the machine's order.
    pub(super) fn bytes(&self) -> &[u8] {
        each!(self, v => bytemuck::cast_slice(v))
    }

    /// The first `n` elements, which `write` gives as bytes, the lowest first.
    pub(super) fn receive(&mut self, n: usize, write: impl FnOnce(Codes<'_>)) {
        match self {
            Self::U8(v) => write(Codes::B1(bytemuck::cast_slice_mut(&mut v[..n]))),
            Self::I8(v) => write(Codes::B1(bytemuck::cast_slice_mut(&mut v[..n]))),
            Self::I16(v) => write(Codes::B2(bytemuck::cast_slice_mut(&mut v[..n]))),
            Self::U16(v) => write(Codes::B2(bytemuck::cast_slice_mut(&mut v[..n]))),
            Self::I32(v) => write(Codes::B4(bytemuck::cast_slice_mut(&mut v[..n]))),
            Self::I64(v) => write(Codes::B8(bytemuck::cast_slice_mut(&mut v[..n]))),
        }
        if cfg!(target_endian = "big") {
            each!(self, v => v[..n].iter_mut().for_each(|v| *v = v.swap_bytes()));
        }
    }

    /// Takes the first `n` elements of a tensor of its kind, from `at` on.
    pub(super) fn take(&mut self, at: usize, from: &Self, n: usize) {
        match (from, self) {
            (Self::U8(from), Self::U8(to)) => to[at..at + n].copy_from_slice(&from[..n]),
            (Self::I8(from), Self::I8(to)) => to[at..at + n].copy_from_slice(&from[..n]),
            (Self::I16(from), Self::I16(to)) => to[at..at + n].copy_from_slice(&from[..n]),
            (Self::U16(from), Self::U16(to)) => to[at..at + n].copy_from_slice(&from[..n]),
            (Self::I32(from), Self::I32(to)) => to[at..at + n].copy_from_slice(&from[..n]),
            (Self::I64(from), Self::I64(to)) => to[at..at + n].copy_from_slice(&from[..n]),
            (_, to) => unreachable!("planned: {to:?} takes its own kind"),
        }
    }

    /// Elements from `at` on into `to`.
    pub(super) fn load<A: Lane>(&self, isa: Checked, at: usize, to: &mut [A]) {
        each!(self, v => A::kernel(isa, Load { from: &v[at..at + to.len()], to }));
    }

    /// `from` into the elements from `at` on.
    pub(super) fn store<A: Lane>(&mut self, isa: Checked, at: usize, from: &[A]) {
        each!(self, v => A::kernel(isa, Store { from, to: &mut v[at..at + from.len()] }));
    }
}

struct Load<'a, S, A> {
    from: &'a [S],
    to: &'a mut [A],
}

impl<S: Stored, A: Lane> Kernel for Load<'_, S, A> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = from.lane());
    }
}

struct Store<'a, A, S> {
    from: &'a [A],
    to: &'a mut [S],
}

impl<A: Lane, S: Stored> Kernel for Store<'_, A, S> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = S::from_lane(*from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_is_chosen() {
        let of = |lo, hi| Storage::of(Interval::new(lo, hi, 0));
        assert_eq!([of(0, 127), of(3, 255), of(-1, 127)], [Storage::U8, Storage::U8, Storage::I8]);
        assert_eq!([of(-1, 128), of(0, 256), of(0, 65535)], [Storage::I16, Storage::I16, Storage::U16]);
        assert_eq!([of(-1, 65535), of(0, 1 << 31)], [Storage::I32, Storage::I64]);
        // Zero is among them.
        assert_eq!([of(-5, -3), of(300, 65535)], [Storage::I8, Storage::U16]);
    }
}
