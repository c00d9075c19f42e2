//! `HardSigmoid` and `HardSwish`.

use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("HardSigmoid", infer, eval, lower), OpDef::new("HardSwish", infer, eval, lower)];

/// `alpha * x + beta`, held within 0 and 1; `HardSwish` is x times that, with 1/6 and 1/2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HardSigmoid {
    /// Slope.
    pub alpha: f64,
    /// Value at 0.
    pub beta: f64,
    /// Times x.
    pub swish: bool,
}

impl HardSigmoid {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        if call.node.op == "HardSwish" {
            return Ok(Self { alpha: 1.0 / 6.0, beta: 0.5, swish: true });
        }
        Ok(Self { alpha: call.float("alpha", 0.2)?, beta: call.float("beta", 0.5)?, swish: false })
    }

    /// The function.
    pub fn apply(&self, x: f64) -> f64 {
        let gate = (self.alpha * x + self.beta).clamp(0.0, 1.0);
        if self.swish { x * gate } else { gate }
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    HardSigmoid::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let function = HardSigmoid::parse(call)?;
    let out = call.floats(0)?.iter().map(|x| function.apply(f64::from(*x)) as f32).collect();
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let HardSigmoid { alpha, beta, swish } = HardSigmoid::parse(call)?;
    let (name, input, out) = (&call.node.name, lw.input_val(call, 0)?, lw.result(call)?);
    match (swish, lw.hls4ml()) {
        (false, false) => lw.hard_sigmoid(name, &input, (alpha, beta), out),
        (false, true) => lw.hls4ml_hard_sigmoid(name, &input, (alpha, beta), out),
        (true, false) => lw.hard_swish(name, &input, (alpha, beta), out),
        (true, true) => Err(call
            .error("is unknown to hls4ml")
            .help("write it as Mul(x, HardSigmoid(x)) in the model, or use --arithmetic native")),
    }
}
