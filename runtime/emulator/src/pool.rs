//! Pooling.

use hs_fixed::{Format, Interval};
use hs_hw::{Accum, Divide, Node, Pool, PoolKind, range};

use crate::{
    cast::Cast,
    eltwise::codes_range,
    finish::narrowest,
    lane::{Buf, Cx, Lane, Width},
    sum::StepSum,
    windows::Windows,
};
use hs_runtime::isa::{Checked, Kernel};

/// Pooling over windows, channel by channel.
#[derive(Debug)]
pub(crate) struct PoolStep {
    windows: Windows,
    channels: usize,
    kind: Kind,
    cast: Cast,
}

#[derive(Debug)]
enum Kind {
    Max,
    Average { sum: Sum, include_pad: bool, divide: Div },
}

#[derive(Debug)]
pub(crate) enum Sum {
    /// The sum of the values, shifted left at the end.
    Exact {
        left: u32,
    },
    Stepwise(Box<StepSum>),
}

#[derive(Debug)]
enum Div {
    Reciprocal(Box<[i64]>),
    TowardZero,
}

impl Div {
    /// Divides sums of `count` elements.
    fn apply<A: Lane>(&self, count: usize, sums: &mut [A]) {
        match self {
            Self::Reciprocal(r) => {
                let r = A::of64(r[count - 1]);
                sums.iter_mut().for_each(|sum| *sum = sum.times(r));
            }
            Self::TowardZero => {
                let count = A::of64(count as i64);
                sums.iter_mut().for_each(|sum| *sum = sum.over(count));
            }
        }
    }
}

impl Kind {
    fn is_fast(&self) -> bool {
        match self {
            Self::Max => true,
            Self::Average { sum, .. } => sum.is_fast(),
        }
    }
}

impl Sum {
    /// A sum of up to `n` values in `range`, and the range of the result on the accumulator's grid.
    pub(crate) fn plan(
        accum: &Accum,
        format: Format,
        range: Interval,
        n: usize,
        width: Width,
    ) -> Option<(Self, Interval)> {
        match accum {
            Accum::Exact(f) => {
                let left = (f.frac() - format.frac()) as u32;
                let all = range::pool_sum(range, n)?.refine(f.frac())?;
                (width.fits(all) && width.fits(range) && left < width.bits())
                    .then_some((Self::Exact { left }, all))
            }
            Accum::Stepwise { product, ty, order } => {
                let sum = StepSum::plan((product.as_ref(), ty, *order), format, range, width)?;
                Some((Self::Stepwise(Box::new(sum)), ty.format.interval()))
            }
        }
    }

    pub(crate) fn is_fast(&self) -> bool {
        match self {
            Self::Exact { .. } => true,
            Self::Stepwise(s) => s.is_fast(),
        }
    }

    pub(crate) fn scratch(&self, n: usize) -> usize {
        match self {
            Self::Exact { .. } => 1,
            Self::Stepwise(s) => s.scratch(n),
        }
    }

    pub(crate) fn run<A: Lane>(
        &self,
        isa: Checked,
        n: usize,
        mut term: impl FnMut(usize, &mut [A]),
        acc: &mut [A],
        scratch: &mut [A],
    ) {
        match self {
            Self::Exact { left } => {
                let row = &mut scratch[..acc.len()];
                acc.fill(A::ZERO);
                for i in 0..n {
                    term(i, row);
                    A::kernel(isa, Add { acc, row });
                }
                if *left > 0 {
                    acc.iter_mut().for_each(|a| *a = a.left(*left));
                }
            }
            Self::Stepwise(s) => s.run(isa, (n, None), term, acc, scratch),
        }
    }
}

/// Adds a row of terms.
struct Add<'a, A> {
    acc: &'a mut [A],
    row: &'a [A],
}

impl<A: Lane> Kernel for Add<'_, A> {
    #[inline(always)]
    fn run(self) {
        for (acc, term) in self.acc.iter_mut().zip(self.row) {
            *acc = acc.plus(*term);
        }
    }
}

impl PoolStep {
    /// Whether its casts run in the lanes.
    pub(crate) fn is_fast(&self) -> bool {
        self.cast.is_fast() && self.kind.is_fast()
    }

