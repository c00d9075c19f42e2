//! `Clip`.

use hs_ir::TensorData;

use super::Activation;
use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Clip", infer, eval, lower)];

/// `x` held within constant bounds. Bounds beyond every finite `f32` are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Lower bound.
    pub min: Option<f64>,
    /// Upper bound; it wins over a larger lower one.
    pub max: Option<f64>,
}

impl Clip {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.arg(0)?;
        let bound = |index: usize, none: f64| {
            let bound = call.constant_scalar(index)?;
            if bound.is_some_and(f64::is_nan) {
                return Err(call.error("a bound is NaN"));
            }
            Ok(bound.filter(|b| if none < 0.0 { *b > none } else { *b < none }))
        };
        Ok(Self { min: bound(1, f64::from(f32::MIN))?, max: bound(2, f64::from(f32::MAX))? })
    }

    /// The nearest value within the bounds.
    pub fn apply(&self, x: f64) -> f64 {
        let x = self.min.map_or(x, |min| x.max(min));
        self.max.map_or(x, |max| x.min(max))
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Clip::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let clip = Clip::parse(call)?;
    let x = call.arg(0)?;
    let tensor = call.constant(x)?;
    match tensor.ints() {
        Some(ints) => {
            let out = ints.iter().map(|x| clip.apply(*x as f64) as i64).collect();
            call.result(x.dtype, x.shape.to_vec(), TensorData::I64(out)).map(|t| vec![t])
        }
        None => {
            let out = call.floats(0)?.iter().map(|x| clip.apply(f64::from(*x)) as f32).collect();
            call.float_result(x.shape.to_vec(), out)
        }
    }
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let act = activation(call)?;
    lw.activate(&call.node.name, &lw.input_val(call, 0)?, act, lw.result(call)?)
}

/// The activation that a call is.
pub(super) fn activation(call: &Call<'_>) -> Result<Activation, Diagnostic> {
    let Clip { min, max } = Clip::parse(call)?;
    // The upper bound wins over a larger lower one.
    let lo = match (min, max) {
        (Some(lo), Some(hi)) => Some(lo.min(hi)),
        (lo, _) => lo,
    };
    Ok(Activation::Clip { lo, hi: max })
}
