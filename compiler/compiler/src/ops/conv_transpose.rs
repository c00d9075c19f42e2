//! `ConvTranspose`: transposed convolution over one to three spatial axes.

use super::window;
use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, Val, dot::FloatDot, layout::channels_last};

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("ConvTranspose", infer, eval, lower)];

/// One spatial axis: position `i` of the input adds tap `t` to position `i * stride + t * dilation - pad` of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Length of the input.
    pub input: usize,
    /// Length of the result.
    pub output: usize,
    /// Taps.
    pub kernel: usize,
    /// Step of the result from one position of the input to the next.
    pub stride: usize,
    /// Step of the result from one tap to the next.
    pub dilation: usize,
    /// Cut off in front.
    pub pad: usize,
}

/// A transposed convolution of `[batch, in_channels, ...]` with weights `[in_channels, out_channels / groups, ...]` and a
/// bias `[out_channels]`, both constant. Operands: input, weight, bias (optional).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTranspose {
    /// Images.
    pub batch: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Groups, which divide both.
    pub groups: usize,
    /// The spatial axes.
    pub axes: Vec<Axis>,
}

impl ConvTranspose {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let (x, weight) = (call.float_arg(0)?, call.float_arg(1)?);
        call.constant(weight)?;
        let (batch, in_channels, spatial) = window::image(call, x.shape)?;
        let (rows, per_group, kernel) = window::image(call, weight.shape)?;
        let rank = spatial.len();
        let groups = usize::try_from(call.int("group")?.unwrap_or(1)).ok();
        let groups = groups
            .filter(|g| *g > 0 && rows == in_channels && rows % g == 0 && kernel.len() == rank)
            .ok_or_else(|| {
                call.error(format!("its input {:?} and its weight {:?} do not fit", x.shape, weight.shape))
            })?;
        let out_channels = per_group * groups;
        if window::kernel_shape(call, rank)?.is_some_and(|k| k != kernel) {
            return Err(
                call.error(format!("its attribute 'kernel_shape' is not that of its weight, {kernel:?}"))
            );
        }
        if let Some(bias) = call.optional(2) {
            call.constant(bias)?;
            if bias.shape != [out_channels] {
                return Err(call.error(format!(
                    "its bias has the shape {:?}; [{out_channels}] is expected",
                    bias.shape
                )));
            }
        }
        let strides = window::positive(call, "strides", rank)?;
        let dilations = window::positive(call, "dilations", rank)?;
        let sizes = |name: &str, n: usize| {
            let given = call.ints(name)?;
            given.map(|v| window::sizes(call, name, v, n, 0)).transpose()
        };
        let pads = sizes("pads", 2 * rank)?.unwrap_or_else(|| vec![0; 2 * rank]);
        let more = sizes("output_padding", rank)?.unwrap_or_else(|| vec![0; rank]);
        // Some exporters state the batch and the channels, too.
        let asked = match call.ints("output_shape")? {
            Some(v) if v.len() == rank + 2 => Some(window::sizes(call, "output_shape", &v[2..], rank, 1)?),
            Some(v) => Some(window::sizes(call, "output_shape", v, rank, 1)?),
            None => None,
        };
        let auto_pad = call.str("auto_pad", "NOTSET")?;
        if !matches!(auto_pad, "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER" | "") {
            return Err(call.error(format!(
                "its attribute 'auto_pad' is '{auto_pad}'; NOTSET, SAME_UPPER, SAME_LOWER or VALID is expected"
            )));
        }
        let mut axes = Vec::with_capacity(rank);
        for a in 0..rank {
            let (input, kernel, stride, dilation) = (spatial[a], kernel[a], strides[a], dilations[a]);
            let all = [input, kernel, stride, dilation, pads[a], pads[rank + a], more[a]];
            if all.iter().any(|n| *n > 1 << 20) || input == 0 || kernel == 0 {
                return Err(call.error(format!("is empty or too large along spatial axis {a}")));
            }
            let full = stride * (input - 1) + more[a] + (kernel - 1) * dilation + 1;
            let same = auto_pad.starts_with("SAME");
            let wanted = asked.as_ref().map(|shape| shape[a]).or(same.then_some(input * stride));
            let (output, pad) = match wanted {
                Some(output) => {
                    let total = full.saturating_sub(output);
                    (output, if auto_pad == "SAME_UPPER" { total / 2 } else { total - total / 2 })
                }
                None if auto_pad == "VALID" => (full, 0),
                None => (full.saturating_sub(pads[a] + pads[rank + a]), pads[a]),
            };
            if output == 0 {
                return Err(call.error(format!("its padding leaves nothing along spatial axis {a}")));
            }
            axes.push(Axis { input, output, kernel, stride, dilation, pad });
        }
        Ok(Self { batch, in_channels, out_channels, groups, axes })
    }

    /// `[batch, out_channels, ...]`.
    pub fn output_shape(&self) -> Vec<usize> {
        [self.batch, self.out_channels].into_iter().chain(self.axes.iter().map(|a| a.output)).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, ConvTranspose::parse(call)?.output_shape())])
}

