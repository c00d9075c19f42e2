//! QONNX's `BipolarQuant`.

use hs_ir::Grid;

use super::{Call, Inferred, OpDef, QONNX_DOMAINS, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("BipolarQuant", infer, eval, lower).in_domains(QONNX_DOMAINS)];

/// `scale` where x is not negative, `-scale` elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BipolarQuant {
    /// The magnitude.
    pub scale: f64,
}

impl BipolarQuant {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        let scale = call.constant_scalar(1)?.ok_or_else(|| call.error("lacks its scale"))?;
        if !scale.is_finite() || scale <= 0.0 {
            return Err(call.error(format!("its scale is {scale}; a positive number is expected")));
        }
        Ok(Self { scale })
    }

    /// The grid of a constant that comes out of it.
    pub fn grid(&self) -> Grid {
        Grid { scale: vec![self.scale], axis: None, zero_point: 0.0, bits: 2, signed: true, narrow: true }
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    BipolarQuant::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let scale = BipolarQuant::parse(call)?.scale as f32;
    let out = call.floats(0)?.iter().map(|x| if *x >= 0.0 { scale } else { -scale }).collect();
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let BipolarQuant { scale } = BipolarQuant::parse(call)?;
    lw.sign(&call.node.name, &lw.input_val(call, 0)?, scale, lw.result(call)?)
}
