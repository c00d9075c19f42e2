//! `Gelu`, `Mish` and `Swish`: x times a function of x that rises from 0 to 1.

use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("Gelu", infer, eval, lower),
    OpDef::new("Mish", infer, eval, lower),
    OpDef::new("Swish", infer, eval, lower),
];

/// What x is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// The normal distribution's cumulative function.
    Normal,
    /// Its approximation by a hyperbolic tangent.
    NormalTanh,
    /// `tanh(ln(1 + exp(x)))`.
    TanhSoftplus,
    /// The logistic function of `alpha * x`, alpha positive.
    Logistic(f64),
}

impl Gate {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        match call.node.op.as_str() {
            "Gelu" => match call.str("approximate", "none")? {
                "none" => Ok(Self::Normal),
                "tanh" => Ok(Self::NormalTanh),
                other => {
                    Err(call
                        .error(format!("its attribute 'approximate' is '{other}'; none or tanh is expected")))
                }
            },
            "Mish" => Ok(Self::TanhSoftplus),
            _ => match call.float("alpha", 1.0)? {
                alpha if alpha > 0.0 => Ok(Self::Logistic(alpha)),
                alpha => Err(call.error(format!("has the alpha {alpha}; a positive one is expected"))),
            },
        }
    }

    /// The gate at `x`, by portable code.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Normal => 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            Self::NormalTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                0.5 * (1.0 + libm::tanh(inner))
            }
            Self::TanhSoftplus => libm::tanh(x.max(0.0) + libm::log1p(libm::exp(-x.abs()))),
            Self::Logistic(alpha) => 1.0 / (1.0 + libm::exp(-alpha * x)),
        }
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Gate::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let gate = Gate::parse(call)?;
    let apply = |x: &f32| (f64::from(*x) * gate.apply(f64::from(*x))) as f32;
    call.float_result(call.arg(0)?.shape.to_vec(), call.floats(0)?.iter().map(apply).collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let gate = Gate::parse(call)?;
    let input = lw.input_val(call, 0)?;
    lw.self_gated(&call.node.name, &input, ("its gate", &|x| gate.apply(x)), lw.result(call)?)
}