/// The indices of `place` in a row-major tensor of `shape`.
fn unravelled(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for (i, n) in out.iter_mut().zip(shape).rev() {
        (*i, place) = (place % n, place / n);
    }
    out
}

/// The place of `index` in a row-major tensor of `shape`.
fn ravelled(index: impl IntoIterator<Item = usize>, shape: &[usize]) -> usize {
    index.into_iter().zip(shape).fold(0, |place, (i, n)| place * n + i)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let conv = ConvTranspose::parse(call)?;
    let (x, weight) = (call.floats(0)?, call.floats(1)?);
    let bias = if call.optional(2).is_some() { Some(call.floats(2)?) } else { None };
    let lengths = |f: fn(&Axis) -> usize| conv.axes.iter().map(f).collect::<Vec<_>>();
    let (space, kernel, result) = (lengths(|a| a.input), lengths(|a| a.kernel), lengths(|a| a.output));
    let sizes = [&space, &kernel, &result].map(|s| s.iter().product::<usize>());
    let [in_size, taps, out_size] = sizes;
    let (in_group, out_group) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let mut sums = vec![0f64; conv.batch * conv.out_channels * out_size];
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum = bias.as_ref().map_or(0.0, |b| f64::from(b[at / out_size % conv.out_channels]));
    }
    for from in 0..in_size {
        let position = unravelled(from, &space);
        for tap in 0..taps {
            let tap_at = unravelled(tap, &kernel);
            let places = conv.axes.iter().zip(position.iter().zip(&tap_at)).map(|(a, (i, t))| {
                (i * a.stride + t * a.dilation).checked_sub(a.pad).filter(|o| *o < a.output)
            });
            let Some(place) = places.collect::<Option<Vec<_>>>() else { continue };
            let to = ravelled(place, &result);
            for image in 0..conv.batch {
                for c in 0..conv.in_channels {
                    let value = f64::from(x[(image * conv.in_channels + c) * in_size + from]);
                    for o in 0..out_group {
                        let channel = c / in_group * out_group + o;
                        sums[(image * conv.out_channels + channel) * out_size + to] +=
                            value * f64::from(weight[(c * out_group + o) * taps + tap]);
                    }
                }
            }
        }
    }
    call.float_result(conv.output_shape(), sums.into_iter().map(|s| s as f32).collect())
}

/// How one axis is computed by a convolution over the input: position q of it yields the positions q × stride + phase of
/// the result, `phase` in `0..stride`.
struct Phases {
    window: hs_hw::Window,
    /// Positions of the convolution.
    positions: usize,
    /// For each phase and each tap of the window, the tap of the model's kernel.
    taps: Vec<Vec<Option<usize>>>,
}

