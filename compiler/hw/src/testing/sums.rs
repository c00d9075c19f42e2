//! Random activations, accumulators, windows and tables.

use hs_fixed::{Format, Interval, Overflow, Type};

use super::build::Builder;
use crate::{Accum, Act, Codes, Index, Lut, Order, Window};

/// Widest accumulator that is asked for; some room stays for acts.
const WIDEST: u32 = 120;

impl Builder<'_> {
    /// Room for a constant factor beside `x`, with bits to spare for a sum.
    pub(super) fn factor_width(&self, x: Format) -> u32 {
        (WIDEST - 12).saturating_sub(x.width())
    }

    /// A function of an exact value of format `exact` in `range`.
    pub(super) fn act(&mut self, exact: Format, range: Interval, shape: &[usize]) -> Option<Act> {
        let act = match self.rng.size(0..=9) {
            0..=3 => Act::None,
            4 | 5 => Act::RELU,
            6 | 7 => {
                let most = i128::from(i64::MAX);
                let (lo, hi) = (range.lo.clamp(-most, most), range.hi.clamp(-most, most));
                let (a, b) = (self.rng.wide(lo..=hi) as i64, self.rng.wide(lo..=hi) as i64);
                let (lo, hi) = (a.min(b), a.max(b));
                Act::Clamp { lo: self.rng.chance(70).then_some(lo), hi: self.rng.chance(70).then_some(hi) }
            }
            _ => {
                let format = self.constant_format(WIDEST.saturating_sub(exact.width()));
                Act::Slope(self.broadcast(format, shape))
            }
        };
        act.format(exact).ok()?;
        Some(act)
    }

    /// An accumulator of up to `n` terms of format `terms` that start from an `init` and whose exact partial
    /// sums lie in `partial`.
    pub(super) fn accum(
        &mut self,
        terms: Format,
        init: Option<Format>,
        partial: Interval,
        n: usize,
        products: bool,
    ) -> Option<Accum> {
        if !self.config.stepwise || self.rng.chance(55) {
            let finest = init.map_or(terms.frac(), |f| f.frac().max(terms.frac()));
            let exact = partial.refine(finest.max(partial.frac))?.format().ok()?;
            let more = if self.rng.chance(70) { 0 } else { self.rng.int(1..=3) as u32 };
            let signed = exact.is_signed() || self.rng.chance(30);
            let width = exact.width() + more + u32::from(signed && !exact.is_signed());
            let int = width as i32 - exact.frac();
            let format = Format::new(signed, width, int).ok().filter(|f| f.width() <= WIDEST)?;
            return Some(Accum::Exact(format));
        }
        let mut product = (products && self.rng.chance(50)).then(|| self.ty(terms.interval()));
        let mut ty = self.ty(partial);
        if self.config.usual_types {
            product = product.map(|_| ty);
        }
        let terms = product.map_or(terms, |p| p.format);
        let order = match self.rng.size(0..=4) {
            0 => Order::Any,
            1 => Order::Sequential,
            2 => Order::Strided { rf: self.rng.size(1..=n) },
            3 => Order::Blocked { rf: self.rng.size(1..=n) },
            _ => Order::Tree,
        };
        if order == Order::Any {
            let frac = terms.frac() + self.rng.int(0..=2) as i32;
            let (signed, width) = (ty.format.is_signed(), ty.format.width());
            ty.format = Format::new(signed, width, width as i32 - frac).ok()?;
            ty.overflow = Overflow::WRAP;
        }
        let sum = ty.format.add(terms).ok()?;
        ty.format.add(ty.format).ok().filter(|f| f.width().max(sum.width()) <= WIDEST)?;
        Some(Accum::Stepwise { product, ty, order })
    }

    /// A window along an axis of `n` elements. `pooling`: each position covers an element of the input.
    pub(super) fn window(&mut self, n: usize, pooling: bool) -> Option<Window> {
        let kernel = match self.rng.size(0..=9) {
            0 | 1 => 1,
            2 => n,
            _ => self.rng.size(1..=3.min(n + 1)),
        };
        let stride = if self.rng.chance(60) { 1 } else { self.rng.size(1..=3) };
        let dilation = if self.rng.chance(80) { 1 } else { 2 };
        let extent = (kernel - 1) * dilation;
        let pad = if self.rng.chance(50) { 0 } else { extent.min(2) };
        let (pad_begin, pad_end) = (self.rng.size(0..=pad), self.rng.size(0..=pad));
        let w = Window { kernel, stride, dilation, pad_begin, pad_end };
        let outputs = w.output(n).filter(|o| *o <= self.config.max_dim)?;
        let covers = |o: usize| (0..kernel).any(|k| w.position(o, k, n).is_some());
        (!pooling || (0..outputs).all(covers)).then_some(w)
    }

    /// One window a spatial axis of `shape`, and the shape of the outputs.
    pub(super) fn windows(&mut self, shape: &[usize], pooling: bool) -> Option<(Vec<Window>, Vec<usize>)> {
        let spatial = &shape[..shape.len() - 1];
        let windows: Option<Vec<Window>> = spatial.iter().map(|n| self.window(*n, pooling)).collect();
        let windows = windows?;
        let out = windows.iter().zip(spatial).map(|(w, n)| w.output(*n)).collect::<Option<Vec<usize>>>()?;
        Some((windows, out))
    }

    /// Entries of a table: mostly a spread over the whole format, often in order.
    fn entries(&mut self, format: Format, n: usize) -> Codes {
        if self.rng.chance(20) {
            return self.codes(format, n);
        }
        let mut data: Vec<i64> = (0..n).map(|_| self.rng.wide(format.min()..=format.max()) as i64).collect();
        match self.rng.size(0..=2) {
            0 => data.sort_unstable(),
            1 => data.sort_unstable_by_key(|v| std::cmp::Reverse(*v)),
            _ => {}
        }
        Codes::new(format, data)
    }

    /// A type for values in `near` that keeps most of them, for the inside of an op.
    pub(super) fn inner_ty(&mut self, near: Interval) -> Type {
        if self.rng.chance(20) {
            return self.ty(near);
        }
        let signed = near.lo < 0 || self.rng.chance(25);
        let held = near.format().map_or(near.frac, |f| f.int() + i32::from(signed && !f.is_signed()));
        let width = self.width().max(4).min(self.config.max_width);
        let slack = self.rng.int(-1..=1) as i32;
        let format = self.format(signed, width, held + slack);
        self.modes(format)
    }

    /// Range of a table's entries.
    pub(super) fn entry_range(lut: &Lut) -> Option<Interval> {
        let codes = || lut.entries.data.iter().map(|e| i128::from(*e));
        Some(Interval::new(codes().min()?, codes().max()?, lut.entries.format.frac()))
    }

    /// A table for codes in `x`, at most `width` bits wide. Its positions cover the range, more or less.
    pub(super) fn lut(&mut self, x: Interval, width: u32) -> Option<Lut> {
        let n = if self.rng.chance(60) { 1 << self.rng.size(2..=5) } else { self.rng.size(2..=24) };
        let mul = match self.rng.size(0..=9) {
            0 => -1,
            1 | 2 => self.rng.int(-4000..=4000),
            _ => 1,
        };
        let (a, b) = (x.lo * i128::from(mul), x.hi * i128::from(mul));
        let (lo, hi) = (a.min(b), a.max(b));
        let span = 128 - (hi - lo).leading_zeros() as i32;
        let shift = span - (n as i32).ilog2() as i32 + self.rng.int(-2..=1) as i32;
        let interpolate = shift <= 30 && self.rng.chance(40);
        let shift = if interpolate { shift.max(0) } else { shift.clamp(-8, 62) };
        let origin = if shift >= 0 { lo >> shift } else { lo << -shift };
        let limit = 1i128 << 61;
        let offset = (-origin).clamp(-limit, limit) as i64 + self.rng.int(-1..=1);
        let room = WIDEST - 1 - if interpolate { shift as u32 } else { 0 };
        let format = self.constant_format(width.min(room));
        let index = Index { mul, shift, toward_zero: !interpolate && self.rng.chance(30), offset };
        let lut = Lut { index, entries: self.entries(format, n), interpolate };
        lut.format().ok()?;
        Some(lut)
    }
}
