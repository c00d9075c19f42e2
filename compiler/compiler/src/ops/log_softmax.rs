//! `LogSoftmax`.

use super::{Call, Inferred, OpDef, call::same_as_input, softmax::Softmax};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("LogSoftmax", infer, eval, lower)];

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Softmax::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let softmax = Softmax::parse(call)?;
    let x = call.floats(0)?;
    let mut out = vec![0.0; x.len()];
    softmax.each(|places| {
        let max = places.iter().map(|p| f64::from(x[*p])).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = places.iter().map(|p| libm::exp(f64::from(x[*p]) - max)).sum();
        for p in places {
            out[*p] = (f64::from(x[*p]) - max - libm::log(sum)) as f32;
        }
    });
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let softmax = Softmax::parse(call)?;
    let (input, out) = (lw.input_val(call, 0)?, lw.result(call)?);
    let back = softmax.turned(lw, &input)?;
    lw.log_softmax(&call.node.name, &back, out)?;
    softmax.turn_back(lw, out, &input.shape)
}
