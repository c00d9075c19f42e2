//! `Elu`, `Celu` and `Selu`.

use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, bend::Bend, hls4ml::Tabulated};

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("Celu", infer, eval, lower),
    OpDef::new("Elu", infer, eval, lower),
    OpDef::new("Selu", infer, eval, lower),
];

/// `gamma * x` where x is positive, `gamma * alpha * (exp(x / width) - 1)` elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elu {
    /// What the negative side tends to, over `-gamma`.
    pub alpha: f64,
    /// Factor of everything; 1 for `Elu`.
    pub gamma: f64,
    /// What x is divided by; alpha for `Celu`, else 1.
    pub width: f64,
}

impl Elu {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        Ok(match call.node.op.as_str() {
            "Selu" => Self {
                alpha: call.float("alpha", SELU_ALPHA)?,
                gamma: call.float("gamma", SELU_GAMMA)?,
                width: 1.0,
            },
            "Celu" => {
                let alpha = call.float("alpha", 1.0)?;
                if alpha <= 0.0 {
                    return Err(call.error(format!("has the alpha {alpha}; a positive one is expected")));
                }
                Self { alpha, gamma: 1.0, width: alpha }
            }
            _ => Self { alpha: call.float("alpha", 1.0)?, gamma: 1.0, width: 1.0 },
        })
    }

    /// The function, by portable code.
    pub fn apply(&self, x: f64) -> f64 {
        self.gamma * if x > 0.0 { x } else { self.alpha * libm::expm1(x / self.width) }
    }
}

/// Defaults that the standard states for `Selu`.
const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_GAMMA: f32 = 1.050_701;

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Elu::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let elu = Elu::parse(call)?;
    let out = call.floats(0)?.iter().map(|x| elu.apply(f64::from(*x)) as f32).collect();
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let elu = Elu::parse(call)?;
    let (name, input, out) = (&call.node.name, lw.input_val(call, 0)?, lw.result(call)?);
    if elu.alpha < 0.0 || elu.gamma <= 0.0 {
        return Err(call.error(format!(
            "has alpha {} and gamma {}; a curve that falls nowhere is expected",
            elu.alpha, elu.gamma
        )));
    }
    if !lw.hls4ml() {
        let bend = Bend {
            name: &call.node.op,
            whole: &|x| elu.apply(x),
            slope: elu.gamma,
            rest: &|x| elu.apply(x.min(0.0)),
            even: false,
        };
        return lw.bend(name, &input, &bend, out);
    }
    if call.node.op == "Celu" {
        return lw.native_only(call);
    }
    if call.node.op == "Elu" {
        let alpha = lw.hls4ml_alpha(elu.alpha);
        return lw.hls4ml_tabulated(name, &input, Tabulated::Elu, alpha, out);
    }
    if elu != (Elu { alpha: f64::from(SELU_ALPHA), gamma: f64::from(SELU_GAMMA), width: 1.0 }) {
        let help = "leave alpha and gamma out, or use --arithmetic native";
        return Err(call.error("has an alpha or gamma of its own, which hls4ml ignores").help(help));
    }
    lw.hls4ml_tabulated(name, &input, Tabulated::Selu, 1.0, out)
}
