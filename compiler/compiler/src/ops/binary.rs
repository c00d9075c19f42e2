//! Operators on two tensors that broadcast.

use hs_ir::{DType, TensorData};

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, elementwise::FloatAffine};
use hs_hw::BinaryOp;

/// The operators. Division of a tensor by a constant becomes `hypersonic::Affine`.
pub const OPS: &[OpDef] = &[
    OpDef::new("Add", infer, eval, lower),
    OpDef::new("Sub", infer, eval, lower),
    OpDef::new("Mul", infer, eval, lower),
    OpDef::new("Div", infer, eval, lower),
];

/// What is computed of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryKind {
    /// Their sum.
    Add,
    /// The first minus the second.
    Sub,
    /// Their product.
    Mul,
    /// The first over the second; of integers, rounded to zero.
    Div,
}

/// An operator on two tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// What is computed.
    pub kind: BinaryKind,
    /// The shape that both operands broadcast to.
    pub shape: Vec<usize>,
}

impl Binary {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let kind = match call.node.op.as_str() {
            "Add" => BinaryKind::Add,
            "Sub" => BinaryKind::Sub,
            "Mul" => BinaryKind::Mul,
            "Div" => BinaryKind::Div,
            other => return Err(call.error(format!("'{other}' is no operator on two tensors"))),
        };
        if call.len() != 2 {
            return Err(call.error(format!("has {} inputs; 2 are supported", call.len())));
        }
        let (a, b) = (call.arg(0)?, call.arg(1)?);
        if a.dtype.is_float() != b.dtype.is_float() {
            return Err(call.error(format!("its inputs have the types {} and {}", a.dtype, b.dtype)));
        }
        let shape = broadcast_shape(a.shape, b.shape).ok_or_else(|| {
            call.error(format!(
                "its inputs have the shapes {:?} and {:?}, which do not broadcast",
                a.shape, b.shape
            ))
        })?;
        Ok(Self { kind, shape })
    }
}

impl BinaryKind {
    /// The result for two floats.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
        }
    }

    fn apply_ints(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Add => a.checked_add(b),
            Self::Sub => a.checked_sub(b),
            Self::Mul => a.checked_mul(b),
            Self::Div => a.checked_div(b),
        }
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let binary = Binary::parse(call)?;
    Ok(vec![Inferred::new(call.arg(0)?.dtype, binary.shape)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let Binary { kind, shape } = Binary::parse(call)?;
    let (a, b) = (call.arg(0)?, call.arg(1)?);
    let (at_a, at_b) = (broadcast_indices(a.shape, &shape), broadcast_indices(b.shape, &shape));
    let places = at_a.into_iter().zip(at_b);
    if let (Some(x), Some(y)) = (call.constant(a)?.ints(), call.constant(b)?.ints()) {
        let out: Option<Vec<i64>> = places.map(|(i, j)| kind.apply_ints(x[i], y[j])).collect();
        let out = out.ok_or_else(|| call.error("an integer result overflows, or is a division by zero"))?;
        return call.result(a.dtype, shape, TensorData::I64(out)).map(|t| vec![t]);
    }
    let (x, y) = (call.floats(0)?, call.floats(1)?);
    let out = places.map(|(i, j)| kind.apply(f64::from(x[i]), f64::from(y[j])) as f32).collect();
    call.float_result(shape, out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let op = match Binary::parse(call)?.kind {
        BinaryKind::Add => BinaryOp::Add,
        BinaryKind::Sub => BinaryOp::Sub,
        BinaryKind::Mul => BinaryOp::Mul,
        BinaryKind::Div => {
            lw.native_only(call)?;
            if let Some(divisor) = call.arg(1)?.tensor {
                return scaled(lw, call, divisor);
            }
            let operands = call.node.inputs.iter().copied().flatten().collect::<Vec<_>>();
            return lw.divide(&call.node.name, &operands, lw.result(call)?);
        }
    };
    let (a, b) = match (call.node.input(0), call.node.input(1)) {
        (Some(a), Some(b)) => (a, b),
        _ => return Err(call.error("lacks an input")),
    };
    lw.combine(&call.node.name, op, &[a, b], lw.result(call)?)
}

/// Division by a constant that is not one number a channel.
fn scaled(lw: &mut Lowerer<'_>, call: &Call<'_>, divisor: &hs_ir::Tensor) -> Result<(), Diagnostic> {
    let inverse: Vec<f64> = divisor.to_f64().into_iter().map(f64::recip).collect();
    if let Some(at) = inverse.iter().position(|x| !x.is_finite()) {
        return Err(call.error(format!("divides by a constant that is 0 at element {at}")));
    }
    let inverse = call.result(DType::F64, divisor.shape().to_vec(), TensorData::F64(inverse))?;
    let scale = FloatAffine { scale: Some(&inverse), scale_value: None, bias: None, bias_value: None };
    lw.affine(&call.node.name, &lw.input_val(call, 0)?, &scale, lw.result(call)?)
}
