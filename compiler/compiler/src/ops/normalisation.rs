//! Normalisation over the elements of one row of the batch: `LayerNormalization`, `RMSNormalization`,
//! `InstanceNormalization` and `GroupNormalization`.

use hs_ir::Tensor;

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, rows::Norm};

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("GroupNormalization", infer, eval, lower),
    OpDef::new("InstanceNormalization", infer, eval, lower),
    OpDef::new("LayerNormalization", infer, eval, lower),
    OpDef::new("RMSNormalization", infer, eval, lower),
];

/// (x - mean) / √(mean of squares + epsilon) × scale + bias over each row of `length` elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    /// Elements of a row.
    pub length: usize,
    /// Whether the mean is subtracted.
    pub centred: bool,
    /// Added to the mean of squares.
    pub epsilon: f64,
    /// Factors, which broadcast to the input.
    pub scale: Option<Tensor>,
    /// Summands, which broadcast to the input.
    pub bias: Option<Tensor>,
}

impl Normalisation {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?.shape;
        let op = call.node.op.as_str();
        let layer = matches!(op, "LayerNormalization" | "RMSNormalization");
        call.refuse_outputs_from(1, "statistics")?;
        let epsilon = call.float("epsilon", 1e-5)?;
        if epsilon < 0.0 {
            return Err(call.error(format!("has the epsilon {epsilon}; none below 0 is expected")));
        }
        let constant = |index: usize| call.optional(index).map(|arg| call.constant(arg).cloned()).transpose();
        let (mut scale, mut bias) = (constant(1)?, constant(2)?);
        let length = if layer {
            let axis = call.axis(call.int("axis")?.unwrap_or(-1), x.len())?;
            x[axis..].iter().product()
        } else {
            let [_, channels, space @ ..] = x else {
                return Err(
                    call.error(format!("its input has the shape {x:?}; batch and channels are expected"))
                );
            };
            let groups = match call.int("num_groups")? {
                _ if op == "InstanceNormalization" => *channels,
                Some(n) if n > 0 && channels % n as usize == 0 => n as usize,
                other => {
                    let found = other.map_or("no".to_owned(), |n| n.to_string());
                    return Err(call.error(format!("has {found} groups for {channels} channels")));
                }
            };
            // One number a channel, or before opset 21 a group.
            let along = |t: Tensor| {
                let each = channels / t.len().max(1);
                let places: Vec<usize> = (0..*channels).map(|c| c / each.max(1)).collect();
                let shape = [&[*channels], vec![1; space.len()].as_slice()].concat();
                let fits = t.len() == *channels || t.len() == groups;
                let spread = fits.then(|| t.gathered(shape, &places).ok()).flatten();
                spread.ok_or_else(|| {
                    call.error(format!("has constants of shape {:?} for {channels} channels", t.shape()))
                })
            };
            (scale, bias) = (scale.map(along).transpose()?, bias.map(along).transpose()?);
            channels / groups.max(1) * space.iter().product::<usize>()
        };
        for t in [&scale, &bias].into_iter().flatten() {
            if broadcast_shape(t.shape(), x).as_deref() != Some(x) {
                return Err(call.error(format!("its constant of shape {:?} does not fit {x:?}", t.shape())));
            }
        }
        if length == 0 {
            return Err(call.error("has nothing to normalise"));
        }
        Ok(Self { length, centred: op != "RMSNormalization", epsilon, scale, bias })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Normalisation::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<Tensor>, Diagnostic> {
    let norm = Normalisation::parse(call)?;
    let (x, shape) = (call.floats(0)?, call.arg(0)?.shape);
    let spread = |t: &Option<Tensor>, default: f64| match t {
        Some(t) => {
            let values = t.to_f64();
            broadcast_indices(t.shape(), shape).into_iter().map(|i| values[i]).collect()
        }
        None => vec![default; x.len()],
    };
    let (scale, bias) = (spread(&norm.scale, 1.0), spread(&norm.bias, 0.0));
    let mut out = Vec::with_capacity(x.len());
    for (index, row) in x.chunks(norm.length).enumerate() {
        let count = row.len() as f64;
        let mean = if norm.centred { row.iter().map(|x| f64::from(*x)).sum::<f64>() / count } else { 0.0 };
        let centred = |x: &f32| f64::from(*x) - mean;
        let squares = row.iter().map(|x| centred(x) * centred(x)).sum::<f64>() / count;
        let by = 1.0 / (squares + norm.epsilon).sqrt();
        for (k, x) in row.iter().enumerate() {
            let at = index * norm.length + k;
            out.push((centred(x) * by * scale[at] + bias[at]) as f32);
        }
    }
    call.float_result(shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let norm = Normalisation::parse(call)?;
    let parts = Norm {
        length: norm.length,
        centred: norm.centred,
        epsilon: norm.epsilon,
        scale: norm.scale.as_ref(),
        scale_value: call.node.input(1),
        bias: norm.bias.as_ref(),
        bias_value: call.node.input(2),
    };
    lw.normalised(&call.node.name, &lw.input_val(call, 0)?, &parts, lw.result(call)?)
}