    pub(crate) fn plan(
        node: &Node,
        p: &Pool,
        shape: &[usize],
        (x, x_range): (Format, Interval),
        least: Width,
    ) -> Option<(Width, Self)> {
        let plan = |width: Width| {
            let (kind, cast) = match &p.kind {
                PoolKind::Max => (Kind::Max, Cast::plan(x, x_range, &node.ty, width)?),
                PoolKind::Average(a) => {
                    let n: usize = p.window.iter().map(|w| w.kernel).product();
                    let (sum, range) = Sum::plan(&a.accum, x, x_range, n, width)?;
                    let format = a.accum.format();
                    let (divide, cast) = match &a.divide {
                        Divide::Reciprocal(r) => {
                            let exact = format.mul(r.format).ok()?;
                            let product = range.mul(codes_range(r))?;
                            let fits = width.fits(codes_range(r)) && width.fits(range);
                            let cast = fits.then(|| Cast::plan(exact, product, &node.ty, width))??;
                            (Div::Reciprocal(r.data.iter().copied().collect()), cast)
                        }
                        Divide::TowardZero => (Div::TowardZero, Cast::plan(format, range, &node.ty, width)?),
                    };
                    (Kind::Average { sum, include_pad: a.include_pad, divide }, cast)
                }
            };
            Some((kind, cast))
        };
        let is_fast = |(kind, cast): &(Kind, Cast)| cast.is_fast() && kind.is_fast();
        let (width, (kind, cast)) = narrowest(least, is_fast, plan)?;
        let (spatial, channels) = shape.split_last().map_or((&[][..], 1), |(c, s)| (s, *c));
        let out = &node.shape[..node.shape.len() - 1];
        Some((width, Self { windows: Windows::new(&p.window, spatial, out), channels, kind, cast }))
    }

    /// The windows, where the result of each is its largest element as it is.
    pub(crate) fn largest(&self) -> Option<&Windows> {
        (matches!(self.kind, Kind::Max) && self.cast.is_nothing()).then_some(&self.windows)
    }

    /// The windows, where their elements are averaged by exact sums, which 32 bits hold if elements have 16.
    pub(crate) fn sums(&self) -> Option<&Windows> {
        let exact = matches!(&self.kind, Kind::Average { sum: Sum::Exact { .. }, .. });
        (exact && self.windows.kernel() < 1 << 15).then_some(&self.windows)
    }

    /// From such sums of window `p` to its results.
    pub(crate) fn average<A: Lane>(&self, isa: Checked, p: usize, sums: &mut [A]) {
        let Kind::Average { sum: Sum::Exact { left }, include_pad, divide } = &self.kind else {
            unreachable!("windows with sums are averaged")
        };
        sums.iter_mut().for_each(|sum| *sum = sum.left(*left));
        let count = if *include_pad { self.windows.kernel() } else { self.windows.covered(p).len() };
        divide.apply(count, sums);
        self.cast.apply(isa, sums);
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, cx: &mut Cx<'_>) {
        let isa = cx.isa;
        let store = |e: usize, row: &[A]| out.store(isa, e, row);
        self.reduce::<A>(self.channels, |e, row| x.load(isa, e, row), store, cx);
    }

    /// Reduces every window, for each of `channels` elements of a pixel, `cx.lanes` at a time.
    pub(crate) fn reduce<A: Lane>(
        &self,
        channels: usize,
        load: impl Fn(usize, &mut [A]),
        mut store: impl FnMut(usize, &[A]),
        cx: &mut Cx<'_>,
    ) {
        let (isa, lanes) = (cx.isa, cx.lanes);
        let kernel = self.windows.kernel();
        let scratch = match &self.kind {
            Kind::Max => 1,
            Kind::Average { sum, .. } => sum.scratch(kernel),
        };
        let (acc, scratch) = cx.temps.get::<A>((1 + scratch) * lanes).split_at_mut(lanes);
        for p in 0..self.windows.pixels() {
            let covered = self.windows.covered(p);
            for c in 0..channels {
                let element = |i: usize| covered[i] as usize * channels + c;
                match &self.kind {
                    Kind::Max => {
                        let row = &mut scratch[..lanes];
                        load(element(0), acc);
                        for i in 1..covered.len() {
                            load(element(i), row);
                            acc.iter_mut().zip(&*row).for_each(|(a, v)| *a = (*a).max(*v));
                        }
                    }
                    Kind::Average { sum, include_pad, divide } => {
                        sum.run(isa, covered.len(), |i, row| load(element(i), row), acc, scratch);
                        divide.apply(if *include_pad { kernel } else { covered.len() }, acc);
                    }
                }
                self.cast.apply(isa, acc);
                store(p * channels + c, acc);
            }
        }
    }
}
