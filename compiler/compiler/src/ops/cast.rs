//! `Cast` and `CastLike`. A cast from one float type to another does nothing here; one to integers drops fractions.

use hs_ir::{DType, Tensor, TensorData};

use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;
use crate::onnx;

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("Cast", infer, eval, lower), OpDef::new("CastLike", infer, eval, lower)];

/// A change of element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// The type of the operand.
    pub from: DType,
    /// The type of the result.
    pub to: DType,
}

impl Cast {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let from = call.arg(0)?.dtype;
        if call.node.op == "CastLike" {
            return Ok(Self { from, to: call.arg(1)?.dtype });
        }
        let to = call.int("to")?.ok_or_else(|| call.error("lacks its attribute 'to'"))?;
        let to = i32::try_from(to).unwrap_or(0);
        Ok(Self { from, to: onnx::dtype(to).map_err(|e| call.error(e))? })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    if call.node.op == "CastLike" && call.arg(0)?.tensor.is_some() {
        // Of the second operand only the type counts.
        return Ok(eval(call)?.into_iter().map(Inferred::known).collect());
    }
    Ok(vec![Inferred::new(Cast::parse(call)?.to, call.arg(0)?.shape.to_vec())])
}

fn eval(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let Cast { to, .. } = Cast::parse(call)?;
    let x = call.arg(0)?;
    let tensor = call.constant(x)?;
    let shape = x.shape.to_vec();
    let out = match (tensor.data(), to.int_range()) {
        (TensorData::I64(v), Some((min, max))) => {
            let wrap = |x: &i64| if to == DType::Bool { i64::from(*x != 0) } else { wrapped(*x, min, max) };
            call.result(to, shape, TensorData::I64(v.iter().map(wrap).collect()))
        }
        (_, Some((min, max))) => {
            let int =
                |x: f64| if to == DType::Bool { i64::from(x != 0.0) } else { (x as i64).clamp(min, max) };
            call.result(to, shape, TensorData::I64(tensor.to_f64().into_iter().map(int).collect()))
        }
        (TensorData::I64(v), None) => {
            call.result(DType::F32, shape, TensorData::F32(v.iter().map(|x| *x as f32).collect()))
        }
        (TensorData::F32(_) | TensorData::F64(_), None) => Ok(tensor.clone()),
    };
    out.map(|t| vec![t])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let Cast { from, to } = Cast::parse(call)?;
    let (name, input, out) = (&call.node.name, lw.input_val(call, 0)?, lw.result(call)?);
    if from.int_range().is_some() {
        lw.native_only(call)?;
    }
    if to.is_float() || from == DType::Bool {
        lw.bind(out, input);
        return Ok(());
    }
    lw.native_only(call)?;
    if to == DType::Bool {
        return lw.is_zero(name, &input, true, out);
    }
    lw.truncated(name, &input, to, out)
}

/// `x` wrapped into the type whose range this is.
fn wrapped(x: i64, min: i64, max: i64) -> i64 {
    let span = i128::from(max) - i128::from(min) + 1;
    let wrapped = (i128::from(x) - i128::from(min)).rem_euclid(span) + i128::from(min);
    wrapped as i64
}
