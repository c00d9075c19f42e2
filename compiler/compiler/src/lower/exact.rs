//! Ops with an exact value, together with the activation and the quantiser that alone read it: one cast.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};
use hs_hw::{Accum, Act, Codes, Op, ValueId as HwId, range};
use hs_ir::ValueId;

use super::{Cost, Lowerer, constants, layout::Val, too_wide};
use crate::{
    diagnostic::Diagnostic,
    ops::{self, Activation},
};

/// What alone reads an exact value: an activation, then a quantiser.
struct Tail {
    activation: Option<Activation>,
    quantiser: Option<Type>,
    /// The value after both.
    output: ValueId,
}

/// An op before its tail is known.
pub struct Exact {
    /// Name of the node.
    pub name: String,
    /// The op with `Act::None`.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<HwId>,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

impl Lowerer<'_> {
    fn tail(&mut self, v: ValueId) -> Result<Tail, Diagnostic> {
        let mut tail = Tail { activation: None, quantiser: None, output: v };
        // A type that the user states for this very node is a cast in front of the activation.
        if self.own_layer().result.is_none()
            && let Some((i, node)) = self.only_reader(v)
            && node.input(0) == Some(v)
            && let Some(act) = ops::activation(self.graph, node)?
            && let Some(out) = node.output(0)
        {
            self.fused.insert(i);
            tail.activation = Some(act);
            tail.output = out;
        }
        let Tail { quantiser, output, .. } = self.tail_quantiser(tail.output)?;
        Ok(Tail { quantiser, output, ..tail })
    }

    /// Pushes `exact` with its tail and binds the result, which has the layout of `like`.
    pub fn finish(
        &mut self,
        exact: Exact,
        v: ValueId,
        like: impl FnOnce(HwId) -> Val,
    ) -> Result<(), Diagnostic> {
        let tail = self.tail(v)?;
        self.finish_with(exact, tail, like)
    }

    /// An activation or quantiser on its own: a `requant` of the value it reads.
    pub fn finish_alone(
        &mut self,
        name: &str,
        input: &Val,
        activation: Activation,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let shape = self.node(input.hw).shape.clone();
        let exact =
            Exact { name: name.to_owned(), op: Op::Requant(Act::None), inputs: vec![input.hw], shape };
        self.finish_as(exact, activation, v, |hw| input.with(hw))
    }

    /// Pushes `exact` with an activation of its own and the quantiser that alone reads `v`.
    pub fn finish_as(
        &mut self,
        exact: Exact,
        activation: Activation,
        v: ValueId,
        like: impl FnOnce(HwId) -> Val,
    ) -> Result<(), Diagnostic> {
        let mut tail = self.tail_quantiser(v)?;
        tail.activation = Some(activation);
        self.finish_with(exact, tail, like)
    }

    /// Type of `v` and the value that has it: a quantiser that alone reads `v` decides and is absorbed.
    pub(crate) fn result_or_quantiser(
        &mut self,
        v: ValueId,
        exact: Interval,
    ) -> Result<(Type, ValueId), Diagnostic> {
        let tail = self.tail_quantiser(v)?;
        let ty = match tail.quantiser {
            Some(ty) => ty,
            None => self.result_type(v, exact)?,
        };
        Ok((ty, tail.output))
    }

    /// The type of the quantiser that alone reads `v`, which is absorbed, and the value behind it.
    pub(crate) fn quantiser_of(&mut self, v: ValueId) -> Result<(Option<Type>, ValueId), Diagnostic> {
        let tail = self.tail_quantiser(v)?;
        Ok((tail.quantiser, tail.output))
    }

    fn tail_quantiser(&mut self, v: ValueId) -> Result<Tail, Diagnostic> {
        let mut tail = Tail { activation: None, quantiser: None, output: v };
        if let Some((i, node)) = self.only_reader(v)
            && node.op == "Quant"
            && node.input(0) == Some(v)
            && let Some(out) = node.output(0)
        {
            tail.quantiser = Some(self.quantiser_type(v, node)?);
            self.fused.insert(i);
            tail.output = out;
        }
        Ok(tail)
    }

