//! `Shape`: known as soon as shapes are.

use hs_ir::Tensor;

use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::fold_only("Shape", infer, eval)];

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    eval(call).map(|results| results.into_iter().map(Inferred::known).collect())
}

fn eval(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let shape = call.arg(0)?.shape;
    let rank = shape.len() as i64;
    let bound = |name: &str, default: i64| {
        let at = call.int(name)?.unwrap_or(default);
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        Ok::<_, Diagnostic>(at.clamp(0, rank) as usize)
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    let dims = shape.get(start..end).unwrap_or(&[]);
    Ok(vec![Tensor::vec_i64(dims.iter().map(|d| *d as i64).collect())])
}
