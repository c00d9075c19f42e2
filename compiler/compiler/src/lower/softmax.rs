//! Softmax by its expansion, with types sized for the result.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};
use hs_hw::{Accum, Op, Softmax, SoftmaxKind, SoftmaxTables};
use hs_ir::ValueId;

use super::{
    Cost, Lowerer, TableNote,
    layout::Val,
    table::{self, Function},
    too_wide,
    types::plain,
};
use crate::diagnostic::Diagnostic;

/// Fraction bits of the exponential beyond the result's.
const GUARD: i32 = 3;
/// Most fraction bits of the exponential and the reciprocal.
const MAX_FRAC: i32 = 28;

impl Lowerer<'_> {
    /// Softmax of `input` times a positive `scale` over ONNX axis `axis` (without the batch axis).
    pub fn softmax(
        &mut self,
        name: &str,
        input: &Val,
        (axis, scale): (usize, f64),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        if self.hls4ml() {
            return self.hls4ml_softmax(name, input, axis, v);
        }
        let rank = input.shape.len();
        let perm: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
        let hw = self.demand(input, &perm)?;
        let (x, range) = (self.node(hw).format(), self.range(hw));
        let (shape, n) = (self.node(hw).shape.clone(), self.node(hw).channels());
        let places = self.function_frac(v);
        let unit = Interval::new(0, 1 << places, places);
        let ty = self.result_type(v, unit)?;
        let frac = (ty.format.frac() + GUARD).clamp(8, MAX_FRAC);

        // d = max - x is exact: no code is lost between logits and table.
        let spread = range.hi - range.lo;
        let delta = Format::holding(0, spread.max(1), x.frac()).map_err(|_| too_wide("max - x"))?;
        let exp_format = unit_format(frac)?;
        let exp = table::build(&Function {
            name: "exp",
            f: &|d| libm::exp(-d * scale),
            x: Interval::new(0, spread.max(1), x.frac()),
            result: exp_format,
        })?;

        // The largest element contributes 1, so the sum lies in 1..=n.
        let one = 1i128 << frac;
        let sum =
            Format::holding(0, one * n as i128, frac).map_err(|_| too_wide("the sum of exponentials"))?;
        let inv_format = unit_format(frac)?;
        let inv = table::build(&Function {
            name: "1/sum",
            f: &|s| 1.0 / s,
            x: Interval::new(one, one * n.max(2) as i128, frac),
            result: inv_format,
        })?;
        let note = TableNote {
            entries: exp.note.entries + inv.note.entries,
            interpolated: exp.note.interpolated || inv.note.interpolated,
            error: exp.note.error + inv.note.error,
            lsb: ty.format.value(1),
        };
        let round = |f| Type::new(f, Rounding::Rnd, Overflow::Sat);
        let op = Op::Softmax(Softmax::Tables(Box::new(SoftmaxTables {
            kind: SoftmaxKind::Stable,
            delta: plain(delta),
            exp: exp.lut,
            exp_ty: round(exp_format),
            sum: Accum::Exact(sum),
            inv_in: plain(sum),
            inv: inv.lut,
            inv_ty: round(inv_format),
        })));
        let id = self.push(name, op, vec![hw], shape, ty)?;
        self.note(id, Cost::Logic, Cost::Logic, Some(note));
        self.bind(v, Val::plain(id, input.shape.clone(), perm));
        Ok(())
    }
}

/// Values from 0 to 1.
fn unit_format(frac: i32) -> Result<Format, Diagnostic> {
    Format::new(false, (frac + 1) as u32, 1).map_err(|e| Diagnostic::error(e.to_string()))
}