    fn finish_with(
        &mut self,
        exact: Exact,
        tail: Tail,
        like: impl FnOnce(HwId) -> Val,
    ) -> Result<(), Diagnostic> {
        let Exact { name, mut op, inputs, shape } = exact;
        let formats: Vec<Format> = inputs.iter().map(|i| self.node(*i).format()).collect();
        let ranges: Vec<Interval> = inputs.iter().map(|i| self.range(*i)).collect();
        let format = op
            .exact_format(&formats)
            .ok_or_else(|| Diagnostic::error("no exact value"))?
            .map_err(|_| too_wide("the exact result"))?;
        // The layout of the result, whose node is yet to come.
        let val = like(HwId(0));
        let act = match &tail.activation {
            None => Act::None,
            Some(a) => match self.act(a, format, &val, shape.last().copied().unwrap_or(1)) {
                Err(_) if format.width() > 64 => {
                    return self.finish_narrowed(Exact { name, op, inputs, shape }, format, tail, val);
                }
                act => act?,
            },
        };
        set_act(&mut op, act.clone());
        let probe = hs_hw::Node {
            name: name.clone(),
            op: op.clone(),
            inputs: inputs.clone(),
            shape: shape.clone(),
            ty: super::types::plain(format),
        };
        let acted_format = act.format(format).map_err(|_| too_wide("input × slope"))?;
        let value = range::exact(&probe, &ranges)
            .and_then(|r| r.refine(format.frac()))
            .and_then(|r| range::act(&act, r))
            .ok_or_else(|| too_wide("the exact result"))?;
        let mut ty = match tail.quantiser {
            Some(ty) => ty,
            None => self.result_type(tail.output, value)?,
        };
        let drop = acted_format.frac() - ty.format.frac();
        let mut rounding = Cost::None;
        if drop <= 0 {
            ty.rounding = Rounding::Trn;
        } else if ty.rounding == Rounding::Rnd && fold_rounding(&mut op, format, ty.format.frac(), &ranges) {
            ty.rounding = Rounding::Trn;
            rounding = Cost::Free;
        } else if ty.rounding != Rounding::Trn {
            rounding = Cost::Logic;
        }
        // Rounding up may be what overflows, so the proof looks at the type as the user meant it.
        let meant = Type { rounding: if rounding == Cost::Free { Rounding::Rnd } else { ty.rounding }, ..ty };
        let mut saturation = Cost::Logic;
        if !value.cast(&meant).1 {
            ty.overflow = Overflow::WRAP;
            saturation = Cost::None;
        } else if ty.overflow == Overflow::WRAP {
            saturation = Cost::None;
        }
        if let Op::Dot(d) = &mut op
            && d.bias.as_ref().is_some_and(|b| b.data.iter().all(|c| *c == 0))
        {
            d.bias = None;
        }
        let hw = self.push(&name, op, inputs, shape, ty)?;
        self.note(hw, rounding, saturation, None);
        self.bind(tail.output, val.with(hw));
        Ok(())
    }

    /// Pushes `exact`, whose grid is too fine for the constants of its activation, and the activation behind it.
    fn finish_narrowed(
        &mut self,
        exact: Exact,
        format: Format,
        tail: Tail,
        val: Val,
    ) -> Result<(), Diagnostic> {
        let Exact { name, op, inputs, shape } = exact;
        let hw = self.narrowed(&format!("{name}/exact"), op, inputs, shape.clone(), format)?;
        let exact = Exact { name, op: Op::Requant(Act::None), inputs: vec![hw], shape };
        self.finish_with(exact, tail, |hw| val.with(hw))
    }

    /// Pushes `op`, whose exact format is `exact`, rounded to a width at which its bounds are constants.
    pub(super) fn narrowed(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<HwId>,
        shape: Vec<usize>,
        exact: Format,
    ) -> Result<HwId, Diagnostic> {
        let width = exact.width().min(super::types::WIDEST_EXACT);
        let format =
            Format::new(exact.is_signed(), width, exact.int()).map_err(|_| too_wide("the exact result"))?;
        self.push(name, op, inputs, shape, Type::new(format, Rounding::Rnd, Overflow::Sat))
    }

