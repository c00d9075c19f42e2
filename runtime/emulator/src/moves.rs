//! Ops that move elements.

use hs_fixed::{Format, Interval, Type};

use crate::{
    cast::Cast,
    lane::{Buf, Cx, Lane, Width},
    step::Source,
};

/// Marks an element that no input element moves to.
pub(crate) const ZERO: u32 = u32::MAX;

/// Every result element is an input element or zero.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) from: Box<[u32]>,
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

impl Gather {
    /// Result axis i is input axis `perm[i]`.
    pub(crate) fn permute(shape: &[usize], perm: &[usize]) -> Self {
        let strides = strides(shape);
        let mut from = vec![0u32];
        for p in perm {
            let step = strides[*p];
            from = from.iter().flat_map(|f| (0..shape[*p]).map(move |i| f + (i * step) as u32)).collect();
        }
        Self { from: from.into() }
    }

    /// Zeros around each axis.
    pub(crate) fn pad(shape: &[usize], before: &[usize], result: &[usize]) -> Self {
        let strides = strides(shape);
        let mut from = vec![0u32];
        for axis in 0..shape.len() {
            let step = |i: usize| {
                let at = i.checked_sub(before[axis]).filter(|at| *at < shape[axis]);
                at.map(|at| (at * strides[axis]) as u32)
            };
            let add = |f: u32, i| step(i).filter(|_| f != ZERO).map_or(ZERO, |s| f + s);
            from = from.iter().flat_map(|f| (0..result[axis]).map(move |i| add(*f, i))).collect();
        }
        Self { from: from.into() }
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, cx: &mut Cx<'_>) {
        let isa = cx.isa;
        let row = cx.temps.get::<A>(cx.lanes);
        for (e, from) in self.from.iter().enumerate() {
            if *from == ZERO {
                row.fill(A::ZERO);
            } else {
                x.load(isa, *from as usize, row);
            }
            out.store(isa, e, row);
        }
    }
}

/// Inputs side by side, each cast.
#[derive(Debug)]
pub(crate) struct Concat {
    pub(crate) parts: Vec<Part>,
}

/// One input of a concatenation.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) cast: Cast,
    /// Elements of a run, and how often one occurs.
    pub(crate) run: usize,
    pub(crate) outer: usize,
    /// Element where the first run begins, and the distance between runs.
    pub(crate) first: usize,
    pub(crate) stride: usize,
}

impl Concat {
    /// `parts`: for each input its format, range and number of elements.
    pub(crate) fn plan(
        ty: &Type,
        shape: &[usize],
        axis: usize,
        parts: &[(Format, Interval, usize)],
        width: Width,
    ) -> Option<Self> {
        let outer: usize = shape[..axis].iter().product();
        let stride: usize = shape[axis..].iter().product();
        let mut first = 0;
        let plan = |(format, range, len): &(Format, Interval, usize)| {
            let run = len / outer;
            let part = Part { cast: Cast::plan(*format, *range, ty, width)?, run, outer, first, stride };
            first += run;
            Some(part)
        };
        Some(Self { parts: parts.iter().map(plan).collect::<Option<_>>()? })
    }

    pub(crate) fn is_fast(&self) -> bool {
        self.parts.iter().all(|p| p.cast.is_fast())
    }
}

impl Part {
    pub(crate) fn run<A: Lane>(&self, x: Source<'_>, out: &mut Buf, cx: &mut Cx<'_>) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let row = cx.temps.get::<A>(lanes);
        for o in 0..self.outer {
            for i in 0..self.run {
                x.load(isa, o * self.run + i, row);
                self.cast.apply(isa, row);
                out.store(isa, o * self.stride + self.first + i, row);
            }
        }
    }
}
