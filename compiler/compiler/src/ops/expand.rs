//! `Expand`.

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape, within};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Expand", infer, eval, lower)];

/// Most elements of what a shape, a scale or a count of repeats makes, whatever the limits are: places are listed before
/// anybody looks at them.
pub const MAX_ELEMENTS: usize = 1 << 26;

/// A shape from integers, small enough to be filled.
pub(super) fn sizes(call: &Call<'_>, shape: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let sizes: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    sizes.filter(|s| within(s, MAX_ELEMENTS)).ok_or_else(|| {
        call.error(format!("its shape {shape:?} is negative, or larger than {MAX_ELEMENTS} elements"))
    })
}

fn shape(call: &Call<'_>) -> Result<Vec<usize>, Diagnostic> {
    let x = call.arg(0)?.shape;
    let target = call.constant_ints(1)?.ok_or_else(|| call.error("lacks its shape"))?;
    let target = sizes(call, target)?;
    broadcast_shape(x, &target)
        .filter(|s| within(s, MAX_ELEMENTS))
        .ok_or_else(|| call.error(format!("cannot expand {x:?} to {target:?}")))
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, shape(call)?)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let shape = shape(call)?;
    let picks = broadcast_indices(call.arg(0)?.shape, &shape);
    call.gathered(0, shape, &picks)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let out = lw.result(call)?;
    let (input, shape) = (lw.input_val(call, 0)?, lw.shape(out)?);
    let val = lw.broadcast(&call.node.name, &input, &shape)?;
    lw.bind(out, val);
    Ok(())
}
