//! `Pad`, with a constant.

use super::{Call, Inferred, OpDef, strides};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Pad", infer, eval, lower)];

/// Elements in front of and behind each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// How many in front and behind, for each axis.
    pub pads: Vec<(usize, usize)>,
    /// What they are.
    pub value: f64,
    /// The result's shape.
    pub shape: Vec<usize>,
}

impl Pad {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?.shape;
        let mode = call.str("mode", "constant")?;
        if mode != "constant" {
            let help = "only padding with a constant is supported";
            return Err(call.error(format!("its attribute 'mode' is '{mode}'")).help(help));
        }
        let given = call.constant_ints(1)?.ok_or_else(|| call.error("lacks its pads"))?;
        let axes = match call.constant_ints(3)? {
            Some(axes) => axes.iter().map(|a| call.axis(*a, x.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..x.len()).collect(),
        };
        if given.len() != 2 * axes.len() {
            return Err(call.error(format!("has the pads {given:?} for {} axes", axes.len())));
        }
        let size = |n: i64| {
            let small = usize::try_from(n).ok().filter(|n| *n <= 1 << 32);
            small.ok_or_else(|| call.error(format!("has the pads {given:?}; cropping is not supported")))
        };
        let mut pads = vec![(0, 0); x.len()];
        for (i, axis) in axes.iter().enumerate() {
            pads[*axis] = (size(given[i])?, size(given[axes.len() + i])?);
        }
        let shape = x.iter().zip(&pads).map(|(d, (a, b))| d + a + b).collect();
        Ok(Self { pads, value: call.constant_scalar(2)?.unwrap_or(0.0), shape })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Pad::parse(call)?.shape)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let pad = Pad::parse(call)?;
    let (x, shape) = (call.floats(0)?, call.arg(0)?.shape);
    let (own, to) = (strides(shape), strides(&pad.shape));
    let mut out = vec![pad.value as f32; pad.shape.iter().product()];
    for (place, v) in x.iter().enumerate() {
        let target: usize =
            (0..shape.len()).map(|a| (place / own[a] % shape[a] + pad.pads[a].0) * to[a]).sum();
        out[target] = *v;
    }
    call.float_result(pad.shape, out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let pad = Pad::parse(call)?;
    let input = lw.input_val(call, 0)?;
    let skip = pad.pads.len() - input.shape.len();
    if pad.pads[..skip].iter().any(|p| *p != (0, 0)) {
        return Err(call.error("pads the batch axis"));
    }
    let out = lw.result(call)?;
    if pad.value != 0.0 {
        lw.native_only(call)?;
        return lw.pad_with(&call.node.name, &input, &pad.pads[skip..], pad.value, out);
    }
    lw.pad(&call.node.name, &input, &pad.pads[skip..], out)
}
