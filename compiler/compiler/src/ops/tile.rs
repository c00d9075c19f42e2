//! `Tile`.

use super::{Call, Inferred, OpDef, expand, picked_indices, within};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Tile", infer, eval, lower)];

/// The indices along each axis, which the repeats must state as constants.
fn picks(call: &Call<'_>) -> Result<Vec<Vec<usize>>, Diagnostic> {
    let x = call.arg(0)?.shape;
    let given = call.constant_ints(1)?.ok_or_else(|| call.error("lacks its repeats"))?;
    let repeats = expand::sizes(call, given)?;
    if repeats.len() != x.len() {
        return Err(call.error(format!("has the repeats {given:?} for a tensor of rank {}", x.len())));
    }
    let shape: Vec<usize> = x.iter().zip(&repeats).map(|(n, r)| n.saturating_mul(*r)).collect();
    if !within(&shape, expand::MAX_ELEMENTS) {
        return Err(call.error(format!("its result {shape:?} is too large")));
    }
    Ok(x.iter().zip(shape).map(|(n, total)| (0..total).map(|i| i % n).collect()).collect())
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, picks(call)?.iter().map(Vec::len).collect())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let picks = picks(call)?;
    let shape = picks.iter().map(Vec::len).collect();
    call.gathered(0, shape, &picked_indices(call.arg(0)?.shape, &picks))
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let picks = picks(call)?;
    lw.select(call, &picks, lw.result(call)?)
}
