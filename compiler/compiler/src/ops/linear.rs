//! `QuantizeLinear` and `DequantizeLinear`.
//!
//! Import turns those around activations into `Quant` (`onnx::quantised`); what is left here folds with the constants
//! that it reads.

use hs_ir::{Attr, DType, Grid, Tensor, TensorData};

use super::{Call, Inferred, OpDef, strides};
use crate::diagnostic::Diagnostic;

/// Domains of the operators: ONNX's own and ONNX Runtime's.
pub const DOMAINS: &[&str] = &["", "com.microsoft"];

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::rewritten("QuantizeLinear", infer, eval).in_domains(DOMAINS),
    OpDef::rewritten("DequantizeLinear", infer, eval).in_domains(DOMAINS),
];

/// How reals and integers `q` of `dtype` relate: `(q - zero) * scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// One step for the tensor, or one for each index along `axis`.
    pub scale: Vec<f64>,
    /// As many integers as steps, or one.
    pub zero: Vec<i64>,
    /// The axis that `scale` runs along; `None` when there is a single one.
    pub axis: Option<usize>,
    /// Type of the integers.
    pub dtype: DType,
}

impl Linear {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?;
        let scale = call.constant(call.float_arg(1)?)?.to_f64();
        if let Some(bad) = scale.iter().find(|s| !s.is_finite() || **s <= 0.0) {
            return Err(call.error(format!("its scale holds {bad}; positive numbers are expected")));
        }
        if call.int("block_size")?.unwrap_or(0) != 0 {
            let help = "quantise by tensor or by channel";
            return Err(call.error("scales of blocks of elements are not supported").help(help));
        }
        let axis = match scale.len() {
            1 => None,
            _ => Some(call.axis(call.int("axis")?.unwrap_or(1), x.shape.len())?),
        };
        if let Some(axis) = axis.filter(|a| x.shape[*a] != scale.len()) {
            let (steps, shape) = (scale.len(), x.shape);
            return Err(call.error(format!("has {steps} scales along axis {axis} of a tensor {shape:?}")));
        }
        let zero = call.constant_ints(2)?.map_or_else(|| vec![0], <[i64]>::to_vec);
        if zero.len() != 1 && zero.len() != scale.len() {
            let (found, steps) = (zero.len(), scale.len());
            return Err(call.error(format!("has {found} zero points for {steps} scales")));
        }
        let dtype = if call.node.op == "DequantizeLinear" { x.dtype } else { result(call)? };
        match dtype {
            DType::I4 | DType::U4 | DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 => {}
            other => return Err(call.error(format!("integers of type {other} are not supported here"))),
        }
        Ok(Self { scale, zero, axis, dtype })
    }

    /// Width of the integers in bits, and whether they can be negative.
    fn width(&self) -> (u32, bool) {
        width(self.dtype)
    }

    /// Where the element at `place` of a tensor of `shape` finds its scale.
    fn channel(&self, shape: &[usize], place: usize) -> usize {
        self.axis.map_or(0, |axis| place / strides(shape)[axis].max(1) % shape[axis].max(1))
    }

    fn zero_at(&self, channel: usize) -> i64 {
        if self.zero.len() == 1 { self.zero[0] } else { self.zero[channel] }
    }

    /// The grid of the reals `(q - zero) * scale`, as integers around 0. `codes` is the grid of the integers, where something
    /// narrowed them.
    fn reals(&self, codes: Option<&Grid>) -> Grid {
        let (mut bits, mut signed) = codes.map_or_else(|| self.width(), |g| (g.bits, g.signed));
        if self.zero.iter().any(|z| *z != 0) {
            (bits, signed) = (bits + 1, true);
        }
        Grid { scale: self.scale.clone(), axis: self.axis, zero_point: 0.0, bits, signed, narrow: false }
    }
}

/// Bits of an integer type, and whether it is signed.
pub(crate) fn width(dtype: DType) -> (u32, bool) {
    match dtype.int_range() {
        Some((lo, hi)) => (64 - hi.leading_zeros() + u32::from(lo < 0), lo < 0),
        None => (0, true),
    }
}

