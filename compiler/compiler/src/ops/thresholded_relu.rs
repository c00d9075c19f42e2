//! `ThresholdedRelu`.

use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("ThresholdedRelu", infer, eval, lower)];

/// `x` where it is larger than `alpha`, 0 elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThresholdedRelu {
    /// The threshold.
    pub alpha: f64,
}

impl ThresholdedRelu {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        Ok(Self { alpha: call.float("alpha", 1.0)? })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    ThresholdedRelu::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let ThresholdedRelu { alpha } = ThresholdedRelu::parse(call)?;
    let out = call.floats(0)?.iter().map(|x| if f64::from(*x) > alpha { *x } else { 0.0 }).collect();
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let ThresholdedRelu { alpha } = ThresholdedRelu::parse(call)?;
    let (name, input, out) = (&call.node.name, lw.input_val(call, 0)?, lw.result(call)?);
    if lw.hls4ml() {
        let alpha = lw.hls4ml_alpha(alpha);
        return lw.hls4ml_thresholded(name, &input, alpha, out);
    }
    lw.thresholded(name, &input, alpha, out)
}
