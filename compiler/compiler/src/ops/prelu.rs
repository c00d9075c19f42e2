//! `PRelu`.

use super::{Activation, Call, Inferred, OpDef, broadcast_indices, broadcast_shape, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("PRelu", infer, eval, lower)];

/// `x` where it is not negative, `slope * x` elsewhere; the slope, a constant, broadcasts to `x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PRelu<'a> {
    /// The slopes below zero.
    pub slope: &'a hs_ir::Tensor,
}

impl<'a> PRelu<'a> {
    /// Checks the call.
    pub fn parse(call: &Call<'a>) -> Result<Self, Diagnostic> {
        let (x, slope) = (call.float_arg(0)?, call.float_arg(1)?);
        if broadcast_shape(slope.shape, x.shape).as_deref() != Some(x.shape) {
            return Err(call.error(format!(
                "its slope has the shape {:?}, which does not broadcast to {:?}",
                slope.shape, x.shape
            )));
        }
        Ok(Self { slope: call.constant(slope)? })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    PRelu::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let PRelu { slope } = PRelu::parse(call)?;
    let (x, shape) = (call.floats(0)?, call.arg(0)?.shape);
    let (slopes, at) = (slope.to_f64(), broadcast_indices(slope.shape(), shape));
    let apply = |(x, at): (&f32, usize)| if *x < 0.0 { (slopes[at] * f64::from(*x)) as f32 } else { *x };
    call.float_result(shape.to_vec(), x.iter().zip(at).map(apply).collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let act = activation(call)?;
    lw.activate(&call.node.name, &lw.input_val(call, 0)?, act, lw.result(call)?)
}

/// The activation that a call is.
pub(super) fn activation(call: &Call<'_>) -> Result<Activation, Diagnostic> {
    let slope = PRelu::parse(call)?.slope;
    Ok(match slope.single() {
        Some(alpha) => Activation::Leaky(alpha),
        None => Activation::Slopes(slope.clone()),
    })
}
