//! `Gemm`. Passes turn it into `hypersonic::Dense`; one whose weights are computed cannot be lowered.

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape};
use crate::diagnostic::Diagnostic;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::rewritten("Gemm", infer, eval)];

/// `alpha * A' * B' + beta * C`, with A' `[rows, inner]` and B' `[inner, columns]`, each possibly transposed.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemm {
    /// Rows of A'.
    pub rows: usize,
    /// Columns of A'.
    pub inner: usize,
    /// Columns of B'.
    pub columns: usize,
    /// Whether A is transposed.
    pub trans_a: bool,
    /// Whether B is transposed.
    pub trans_b: bool,
    /// Factor of the product.
    pub alpha: f64,
    /// Factor of C.
    pub beta: f64,
    /// Whether there is a C, which broadcasts to `[rows, columns]`.
    pub has_c: bool,
}

impl Gemm {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let (a, b) = (call.float_arg(0)?, call.float_arg(1)?);
        let (trans_a, trans_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
        let (&[a0, a1], &[b0, b1]) = (a.shape, b.shape) else {
            return Err(call.error(format!(
                "its inputs have the shapes {:?} and {:?}; matrices are expected",
                a.shape, b.shape
            )));
        };
        let (rows, inner) = if trans_a { (a1, a0) } else { (a0, a1) };
        let (b_inner, columns) = if trans_b { (b1, b0) } else { (b0, b1) };
        if inner != b_inner {
            return Err(call.error(format!(
                "its weight takes {b_inner} features, but its input has {inner} (shapes {:?} and {:?})",
                a.shape, b.shape
            )));
        }
        let c = call.optional(2);
        if let Some(c) = c
            && broadcast_shape(c.shape, &[rows, columns]).as_deref() != Some(&[rows, columns])
        {
            return Err(call.error(format!(
                "its bias has the shape {:?}, which does not broadcast to [{rows}, {columns}]",
                c.shape
            )));
        }
        let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
        Ok(Self { rows, inner, columns, trans_a, trans_b, alpha, beta, has_c: c.is_some() })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let gemm = Gemm::parse(call)?;
    Ok(vec![Inferred::new(call.arg(0)?.dtype, vec![gemm.rows, gemm.columns])])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let g = Gemm::parse(call)?;
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    let shape = [g.rows, g.columns];
    let c = match call.optional(2) {
        Some(arg) => Some((call.floats(2)?, broadcast_indices(arg.shape, &shape))),
        None => None,
    };
    let mut out = Vec::with_capacity(g.rows * g.columns);
    for row in 0..g.rows {
        for column in 0..g.columns {
            let mut sum = 0.0;
            for k in 0..g.inner {
                let x = a[if g.trans_a { k * g.rows + row } else { row * g.inner + k }];
                let w = b[if g.trans_b { column * g.inner + k } else { k * g.columns + column }];
                sum += f64::from(x) * f64::from(w);
            }
            let c = c.as_ref().map_or(0.0, |(c, at)| f64::from(c[at[row * g.columns + column]]));
            out.push((g.alpha * sum + g.beta * c) as f32);
        }
    }
    call.float_result(shape.to_vec(), out)
}
