//! `MaxPool` and `AveragePool`.

use super::window::{self, Window};
use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, pool::FloatPool};

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("MaxPool", infer, eval, lower), OpDef::new("AveragePool", infer, eval, lower)];

/// What a pool computes of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest element; padding never wins.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros. The overhang of `ceil_mode` never counts.
        count_include_pad: bool,
    },
}

/// A pool over `[batch, channels, ...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What is computed.
    pub kind: PoolKind,
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// One window for each spatial axis.
    pub windows: Vec<Window>,
}

impl Pool {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?;
        call.refuse_outputs_from(1, "indices")?;
        let (batch, channels, spatial) = window::image(call, x.shape)?;
        let kernel = window::kernel_shape(call, spatial.len())?
            .ok_or_else(|| call.error("lacks its attribute 'kernel_shape'"))?;
        let windows = window::parse(call, spatial, &kernel)?;
        if let Some(w) = windows.iter().find(|w| w.pad_begin.max(w.pad_end) >= w.extent()) {
            let pad = w.pad_begin.max(w.pad_end);
            return Err(
                call.error(format!("a padding of {pad} is as large as the window, which has {}", w.extent()))
            );
        }
        let kind = if call.node.op == "MaxPool" {
            PoolKind::Max
        } else {
            PoolKind::Average { count_include_pad: call.flag("count_include_pad", false)? }
        };
        Ok(Self { kind, batch, channels, windows })
    }

    /// `[batch, channels, ...]`.
    pub fn output_shape(&self) -> Vec<usize> {
        [self.batch, self.channels].into_iter().chain(self.windows.iter().map(|w| w.output)).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Pool::parse(call)?.output_shape())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let pool = Pool::parse(call)?;
    let x = call.floats(0)?;
    let w = window::three(&pool.windows);
    let in_size: usize = w.iter().map(|w| w.input).product();
    let out_size: usize = w.iter().map(|w| w.output).product();
    let images = pool.batch * pool.channels;
    let mut out = vec![0.0; images * out_size];
    let mut places = Vec::new();
    for (at, position) in window::positions(&w).enumerate() {
        places.clear();
        let mut padded = 0usize;
        window::taps(&w, position, |_, place, in_padded| {
            places.extend(place);
            padded += usize::from(in_padded);
        });
        for image in 0..images {
            let values = places.iter().map(|place| f64::from(x[image * in_size + place]));
            out[image * out_size + at] = match pool.kind {
                PoolKind::Max => values.fold(f64::NEG_INFINITY, f64::max) as f32,
                PoolKind::Average { count_include_pad } => {
                    let count = if count_include_pad { padded } else { places.len() };
                    (values.sum::<f64>() / count as f64) as f32
                }
            };
        }
    }
    call.float_result(pool.output_shape(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let pool = Pool::parse(call)?;
    let average = match pool.kind {
        PoolKind::Max => None,
        PoolKind::Average { count_include_pad } => Some(count_include_pad),
    };
    if average == Some(true) && pool.windows.iter().any(|w| w.overhang > 0) {
        return Err(call
            .error(
                "averages with count_include_pad over windows that ceil_mode lets reach beyond the padding",
            )
            .help("set ceil_mode=False, or count_include_pad=False"));
    }
    let float = FloatPool {
        window: pool.windows.iter().map(Window::hardware).collect(),
        average,
        shape: pool.output_shape()[1..].to_vec(),
    };
    lw.pool(&call.node.name, &lw.input_val(call, 0)?, float, lw.result(call)?)
}
