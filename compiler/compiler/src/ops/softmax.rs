//! `Softmax`.

use hs_ir::ValueId;

use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, Val};
use crate::onnx::canonical::SPAN_ATTR;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Softmax", infer, eval, lower)];

/// A softmax over `length` elements that lie `inner` apart, `outer * inner` times. Before opset 13 a softmax spans all
/// axes from its own on: then `inner` is 1. A pass may give it the factor of its input as a second, constant operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// The first axis it runs over.
    pub axis: usize,
    /// Product of the dimensions in front.
    pub outer: usize,
    /// Elements that sum to 1.
    pub length: usize,
    /// Product of the dimensions behind.
    pub inner: usize,
    /// What the elements are multiplied by first.
    pub scale: f64,
}

impl Softmax {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let shape = call.float_arg(0)?.shape;
        let axis = call.axis(call.int("axis")?.unwrap_or(-1), shape.len())?;
        let end = if call.flag(SPAN_ATTR, false)? { shape.len() } else { axis + 1 };
        Ok(Self {
            axis,
            outer: shape[..axis].iter().product(),
            length: shape[axis..end].iter().product(),
            inner: shape[end..].iter().product(),
            scale: call.constant_scalar(1)?.unwrap_or(1.0),
        })
    }
}

impl Softmax {
    /// The rows along `axis` of a tensor of `shape`.
    pub(super) fn along(shape: &[usize], axis: usize) -> Self {
        Self {
            axis,
            outer: shape[..axis].iter().product(),
            length: shape[axis],
            inner: shape[axis + 1..].iter().product(),
            scale: 1.0,
        }
    }

    /// Calls `f` with the places of each row's elements, rows in order.
    pub(super) fn each(&self, mut f: impl FnMut(&[usize])) {
        for outer in 0..self.outer {
            for inner in 0..self.inner {
                let place = |i: usize| (outer * self.length + i) * self.inner + inner;
                f(&(0..self.length).map(place).collect::<Vec<_>>());
            }
        }
    }

    /// Refuses rows along the batch alone.
    pub(crate) fn refuse_batch(&self, call: &Call<'_>) -> Result<(), Diagnostic> {
        if self.axis == 0 && self.length == 1 && call.arg(0)?.shape.len() > 1 {
            let help = "export the model with the operator over the features (axis=-1)";
            return Err(call.error("runs over axis 0, the batch").help(help));
        }
        Ok(())
    }

    /// `input` as `[outer, inner, length]`.
    pub(super) fn turned(&self, lw: &mut Lowerer<'_>, input: &Val) -> Result<Val, Diagnostic> {
        let seen = lw.reshaped(input, vec![self.outer, self.length, self.inner]);
        lw.transposed(&seen, &[0, 2, 1])
    }

    /// Binds what is computed of [`turned`](Self::turned) for `v` in the shape `shape` again.
    pub(super) fn turn_back(
        &self,
        lw: &mut Lowerer<'_>,
        v: ValueId,
        shape: &[usize],
    ) -> Result<(), Diagnostic> {
        let bound = lw.bound(v)?;
        let val = lw.reshaped(&lw.val(bound)?, vec![self.outer, self.inner, self.length]);
        let back = lw.transposed(&val, &[0, 2, 1])?;
        lw.bind(bound, lw.reshaped(&back, shape.to_vec()));
        Ok(())
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Softmax::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let s = Softmax::parse(call)?;
    let x = call.floats(0)?;
    let mut out = vec![0.0; x.len()];
    s.each(|places| {
        let max = places.iter().map(|p| x[*p]).fold(f32::NEG_INFINITY, f32::max);
        let exp = |p: &usize| ((f64::from(x[*p]) - f64::from(max)) * s.scale).exp();
        let sum: f64 = places.iter().map(exp).sum();
        for p in places {
            out[*p] = (exp(p) / sum) as f32;
        }
    });
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let softmax = Softmax::parse(call)?;
    let out = lw.result(call)?;
    let input = lw.input_val(call, 0)?;
    // Over several axes at once, those axes are seen as one.
    let shape = match (softmax.outer, softmax.inner) {
        (1, 1) => vec![softmax.length],
        (outer, 1) => vec![outer, softmax.length],
        (outer, inner) => vec![outer, softmax.length, inner],
    };
    let same_axis = call.arg(0)?.shape[softmax.axis] == softmax.length
        && input.shape.len() > softmax.axis.saturating_sub(1);
    if same_axis && softmax.axis > 0 && call.arg(0)?.shape[0] == 1 {
        return lw.softmax(&call.node.name, &input, (softmax.axis - 1, softmax.scale), out);
    }
    let axis = shape.len() - 1 - usize::from(softmax.inner != 1);
    let seen = lw.reshaped(&input, shape);
    lw.softmax(&call.node.name, &seen, (axis, softmax.scale), out)?;
    let back = lw.reshaped(&lw.val(out)?, input.shape);
    lw.bind(out, back);
    Ok(())
}
