//! hls4ml's softmax: tables read with the top bits of a code.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Accum, Codes, Index, Lut, Op, Order, Softmax, SoftmaxKind};
use hs_ir::ValueId;

use super::super::{Lowerer, SoftmaxImplementation, layout::Val, types::plain};
use crate::diagnostic::Diagnostic;

impl Lowerer<'_> {
    /// Softmax over ONNX axis `axis` (without the batch axis).
    pub(crate) fn hls4ml_softmax(
        &mut self,
        name: &str,
        input: &Val,
        axis: usize,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let rank = input.shape.len();
        let perm: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
        let hw = self.demand(input, &perm)?;
        let x = self.node(hw).format();
        let shape = self.node(hw).shape.clone();
        let rounding = |w, i| -> Result<Type, Diagnostic> {
            let f = Format::new(true, w, i).map_err(|e| Diagnostic::error(e.to_string()))?;
            Ok(Type::new(f, Rounding::Rnd, Overflow::Sat))
        };
        let kind = match layer.softmax.unwrap_or_default() {
            SoftmaxImplementation::Stable => SoftmaxKind::Stable,
            SoftmaxImplementation::Latency => SoftmaxKind::Latency,
            other => {
                return Err(Diagnostic::error(format!(
                    "the softmax implementation '{other:?}' is not supported yet"
                ))
                .help("use softmax = \"stable\" or \"latency\""));
            }
        };
        let exp_ty = layer.exp_table.or(layer.table).map_or_else(|| rounding(18, 8), Ok)?;
        let inv_ty = layer.inv_table.or(layer.table).map_or_else(|| rounding(18, 8), Ok)?;
        let inv_in = layer.inv_input.map_or_else(|| rounding(18, 8), Ok)?;
        let accum = layer.accum.map_or_else(|| rounding(18, 8), Ok)?;
        let ty = layer.result.map_or_else(|| self.hls4ml_default(), Ok)?;
        // Both tables are cut to what the narrower of logits and reciprocals can index.
        let bits = x.width().min(inv_ty.format.width()).min(30);
        let size = layer.table_size.unwrap_or(super::TABLE_SIZE).min(1 << bits);
        let signed = u32::from(x.is_signed());
        let delta = match kind {
            SoftmaxKind::Stable => Format::new(false, (x.width() - signed).max(1), x.int() - signed as i32)
                .map_err(|e| Diagnostic::error(e.to_string()))?,
            SoftmaxKind::Latency => x,
        };
        let exp = top_bits(delta, size, exp_ty, |d| match kind {
            SoftmaxKind::Stable => (-(d as f32)).exp(),
            SoftmaxKind::Latency => (d as f32).exp(),
        })?;
        self.warn_softmax(kind, x, delta, &exp, size);
        let inv = top_bits(inv_in.format, size, inv_ty, |s| (1.0 / s) as f32)?;
        let op = Op::Softmax(Softmax {
            kind,
            delta: plain(delta),
            exp,
            exp_ty,
            sum: Accum::Stepwise { product: None, ty: accum, order: Order::Tree },
            inv_in,
            inv,
            inv_ty,
        });
        let id = self.push(name, op, vec![hw], shape, ty)?;
        self.bind(v, Val::plain(id, input.shape.clone(), perm));
        Ok(())
    }
}

/// A table of `f` read with the top bits of a code of `x`, `f` taken at the lower edge of each cell.
fn top_bits(x: Format, size: usize, ty: Type, f: impl Fn(f64) -> f32) -> Result<Lut, Diagnostic> {
    if !size.is_power_of_two() || size > 1 << 20 {
        return Err(Diagnostic::error(format!(
            "a softmax table of {size} entries is no power of two up to 2^20"
        )));
    }
    let bits = size.trailing_zeros().min(x.width());
    let shift = x.width() - bits;
    // A signed code's top bits start at the most negative one.
    let half = if x.is_signed() { 1i128 << (bits - 1) } else { 0 };
    let entry = |i: i128| {
        let at = x.value((i - half) << shift);
        let value = f64::from(f(at));
        ty.quantize(value)
            .and_then(|c| i64::try_from(c).ok())
            .ok_or_else(|| Diagnostic::error(format!("a softmax table entry is {value}")))
    };
    let data = (0..1i128 << bits).map(entry).collect::<Result<Vec<_>, _>>()?;
    let index = Index { mul: 1, shift: shift as i32, toward_zero: false, offset: half as i64 };
    Ok(Lut { index, entries: Codes::new(ty.format, data), interpolate: false })
}
