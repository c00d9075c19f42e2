//! `MatMul`. Passes turn one by a constant matrix into `hypersonic::Dense`; what stays multiplies two computed tensors.

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape, strides, window::Window};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, Val, dot::FloatDot};

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("MatMul", infer, eval, lower)];

/// `[..., rows, inner]` times `[..., inner, columns]`; leading dimensions broadcast. Operands of rank 1 gain a dimension
/// of 1 that the result loses again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatMul {
    /// Leading dimensions of the result.
    pub batch: Vec<usize>,
    /// Leading dimensions of the first operand.
    pub batch_a: Vec<usize>,
    /// Leading dimensions of the second operand.
    pub batch_b: Vec<usize>,
    /// Rows of the first operand.
    pub rows: usize,
    /// Columns of the first, rows of the second.
    pub inner: usize,
    /// Columns of the second operand.
    pub columns: usize,
    /// The result's shape.
    pub output: Vec<usize>,
}

impl MatMul {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let (a, b) = (call.float_arg(0)?.shape, call.float_arg(1)?.shape);
        let fail = || call.error(format!("tensors of shapes {a:?} and {b:?} cannot be multiplied"));
        let (batch_a, rows, inner) = match a {
            [] => return Err(fail()),
            [inner] => (&[][..], None, *inner),
            [batch @ .., rows, inner] => (batch, Some(*rows), *inner),
        };
        let (batch_b, inner_b, columns) = match b {
            [] => return Err(fail()),
            [inner] => (&[][..], *inner, None),
            [batch @ .., inner, columns] => (batch, *inner, Some(*columns)),
        };
        let batch = broadcast_shape(batch_a, batch_b).filter(|_| inner == inner_b).ok_or_else(fail)?;
        let output = batch.iter().copied().chain(rows).chain(columns).collect();
        Ok(Self {
            batch,
            batch_a: batch_a.to_vec(),
            batch_b: batch_b.to_vec(),
            rows: rows.unwrap_or(1),
            inner,
            columns: columns.unwrap_or(1),
            output,
        })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, MatMul::parse(call)?.output)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let m = MatMul::parse(call)?;
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    let matrices_a = broadcast_indices(&m.batch_a, &m.batch);
    let matrices_b = broadcast_indices(&m.batch_b, &m.batch);
    let [step_a, step_b] = [strides(&[1, m.rows, m.inner])[0], strides(&[1, m.inner, m.columns])[0]];
    let mut out = Vec::with_capacity(matrices_a.len() * m.rows * m.columns);
    for (at_a, at_b) in matrices_a.into_iter().zip(matrices_b) {
        let (a, b) = (&a[at_a * step_a..], &b[at_b * step_b..]);
        for row in 0..m.rows {
            let mut sums = vec![0.0f64; m.columns];
            for k in 0..m.inner {
                let x = f64::from(a[row * m.inner + k]);
                for (sum, w) in sums.iter_mut().zip(&b[k * m.columns..][..m.columns]) {
                    *sum += x * f64::from(*w);
                }
            }
            out.extend(sums.into_iter().map(|s| s as f32));
        }
    }
    call.float_result(m.output, out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let m = MatMul::parse(call)?;
    let out = lw.result(call)?;
    match (call.arg(0)?.tensor, call.arg(1)?.tensor) {
        (None, None) => {
            let matrix = |batch: &[usize], rows, columns| [batch, &[rows, columns]].concat();
            let a = lw.reshaped(&lw.input_val(call, 0)?, matrix(&m.batch_a, m.rows, m.inner));
            let b = lw.reshaped(&lw.input_val(call, 1)?, matrix(&m.batch_b, m.inner, m.columns));
            lw.product(&call.node.name, &a, &b, out)
        }
        // A constant matrix in front: each column of the other is a pixel.
        (Some(weight), None) if m.batch_a.is_empty() => {
            let b = lw.input_val(call, 1)?;
            let lead: Vec<usize> = m.batch_b.clone();
            let b = lw.reshaped(&b, [lead.as_slice(), &[m.inner, m.columns]].concat());
            let r = b.shape.len();
            let order: Vec<usize> = (0..r - 2).chain([r - 1, r - 2]).collect();
            let hw = lw.demand(&b, &order)?;
            let pixels = lead.iter().product::<usize>() * m.columns;
            let hw = lw.reshape(hw, vec![pixels, m.inner])?;
            let dot = FloatDot {
                name: &call.node.name,
                input: hw,
                window: vec![Window::UNIT.hardware()],
                groups: 1,
                weight: weight.to_f64(),
                weight_value: call.node.input(0),
                bias: None,
                bias_value: None,
                shape: vec![pixels, m.rows],
            };
            let base = vec![lead.iter().product(), m.rows, m.columns];
            let onnx = lw.shape(out)?;
            lw.dot(dot, out, |hw| Val::viewed(hw, base, vec![0, 2, 1], onnx))?;
            let bound = lw.bound(out)?;
            let val = lw.val(bound)?;
            let hw = lw.reshape(val.hw, vec![lead.iter().product(), m.columns, m.rows])?;
            lw.bind(bound, val.with(hw));
            Ok(())
        }
        _ => Err(call
            .error("multiplies by constant matrices that differ along leading axes")
            .help("split the tensor, and multiply each part by its own matrix")),
    }
}
