//! `LeakyRelu`.

use super::Activation;
use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("LeakyRelu", infer, eval, lower)];

/// `x` where it is not negative, `alpha * x` elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakyRelu {
    /// Slope below zero.
    pub alpha: f64,
}

impl LeakyRelu {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        Ok(Self { alpha: call.float("alpha", 0.01)? })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    LeakyRelu::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let LeakyRelu { alpha } = LeakyRelu::parse(call)?;
    let out =
        call.floats(0)?.iter().map(|x| if *x < 0.0 { (alpha * f64::from(*x)) as f32 } else { *x }).collect();
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let act = activation(call)?;
    lw.activate(&call.node.name, &lw.input_val(call, 0)?, act, lw.result(call)?)
}

/// The activation that a call is.
pub(super) fn activation(call: &Call<'_>) -> Result<Activation, Diagnostic> {
    Ok(Activation::Leaky(LeakyRelu::parse(call)?.alpha))
}
