//! `ArgMax`, `ArgMin` and `Hardmax`.

use hs_ir::{DType, TensorData};

use super::{Call, Inferred, OpDef, call::same_as_input, softmax::Softmax};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("ArgMax", infer, eval, lower),
    OpDef::new("ArgMin", infer, eval, lower),
    OpDef::new("Hardmax", infer_hard, eval_hard, lower_hard),
];

/// The index of the largest or smallest element along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgMax {
    /// The axis.
    pub axis: usize,
    /// Whether it stays, with length 1.
    pub keep: bool,
    /// Whether the smallest element is looked for.
    pub least: bool,
    /// Of several equal elements the last.
    pub last: bool,
}

impl ArgMax {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let shape = call.float_arg(0)?.shape;
        let axis = call.axis(call.int("axis")?.unwrap_or(0), shape.len())?;
        if shape[axis] == 0 {
            return Err(call.error("has nothing to compare"));
        }
        Ok(Self {
            axis,
            keep: call.flag("keepdims", true)?,
            least: call.node.op == "ArgMin",
            last: call.flag("select_last_index", false)?,
        })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let arg = ArgMax::parse(call)?;
    let mut shape = call.arg(0)?.shape.to_vec();
    if arg.keep {
        shape[arg.axis] = 1;
    } else {
        shape.remove(arg.axis);
    }
    Ok(vec![Inferred::new(DType::I64, shape)])
}

/// The place of the largest of `row`.
fn largest(row: impl Iterator<Item = f64>, last: bool) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, x) in row.enumerate() {
        if x > best.1 || (last && x == best.1) {
            best = (at, x);
        }
    }
    best.0
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let arg = ArgMax::parse(call)?;
    let x = call.floats(0)?;
    let sign = if arg.least { -1.0 } else { 1.0 };
    let mut out = Vec::new();
    Softmax::along(call.arg(0)?.shape, arg.axis).each(|places| {
        out.push(largest(places.iter().map(|p| sign * f64::from(x[*p])), arg.last) as i64);
    });
    let shape = infer(call)?.remove(0).shape;
    call.result(DType::I64, shape, TensorData::I64(out)).map(|t| vec![t])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let arg = ArgMax::parse(call)?;
    let rows = Softmax::along(call.arg(0)?.shape, arg.axis);
    rows.refuse_batch(call)?;
    let mut input = lw.input_val(call, 0)?;
    if arg.least {
        input = lw.negative(&format!("{}/negative", call.node.name), &input)?;
    }
    let turned = rows.turned(lw, &input)?;
    lw.arg_max(&call.node.name, &turned, arg.last, lw.result(call)?)
}

fn infer_hard(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Softmax::parse(call)?;
    same_as_input(call)
}

fn eval_hard(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let softmax = Softmax::parse(call)?;
    let x = call.floats(0)?;
    let mut out = vec![0.0; x.len()];
    softmax.each(|places| {
        let at = largest(places.iter().map(|p| f64::from(x[*p])), false);
        if let Some(place) = places.get(at) {
            out[*place] = 1.0;
        }
    });
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower_hard(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let softmax = Softmax::parse(call)?;
    softmax.refuse_batch(call)?;
    let (input, out) = (lw.input_val(call, 0)?, lw.result(call)?);
    let turned = softmax.turned(lw, &input)?;
    lw.hard_max(&call.node.name, &turned, out)?;
    softmax.turn_back(lw, out, &input.shape)
}
