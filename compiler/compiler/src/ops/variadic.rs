//! Operators on any number of tensors: `Max`, `Min`, `Sum` and `Mean`.

use hs_hw::BinaryOp;
use hs_ir::{TensorData, ValueId};

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("Max", infer, eval, lower),
    OpDef::new("Min", infer, eval, lower),
    OpDef::new("Sum", infer, eval, lower),
    OpDef::new("Mean", infer, eval, lower),
];

/// What is computed of the elements at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variadic {
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their sum.
    Sum,
    /// Their sum over their number.
    Mean,
}

/// Checks the call; with the shape that all operands broadcast to.
fn parse(call: &Call<'_>) -> Result<(Variadic, Vec<usize>), Diagnostic> {
    let kind = match call.node.op.as_str() {
        "Max" => Variadic::Max,
        "Min" => Variadic::Min,
        "Sum" => Variadic::Sum,
        _ => Variadic::Mean,
    };
    let first = call.arg(0)?;
    let mut shape = first.shape.to_vec();
    for index in 1..call.len() {
        let arg = call.arg(index)?;
        if arg.dtype.is_float() != first.dtype.is_float() {
            return Err(call.error(format!("its inputs have the types {} and {}", first.dtype, arg.dtype)));
        }
        shape = broadcast_shape(&shape, arg.shape).ok_or_else(|| {
            call.error(format!(
                "its inputs have the shapes {shape:?} and {:?}, which do not broadcast",
                arg.shape
            ))
        })?;
    }
    if matches!(kind, Variadic::Sum | Variadic::Mean) {
        call.float_arg(0)?;
    }
    Ok((kind, shape))
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, parse(call)?.1)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let (kind, shape) = parse(call)?;
    let first = call.arg(0)?;
    let places = |index: usize| Ok::<_, Diagnostic>(broadcast_indices(call.arg(index)?.shape, &shape));
    if !first.dtype.is_float() {
        let mut out: Vec<i64> = Vec::new();
        for index in 0..call.len() {
            let ints = call.constant_ints(index)?.unwrap_or(&[]);
            let spread = places(index)?.into_iter().map(|at| ints[at]);
            out = match kind {
                _ if index == 0 => spread.collect(),
                Variadic::Max => out.iter().zip(spread).map(|(a, b)| b.max(*a)).collect(),
                _ => out.iter().zip(spread).map(|(a, b)| b.min(*a)).collect(),
            };
        }
        return call.result(first.dtype, shape, TensorData::I64(out)).map(|t| vec![t]);
    }
    let mut out: Vec<f64> = Vec::new();
    for index in 0..call.len() {
        let data = call.floats(index)?;
        let spread = places(index)?.into_iter().map(|at| f64::from(data[at]));
        out = match kind {
            _ if index == 0 => spread.collect(),
            Variadic::Max => out.iter().zip(spread).map(|(a, b)| b.max(*a)).collect(),
            Variadic::Min => out.iter().zip(spread).map(|(a, b)| b.min(*a)).collect(),
            Variadic::Sum | Variadic::Mean => out.iter().zip(spread).map(|(a, b)| a + b).collect(),
        };
    }
    let by = if kind == Variadic::Mean { call.len() as f64 } else { 1.0 };
    call.float_result(shape, out.into_iter().map(|x| (x / by) as f32).collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let (kind, _) = parse(call)?;
    let operands: Vec<ValueId> = call.node.inputs.iter().copied().flatten().collect();
    let (name, out) = (&call.node.name, lw.result(call)?);
    if let [only] = operands[..] {
        let val = lw.val(only)?;
        lw.bind(out, val);
        return Ok(());
    }
    match kind {
        Variadic::Max => lw.combine(name, BinaryOp::Max, &operands, out),
        Variadic::Min => lw.combine(name, BinaryOp::Min, &operands, out),
        Variadic::Sum => lw.combine(name, BinaryOp::Add, &operands, out),
        Variadic::Mean => lw.mean(name, &operands, out),
    }
}
