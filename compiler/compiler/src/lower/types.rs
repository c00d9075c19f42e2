//! Who decides a type: the model's quantisers, then observed ranges, then `precision`, then the default.

use hs_fixed::{Format, Interval, Modes, Overflow, Rounding, Type};
use hs_ir::ValueId;

use super::{Lowerer, constants::Choice};
use crate::diagnostic::Diagnostic;

/// Bits of everything when nothing is said.
pub const DEFAULT_WIDTH: u32 = 16;
/// Integer bits of inputs and results when nothing is said.
pub const DEFAULT_INT: i32 = 6;
/// Bits of constants that a model with quantisers leaves in float: the wider operand of a DSP, less a sign.
const UNQUANTISED_WIDTH: u32 = 26;
/// Widest exact result that is kept when the model brings its own quantisers.
const WIDEST_EXACT: u32 = 48;

impl<'a> Lowerer<'a> {
    fn width(&self) -> u32 {
        self.options.precision.map_or(DEFAULT_WIDTH, |p| p.format.width())
    }

    fn modes(&self) -> Modes {
        self.options
            .precision
            .map_or(Modes::RND_SAT, |p| Modes { rounding: p.rounding, overflow: p.overflow })
    }

    /// Where the grid of a constant comes from: the quantiser it carries, a given `--precision` without
    /// observed ranges, or the values themselves.
    pub fn constant_choice(&self, v: Option<ValueId>) -> Choice<'a> {
        if let Some(grid) = v.and_then(|v| self.graph.value(v).grid.as_deref()) {
            return Choice::Grid(grid);
        }
        match self.options.precision {
            Some(ty) if self.options.ranges.is_none() => Choice::Given(ty),
            None if self.quantised => Choice::Fit(UNQUANTISED_WIDTH),
            _ => Choice::Fit(self.width()),
        }
    }

    /// Choice for constants that the model does not state as such (slopes, folded scales).
    pub fn derived_choice(&self) -> Choice<'a> {
        Choice::Fit(self.width().max(DEFAULT_WIDTH))
    }

    /// Type of the model input `v`.
    pub(crate) fn input_type(&self, v: ValueId) -> Result<Type, Diagnostic> {
        if let Some(ty) = self.options.nodes.get(&self.graph.value(v).name).and_then(|o| o.result) {
            return Ok(ty);
        }
        if self.hls4ml() {
            return self.hls4ml_default();
        }
        self.declared(v, true)
    }

    /// Type of the value `v` whose exact values lie in `exact`.
    pub(crate) fn result_type(&self, v: ValueId, exact: Interval) -> Result<Type, Diagnostic> {
        let observed =
            self.options.ranges.as_ref().is_some_and(|r| r.contains_key(&self.graph.value(v).name));
        if self.quantised && self.options.precision.is_none() && !observed {
            // The model's quantisers decide what is dropped; between them nothing is.
            if let Ok(f) = exact.format()
                && f.width() <= WIDEST_EXACT
            {
                return Ok(Type::new(f, Rounding::Rnd, Overflow::Sat));
            }
        }
        self.declared(v, exact.lo < 0)
    }

    fn declared(&self, v: ValueId, signed: bool) -> Result<Type, Diagnostic> {
        let Modes { rounding, overflow } = self.modes();
        let name = &self.graph.value(v).name;
        let given = self.options.precision.map(|p| p.format);
        let observed = self.options.ranges.as_ref().and_then(|r| r.get(name));
        let (signed, int) = match (observed, given) {
            (Some((lo, hi)), _) => {
                let signed = signed && *lo < 0.0;
                (signed, integer_bits(lo.abs().max(hi.abs())) + i32::from(signed) + 1)
            }
            (None, Some(f)) => (signed && f.is_signed(), f.int()),
            (None, None) => (signed, DEFAULT_INT),
        };
        let format = Format::new(signed, self.width(), int)
            .map_err(|e| Diagnostic::error(format!("the type of '{name}': {e}")))?;
        Ok(Type::new(format, rounding, overflow))
    }
}

/// Bits left of the binary point that magnitude `m` needs.
fn integer_bits(m: f64) -> i32 {
    if m > 0.0 { (m.log2().floor() as i32 + 1).clamp(-64, 64) } else { 0 }
}

/// A type into which a cast loses nothing and that needs no logic.
pub(crate) fn plain(format: Format) -> Type {
    Type::new(format, Rounding::Trn, Overflow::WRAP)
}
