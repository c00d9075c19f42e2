//! `Constant` and `ConstantOfShape`.

use hs_ir::{Attr, DType, Tensor, TensorData};

use super::{Call, Inferred, OpDef, expand};
use crate::diagnostic::Diagnostic;

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::fold_only("Constant", infer, eval),
    OpDef::fold_only("ConstantOfShape", infer_of_shape, eval_of_shape),
];

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    eval(call).map(|results| results.into_iter().map(Inferred::known).collect())
}

fn eval(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let mut values = call.node.attrs.iter().filter(|(name, _)| name.starts_with("value"));
    let tensor = match values.next() {
        Some((_, Attr::Tensor(t))) => t.clone(),
        Some((_, Attr::Int(x))) => Tensor::scalar_i64(*x),
        Some((_, Attr::Ints(v))) => Tensor::vec_i64(v.clone()),
        Some((_, Attr::Float(x))) => Tensor::scalar_f32(*x),
        Some((_, Attr::Floats(v))) => Tensor::vec_f32(v.clone()),
        Some((name, other)) => {
            return Err(
                call.error(format!("its attribute '{name}' is {}, which is not supported", other.kind()))
            );
        }
        None => return Err(call.error("holds no value of a supported kind (sparse tensors are not)")),
    };
    Ok(vec![tensor])
}

/// The element and the shape.
fn of_shape(call: &Call<'_>) -> Result<(Tensor, Vec<usize>), Diagnostic> {
    let shape = call.constant_ints(0)?.ok_or_else(|| call.error("lacks its shape"))?;
    let shape = expand::sizes(call, shape)?;
    let value = match call.node.attrs.get("value") {
        None => Tensor::scalar_f32(0.0),
        Some(Attr::Tensor(t)) if t.len() == 1 => t.clone(),
        Some(_) => return Err(call.error("its attribute 'value' is not a tensor of one element")),
    };
    Ok((value, shape))
}

fn infer_of_shape(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let (value, shape) = of_shape(call)?;
    Ok(vec![Inferred::new(value.dtype(), shape)])
}

fn eval_of_shape(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let (value, shape) = of_shape(call)?;
    let count = shape.iter().product();
    let data = match value.data() {
        TensorData::F32(v) => TensorData::F32(vec![v[0]; count]),
        TensorData::F64(v) => TensorData::F64(vec![v[0]; count]),
        TensorData::I64(v) => TensorData::I64(vec![v[0]; count]),
    };
    let dtype: DType = value.dtype();
    call.result(dtype, shape, data).map(|t| vec![t])
}
