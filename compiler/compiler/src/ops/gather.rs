//! `Gather`: elements at constant places, or rows of a constant table at computed ones (an embedding).

use super::{Call, Inferred, OpDef, expand, picked_indices, within};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Gather", infer, eval, lower)];

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

/// The indices, from 0 on; they must be constant.
fn indices(call: &Call<'_>, len: usize) -> Result<Vec<usize>, Diagnostic> {
    let indices = call.constant_ints(1)?.unwrap_or(&[]);
    indices
        .iter()
        .map(|i| call.axis(*i, len))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| call.error(format!("an index of {indices:?} is outside 0..{len}")))
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let (axis, shape) = shape(call)?;
    let x = call.arg(0)?.shape;
    let mut picks: Vec<Vec<usize>> = x.iter().map(|n| (0..*n).collect()).collect();
    picks[axis] = indices(call, x[axis])?;
    call.gathered(0, shape, &picked_indices(x, &picks))
}

/// How many rows the constant table has that `call` looks up, if it does.
pub(crate) fn looked_up(call: &Call<'_>) -> Option<usize> {
    let table = call.arg(0).ok().filter(|_| call.node.is("Gather"))?;
    let (axis, _) = shape(call).ok()?;
    table.tensor.map(|_| table.shape[axis])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let (axis, _) = shape(call)?;
    if let Some(table) = call.arg(0)?.tensor {
        lw.native_only(call)?;
        let indices = lw.input_val(call, 1)?;
        let value = call.node.input(0);
        return lw.lookup(&call.node.name, &indices, (table, value), axis, lw.result(call)?);
    }
    let x = call.arg(0)?.shape;
    let mut picks: Vec<Vec<usize>> = x.iter().map(|n| (0..*n).collect()).collect();
    picks[axis] = indices(call, x[axis])?;
    lw.select(call, &picks, lw.result(call)?)
}
