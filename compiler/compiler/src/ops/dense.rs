//! `hypersonic::Dense`: what `Gemm`, `MatMul` by a constant and their additions of a constant become.

use super::products;
use super::window::Window;
use super::{Call, INTERNAL_DOMAIN, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, Val, dot::FloatDot, layout::identity};

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Dense", infer, eval, lower).in_domains(&[INTERNAL_DOMAIN])];

/// A dense layer: `[..., inputs]` to `[..., outputs]`, with weights `[outputs, inputs]` and a bias `[outputs]`, both
/// constant. Operands: input, weight, bias (optional).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense {
    /// The leading dimensions, batch first, multiplied.
    pub rows: usize,
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Dense {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let (x, weight) = (call.float_arg(0)?, call.float_arg(1)?);
        call.constant(weight)?;
        let (Some((&inputs, rows)), [outputs, columns]) = (x.shape.split_last(), weight.shape) else {
            return Err(
                call.error(format!("cannot apply a weight {:?} to an input {:?}", weight.shape, x.shape))
            );
        };
        if inputs != *columns {
            return Err(
                call.error(format!("its weight takes {columns} features, but its input has {inputs}"))
            );
        }
        let bias = call.optional(2);
        if let Some(bias) = bias {
            call.constant(bias)?;
            if bias.shape != [*outputs] {
                return Err(
                    call.error(format!("its bias has the shape {:?}; [{outputs}] is expected", bias.shape))
                );
            }
        }
        Ok(Self { rows: rows.iter().product(), inputs, outputs: *outputs, bias: bias.is_some() })
    }
}

fn shape(call: &Call<'_>, dense: &Dense) -> Result<Vec<usize>, Diagnostic> {
    let mut shape = call.arg(0)?.shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = dense.outputs;
    }
    Ok(shape)
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, shape(call, &Dense::parse(call)?)?)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let dense = Dense::parse(call)?;
    let (x, weight) = (call.floats(0)?, call.floats(1)?);
    let bias = if dense.bias { Some(call.floats(2)?) } else { None };
    let mut out = Vec::with_capacity(dense.rows * dense.outputs);
    for row in 0..dense.rows {
        let sums = products::one(&weight, &x[row * dense.inputs..][..dense.inputs]);
        let bias = |output| bias.as_ref().map_or(0.0, |b| f64::from(b[output]));
        out.extend(sums.iter().enumerate().map(|(output, sum)| (sum + bias(output)) as f32));
    }
    call.float_result(shape(call, &dense)?, out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let dense = Dense::parse(call)?;
    let input = lw.input_val(call, 0)?;
    let mut weight = call.constant(call.arg(1)?)?.to_f64();
    let bias = call.optional(2).map(|b| call.constant(b).map(|t| t.to_f64())).transpose()?;
    let out = lw.result(call)?;
    let onnx = lw.shape(out)?;
    let (hw, window, shape, like) = if dense.rows == 1 {
        // A vector may come in any order: the weights follow it.
        let (hw, order) = lw.flat(&input)?;
        if order.iter().enumerate().any(|(i, o)| i != *o) {
            let rows = weight.chunks(dense.inputs.max(1));
            weight = rows.flat_map(|row| order.iter().map(|i| row[*i])).collect();
        }
        let like = (vec![dense.outputs], vec![0]);
        (hw, vec![], vec![dense.outputs], like)
    } else {
        let order = identity(input.shape.len());
        let hw = lw.demand(&input, &order)?;
        let window = vec![Window::UNIT.hardware(); order.len() - 1];
        (hw, window, onnx.clone(), (onnx.clone(), order))
    };
    let dot = FloatDot {
        name: &call.node.name,
        input: hw,
        window,
        groups: 1,
        weight,
        weight_value: call.node.input(1),
        bias,
        bias_value: call.node.input(2),
        shape,
    };
    lw.dot(dot, out, |hw| Val::viewed(hw, like.0, like.1, onnx))
}
