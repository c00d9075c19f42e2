//! Ops of several hardware nodes: operators on many tensors, gates, thresholds.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Index, Lut, Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{Cost, Lowerer, constants, elementwise::bit, exact::Exact, layout::Val, too_wide, types::plain};
use crate::{diagnostic::Diagnostic, ops::Activation};

impl Lowerer<'_> {
    /// `operands`, of one ONNX shape but for constants, which broadcast, as hardware tensors in one layout.
    fn aligned(&mut self, name: &str, operands: &[ValueId]) -> Result<(Vec<HwId>, Val), Diagnostic> {
        let computed = operands.iter().find(|v| self.graph.constant(**v).is_none());
        let Some(first) = computed else { return Err(Diagnostic::error("its operands are all constant")) };
        let like = self.val(*first)?;
        let like = self.plain(&like)?;
        let mut all = Vec::with_capacity(operands.len());
        for (i, v) in operands.iter().enumerate() {
            if self.graph.constant(*v).is_some() {
                let name = if operands.len() == 2 {
                    format!("{name}/constant")
                } else {
                    format!("{name}/constant{i}")
                };
                all.push(self.constant_node(&name, *v, &like)?);
                continue;
            }
            let val = self.val(*v)?;
            if val.shape != like.shape {
                return Err(Diagnostic::error(format!(
                    "its operands have the shapes {:?} and {:?}; broadcasting one activation over another is not \
                     supported",
                    like.shape, val.shape
                ))
                .help("expand the smaller operand in the model, or make it a constant"));
            }
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

    /// Pushes `scale` where x is not negative, -`scale` elsewhere.
    pub fn sign(&mut self, name: &str, input: &Val, scale: f64, v: ValueId) -> Result<(), Diagnostic> {
        let entries = constants::codes("scale", &[-scale, scale], self.derived_choice())?;
        let shape = self.node(input.hw).shape.clone();
        let hw = self.step(name, input, shape, 1, entries)?;
        self.note(hw, Cost::None, Cost::None, None);
        self.bind(v, input.with(hw));
        Ok(())
    }
}
