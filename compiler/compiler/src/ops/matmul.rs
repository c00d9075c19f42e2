//! `MatMul`. Passes turn one by a constant matrix into `hypersonic::Dense`; what stays multiplies two computed tensors.

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape, permuted_indices, strides};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, Val, batched::Matrices};

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
        (None, Some(b)) => {
            let input = lw.input_val(call, 0)?;
            let matrix = permuted_indices(&[m.inner, m.columns], &[1, 0]);
            by_constants(lw, call, &m, &input, false, (b, &m.batch_b, &matrix))
        }
        (Some(a), None) => {
            let input = lw.input_val(call, 1)?;
            let matrix: Vec<usize> = (0..m.rows * m.inner).collect();
            by_constants(lw, call, &m, &input, true, (a, &m.batch_a, &matrix))
        }
        (Some(_), Some(_)) => Err(call.error("multiplies constants only")),
    }
}

/// Pushes the product with the constant that holds the matrices of the leading dimensions `batch`; `matrix` are the places
/// of one's elements as `[outputs, inner]`. With `constant_first` the columns of `input` are the rows that are multiplied.
fn by_constants(
    lw: &mut Lowerer<'_>,
    call: &Call<'_>,
    m: &MatMul,
    input: &Val,
    constant_first: bool,
    (constant, batch, matrix): (&hs_ir::Tensor, &[usize], &[usize]),
) -> Result<(), Diagnostic> {
    let (lead, rows, outputs) =
        if constant_first { (&m.batch_b, m.columns, m.rows) } else { (&m.batch_a, m.rows, m.columns) };
    let mut x = if constant_first {
        let seen = lw.reshaped(input, [lead.as_slice(), &[m.inner, rows]].concat());
        let swapped: Vec<usize> = (0..lead.len()).chain([lead.len() + 1, lead.len()]).collect();
        lw.transposed(&seen, &swapped)?
    } else {
        lw.reshaped(input, [lead.as_slice(), &[rows, m.inner]].concat())
    };
    let alike = batch.iter().all(|n| *n == 1);
    let (mut shared, mut groups) = (lead.iter().product(), 1);
    if !alike {
        let full = [m.batch.as_slice(), &[rows, m.inner]].concat();
        x = lw.broadcast(&format!("{}/broadcast", call.node.name), &x, &full)?;
        (shared, groups) = (1, m.batch.iter().product());
    }
    let x = lw.reshaped(&x, vec![shared, groups, rows, m.inner]);
    let values = constant.to_f64();
    let at = if alike { vec![0] } else { broadcast_indices(batch, &m.batch) };
    let weight = at.iter().flat_map(|at| matrix.iter().map(move |i| at * matrix.len() + i));
    let weight = weight.map(|i| values[i]).collect();
    let value = call.node.input(usize::from(!constant_first));
    let matrices = Matrices { weight, value, groups, outputs };
    lw.batched(&call.node.name, &x, matrices, constant_first, lw.result(call)?)
}
