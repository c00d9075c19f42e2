//! Functions that are steep near zero and flat far from it (logarithm, root, reciprocal), as sums of tables.
//!
//! One table with even steps wastes its entries on one side and lacks them on the other. Here each table follows the
//! function over two octaves and clamps outside of them: f(x) = Σ t(x), where the first table starts at f's first value
//! and each further one at 0. All entries are differences on one grid, so that the sum is f's own code at every joint.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Index, Lut, Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{Lowerer, exact::Exact, layout::Val, too_wide, types::plain};
use crate::diagnostic::Diagnostic;

/// Codes of the input that the first table holds one by one; later tables have a quarter of it for each octave.
const FIRST: i128 = 1024;
/// Fraction bits of the entries beyond the result's.
const GUARD: i32 = 3;
/// Widest entry: what a real of double precision still tells apart.
const MAX_ENTRY_WIDTH: i32 = 50;
/// Most bits of a cell that the hardware interpolates over.
const MAX_CELL: u32 = 40;

/// A function of non-negative numbers, with its name for messages.
pub(crate) type Steep<'a> = (&'a str, &'a dyn Fn(f64) -> f64);

impl Lowerer<'_> {
    /// Pushes a monotone function of non-negative numbers. Negative ones give what 0 gives; where that is infinite, what
    /// the smallest positive code of the input gives.
    pub(crate) fn steep(
        &mut self,
        name: &str,
        input: &Val,
        function: Steep<'_>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let ty = self.steep_type(input.hw, function, v)?;
        let sum = self.steep_sum(name, input.hw, function, ty.format)?;
        let shape = self.node(sum).shape.clone();
        let op = Op::Requant(Act::None);
        let exact = Exact { name: name.to_owned(), op, inputs: vec![sum], shape };
        self.finish(exact, v, |hw| input.with(hw))
    }

    /// Pushes `numerator` (1 where there is none) over `input`, which may be negative.
    pub(crate) fn quotient(
        &mut self,
        name: &str,
        numerator: Option<HwId>,
        input: &Val,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let node = self.node(input.hw);
        let shape = node.shape.clone();
        let function: Steep<'_> = ("1/x", &|x| 1.0 / x);
        let magnitude = self.magnitude(name, input.hw)?;
        let result = self.steep_type(magnitude, function, v)?.format;
        let mut grid = result;
        if let Some(a) = numerator {
            // Each bit of the numerator in front of the point is one less of the product's accuracy.
            let more = self.node(a).format().int().clamp(0, 24) as u32;
            grid = Format::new(true, result.width() + more, result.int()).map_err(|_| too_wide("1/x"))?;
        }
        let mut sum = self.steep_sum(&format!("{name}/reciprocal"), magnitude, function, grid)?;
        let mut factors: Vec<HwId> = numerator.into_iter().collect();
        if magnitude != input.hw {
            factors.push(self.sign_of(name, input.hw)?);
        }
        let last = factors.pop();
        for factor in factors {
            let (a, b) = (self.node(sum).format(), self.node(factor).format());
            let ty = plain(a.mul(b).map_err(|_| too_wide("the quotient"))?);
            let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
            sum = self.push(&format!("{name}/product"), op, vec![sum, factor], shape.clone(), ty)?;
        }
        let (op, inputs) = match last {
            Some(last) => (Op::Binary { op: BinaryOp::Mul, act: Act::None }, vec![sum, last]),
            None => (Op::Requant(Act::None), vec![sum]),
        };
        let exact = Exact { name: name.to_owned(), op, inputs, shape };
        self.finish(exact, v, |hw| input.with(hw))
    }

    /// Pushes a monotone function of the magnitude of `input`, which has its sign.
    pub(crate) fn odd(
        &mut self,
        name: &str,
        input: &Val,
        function: Steep<'_>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let magnitude = self.magnitude(name, input.hw)?;
        if magnitude == input.hw {
            return self.steep(name, input, function, v);
        }
        let result = self.steep_type(magnitude, function, v)?.format;
        let sum = self.steep_sum(&format!("{name}/magnitude"), magnitude, function, result)?;
        let sign = self.sign_of(name, input.hw)?;
        let shape = self.node(sum).shape.clone();
        let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![sum, sign], shape };
        self.finish(exact, v, |hw| input.with(hw))
    }

    /// Pushes |x|, exactly; `x` itself where it is never negative.
    pub(super) fn magnitude(&mut self, name: &str, x: HwId) -> Result<HwId, Diagnostic> {
        let range = self.range(x);
        if range.lo >= 0 {
            return Ok(x);
        }
        let act = Act::Slope(Codes::new(Format::new(true, 1, 1).map_err(|_| too_wide("|x|"))?, vec![-1]));
        let most = range.lo.abs().max(range.hi).max(1);
        let ty = plain(Format::holding(0, most, range.frac).map_err(|_| too_wide("|x|"))?);
        let shape = self.node(x).shape.clone();
        self.push(&format!("{name}/magnitude"), Op::Requant(act), vec![x], shape, ty)
    }

    /// Pushes -1 where `x` is negative, 1 elsewhere.
    fn sign_of(&mut self, name: &str, x: HwId) -> Result<HwId, Diagnostic> {
        let two = Format::new(true, 2, 2).map_err(|_| too_wide("the sign"))?;
        let index = Index { mul: 1, shift: 0, toward_zero: false, offset: 1 };
        let lut = Lut { index, entries: Codes::new(two, vec![-1, 1]), interpolate: false };
        let shape = self.node(x).shape.clone();
        self.push(&format!("{name}/sign"), Op::Table(lut), vec![x], shape, plain(two))
    }

    /// The type of `v`, a function of `input`.
    fn steep_type(&mut self, input: HwId, (_, f): Steep<'_>, v: ValueId) -> Result<Type, Diagnostic> {
        let x = self.range(input);
        let (a, b) = (at(f, x.frac, x.lo.max(0)), at(f, x.frac, x.hi));
        let most = 2f64.powi(40);
        let (lo, hi) = (a.min(b).clamp(-most, 0.0).floor() as i128, a.max(b).clamp(1.0, most).ceil() as i128);
        let reach =
            Interval::new(lo, hi, 0).refine(self.function_frac(v)).ok_or_else(|| too_wide("the table"))?;
        Ok(self.result_or_quantiser(v, reach)?.0)
    }

    /// Pushes the tables and their exact sum, for a result of format `result`, whose range bounds every entry.
    pub(crate) fn steep_sum(
        &mut self,
        name: &str,
        input: HwId,
        (what, f): Steep<'_>,
        result: Format,
    ) -> Result<HwId, Diagnostic> {
        let x = self.range(input);
        if x.hi <= 0 {
            return Err(Diagnostic::error(format!("its input is never positive, and {what} needs it to be"))
                .help("let the input be positive in front of it, or give it a type that holds its values"));
        }
        let frac = (result.frac() + GUARD).min(MAX_ENTRY_WIDTH - result.int());
        let (least, most) = (result.value(result.min()), result.value(result.max()));
        let grid = Type::new(
            Format::new(true, 63, 63 - frac).map_err(|_| too_wide("the table"))?,
            Rounding::RndConv,
            Overflow::Sat,
        );
        let code = |c: i128| {
            let real = at(f, x.frac, c).clamp(least, most);
            grid.quantize(real)
                .and_then(|c| i64::try_from(c).ok())
                .ok_or_else(|| Diagnostic::error(format!("{what} is {real} inside its input's range")))
        };
        let shape = self.node(input).shape.clone();
        let mut sum: Option<HwId> = None;
        // What tables over wide cells read: the input without its last bits.
        let mut coarse: Option<(HwId, u32)> = None;
        let mut from = x.lo.max(0);
        if from >= FIRST {
            // On the grid of the first table's cells.
            from = from >> shift_at(from) << shift_at(from);
        }
        loop {
            let shift = shift_at(from);
            let end = if from < FIRST { FIRST } else { 4 << from.ilog2() };
            // Up to the end of the cell that holds the last code.
            let end = end.min(((x.hi - 1) >> shift << shift) + (1 << shift)).max(from);
            let base = if sum.is_some() { code(from)? } else { 0 };
            let count = ((end - from) >> shift) + 1;
            let data: Vec<i64> = (0..count)
                .map(|i| Ok(code(from + (i << shift))? - base))
                .collect::<Result<_, Diagnostic>>()?;
            let (lo, hi) = data.iter().fold((0, 0), |(lo, hi), d| (*d.min(&lo), *d.max(&hi)));
            let format =
                Format::holding(i128::from(lo), i128::from(hi), frac).map_err(|_| too_wide("the table"))?;
            let offset = i64::try_from(-(from >> shift)).map_err(|_| too_wide("a table's input"))?;
            if shift > MAX_CELL && coarse.is_none() {
                coarse = Some(self.without(&format!("{name}/coarse"), input, shift_at(x.hi) - MAX_CELL)?);
            }
            let (read, dropped) = coarse.unwrap_or((input, 0));
            let index = Index { mul: 1, shift: (shift - dropped) as i32, toward_zero: false, offset };
            let lut = Lut { index, entries: Codes::new(format, data), interpolate: shift > 0 };
            let ty = Type { rounding: Rounding::Rnd, ..plain(format) };
            let ty = if shift > 0 { ty } else { plain(format) };
            let table = self.push(&format!("{name}/table"), Op::Table(lut), vec![read], shape.clone(), ty)?;
            sum = Some(match sum {
                None => table,
                Some(so_far) => {
                    // Of all tables together no more than the function itself spans.
                    let format = self
                        .range(so_far)
                        .add(self.range(table))
                        .and_then(|r| Format::holding(r.lo, r.hi, r.frac).ok())
                        .ok_or_else(|| too_wide("the sum of tables"))?;
                    let ty = plain(format);
                    let op = Op::Binary { op: BinaryOp::Add, act: Act::None };
                    self.push(&format!("{name}/sum"), op, vec![so_far, table], shape.clone(), ty)?
                }
            });
            if end >= x.hi {
                break;
            }
            from = end;
        }
        sum.ok_or_else(|| Diagnostic::error(format!("{what} has no table")))
    }
}

impl Lowerer<'_> {
    /// Pushes `x` without its last `dropped` bits; with their number.
    fn without(&mut self, name: &str, x: HwId, dropped: u32) -> Result<(HwId, u32), Diagnostic> {
        let (from, shape) = (self.node(x).format(), self.node(x).shape.clone());
        let format = Format::new(from.is_signed(), from.width() - dropped, from.int())
            .map_err(|_| too_wide("a table's input"))?;
        Ok((self.push(name, Op::Requant(Act::None), vec![x], shape, plain(format))?, dropped))
    }
}

/// Bits of a cell from the code `from` on.
fn shift_at(from: i128) -> u32 {
    if from < FIRST { 0 } else { from.ilog2() - (FIRST / 4).ilog2() }
}

/// `f` at code `c` of a grid of `frac` fraction bits; at the smallest positive code where 0 has no finite value.
fn at(f: &dyn Fn(f64) -> f64, frac: i32, c: i128) -> f64 {
    let lsb = 2f64.powi(-frac);
    let real = f(c as f64 * lsb);
    if real.is_finite() { real } else { f(lsb) }
}