    /// The function `a` of an exact value of format `format` laid out as `val`, in rows of `channels`.
    pub(crate) fn act(
        &self,
        a: &Activation,
        format: Format,
        val: &Val,
        channels: usize,
    ) -> Result<Act, Diagnostic> {
        Ok(match a {
            Activation::Identity => Act::None,
            Activation::Relu => Act::RELU,
            Activation::Leaky(alpha) => {
                let slope = constants::codes("slope", &[*alpha], self.derived_choice())?;
                Act::Slope(slope)
            }
            Activation::Slopes(slopes) => {
                let spread = self.spread_over(slopes, val, channels)?;
                Act::Slope(constants::codes("slope", &spread, self.derived_choice())?)
            }
            Activation::Clip { lo, hi } => {
                let grid = Type::new(format, Rounding::RndConv, Overflow::Sat);
                let bound = |b: Option<f64>| -> Result<Option<i64>, Diagnostic> {
                    let Some(b) = b.filter(|b| b.is_finite()) else { return Ok(None) };
                    let code = grid.quantize(b).ok_or_else(|| Diagnostic::error("a clip bound is NaN"))?;
                    let useless = code == format.min() || code == format.max();
                    if useless {
                        return Ok(None);
                    }
                    i64::try_from(code).map(Some).map_err(|_| too_wide("a clip bound"))
                };
                Act::Clamp { lo: bound(*lo)?, hi: bound(*hi)? }
            }
        })
    }
}

fn set_act(op: &mut Op, to: Act) {
    match op {
        Op::Dot(d) => d.act = to,
        Op::Affine { act, .. } | Op::Requant(act) | Op::Binary { act, .. } => *act = to,
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => {}
    }
}

/// Adds half a last place of the result to the bias, so that truncation rounds; false where it cannot.
///
/// With a clamp the bounds move along; a lower bound of 0 may stay, since less than one last place is truncated
/// to 0 all the same.
fn fold_rounding(op: &mut Op, exact: Format, result_frac: i32, ranges: &[Interval]) -> bool {
    let shift = exact.frac() - result_frac - 1;
    let Some(half) = u32::try_from(shift).ok().filter(|s| *s < 62).map(|s| 1i64 << s) else { return false };
    let move_act = |act: &mut Act| match act {
        Act::None => true,
        Act::Clamp { lo, hi } => {
            let up = |b: i64| b.checked_add(half);
            let new_lo = lo.filter(|lo| *lo != 0).map(up);
            let new_hi = hi.map(up);
            if new_lo == Some(None) || new_hi == Some(None) {
                return false;
            }
            *lo = new_lo.flatten().or(lo.filter(|lo| *lo == 0));
            *hi = new_hi.flatten();
            true
        }
        Act::Slope(_) => false,
    };
    match op {
        Op::Dot(d) => {
            let outputs = match &d.bias {
                Some(b) => b.len(),
                None => return false,
            };
            let Some(bias) = raised(d.bias.as_ref(), outputs, result_frac + 1) else { return false };
            let mut changed = d.clone();
            changed.bias = Some(bias);
            if !move_act(&mut changed.act) {
                return false;
            }
            let Some(sums) = range::dot_sum(&changed, outputs, ranges[0]) else { return false };
            let Ok(format) = Format::holding(sums.partial.lo, sums.partial.hi, exact.frac()) else {
                return false;
            };
            changed.accum = Accum::Exact(format);
            if !bounds_fit(&changed.act, format) {
                return false;
            }
            *d = changed;
            true
        }
        Op::Affine { scale, bias, act } => {
            let Some(new) = raised(Some(bias), bias.len(), result_frac + 1) else { return false };
            let mut new_act = act.clone();
            let product = scale.format.frac() + ranges[0].frac;
            if !move_act(&mut new_act) || new.format.frac().max(product) != exact.frac() {
                return false;
            }
            *bias = new;
            *act = new_act;
            true
        }
        Op::Requant(_)
        | Op::Binary { .. }
        | Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => false,
    }
}

fn bounds_fit(act: &Act, format: Format) -> bool {
    match act {
        Act::Clamp { lo, hi } => [lo, hi].into_iter().flatten().all(|b| format.contains(i128::from(*b))),
        Act::None | Act::Slope(_) => true,
    }
}

/// `bias` plus 2^-`frac`, on a grid of at least `frac` fraction bits; `None` beyond 62 bits.
fn raised(bias: Option<&Codes>, len: usize, frac: i32) -> Option<Codes> {
    let from = bias.map_or(frac, |b| b.format.frac());
    let grid = from.max(frac);
    let up = u32::try_from(grid - from).ok().filter(|s| *s < 62)?;
    let half = 1i64.checked_shl(u32::try_from(grid - frac).ok().filter(|s| *s < 62)?)?;
    let data: Option<Vec<i64>> = (0..len)
        .map(|i| {
            let b = bias.map_or(0, |b| b.data[i]);
            b.checked_mul(1i64 << up)?.checked_add(half)
        })
        .collect();
    constants::trimmed(&data?, grid)
}
