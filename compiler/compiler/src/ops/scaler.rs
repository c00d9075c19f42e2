//! `Scaler` of `ai.onnx.ml`. Passes turn it into `hypersonic::Affine`.

use super::{Call, Inferred, ML_DOMAIN, OpDef};
use crate::diagnostic::Diagnostic;
use hs_ir::{Attr, DType};

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::rewritten("Scaler", infer, eval).in_domains(&[ML_DOMAIN])];

/// `(x - offset) * scale` along the last axis: one number each, or one a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    /// What is subtracted.
    pub offset: Vec<f64>,
    /// The factor behind it.
    pub scale: Vec<f64>,
}

impl Scaler {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?;
        let features = x.shape.last().copied().unwrap_or(1);
        let list = |name: &str, default: f64| match call.node.attrs.get(name) {
            None => Ok(vec![default]),
            Some(Attr::Floats(v)) if v.len() == 1 || v.len() == features => {
                Ok(v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>())
            }
            Some(Attr::Floats(v)) => {
                let found = v.len();
                Err(call.error(format!("its attribute '{name}' has {found} numbers for {features} features")))
            }
            Some(other) => {
                Err(call.error(format!("its attribute '{name}' is {}; floats are expected", other.kind())))
            }
        };
        Ok(Self { offset: list("offset", 0.0)?, scale: list("scale", 1.0)? })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Scaler::parse(call)?;
    Ok(vec![Inferred::new(DType::F32, call.arg(0)?.shape.to_vec())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let Scaler { offset, scale } = Scaler::parse(call)?;
    let shape = call.arg(0)?.shape.to_vec();
    let features = shape.last().copied().unwrap_or(1).max(1);
    let at = |v: &[f64], place: usize| if v.len() == 1 { v[0] } else { v[place % features] };
    let x = call.floats(0)?;
    let out = x.iter().enumerate().map(|(i, x)| ((f64::from(*x) - at(&offset, i)) * at(&scale, i)) as f32);
    call.float_result(shape, out.collect())
}
