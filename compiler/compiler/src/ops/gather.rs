//! `Gather`.

use super::{Call, Inferred, OpDef, expand, within};
use crate::diagnostic::Diagnostic;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::fold_only("Gather", infer, eval)];

fn shape(call: &Call<'_>) -> Result<(usize, Vec<usize>), Diagnostic> {
    let (x, indices) = (call.arg(0)?.shape, call.arg(1)?.shape);
    let axis = call.axis(call.int("axis")?.unwrap_or(0), x.len())?;
    let shape: Vec<usize> = [&x[..axis], indices, &x[axis + 1..]].concat();
    if !within(&shape, expand::MAX_ELEMENTS) {
        return Err(call.error(format!("its result {shape:?} is too large")));
    }
    Ok((axis, shape))
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, shape(call)?.1)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let (axis, shape) = shape(call)?;
    let x = call.arg(0)?.shape;
    let indices = call.constant_ints(1)?.unwrap_or(&[]);
    let indices = indices
        .iter()
        .map(|i| call.axis(*i, x[axis]))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| call.error(format!("an index of {indices:?} is outside 0..{}", x[axis])))?;
    let outer: usize = x[..axis].iter().product();
    let inner: usize = x[axis + 1..].iter().product();
    let mut picks = Vec::with_capacity(outer * indices.len() * inner);
    for o in 0..outer {
        for i in &indices {
            let base = (o * x[axis] + i) * inner;
            picks.extend(base..base + inner);
        }
    }
    call.gathered(0, shape, &picks)
}
