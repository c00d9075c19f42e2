//! `Conv`: convolution over one to three spatial axes.

use super::permuted_indices;
use super::products::{self, LANES};
use super::window::{self, Window};
use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, Val, dot::FloatDot, layout::channels_last};

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Conv", infer, eval, lower)];

/// A convolution of `[batch, in_channels, ...]` with weights `[out_channels, in_channels / groups, ...]` and a bias
/// `[out_channels]`, both constant. Operands: input, weight, bias (optional).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Images.
    pub batch: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Groups, which divide both.
    pub groups: usize,
    /// One window for each spatial axis.
    pub windows: Vec<Window>,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Conv {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let (x, weight) = (call.float_arg(0)?, call.float_arg(1)?);
        call.constant(weight)?;
        let (batch, in_channels, spatial) = window::image(call, x.shape)?;
        let (out_channels, per_group, kernel) = window::image(call, weight.shape)?;
        let groups = call.int("group")?.unwrap_or(1);
        let groups = usize::try_from(groups)
            .ok()
            .filter(|g| *g > 0 && out_channels % g == 0 && per_group.checked_mul(*g) == Some(in_channels))
            .ok_or_else(|| {
                call.error(format!(
                    "its input has {in_channels} channels and its weight the shape {:?}, which does not fit {groups} groups",
                    weight.shape
                ))
            })?;
        if kernel.len() != spatial.len() {
            return Err(
                call.error(format!("the ranks of input {:?} and weight {:?} differ", x.shape, weight.shape))
            );
        }
        if window::kernel_shape(call, kernel.len())?.is_some_and(|k| k != kernel) {
            return Err(
                call.error(format!("its attribute 'kernel_shape' is not that of its weight, {kernel:?}"))
            );
        }
        let bias = call.optional(2);
        if let Some(bias) = bias {
            call.constant(bias)?;
        }
        if let Some(bias) = bias
            && bias.shape != [out_channels]
        {
            return Err(
                call.error(format!("its bias has the shape {:?}; [{out_channels}] is expected", bias.shape))
            );
        }
        let windows = window::parse(call, spatial, kernel)?;
        Ok(Self { batch, in_channels, out_channels, groups, windows, bias: bias.is_some() })
    }

    /// `[batch, out_channels, ...]`.
    pub fn output_shape(&self) -> Vec<usize> {
        [self.batch, self.out_channels].into_iter().chain(self.windows.iter().map(|w| w.output)).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Conv::parse(call)?.output_shape())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let conv = Conv::parse(call)?;
    let (x, weight) = (call.floats(0)?, call.floats(1)?);
    let bias = if conv.bias { Some(call.floats(2)?) } else { None };
    let w = window::three(&conv.windows);
    let (in_size, taps) =
        (w.iter().map(|w| w.input).product::<usize>(), w.iter().map(|w| w.kernel).product::<usize>());
    let out_size: usize = w.iter().map(|w| w.output).product();
    let (in_group, out_group) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let weight: Vec<f64> = weight.iter().map(|w| f64::from(*w)).collect();
    let mut out = vec![0.0; conv.batch * conv.out_channels * out_size];
    let mut columns = vec![[0f64; LANES]; in_group * taps];
    let positions: Vec<_> = window::positions(&w).collect();
    for (block, positions) in positions.chunks(LANES).enumerate() {
        // For each of the positions the taps that lie in the input; the others stay 0.
        let mut places = Vec::new();
        for (lane, position) in positions.iter().enumerate() {
            window::taps(&w, *position, |tap, place, _| places.extend(place.map(|p| (lane, tap, p))));
        }
        for image in 0..conv.batch {
            for group in 0..conv.groups {
                columns.fill([0.0; LANES]);
                let from = (image * conv.in_channels + group * in_group) * in_size;
                for (plane, columns) in x[from..].chunks(in_size).zip(columns.chunks_mut(taps)) {
                    for (lane, tap, place) in &places {
                        columns[*tap][*lane] = f64::from(plane[*place]);
                    }
                }
                let first = group * out_group;
                let weight = &weight[first * in_group * taps..][..out_group * in_group * taps];
                let start = |o| bias.as_ref().map_or(0.0, |b| f64::from(b[first + o]));
                products::many(weight, &columns, start, |o, sums| {
                    let to = (image * conv.out_channels + first + o) * out_size + block * LANES;
                    for (out, sum) in out[to..].iter_mut().zip(&sums[..positions.len()]) {
                        *out = *sum as f32;
                    }
                });
            }
        }
    }
    call.float_result(conv.output_shape(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let conv = Conv::parse(call)?;
    let input = lw.input_val(call, 0)?;
    let order = channels_last(conv.windows.len() + 1);
    let hw = lw.demand(&input, &order)?;
    // Weights [out, in, kernel…] become [out, kernel…, in].
    let weights = call.constant(call.arg(1)?)?;
    let (shape, rank) = (weights.shape(), weights.shape().len());
    let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let values = weights.to_f64();
    let weight = permuted_indices(shape, &perm).into_iter().map(|i| values[i]).collect();
    let bias = call.optional(2).map(|b| call.constant(b).map(|t| t.to_f64())).transpose()?;
    let space = conv.windows.iter().map(|w| w.output);
    let onnx: Vec<usize> = [conv.out_channels].into_iter().chain(space.clone()).collect();
    let dot = FloatDot {
        name: &call.node.name,
        input: hw,
        window: conv.windows.iter().map(Window::hardware).collect(),
        groups: conv.groups,
        weight,
        weight_value: call.node.input(1),
        bias,
        bias_value: call.node.input(2),
        shape: space.chain([conv.out_channels]).collect(),
    };
    lw.dot(dot, lw.result(call)?, |hw| Val::plain(hw, onnx, order))
}
