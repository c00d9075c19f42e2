//! hls4ml's softmax: tables read with the top bits of a code, one table a pair of elements, or no table at all.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Accum, Codes, Index, Io, Lut, Op, Order, Softmax, SoftmaxKind, SoftmaxTables, ValueId as HwId};
use hs_ir::ValueId;

use super::{
    super::{LayerOptions, Lowerer, SoftmaxImplementation, layout::Val, types::plain},
    TABLE, TABLE_SIZE,
    activation::entry,
    fixed,
};
use crate::diagnostic::Diagnostic;

/// log2 of the width of the legacy exponential's table, which spans -8 to 8.
const LEGACY_EXP_SPAN: i32 = 4;
/// log2 of the width of the legacy reciprocal's table, which spans 0 to 64.
const LEGACY_INV_SPAN: i32 = 6;

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
        let count: usize = input.shape.iter().product();
        if count != input.shape[axis] && self.options.io != Some(Io::Stream) {
            return Err(Diagnostic::error(format!(
                "in parallel hls4ml takes the softmax of all {count} elements of {:?} together, not of the {} along an axis",
                input.shape, input.shape[axis]
            ))
            .help("choose io = \"stream\" (--io stream), or use native arithmetic"));
        }
        let perm: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
        let hw = self.demand(input, &perm)?;
        let shape = self.node(hw).shape.clone();
        let ty = layer.result.map_or_else(|| self.hls4ml_default(), Ok)?;
        let softmax = match layer.softmax.unwrap_or_default() {
            SoftmaxImplementation::Stable => self.hls4ml_scaled(hw, &layer, SoftmaxKind::Stable)?,
            SoftmaxImplementation::Latency => self.hls4ml_scaled(hw, &layer, SoftmaxKind::Latency)?,
            SoftmaxImplementation::Legacy => self.hls4ml_legacy(hw, &layer)?,
            SoftmaxImplementation::Argmax => {
                self.warn_argmax(ty);
                Softmax::Argmax
            }
        };
        let id = self.push(name, Op::Softmax(softmax), vec![hw], shape, ty)?;
        self.bind(v, Val::plain(id, input.shape.clone(), perm));
        Ok(())
    }

    /// Exponentials times the reciprocal of their sum, by tables read with the top bits.
    fn hls4ml_scaled(
        &mut self,
        hw: HwId,
        layer: &LayerOptions,
        kind: SoftmaxKind,
    ) -> Result<Softmax, Diagnostic> {
        let x = self.node(hw).format();
        let exp_ty = layer.exp_table.or(layer.table).map_or_else(default_table, Ok)?;
        let inv_ty = inv_table(layer)?;
        let inv_in = layer.inv_input.map_or_else(default_table, Ok)?;
        let accum = layer.accum.map_or_else(default_table, Ok)?;
        let size = table_size(layer, x, inv_ty);
        let signed = u32::from(x.is_signed());
        let delta = match kind {
            SoftmaxKind::Stable => Format::new(false, (x.width() - signed).max(1), x.int() - signed as i32)
                .map_err(|e| Diagnostic::error(e.to_string()))?,
            SoftmaxKind::Latency | SoftmaxKind::Legacy => x,
        };
        let exp = top_bits(delta, size, exp_ty, |d| match kind {
            SoftmaxKind::Stable => (-(d as f32)).exp(),
            SoftmaxKind::Latency | SoftmaxKind::Legacy => (d as f32).exp(),
        })?;
        self.warn_softmax(kind, x, delta, &exp, size);
        let (exp, exp_ty) = held(exp, exp_ty, accum);
        let inv = top_bits(inv_in.format, size, inv_ty, |s| (1.0 / s) as f32)?;
        Ok(Softmax::Tables(Box::new(SoftmaxTables {
            kind,
            delta: plain(delta),
            exp,
            exp_ty,
            sum: Accum::Stepwise { product: None, ty: accum, order: Order::Tree },
            inv_in,
            inv,
            inv_ty,
        })))
    }

    /// A sum of exponentials for each element. hls4ml writes neither the types of these tables nor, streamed, their
    /// size into the configuration that the kernel reads, so that the kernel's defaults count.
    fn hls4ml_legacy(&mut self, hw: HwId, layer: &LayerOptions) -> Result<Softmax, Diagnostic> {
        let (x, range) = (self.node(hw).format(), self.range(hw));
        let table = fixed(TABLE.0, TABLE.1)?;
        let streamed = self.options.io == Some(Io::Stream);
        let size = if streamed { TABLE_SIZE } else { table_size(layer, x, inv_table(layer)?) };
        if size % 2 != 0 || size > 1 << 20 || (x.frac() < 0 && size % 16 != 0) {
            return Err(Diagnostic::error(format!(
                "a legacy softmax of {x} with tables of {size} entries is not supported"
            ))
            .help("use a table_size that is a power of two from 16 to 2^20"));
        }
        let narrower = "give the layer in front of it a narrower result";
        let delta = SoftmaxKind::Legacy.argument(x).ok().filter(|d| d.width() <= 64).ok_or_else(|| {
            Diagnostic::error(format!("differences of two {x} have more than 64 bits")).help(narrower)
        })?;
        let spread = (range.hi - range.lo) as f64 * 2f64.powi(-range.frac);
        if (spread / 16.0 + 0.5) * size as f64 >= 2f64.powi(31) {
            return Err(Diagnostic::error(format!(
                "logits that differ by up to {spread} are beyond the 32 bits of hls4ml's table index"
            ))
            .help(narrower));
        }
        self.warn_legacy(layer, self.node(hw).channels(), spread, table, streamed);
        let n = size as f64;
        let tabulated = |f: &dyn Fn(f64) -> f64| -> Result<Codes, Diagnostic> {
            let data: Result<Vec<_>, _> = (0..size).map(|i| entry(f(i as f64), table)).collect();
            Ok(Codes::new(table.format, data?))
        };
        let exp = tabulated(&|i| f64::from(((16.0 * (i - n / 2.0) / n) as f32).exp()))?;
        let inv = tabulated(&|i| {
            let x = f64::from((64.0 * i / n) as f32);
            if x > 0.0 { 1.0 / x } else { 0.0 }
        })?;
        let cells = |entries: Codes, frac: i32, span: i32, offset: usize| Lut {
            index: Index { mul: size as i64, shift: frac + span, toward_zero: true, offset: offset as i64 },
            entries,
            interpolate: false,
        };
        Ok(Softmax::Tables(Box::new(SoftmaxTables {
            kind: SoftmaxKind::Legacy,
            delta: plain(delta),
            exp: cells(exp, delta.frac(), LEGACY_EXP_SPAN, size / 2),
            exp_ty: table,
            sum: Accum::Stepwise { product: None, ty: table, order: Order::Any },
            inv_in: table,
            inv: cells(inv, table.format.frac(), LEGACY_INV_SPAN, 0),
            inv_ty: table,
        })))
    }
}

