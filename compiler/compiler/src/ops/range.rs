//! `Range`.

use hs_ir::{DType, Tensor, TensorData};

use super::{Call, Inferred, OpDef, expand};
use crate::diagnostic::Diagnostic;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::fold_only("Range", infer, eval)];

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    eval(call).map(|results| results.into_iter().map(Inferred::known).collect())
}

fn eval(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let bound = |index: usize| {
        call.constant_scalar(index)?.ok_or_else(|| call.error("lacks its start, limit or step"))
    };
    let (start, limit, step) = (bound(0)?, bound(1)?, bound(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if step == 0.0 || count.is_nan() || count > expand::MAX_ELEMENTS as f64 {
        return Err(
            call.error(format!("the range from {start} to {limit} by {step} is not finite, or too long"))
        );
    }
    let dtype = call.arg(0)?.dtype;
    let values = (0..count as usize).map(|i| start + i as f64 * step);
    let count = count as usize;
    if dtype.is_float() {
        return call.float_result(vec![count], values.map(|x| x as f32).collect());
    }
    let data = TensorData::I64(values.map(|x| x as i64).collect());
    let dtype: DType = dtype;
    call.result(dtype, vec![count], data).map(|t| vec![t])
}
