//! `GlobalAveragePool` and `GlobalMaxPool`.

use super::window;
use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, pool::FloatPool};

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("GlobalAveragePool", infer, eval, lower), OpDef::new("GlobalMaxPool", infer, eval, lower)];

/// A pool over all spatial positions of `[batch, channels, ...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalPool {
    /// The largest element rather than the mean.
    pub max: bool,
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Spatial dimensions, one to three, none of them 0.
    pub spatial: Vec<usize>,
}

impl GlobalPool {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?;
        let (batch, channels, spatial) = window::image(call, x.shape)?;
        if spatial.contains(&0) {
            return Err(call.error(format!("its input has the shape {:?} and so nothing to pool", x.shape)));
        }
        Ok(Self { max: call.node.op == "GlobalMaxPool", batch, channels, spatial: spatial.to_vec() })
    }

    /// `[batch, channels, 1, ...]`.
    pub fn output_shape(&self) -> Vec<usize> {
        [self.batch, self.channels].into_iter().chain(self.spatial.iter().map(|_| 1)).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, GlobalPool::parse(call)?.output_shape())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let pool = GlobalPool::parse(call)?;
    let x = call.floats(0)?;
    let size: usize = pool.spatial.iter().product();
    let one = |image: &[f32]| {
        if pool.max {
            image.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        } else {
            (image.iter().map(|v| f64::from(*v)).sum::<f64>() / size as f64) as f32
        }
    };
    call.float_result(pool.output_shape(), x.chunks_exact(size).map(one).collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let pool = GlobalPool::parse(call)?;
    let whole = |n: &usize| window::Window { input: *n, kernel: *n, ..window::Window::UNIT }.hardware();
    let float = FloatPool {
        window: pool.spatial.iter().map(whole).collect(),
        average: (!pool.max).then_some(false),
        shape: pool.output_shape()[1..].to_vec(),
    };
    lw.pool(&call.node.name, &lw.input_val(call, 0)?, float, lw.result(call)?)
}
