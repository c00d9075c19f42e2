//! `hypersonic::Affine`: what batch normalisation and arithmetic with channel constants become.

use super::{Call, INTERNAL_DOMAIN, Inferred, OpDef, call::same_as_input, strides};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, elementwise::FloatAffine};
use hs_ir::{DType, TensorData};

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Affine", infer, eval, lower).in_domains(&[INTERNAL_DOMAIN])];

/// `x * scale + bias`, along one axis. Operands: input, scale (optional: 1), bias (optional: 0), the latter two constants
/// of rank 1 with one element, or one for each index along the axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// The axis that scale and bias run along.
    pub axis: usize,
    /// Indices along the axis.
    pub channels: usize,
    /// One element, or `channels`; `None` for 1.
    pub scale: Option<Vec<f64>>,
    /// One element, or `channels`; `None` for 0.
    pub bias: Option<Vec<f64>>,
}

impl Affine {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?;
        let axis = match (call.int("axis")?.unwrap_or(0), x.shape.len()) {
            (0, 0) => 0,
            (axis, rank) => call.axis(axis, rank)?,
        };
        let channels = x.shape.get(axis).copied().unwrap_or(1);
        let operand = |index: usize| {
            let Some(arg) = call.optional(index) else { return Ok(None) };
            let tensor = call.constant(arg)?;
            if tensor.shape() == [channels] || tensor.shape() == [1] {
                Ok(Some(tensor.to_f64()))
            } else {
                let message =
                    format!("'{}' has the shape {:?}; [1] or [{channels}] is expected", arg.name, arg.shape);
                Err(call.error(message))
            }
        };
        Ok(Self { axis, channels, scale: operand(1)?, bias: operand(2)? })
    }

    /// The scale at `channel`.
    pub fn scale_at(&self, channel: usize) -> f64 {
        at(&self.scale, channel, 1.0)
    }

    /// The bias at `channel`.
    pub fn bias_at(&self, channel: usize) -> f64 {
        at(&self.bias, channel, 0.0)
    }
}

fn at(values: &Option<Vec<f64>>, channel: usize, default: f64) -> f64 {
    match values.as_deref() {
        None => default,
        Some([only]) => *only,
        Some(values) => values[channel],
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Affine::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let affine = Affine::parse(call)?;
    let shape = call.arg(0)?.shape;
    let step = strides(shape).get(affine.axis).copied().unwrap_or(1);
    let channel = |place: usize| place / step.max(1) % affine.channels.max(1);
    let x = call.floats(0)?;
    let out = x.iter().enumerate().map(|(place, x)| {
        let c = channel(place);
        (f64::from(*x) * affine.scale_at(c) + affine.bias_at(c)) as f32
    });
    call.float_result(shape.to_vec(), out.collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let affine = Affine::parse(call)?;
    let input = lw.input_val(call, 0)?;
    let behind = call.arg(0)?.shape.len().saturating_sub(affine.axis + 1);
    let tensor = |values: &Option<Vec<f64>>| {
        let Some(values) = values else { return Ok(None) };
        let shape = [values.len()].into_iter().chain(std::iter::repeat_n(1, behind)).collect();
        call.result(DType::F64, shape, TensorData::F64(values.clone())).map(Some)
    };
    let (scale, bias) = (tensor(&affine.scale)?, tensor(&affine.bias)?);
    let constants = FloatAffine {
        scale: scale.as_ref(),
        scale_value: call.node.input(1),
        bias: bias.as_ref(),
        bias_value: call.node.input(2),
    };
    lw.affine(&call.node.name, &input, &constants, lw.result(call)?)
}
