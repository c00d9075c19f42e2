//! Comparisons, functions of truth values, and `Where`.

use hs_ir::{DType, TensorData, ValueId};

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::{
    Lowerer,
    choose::{Comparison, Logic},
};

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("And", infer, eval, lower),
    OpDef::new("Equal", infer, eval, lower),
    OpDef::new("Greater", infer, eval, lower),
    OpDef::new("GreaterOrEqual", infer, eval, lower),
    OpDef::new("Less", infer, eval, lower),
    OpDef::new("LessOrEqual", infer, eval, lower),
    OpDef::new("Not", infer_not, eval_not, lower_not),
    OpDef::new("Or", infer, eval, lower),
    OpDef::new("Xor", infer, eval, lower),
];

/// What is computed of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comparison(Comparison),
    Logic(Logic),
}

/// Checks the call; with the shape that both operands broadcast to.
fn parse(call: &Call<'_>) -> Result<(Kind, Vec<usize>), Diagnostic> {
    let (a, b) = (call.arg(0)?, call.arg(1)?);
    let kind = match call.node.op.as_str() {
        "And" => Kind::Logic(Logic::And),
        "Or" => Kind::Logic(Logic::Or),
        "Xor" => Kind::Logic(Logic::Xor),
        "Equal" => Kind::Comparison(Comparison::Equal),
        "Greater" => Kind::Comparison(Comparison::Greater),
        "GreaterOrEqual" => Kind::Comparison(Comparison::GreaterOrEqual),
        "Less" => Kind::Comparison(Comparison::Less),
        _ => Kind::Comparison(Comparison::LessOrEqual),
    };
    let fits = match kind {
        Kind::Logic(_) => a.dtype == DType::Bool && b.dtype == DType::Bool,
        Kind::Comparison(_) => a.dtype.is_float() == b.dtype.is_float(),
    };
    if !fits {
        return Err(call.error(format!("its inputs have the types {} and {}", a.dtype, b.dtype)));
    }
    let shape = broadcast_shape(a.shape, b.shape).ok_or_else(|| {
        call.error(format!(
            "its inputs have the shapes {:?} and {:?}, which do not broadcast",
            a.shape, b.shape
        ))
    })?;
    Ok((kind, shape))
}

fn holds<T: PartialOrd>(how: Comparison, a: T, b: T) -> bool {
    match how {
        Comparison::Equal => a == b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(DType::Bool, parse(call)?.1)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let (kind, shape) = parse(call)?;
    let (a, b) = (call.arg(0)?, call.arg(1)?);
    let places = broadcast_indices(a.shape, &shape).into_iter().zip(broadcast_indices(b.shape, &shape));
    let (x, y) = (call.constant(a)?, call.constant(b)?);
    let out: Vec<i64> = match (kind, x.ints(), y.ints()) {
        (Kind::Comparison(how), Some(x), Some(y)) => {
            places.map(|(i, j)| i64::from(holds(how, x[i], y[j]))).collect()
        }
        (Kind::Comparison(how), ..) => {
            let (x, y) = (x.to_f64(), y.to_f64());
            places.map(|(i, j)| i64::from(holds(how, x[i], y[j]))).collect()
        }
        (Kind::Logic(how), ..) => {
            let (x, y) = (x.to_f64(), y.to_f64());
            let both = places.map(|(i, j)| (x[i] != 0.0, y[j] != 0.0));
            both.map(|(a, b)| match how {
                Logic::And => i64::from(a && b),
                Logic::Or => i64::from(a || b),
                Logic::Xor => i64::from(a != b),
            })
            .collect()
        }
    };
    call.result(DType::Bool, shape, TensorData::I64(out)).map(|t| vec![t])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let (kind, _) = parse(call)?;
    let operands: Vec<ValueId> = call.node.inputs.iter().copied().flatten().collect();
    let (name, out) = (&call.node.name, lw.result(call)?);
    match (kind, &operands[..]) {
        (Kind::Comparison(how), &[a, b]) => lw.compare(name, how, (a, b), out),
        (Kind::Logic(how), _) => lw.logic(name, how, &operands, out),
        (Kind::Comparison(_), _) => Err(call.error("lacks an input")),
    }
}

fn infer_not(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    match call.arg(0)?.dtype {
        DType::Bool => same_as_input(call),
        other => Err(call.error(format!("its input has the type {other}; truth values are expected"))),
    }
}

fn eval_not(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let x = call.constant_ints(0)?.unwrap_or(&[]);
    let out = x.iter().map(|x| i64::from(*x == 0)).collect();
    call.result(DType::Bool, call.arg(0)?.shape.to_vec(), TensorData::I64(out)).map(|t| vec![t])
}

fn lower_not(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    lw.is_zero(&call.node.name, &lw.input_val(call, 0)?, false, lw.result(call)?)
}
