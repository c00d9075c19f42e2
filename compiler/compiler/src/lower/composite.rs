//! Ops of several hardware nodes: operators on many tensors, gates, thresholds.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Index, Lut, Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{
    Cost, Lowerer, constants,
    elementwise::bit,
    exact::Exact,
    layout::Val,
    table::{self, Function},
    too_wide,
    types::plain,
};
use crate::{
    diagnostic::Diagnostic,
    ops::{Activation, broadcast_shape},
};

/// Widest gate of a tabulated function.
const MAX_GATE_WIDTH: u32 = 26;

/// Which integer stands for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integers {
    /// The next one below.
    Floor,
    /// The next one above.
    Ceil,
    /// The nearest, ties to even.
    Round,
}

impl Lowerer<'_> {
    /// `operands`, which broadcast, as hardware tensors in one layout.
    pub(super) fn aligned(
        &mut self,
        name: &str,
        operands: &[ValueId],
    ) -> Result<(Vec<HwId>, Val), Diagnostic> {
        let mut shape = Vec::new();
        for v in operands {
            let own = self.shape(*v)?;
            shape = broadcast_shape(&shape, &own)
                .ok_or_else(|| Diagnostic::error(format!("{shape:?} and {own:?} do not broadcast")))?;
        }
        let mut vals: Vec<Option<Val>> = Vec::with_capacity(operands.len());
        for v in operands {
            let val = self.graph.constant(*v).is_none().then(|| self.val(*v)).transpose()?;
            if val.as_ref().is_some_and(|val| val.shape != shape) && self.hls4ml() {
                let small = self.shape(*v)?;
                return Err(Diagnostic::error(format!(
                    "broadcasts an activation of shape {small:?} to {shape:?}, which hls4ml's arithmetic does not"
                ))
                .help("expand the smaller operand in the model, or use --arithmetic native"));
            }
            vals.push(val);
        }
        // The first one of the full shape decides the layout.
        let first = |full: bool| {
            vals.iter().position(|val| val.as_ref().is_some_and(|val| !full || val.shape == shape))
        };
        let at = first(true).or_else(|| first(false));
        let Some((at, val)) = at.and_then(|at| Some((at, vals[at].clone()?))) else {
            return Err(Diagnostic::error("its operands are all constant"));
        };
        let like = self.broadcast(&format!("{name}/broadcast"), &val, &shape)?;
        let like = self.plain(&like)?;
        vals[at] = Some(like.clone());
        let mut all = Vec::with_capacity(operands.len());
        for (i, (v, val)) in operands.iter().zip(vals).enumerate() {
            let Some(val) = val else {
                let name = if operands.len() == 2 {
                    format!("{name}/constant")
                } else {
                    format!("{name}/constant{i}")
                };
                all.push(self.constant_node(&name, *v, &like)?);
                continue;
            };
            let val = self.broadcast(&format!("{name}/broadcast"), &val, &shape)?;
            all.push(self.demand(&val, &like.perm)?);
        }
        Ok((all, like))
    }

    /// The exact result of `op` over all of `operands` from left to right.
    fn chained(&mut self, name: &str, op: BinaryOp, operands: &[HwId]) -> Result<HwId, Diagnostic> {
        let mut so_far = operands[0];
        for (i, next) in operands.iter().enumerate().skip(1) {
            let format = op
                .format(self.node(so_far).format(), self.node(*next).format())
                .map_err(|_| too_wide("a partial result"))?;
            let shape = self.node(so_far).shape.clone();
            let node = Op::Binary { op, act: Act::None };
            so_far = self.push(&format!("{name}/{i}"), node, vec![so_far, *next], shape, plain(format))?;
        }
        Ok(so_far)
    }

    /// Pushes `op` over two or more tensors, cast once.
    pub fn combine(
        &mut self,
        name: &str,
        op: BinaryOp,
        operands: &[ValueId],
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let (all, like) = self.aligned(name, operands)?;
        let (last, before) = all.split_last().ok_or_else(|| Diagnostic::error("has no operands"))?;
        let first = self.chained(name, op, before)?;
        if self.hls4ml() {
            return self.hls4ml_binary(name, op, (first, *last), &like, v);
        }
        let shape = self.node(like.hw).shape.clone();
        let op = Op::Binary { op, act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![first, *last], shape };
        self.finish(exact, v, |hw| like.with(hw))
    }

    /// Pushes the first of two `operands` over the second.
    pub(crate) fn divide(&mut self, name: &str, operands: &[ValueId], v: ValueId) -> Result<(), Diagnostic> {
        let (all, like) = self.aligned(name, operands)?;
        match all[..] {
            [a, b] => self.quotient(name, Some(a), &like.with(b), v),
            _ => Err(Diagnostic::error("has not two operands")),
        }
    }

    /// Pushes the mean of two or more tensors.
    pub fn mean(&mut self, name: &str, operands: &[ValueId], v: ValueId) -> Result<(), Diagnostic> {
        let (all, like) = self.aligned(name, operands)?;
        let sum = self.chained(&format!("{name}/sum"), BinaryOp::Add, &all)?;
        if self.hls4ml() {
            return match all[..] {
                [a, b] => self.hls4ml_mean(name, sum, (a, b), &like, v),
                _ => Err(Diagnostic::error("hls4ml averages two tensors, no more")
                    .help("write the mean as Sum and Mul in the model, or use --arithmetic native")),
            };
        }
        let scale = constants::codes("1/count", &[1.0 / all.len() as f64], self.derived_choice())?;
        let shape = self.node(like.hw).shape.clone();
        let op = Op::Affine { scale, bias: Codes::new(bit()?, vec![0]), act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![sum], shape };
        self.finish(exact, v, |hw| like.with(hw))
    }

    /// alpha × x + beta.
    fn line(&self, (alpha, beta): (f64, f64)) -> Result<Op, Diagnostic> {
        let scale = constants::codes("alpha", &[alpha], self.derived_choice())?;
        let bias = constants::codes("beta", &[beta], self.derived_choice())?;
        Ok(Op::Affine { scale, bias, act: Act::None })
    }

    /// Pushes min(max(alpha × x + beta, 0), 1).
    pub fn hard_sigmoid(
        &mut self,
        name: &str,
        input: &Val,
        line: (f64, f64),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let shape = self.node(input.hw).shape.clone();
        let exact = Exact { name: name.to_owned(), op: self.line(line)?, inputs: vec![input.hw], shape };
        let unit = Activation::Clip { lo: Some(0.0), hi: Some(1.0) };
        self.finish_as(exact, unit, v, |hw| input.with(hw))
    }

    /// Pushes x × min(max(alpha × x + beta, 0), 1).
    pub fn hard_swish(
        &mut self,
        name: &str,
        input: &Val,
        line: (f64, f64),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let node = self.node(input.hw);
        let (x, shape, channels) = (node.format(), node.shape.clone(), node.channels());
        let op = self.line(line)?;
        let exact = op.exact_format(&[x]).transpose().ok().flatten().ok_or_else(|| too_wide("the gate"))?;
        let Op::Affine { scale, bias, .. } = op else { return Err(Diagnostic::error("no line")) };
        let unit = Activation::Clip { lo: Some(0.0), hi: Some(1.0) };
        let act = self.act(&unit, exact, input, channels);
        // As many fraction bits as the input has bits, so that the product is as good as the input.
        let gate = Format::new(false, x.width() + 2, 1).map_err(|_| too_wide("the gate"))?;
        let ty = Type::new(gate, Rounding::Rnd, Overflow::Sat);
        let (op, read) = match act {
            Ok(act) => (Op::Affine { scale, bias, act }, input.hw),
            // The bounds lie on too fine a grid.
            Err(_) => {
                let op = Op::Affine { scale, bias, act: Act::None };
                let line =
                    self.narrowed(&format!("{name}/line"), op, vec![input.hw], shape.clone(), exact)?;
                let act = self.act(&unit, self.node(line).format(), input, channels)?;
                (Op::Requant(act), line)
            }
        };
        let gate = self.push(&format!("{name}/gate"), op, vec![read], shape.clone(), ty)?;
        self.gated(name, input, gate, v)
    }

    /// Pushes x where it is above `theta`, 0 elsewhere.
    pub fn thresholded(&mut self, name: &str, input: &Val, theta: f64, v: ValueId) -> Result<(), Diagnostic> {
        let node = self.node(input.hw);
        let (x, shape) = (node.format(), node.shape.clone());
        // The largest code that is not above.
        let at = (theta * 2f64.powi(x.frac())).floor().clamp(x.min() as f64 - 1.0, x.max() as f64);
        let step = self.step(name, input, shape, -(at as i64), Codes::new(bit()?, vec![0, 1]))?;
        self.gated(name, input, step, v)
    }

    /// Pushes x × gate.
    fn gated(&mut self, name: &str, input: &Val, gate: HwId, v: ValueId) -> Result<(), Diagnostic> {
        let shape = self.node(input.hw).shape.clone();
        let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![input.hw, gate], shape };
        self.finish(exact, v, |hw| input.with(hw))
    }

    /// Pushes a table of two entries: the second from the code 1 - `offset` on.
    fn step(
        &mut self,
        name: &str,
        input: &Val,
        shape: Vec<usize>,
        offset: i64,
        entries: Codes,
    ) -> Result<HwId, Diagnostic> {
        let ty = plain(entries.format);
        let index = Index { mul: 1, shift: 0, toward_zero: false, offset };
        let lut = Lut { index, entries, interpolate: false };
        self.push(&format!("{name}/step"), Op::Table(lut), vec![input.hw], shape, ty)
    }

    /// Pushes the integer that stands for each number.
    pub(crate) fn integers(
        &mut self,
        name: &str,
        input: &Val,
        which: Integers,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let shape = self.node(input.hw).shape.clone();
        let mut hw = input.hw;
        if which == Integers::Ceil {
            // -floor(-x)
            hw = self.negative(&format!("{name}/negative"), input)?.hw;
        }
        let from = self.node(hw).format();
        if from.frac() > 0 {
            let rounding = if which == Integers::Round { Rounding::RndConv } else { Rounding::Trn };
            // Rounding up may need one bit more.
            let whole = (from.int() + 1).max(1 + i32::from(from.is_signed()));
            let format =
                Format::new(from.is_signed(), whole as u32, whole).map_err(|_| too_wide("the integer"))?;
            let ty = Type { rounding, ..plain(format) };
            hw = self.push(&format!("{name}/whole"), Op::Requant(Act::None), vec![hw], shape.clone(), ty)?;
        }
        if which == Integers::Ceil {
            hw = self.negative(&format!("{name}/positive"), &input.with(hw))?.hw;
        }
        let exact = Exact { name: name.to_owned(), op: Op::Requant(Act::None), inputs: vec![hw], shape };
        self.finish(exact, v, |hw| input.with(hw))
    }

    /// Pushes -x, exactly.
    pub(crate) fn negative(&mut self, name: &str, input: &Val) -> Result<Val, Diagnostic> {
        let op = Op::Affine {
            scale: Codes::new(Format::new(true, 1, 1).map_err(|_| too_wide("-x"))?, vec![-1]),
            bias: Codes::new(bit()?, vec![0]),
            act: Act::None,
        };
        let (x, shape) = (self.range(input.hw), self.node(input.hw).shape.clone());
        let ty = plain(Format::holding(-x.hi, -x.lo, x.frac).map_err(|_| too_wide("-x"))?);
        Ok(input.with(self.push(name, op, vec![input.hw], shape, ty)?))
    }

    /// Pushes -1, 0 or 1.
    pub(crate) fn signs(&mut self, name: &str, input: &Val, v: ValueId) -> Result<(), Diagnostic> {
        let two = Format::new(true, 2, 2).map_err(|_| too_wide("the sign"))?;
        let index = Index { mul: 1, shift: 0, toward_zero: false, offset: 1 };
        let lut = Lut { index, entries: Codes::new(two, vec![-1, 0, 1]), interpolate: false };
        let shape = self.node(input.hw).shape.clone();
        let hw = self.push(name, Op::Table(lut), vec![input.hw], shape, plain(two))?;
        self.note(hw, Cost::None, Cost::None, None);
        self.bind(v, input.with(hw));
        Ok(())
    }

    /// Pushes x times a monotone function of x with values from 0 to 1.
    pub(crate) fn self_gated(
        &mut self,
        name: &str,
        input: &Val,
        (function, f): (&str, &dyn Fn(f64) -> f64),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let node = self.node(input.hw);
        let (width, shape) = (node.format().width(), node.shape.clone());
        // As many fraction bits as the input has bits, as far as a table can follow.
        let result =
            Format::new(false, (width + 2).min(MAX_GATE_WIDTH), 1).map_err(|_| too_wide("the gate"))?;
        let built = table::build(&Function { name: function, f, x: self.range(input.hw), result })?;
        let ty = if built.lut.interpolate {
            Type::new(result, Rounding::Rnd, Overflow::Sat)
        } else {
            plain(result)
        };
        let gate = self.push(&format!("{name}/gate"), Op::Table(built.lut), vec![input.hw], shape, ty)?;
        self.note(gate, Cost::Logic, Cost::None, Some(built.note));
        self.gated(name, input, gate, v)
    }

    /// Pushes `scale` where x is not negative, -`scale` elsewhere.
    pub fn sign(&mut self, name: &str, input: &Val, scale: f64, v: ValueId) -> Result<(), Diagnostic> {
        let choice = constants::Choice::Fit(super::types::SCALED_WIDTH);
        let entries = constants::codes("scale", &[-scale, scale], choice)?;
        let shape = self.node(input.hw).shape.clone();
        let hw = self.step(name, input, shape, 1, entries)?;
        self.note(hw, Cost::None, Cost::None, None);
        self.bind(v, input.with(hw));
        Ok(())
    }
}
