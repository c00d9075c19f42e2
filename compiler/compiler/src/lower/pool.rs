//! Pooling.

use hs_fixed::{Format, Interval, Overflow, Rounding};
use hs_hw::{Accum, Average, Codes, Divide, Op, Pool, PoolKind, ValueId as HwId, Window, range};
use hs_ir::ValueId;

use super::{
    Cost, Lowerer,
    layout::{Val, channels_last},
    too_wide,
    types::plain,
};
use crate::diagnostic::Diagnostic;

/// Bits of the reciprocal of a count that is no power of two: one operand of a DSP.
const RECIPROCAL_WIDTH: i32 = 17;

/// Which pool, and over what.
pub struct FloatPool {
    /// One window a spatial axis.
    pub window: Vec<Window>,
    /// `Some(include_pad)`: average; `None`: maximum.
    pub average: Option<bool>,
    /// ONNX shape of the result without batch axis: channels, then space.
    pub shape: Vec<usize>,
}

/// Bits of a mean, in front of a quantiser of the model, beyond those of the count.
const MEAN_GUARD: i32 = 12;

impl Lowerer<'_> {
    /// Pushes a pool of `input`, an ONNX tensor (channels, space…).
    pub fn pool(&mut self, name: &str, input: &Val, pool: FloatPool, v: ValueId) -> Result<(), Diagnostic> {
        if self.hls4ml() {
            return self.hls4ml_pool(name, input, pool, v);
        }
        let order = channels_last(input.shape.len());
        let hw = self.demand(input, &order)?;
        let shape: Vec<usize> = channels_last(pool.shape.len()).iter().map(|a| pool.shape[*a]).collect();
        let (x, range) = (self.node(hw).format(), self.range(hw));
        let id = match pool.average {
            None => {
                let op = Op::Pool(Pool { kind: PoolKind::Max, window: pool.window });
                let ty = self.stated_result(v).unwrap_or(plain(x));
                let id = self.push(name, op, vec![hw], shape, ty)?;
                let cost = if range.fits(ty.format) { Cost::None } else { Cost::Logic };
                self.note(id, cost, cost, None);
                id
            }
            Some(include_pad) => self.average(name, hw, pool.window, include_pad, shape, (range, x), v)?,
        };
        self.bind(v, Val::plain(id, pool.shape, order));
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one caller")]
    fn average(
        &mut self,
        name: &str,
        hw: HwId,
        window: Vec<Window>,
        include_pad: bool,
        shape: Vec<usize>,
        (range, x): (Interval, Format),
        v: ValueId,
    ) -> Result<HwId, Diagnostic> {
        let largest: usize = window.iter().map(|w| w.kernel).product();
        let sum = range::pool_sum(range, largest)
            .and_then(|s| Format::holding(s.lo, s.hi, x.frac()).ok())
            .ok_or_else(|| too_wide("the sum"))?;
        let mean = Interval::new(range.lo.min(0), range.hi.max(0), range.frac);
        let mut ty = self.result_type(v, mean)?;
        let said = self.stated_result(v).or(self.options.model.result).or(self.options.precision);
        if self.quantised && said.is_none() {
            // A mean is no sum of products: keep the input's grid, refined by the count, and further where that is not exact.
            // On a grid, halves between the quantiser's steps stay halves.
            let exact = largest.is_power_of_two() && fixed_count(&window, include_pad);
            let extra = (largest as f64).log2().ceil() as i32 + if exact { 0 } else { MEAN_GUARD };
            let fine = mean.refine(mean.frac + extra).and_then(|m| m.format().ok());
            ty.format = fine.ok_or_else(|| too_wide("the mean"))?;
        }
        // 1/count to about a quarter of the result's last place for the largest sum, or exactly.
        let counts: Vec<usize> = (1..=largest).collect();
        let log = largest.next_power_of_two().trailing_zeros() as i32;
        let needed = sum.width() as i32 - x.frac() + ty.format.frac() + 2;
        let frac = if largest.is_power_of_two() && fixed_count(&window, include_pad) {
            log
        } else {
            needed.clamp(RECIPROCAL_WIDTH, 40)
        };
        let one = 2f64.powi(frac);
        let data: Vec<i64> = counts.iter().map(|n| (one / *n as f64).round_ties_even() as i64).collect();
        let format = Format::holding(0, 1i128 << frac, frac).map_err(|_| too_wide("1/count"))?;
        let exact = sum.mul(format).map_err(|_| too_wide("the mean"))?;
        if exact.frac() <= ty.format.frac() {
            ty.rounding = Rounding::Trn;
        }
        let kind = PoolKind::Average(Average {
            include_pad,
            accum: Accum::Exact(sum),
            divide: Divide::Reciprocal(Codes::new(format, data)),
        });
        let meant = ty;
        // Rounding 1/count can lift the mean by less than one last place of the exact product.
        let fits = mean.refine(exact.frac()).is_some_and(|m| {
            let slack = 1i128 << (exact.frac() - ty.format.frac()).clamp(0, 120);
            !Interval::new(m.lo - slack, m.hi + slack, m.frac).cast(&meant).1
        });
        let saturation = if fits { Cost::None } else { Cost::Logic };
        if fits {
            ty.overflow = Overflow::WRAP;
        }
        let rounding = if ty.rounding == Rounding::Trn { Cost::None } else { Cost::Logic };
        let op = Op::Pool(Pool { kind, window });
        let id = self.push(name, op, vec![hw], shape, ty)?;
        self.note(id, rounding, saturation, None);
        Ok(id)
    }
}

/// Whether every window counts all its elements.
fn fixed_count(window: &[Window], include_pad: bool) -> bool {
    include_pad || window.iter().all(|w| w.pad_begin == 0 && w.pad_end == 0)
}
