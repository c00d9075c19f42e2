//! Selection: elements of a tensor picked, repeated or put in another order along an axis, their codes kept.
//!
//! The hardware IR has no op of its own for it. A dot product with one weight of 1 a result is exact, and HLS reduces one
//! of constants to wires; in groups as many as the pattern allows, so that what is repeated or strided stays small. What is
//! cut out of a long axis in even steps is a window that slides along it.

use hs_fixed::Format;
use hs_hw::{Accum, Act, Codes, Dot, Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{Lowerer, elementwise::bit, layout::Val, too_wide, types::plain};
use crate::{
    diagnostic::Diagnostic,
    ops::{Call, window::Window},
};

/// Weights up to which a selection among channels stays one within each pixel.
const FEW_WEIGHTS: usize = 1 << 16;
/// Most rows of pixels' channels that a sliding window keeps.
const MAX_BUFFERED: usize = 1024;
/// Most weights of one selection.
const MAX_WEIGHTS: usize = 1 << 22;

/// Positions in even steps, as those that a window finds as it slides over all of an axis. The axis is seen in blocks that
/// are kept or dropped as a whole.
struct Cut {
    start: usize,
    step: usize,
    /// Blocks along the axis, and of those how many are kept.
    blocks: (usize, usize),
    /// Positions of a block.
    block: usize,
    /// Length of the window in blocks, so long that it fits as often as there are blocks to keep.
    kernel: usize,
}

impl Cut {
    fn of(picks: &[usize], n: usize) -> Option<Self> {
        let (start, step) = match picks {
            [start, second, ..] => (*start, second.checked_sub(*start).filter(|s| *s > 0)?),
            _ => return None,
        };
        let m = picks.len();
        if !picks.iter().enumerate().all(|(o, i)| *i == start + o * step) {
            return None;
        }
        let block = if step == 1 { common_divisor(n, common_divisor(start, m)) } else { 1 };
        let (from, to) = (n / block, m / block);
        Some(Self { start: start / block, step, blocks: (from, to), block, kernel: from - (to - 1) * step })
    }
}

/// The greatest one of two numbers.
fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl Lowerer<'_> {
    /// Pushes the positions of `cut` along the ONNX axis `axis`, which is the hardware axis `place`.
    fn cut(
        &mut self,
        name: &str,
        val: &Val,
        axis: usize,
        place: usize,
        cut: &Cut,
    ) -> Result<Val, Diagnostic> {
        let hw = self.demand(val, &val.perm.clone())?;
        let lengths: Vec<usize> = val.perm.iter().map(|a| val.shape[*a]).collect();
        let (n, m) = cut.blocks;
        let before: usize = lengths[..place].iter().product();
        let (between, channels) = match &lengths[place + 1..] {
            [] => (1, cut.block),
            [between @ .., channels] => (cut.block * between.iter().product::<usize>(), *channels),
        };
        let slide = Window { input: n, kernel: cut.kernel, stride: cut.step, ..Window::UNIT };
        let mut axes = vec![(before, before, Window::UNIT), (n, m, slide), (between, between, Window::UNIT)];
        axes.retain(|(from, _, window)| *from > 1 || *window == slide);
        let shape =
            |of: fn(&(usize, usize, Window)) -> usize| axes.iter().map(of).chain([channels]).collect();
        let hw = self.reshape(hw, shape(|a| a.0))?;
        let mut weight = vec![0; channels * cut.kernel];
        for c in 0..channels {
            weight[c * cut.kernel + cut.start] = 1;
        }
        let (x, range) = (self.node(hw).format(), self.range(hw));
        let accum = Format::holding(range.lo.min(0), range.hi.max(0), range.frac)
            .map_err(|_| too_wide("the selection"))?;
        let op = Op::Dot(Dot {
            window: axes.iter().map(|(_, _, window)| window.hardware()).collect(),
            groups: channels,
            weight: Codes::new(bit()?, weight),
            bias: None,
            accum: Accum::Exact(accum),
            act: Act::None,
        });
        let hw = self.push(name, op, vec![hw], shape(|a| a.1), plain(x))?;
        let mut shape = val.shape.clone();
        shape[axis] = m * cut.block;
        let hw = self.reshape(hw, val.perm.iter().map(|a| shape[*a]).collect())?;
        Ok(Val::plain(hw, shape, val.perm.clone()))
    }

    /// Pushes the elements of `input` at `picks` along its ONNX axis `axis` (without the batch axis).
    pub(crate) fn selected(
        &mut self,
        name: &str,
        input: &Val,
        axis: usize,
        picks: &[usize],
    ) -> Result<Val, Diagnostic> {
        let val = self.plain(input)?;
        let n = val.shape[axis];
        if picks.iter().copied().eq(0..n) {
            return Ok(val);
        }
        let m = picks.len();
        if m == 0 || n == 0 {
            return Err(Diagnostic::error("selects nothing").help("remove what is empty from the model"));
        }
        let fits = |g: &usize| {
            n.is_multiple_of(*g)
                && m.is_multiple_of(*g)
                && picks.iter().enumerate().all(|(o, i)| i / (n / g) == o / (m / g))
        };
        let groups = (1..=n.min(m)).rev().find(fits).unwrap_or(1);
        let each = n / groups;
        let places = val.perm.iter().position(|a| *a == axis).unwrap_or(0);
        let channels = places + 1 == val.perm.len();
        let last = val.perm.last().map_or(1, |a| val.shape[*a]);
        let buffered = |cut: &Cut| (cut.kernel - 1) * if channels { cut.block } else { last };
        if let Some(cut) = Cut::of(picks, n).filter(|cut| cut.kernel < each && buffered(cut) <= MAX_BUFFERED)
            && (!channels || m.saturating_mul(each) > FEW_WEIGHTS)
        {
            return self.cut(name, &val, axis, places, &cut);
        }
        if m.saturating_mul(each) > MAX_WEIGHTS {
            return Err(Diagnostic::error(format!(
                "selects {m} of {n} positions along an axis, which is more than {MAX_WEIGHTS} pairs"
            ))
            .help("cut the model there with onnx.utils.extract_model and select on the host"));
        }
        let mut order: Vec<usize> = val.perm.iter().copied().filter(|a| *a != axis).collect();
        order.push(axis);
        let hw = self.demand(&val, &order)?;
        let rows: usize = val.shape.iter().product::<usize>() / n;
        let hw = self.reshape(hw, vec![rows, n])?;
        let mut weight = vec![0; m * each];
        for (o, i) in picks.iter().enumerate() {
            weight[o * each + i % each] = 1;
        }
        let (x, range) = (self.node(hw).format(), self.range(hw));
        let accum = Format::holding(range.lo.min(0), range.hi.max(0), range.frac)
            .map_err(|_| too_wide("the selection"))?;
        let op = Op::Dot(Dot {
            window: vec![Window::UNIT.hardware()],
            groups,
            weight: Codes::new(bit()?, weight),
            bias: None,
            accum: Accum::Exact(accum),
            act: Act::None,
        });
        let hw = self.push(name, op, vec![hw], vec![rows, m], plain(x))?;
        let mut shape = val.shape;
        shape[axis] = m;
        let hw = self.reshape(hw, order.iter().map(|a| shape[*a]).collect())?;
        Ok(Val::plain(hw, shape, order))
    }

    /// Binds `out` to operand 0 of `call` with the elements at `picks[axis]` along each of its axes, batch included.
    pub(crate) fn select(
        &mut self,
        call: &Call<'_>,
        picks: &[Vec<usize>],
        out: ValueId,
    ) -> Result<(), Diagnostic> {
        self.native_only(call)?;
        let mut val = self.input_val(call, 0)?;
        let skip = picks.len() - val.shape.len();
        if let Some(axis) = (0..skip).find(|a| picks[*a] != [0]) {
            let help = "the batch is the rows that are run together: leave it as it is";
            return Err(call.error(format!("selects along axis {axis}, the batch")).help(help));
        }
        for (axis, picks) in picks[skip..].iter().enumerate() {
            val = self.selected(&call.node.name, &val, axis, picks)?;
        }
        let val = self.reshaped(&val, self.shape(out)?);
        self.bind(out, val);
        Ok(())
    }

    /// Pushes `input` broadcast to the ONNX shape `shape` (without the batch axis), to which it must broadcast.
    pub(crate) fn broadcast(&mut self, name: &str, input: &Val, shape: &[usize]) -> Result<Val, Diagnostic> {
        let missing = shape.len().saturating_sub(input.shape.len());
        let padded = [vec![1; missing], input.shape.clone()].concat();
        let mut val = if missing > 0 { self.reshaped(input, padded) } else { input.clone() };
        for (axis, n) in shape.iter().enumerate() {
            if val.shape[axis] != *n {
                val = self.selected(name, &val, axis, &vec![0; *n])?;
            }
        }
        Ok(val)
    }

    /// Pushes `input`, of ONNX shape `[channels, space…]`, with each pixel repeated `steps` times along each spatial axis.
    pub(crate) fn blown_up(&mut self, name: &str, input: &Val, steps: &[usize]) -> Result<Val, Diagnostic> {
        let (channels, space) = (input.shape[0], input.shape[1..].to_vec());
        let block: usize = steps.iter().product();
        let picks: Vec<usize> = (0..channels * block).map(|o| o / block).collect();
        let val = self.selected(name, input, 0, &picks)?;
        let hw = self.demand(&val, &super::layout::channels_last(val.shape.len()))?;
        self.interleaved(hw, channels, &space, steps)
    }

    /// Moves blocks of channels to space: `hw`, of shape `[space…, channels × steps…]`, as the ONNX tensor
    /// `[channels, space × steps…]`.
    pub(crate) fn interleaved(
        &mut self,
        hw: HwId,
        channels: usize,
        space: &[usize],
        steps: &[usize],
    ) -> Result<Val, Diagnostic> {
        let d = space.len();
        let split: Vec<usize> = space.iter().chain(&[channels]).chain(steps).copied().collect();
        let perm: Vec<usize> = (0..d).flat_map(|a| [a, d + 1 + a]).chain([d]).collect();
        let hw = self.reshape(hw, split.clone())?;
        let from = self.node(hw);
        let (name, ty) = (format!("{}/permute", from.name), plain(from.format()));
        let shape = perm.iter().map(|a| split[*a]).collect();
        let hw = self.push(&name, Op::Permute(perm), vec![hw], shape, ty)?;
        let wide: Vec<usize> = space.iter().zip(steps).map(|(n, s)| n * s).collect();
        let hw = self.reshape(hw, wide.iter().copied().chain([channels]).collect())?;
        let onnx: Vec<usize> = [channels].into_iter().chain(wide).collect();
        let order = super::layout::channels_last(onnx.len());
        Ok(Val::plain(hw, onnx, order))
    }
}