impl Phases {
    fn of(a: &Axis) -> Self {
        // Result o reads input i by tap t where i × stride = o + pad - t × dilation.
        let (stride, mut reads) = (a.stride as i64, Vec::new());
        for phase in 0..stride {
            for tap in 0..a.kernel {
                let at = phase + a.pad as i64 - (tap * a.dilation) as i64;
                if at % stride == 0 {
                    reads.push((phase as usize, at / stride, tap));
                }
            }
        }
        let positions = a.output.div_ceil(a.stride);
        let begin = reads.iter().map(|(_, offset, _)| *offset).min().unwrap_or(0).min(0);
        // The last window must not end in front of the input's end, or there would be more of them.
        let least_end = a.input as i64 - positions as i64;
        let end = reads.iter().map(|(_, offset, _)| *offset).max().unwrap_or(0).max(0).max(least_end);
        let kernel = (end - begin + 1) as usize;
        let mut taps = vec![vec![None; kernel]; a.stride];
        for (phase, offset, tap) in reads {
            taps[phase][(offset - begin) as usize] = Some(tap);
        }
        let window = hs_hw::Window {
            kernel,
            stride: 1,
            dilation: 1,
            pad_begin: (-begin) as usize,
            pad_end: (positions as i64 + end - a.input as i64) as usize,
        };
        Self { window, positions, taps }
    }
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let conv = ConvTranspose::parse(call)?;
    let out = lw.result(call)?;
    let input = lw.input_val(call, 0)?;
    let hw = lw.demand(&input, &channels_last(conv.axes.len() + 1))?;
    let phases: Vec<Phases> = conv.axes.iter().map(Phases::of).collect();
    let strides: Vec<usize> = conv.axes.iter().map(|a| a.stride).collect();
    let kernel: Vec<usize> = conv.axes.iter().map(|a| a.kernel).collect();
    let windows: Vec<usize> = phases.iter().map(|p| p.window.kernel).collect();
    let positions: Vec<usize> = phases.iter().map(|p| p.positions).collect();
    let (block, taps): (usize, usize) = (strides.iter().product(), windows.iter().product());
    let model_taps: usize = kernel.iter().product();
    let (in_group, out_group) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let values = call.constant(call.arg(1)?)?.to_f64();
    // [channel, phase…, window…, channel of the group]
    let mut weight = Vec::with_capacity(conv.out_channels * block * taps * in_group);
    for channel in 0..conv.out_channels {
        for phase in 0..block {
            let phase = unravelled(phase, &strides);
            for tap in 0..taps {
                let tap = unravelled(tap, &windows);
                let tap = phases.iter().zip(phase.iter().zip(tap)).map(|(p, (phase, t))| p.taps[*phase][t]);
                let tap = tap.collect::<Option<Vec<_>>>().map(|t| ravelled(t, &kernel));
                weight.extend((0..in_group).map(|c| {
                    let row = channel / out_group * in_group + c;
                    tap.map_or(0.0, |t| values[(row * out_group + channel % out_group) * model_taps + t])
                }));
            }
        }
    }
    let bias = call.optional(2).map(|b| call.constant(b).map(|t| t.to_f64())).transpose()?;
    let bias = bias.map(|b| b.into_iter().flat_map(|b| std::iter::repeat_n(b, block)).collect());
    let dot = FloatDot {
        name: &call.node.name,
        input: hw,
        window: phases.iter().map(|p| p.window).collect(),
        groups: conv.groups,
        weight,
        weight_value: call.node.input(1),
        bias,
        bias_value: call.node.input(2),
        shape: positions.iter().copied().chain([conv.out_channels * block]).collect(),
    };
    // The layout of the product, seen as the result: channels, then positions and phases of each axis in turn.
    let d = positions.len();
    let pairs = || positions.iter().zip(&strides);
    let base: Vec<usize> =
        [conv.out_channels].into_iter().chain(pairs().flat_map(|(q, s)| [*q, *s])).collect();
    let perm: Vec<usize> = (0..d).map(|a| 2 * a + 1).chain([0]).chain((0..d).map(|a| 2 * a + 2)).collect();
    let wide: Vec<usize> = [conv.out_channels].into_iter().chain(pairs().map(|(q, s)| q * s)).collect();
    lw.dot(dot, out, |hw| Val::viewed(hw, base, perm, wide))?;
    let bound = lw.bound(out)?;
    let product = lw.val(bound)?;
    let mut val = lw.interleaved(product.hw, conv.out_channels, &positions, &strides)?;
    for (axis, a) in conv.axes.iter().enumerate() {
        let kept: Vec<usize> = (0..a.output).collect();
        if val.shape[axis + 1] != a.output {
            val = lw.selected(&format!("{}/cut", call.node.name), &val, axis + 1, &kept)?;
        }
    }
    lw.bind(bound, val);
    Ok(())
}