/// A table whose entries hls4ml holds in the type `accum` of their sum, for the sum and for the products alike; as it is
/// where that changes none.
fn held(table: Lut, ty: Type, accum: Type) -> (Lut, Type) {
    let same = |code: i64| {
        let cast = accum.cast(i128::from(code), ty.format);
        accum.format.value(cast) == ty.format.value(i128::from(code))
    };
    if table.entries.data.iter().all(|code| same(*code)) {
        return (table, ty);
    }
    let data: Vec<i64> =
        table.entries.data.iter().map(|c| accum.cast(i128::from(*c), ty.format) as i64).collect();
    (Lut { entries: Codes::new(accum.format, data), ..table }, accum)
}

/// hls4ml's default type of softmax tables and of what is between them.
fn default_table() -> Result<Type, Diagnostic> {
    let f = Format::new(true, TABLE.0, TABLE.1).map_err(|e| Diagnostic::error(e.to_string()))?;
    Ok(Type::new(f, Rounding::Rnd, Overflow::Sat))
}

fn inv_table(layer: &LayerOptions) -> Result<Type, Diagnostic> {
    layer.inv_table.or(layer.table).map_or_else(default_table, Ok)
}

/// Entries of both tables: cut to what the narrower of logits and reciprocals can index.
fn table_size(layer: &LayerOptions, x: Format, inv: Type) -> usize {
    let bits = x.width().min(inv.format.width()).min(30);
    layer.table_size.unwrap_or(TABLE_SIZE).min(1 << bits)
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
    let cell = |i: i128| entry(f64::from(f(x.value((i - half) << shift))), ty);
    let data = (0..1i128 << bits).map(cell).collect::<Result<Vec<_>, _>>()?;
    let index = Index { mul: 1, shift: shift as i32, toward_zero: false, offset: half as i64 };
    Ok(Lut { index, entries: Codes::new(ty.format, data), interpolate: false })
}