/// The narrowest integers from `lo` to `hi`: bits, signedness, and whether the most negative one is left out; `None` unless
/// the range is exactly theirs.
pub(crate) fn exact_range(lo: i64, hi: i64) -> Option<(u32, bool, bool)> {
    let bits = 64 - hi.checked_add(1).filter(|n| *n > 1)?.leading_zeros() - 1;
    if hi.checked_add(1)? != 1i64 << bits {
        return None;
    }
    match lo {
        0 => Some((bits, false, false)),
        lo if lo == -hi - 1 => Some((bits + 1, true, false)),
        lo if lo == -hi => Some((bits + 1, true, true)),
        _ => None,
    }
}

fn result(call: &Call<'_>) -> Result<DType, Diagnostic> {
    if let Some(zero) = call.optional(2) {
        return Ok(zero.dtype);
    }
    match call.node.attrs.get("output_dtype") {
        Some(Attr::Int(code)) if *code != 0 => {
            crate::onnx::dtype(i32::try_from(*code).unwrap_or(0)).map_err(|e| call.error(e))
        }
        _ => Ok(DType::U8),
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let linear = Linear::parse(call)?;
    let dtype = if call.node.op == "DequantizeLinear" { DType::F32 } else { linear.dtype };
    Ok(vec![Inferred::new(dtype, call.arg(0)?.shape.to_vec())])
}

fn eval(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let linear = Linear::parse(call)?;
    let shape = call.arg(0)?.shape;
    if call.node.op == "DequantizeLinear" {
        let ints = call.constant_ints(0)?.unwrap_or_default();
        let real = |(place, q): (usize, &i64)| {
            let c = linear.channel(shape, place);
            (q - linear.zero_at(c)) as f32 * linear.scale[c] as f32
        };
        return call.float_result(shape.to_vec(), ints.iter().enumerate().map(real).collect());
    }
    let (min, max) = linear.dtype.int_range().unwrap_or((0, 0));
    let code = |(place, x): (usize, &f32)| {
        let c = linear.channel(shape, place);
        let q = (*x / linear.scale[c] as f32).round_ties_even();
        (q as i64).saturating_add(linear.zero_at(c)).clamp(min, max)
    };
    let data = call.floats(0)?.iter().enumerate().map(code).collect();
    call.result(linear.dtype, shape.to_vec(), TensorData::I64(data)).map(|t| vec![t])
}

/// The grid of what a call yields from constants: of codes as they are, of reals around 0.
pub(crate) fn grid(call: &Call<'_>) -> Result<Option<Grid>, Diagnostic> {
    let linear = Linear::parse(call)?;
    if call.node.op == "DequantizeLinear" {
        return Ok(Some(linear.reals(call.arg(0)?.grid)));
    }
    let (bits, signed) = linear.width();
    let Linear { scale, axis, .. } = linear;
    Ok(Some(Grid { scale, axis, zero_point: 0.0, bits, signed, narrow: false }))
}

/// The grid of codes that a `Clip` holds within its bounds.
pub(crate) fn clipped(grid: &Grid, lo: Option<f64>, hi: Option<f64>) -> Grid {
    let whole = |b: Option<f64>| b.filter(|b| b.fract() == 0.0).map(|b| b as i64);
    match whole(lo).zip(whole(hi)).and_then(|(lo, hi)| exact_range(lo, hi)) {
        Some((bits, signed, _)) if bits <= grid.bits => Grid { bits, signed, ..grid.clone() },
        _ => grid.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_integer_types() {
        assert_eq!(exact_range(-8, 7), Some((4, true, false)));
        assert_eq!(exact_range(-7, 7), Some((4, true, true)));
        assert_eq!(exact_range(0, 15), Some((4, false, false)));
        assert_eq!(exact_range(0, 1), Some((1, false, false)));
        assert_eq!(exact_range(0, 14), None);
        assert_eq!(exact_range(-3, 7), None);
        assert_eq!(exact_range(0, 0), None);
        assert_eq!((width(DType::I8), width(DType::U16)), ((8, true), (16, false)));
    }
}
