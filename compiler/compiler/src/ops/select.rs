//! `Where`.

use hs_ir::{DType, TensorData};

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Where", infer, eval, lower)];

fn shape(call: &Call<'_>) -> Result<Vec<usize>, Diagnostic> {
    let (condition, a, b) = (call.arg(0)?, call.arg(1)?, call.arg(2)?);
    if condition.dtype != DType::Bool || a.dtype.is_float() != b.dtype.is_float() {
        return Err(
            call.error(format!("its inputs have the types {}, {} and {}", condition.dtype, a.dtype, b.dtype))
        );
    }
    broadcast_shape(a.shape, b.shape).and_then(|s| broadcast_shape(&s, condition.shape)).ok_or_else(|| {
        call.error(format!(
            "the shapes {:?}, {:?} and {:?} do not broadcast",
            condition.shape, a.shape, b.shape
        ))
    })
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(1)?.dtype, shape(call)?)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let shape = shape(call)?;
    let indices = |index: usize| Ok::<_, Diagnostic>(broadcast_indices(call.arg(index)?.shape, &shape));
    let (at_condition, at_a, at_b) = (indices(0)?, indices(1)?, indices(2)?);
    let condition = call.constant_ints(0)?.unwrap_or(&[]);
    fn pick<T: Copy>(from: impl Iterator<Item = (bool, (usize, usize))>, a: &[T], b: &[T]) -> Vec<T> {
        from.map(|(first, (i, j))| if first { a[i] } else { b[j] }).collect()
    }
    let from = at_condition.iter().map(|i| condition[*i] != 0).zip(at_a.into_iter().zip(at_b));
    let a = call.arg(1)?;
    if a.dtype.is_float() {
        let out = pick(from, &call.floats(1)?, &call.floats(2)?);
        return call.float_result(shape, out);
    }
    let out = pick(from, call.constant_ints(1)?.unwrap_or(&[]), call.constant_ints(2)?.unwrap_or(&[]));
    call.result(a.dtype, shape, TensorData::I64(out)).map(|t| vec![t])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    shape(call)?;
    match (call.node.input(0), call.node.input(1), call.node.input(2)) {
        (Some(condition), Some(a), Some(b)) => {
            lw.chosen(&call.node.name, [condition, a, b], lw.result(call)?)
        }
        _ => Err(call.error("lacks an input")),
    }
}
