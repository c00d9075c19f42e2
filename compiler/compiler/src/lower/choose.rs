//! Comparisons, what is chosen by them, and places of the largest elements. Truth values are one unsigned bit.

use hs_fixed::{Format, Interval, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Index, Lut, Op, Softmax, ValueId as HwId};
use hs_ir::{DType, Tensor, ValueId};

use super::{
    Cost, Lowerer, constants,
    elementwise::bit,
    exact::Exact,
    layout::{Val, identity},
    too_wide,
    types::{Part, plain},
};
use crate::diagnostic::Diagnostic;

/// A comparison of one number with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Equal.
    Equal,
    /// Larger.
    Greater,
    /// Larger or equal.
    GreaterOrEqual,
    /// Smaller.
    Less,
    /// Smaller or equal.
    LessOrEqual,
}

impl Comparison {
    /// The same comparison of the second number with the first.
    fn turned(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
        }
    }

    /// Results from the code -`offset` of the difference on.
    fn entries(self) -> (i64, Vec<i64>) {
        match self {
            Self::Equal => (1, vec![0, 1, 0]),
            Self::Greater => (0, vec![0, 1]),
            Self::GreaterOrEqual => (1, vec![0, 1]),
            Self::Less => (1, vec![1, 0]),
            Self::LessOrEqual => (0, vec![1, 0]),
        }
    }
}

/// A function of two truth values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    /// Both.
    And,
    /// At least one.
    Or,
    /// One but not the other.
    Xor,
}

impl Lowerer<'_> {
    /// Pushes a table of truth values from the code -`offset` of `x` on.
    fn truths(&mut self, name: &str, x: HwId, offset: i64, entries: Vec<i64>) -> Result<HwId, Diagnostic> {
        let index = Index { mul: 1, shift: 0, toward_zero: false, offset };
        let lut = Lut { index, entries: Codes::new(bit()?, entries), interpolate: false };
        let shape = self.node(x).shape.clone();
        self.push(name, Op::Table(lut), vec![x], shape, plain(bit()?))
    }

    /// Binds `v` to the truth values `hw`, laid out as `like`.
    fn bind_exact(&mut self, v: ValueId, hw: HwId, like: &Val) {
        self.note(hw, Cost::None, Cost::None, None);
        self.bind(v, like.with(hw));
    }

    /// Pushes the comparison of two tensors, one of which may be constant.
    pub(crate) fn compare(
        &mut self,
        name: &str,
        how: Comparison,
        (a, b): (ValueId, ValueId),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        if self.graph.constant(b).is_some() {
            return self.compare_constant(name, how, a, b, v);
        }
        if self.graph.constant(a).is_some() {
            return self.compare_constant(name, how.turned(), b, a, v);
        }
        let (all, like) = self.aligned(name, &[a, b])?;
        let ty = self.node(all[0]).format().sub(self.node(all[1]).format());
        let ty = plain(ty.map_err(|_| too_wide("the difference"))?);
        let shape = self.node(like.hw).shape.clone();
        let op = Op::Binary { op: BinaryOp::Sub, act: Act::None };
        let difference = self.push(&format!("{name}/difference"), op, all, shape, ty)?;
        let (offset, entries) = how.entries();
        let hw = self.truths(name, difference, offset, entries)?;
        self.bind_exact(v, hw, &like);
        Ok(())
    }

    /// Compares `a` with the constant `b` as it stands in the model: its place among the codes of `a` is exact.
    fn compare_constant(
        &mut self,
        name: &str,
        how: Comparison,
        a: ValueId,
        b: ValueId,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let tensor = self.graph.constant(b).cloned().ok_or_else(|| Diagnostic::error("not a constant"))?;
        let val = self.val(a)?;
        let val = self.broadcast(&format!("{name}/broadcast"), &val, &self.shape(v)?)?;
        let val = self.plain(&val)?;
        let x = self.node(val.hw).format();
        let codes = self.spread(&tensor, &val)?.into_iter().map(|real| {
            let place = real * 2f64.powi(x.frac());
            let whole = match how {
                Comparison::Greater | Comparison::LessOrEqual => place.floor(),
                Comparison::GreaterOrEqual | Comparison::Less => place.ceil(),
                Comparison::Equal if place.fract() == 0.0 => place,
                Comparison::Equal => {
                    return Err(Diagnostic::error(format!("compares with {real}, which no {x} equals"))
                        .help("compare with a number of that type, or give the input one that has it"));
                }
            };
            // One code beyond each end is beyond all of them.
            Ok(-(whole.clamp(x.min() as f64 - 1.0, x.max() as f64 + 1.0) as i64))
        });
        let codes = codes.collect::<Result<Vec<i64>, _>>()?;
        let (offset, entries) = how.entries();
        if let [minus] = codes[..] {
            let hw = self.truths(name, val.hw, offset + minus, entries)?;
            self.bind_exact(v, hw, &val);
            return Ok(());
        }
        let (lo, hi) = codes.iter().fold((0, 0), |(lo, hi), c| (*c.min(&lo), *c.max(&hi)));
        let format = Format::holding(i128::from(lo), i128::from(hi), x.frac())
            .map_err(|_| too_wide("the constant"))?;
        let op = Op::Affine {
            scale: Codes::new(bit()?, vec![1]),
            bias: Codes::new(format, codes),
            act: Act::None,
        };
        let exact = op.exact_format(&[x]).transpose().ok().flatten();
        let ty = plain(exact.ok_or_else(|| too_wide("the difference"))?);
        let shape = self.node(val.hw).shape.clone();
        let difference = self.push(&format!("{name}/difference"), op, vec![val.hw], shape, ty)?;
        let hw = self.truths(name, difference, offset, entries)?;
        self.bind_exact(v, hw, &val);
        Ok(())
    }

    /// Pushes a function of two tensors of truth values.
    pub(crate) fn logic(
        &mut self,
        name: &str,
        how: Logic,
        operands: &[ValueId],
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        if operands.iter().any(|v| self.graph.constant(*v).is_some()) {
            return Err(Diagnostic::error("combines truth values with constants")
                .help("leave the constant out of the model: the result is the other operand, or known"));
        }
        let (all, like) = self.aligned(name, operands)?;
        let shape = self.node(like.hw).shape.clone();
        let op = match how {
            Logic::And => BinaryOp::Mul,
            Logic::Or => BinaryOp::Max,
            Logic::Xor => BinaryOp::Sub,
        };
        let ty = match how {
            Logic::And | Logic::Or => bit()?,
            Logic::Xor => Format::new(true, 2, 2).map_err(|_| too_wide("a truth value"))?,
        };
        let op = Op::Binary { op, act: Act::None };
        let mut hw = self.push(name, op, all, shape, plain(ty))?;
        if how == Logic::Xor {
            hw = self.truths(&format!("{name}/differ"), hw, 1, vec![1, 0, 1])?;
        }
        self.bind_exact(v, hw, &like);
        Ok(())
    }

    /// Pushes whether each element is 0, or with `negated` whether it is not.
    pub(crate) fn is_zero(
        &mut self,
        name: &str,
        input: &Val,
        negated: bool,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let zero = i64::from(!negated);
        let hw = self.truths(name, input.hw, 1, vec![1 - zero, zero, 1 - zero])?;
        self.bind_exact(v, hw, input);
        Ok(())
    }

    /// Pushes the integers that are left of numbers without their fractions, in the range of `to`.
    pub(crate) fn truncated(
        &mut self,
        name: &str,
        input: &Val,
        to: DType,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let range = self.range(input.hw);
        let from = self.node(input.hw).format();
        let (min, max) = to.int_range().unwrap_or((i64::MIN, i64::MAX));
        let whole = |c: i128| (c as f64 * 2f64.powi(-range.frac)).trunc();
        if whole(range.lo) < min as f64 || whole(range.hi) > max as f64 {
            return Err(Diagnostic::error(format!(
                "its input reaches from {} to {}, beyond {to}",
                whole(range.lo),
                whole(range.hi)
            ))
            .help("clip the values in front of it (Clip), or give its input a type without such values"));
        }
        let mut hw = input.hw;
        if from.frac() > 0 {
            let int = from.int().max(1 + i32::from(from.is_signed()));
            let format =
                Format::new(from.is_signed(), int as u32, int).map_err(|_| too_wide("the integer"))?;
            let ty = Type { rounding: Rounding::TrnZero, ..plain(format) };
            let shape = self.node(hw).shape.clone();
            hw = self.push(name, Op::Requant(Act::None), vec![hw], shape, ty)?;
            self.note(hw, Cost::Logic, Cost::None, None);
        }
        self.bind(v, input.with(hw));
        Ok(())
    }

    /// Pushes `a` where `condition` holds, `b` elsewhere.
    pub(crate) fn chosen(
        &mut self,
        name: &str,
        [condition, a, b]: [ValueId; 3],
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        if let Some(mask) = self.graph.constant(condition).cloned() {
            return self.masked(name, &mask, [a, b], v);
        }
        let (all, like) = self.aligned(name, &[condition, a, b])?;
        let shape = self.node(like.hw).shape.clone();
        let zero = |lw: &Self, v| lw.graph.constant(v).is_some_and(|t| t.to_f64().iter().all(|x| *x == 0.0));
        let mut parts = Vec::new();
        for (value, x, holds) in [(a, all[1], true), (b, all[2], false)] {
            if zero(self, value) {
                continue;
            }
            let mut gate = all[0];
            if !holds {
                let (one, minus) = (Codes::new(bit()?, vec![1]), Format::new(true, 1, 1));
                let minus = Codes::new(minus.map_err(|_| too_wide("a truth value"))?, vec![-1]);
                let op = Op::Affine { scale: minus, bias: one, act: Act::None };
                gate = self.push(&format!("{name}/else"), op, vec![gate], shape.clone(), plain(bit()?))?;
            }
            let ty = plain(self.node(x).format());
            let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
            let part = if holds { "then" } else { "otherwise" };
            parts.push(self.push(&format!("{name}/{part}"), op, vec![gate, x], shape.clone(), ty)?);
        }
        let op = match parts.len() {
            0 => return Err(Diagnostic::error("chooses between zeros").help("replace it by a constant")),
            1 => Op::Requant(Act::None),
            _ => Op::Binary { op: BinaryOp::Add, act: Act::None },
        };
        let exact = Exact { name: name.to_owned(), op, inputs: parts, shape };
        self.finish(exact, v, |hw| like.with(hw))
    }

    /// Pushes `a` where the constant `mask` holds, `b` elsewhere.
    fn masked(
        &mut self,
        name: &str,
        mask: &Tensor,
        [a, b]: [ValueId; 2],
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let full = self.shape(v)?;
        let mut parts = Vec::new();
        let mut fixed = None;
        let mut like: Option<Val> = None;
        for (value, holds, part) in [(a, 1.0, "then"), (b, 0.0, "otherwise")] {
            if self.graph.constant(value).is_some() {
                fixed = Some((value, holds));
                continue;
            }
            let val = self.val(value)?;
            let val = self.broadcast(&format!("{name}/broadcast"), &val, &full)?;
            let val = match &like {
                None => self.plain(&val)?,
                Some(like) => {
                    let perm = like.perm.clone();
                    Val::plain(self.demand(&val, &perm)?, full.clone(), perm)
                }
            };
            let keeps = self.spread(mask, &val)?.iter().map(|m| i64::from(*m == holds)).collect::<Vec<_>>();
            let scale = Codes::new(bit()?, keeps);
            parts.push((part, scale, val.hw));
            like = Some(val);
        }
        let Some(like) = like else { return Err(Diagnostic::error("chooses between constants")) };
        let shape = self.node(like.hw).shape.clone();
        let zero = Codes::new(bit()?, vec![0]);
        let (op, inputs) = match (parts.pop(), fixed) {
            (Some((_, scale, hw)), Some((value, holds))) => {
                let tensor = self.graph.constant(value).ok_or_else(|| Diagnostic::error("not a constant"))?;
                let values = self.spread(tensor, &like)?;
                let keeps = self.spread(mask, &like)?;
                let channels = self.node(hw).channels();
                let at = |all: &[f64], i: usize| match all.len() {
                    1 => all[0],
                    n if n == channels => all[i % n],
                    _ => all[i],
                };
                let count = if values.len().max(keeps.len()) > 1 { self.node(hw).len() } else { 1 };
                let here = |i: usize| if at(&keeps, i) == holds { at(&values, i) } else { 0.0 };
                let all: Vec<f64> = (0..count).map(here).collect();
                let bias =
                    constants::codes("constant", &all, self.constant_choice(Some(value), Part::Operand)?)?;
                (Op::Affine { scale, bias, act: Act::None }, vec![hw])
            }
            (Some(last), None) => {
                let mut all = Vec::new();
                for (part, scale, hw) in parts.into_iter().chain([last]) {
                    let op = Op::Affine { scale, bias: zero.clone(), act: Act::None };
                    let ty = plain(self.node(hw).format());
                    all.push(self.push(&format!("{name}/{part}"), op, vec![hw], shape.clone(), ty)?);
                }
                (Op::Binary { op: BinaryOp::Add, act: Act::None }, all)
            }
            (None, _) => return Err(Diagnostic::error("chooses between constants")),
        };
        let exact = Exact { name: name.to_owned(), op, inputs, shape };
        self.finish(exact, v, |hw| like.with(hw))
    }

    /// Pushes 1 for the first of the largest elements along the last ONNX axis, 0 for the others.
    pub(crate) fn hard_max(&mut self, name: &str, input: &Val, v: ValueId) -> Result<(), Diagnostic> {
        let val = self.one_hot(name, input)?;
        self.bind_exact(v, val.hw, &val);
        Ok(())
    }

    fn one_hot(&mut self, name: &str, input: &Val) -> Result<Val, Diagnostic> {
        let val = self.plain(input)?;
        let hw = self.demand(&val, &identity(val.shape.len()))?;
        let shape = self.node(hw).shape.clone();
        let hw = self.push(
            &format!("{name}/largest"),
            Op::Softmax(Softmax::Argmax),
            vec![hw],
            shape,
            plain(bit()?),
        )?;
        Ok(Val::plain(hw, val.shape.clone(), identity(val.shape.len())))
    }

    /// Pushes the place of the first, or the last, of the largest elements along the last ONNX axis.
    pub(crate) fn arg_max(
        &mut self,
        name: &str,
        input: &Val,
        last: bool,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let n = input.shape.last().copied().unwrap_or(1);
        let mut val = input.clone();
        if last {
            let back: Vec<usize> = (0..n).rev().collect();
            val = self.selected(&format!("{name}/reversed"), &val, input.shape.len() - 1, &back)?;
        }
        let hot = self.one_hot(name, &val)?;
        let rows = self.rows(&hot, n)?;
        let place = |i: usize| if last { n - 1 - i } else { i } as i64;
        let format = Format::holding(0, n as i128, 0).map_err(|_| too_wide("an index"))?;
        let count = self.node(rows).shape[0];
        let weight = Codes::new(format, (0..n).map(place).collect::<Vec<_>>());
        let hw = self.picked(name, rows, weight, vec![count, 1], plain(format))?;
        let onnx = self.shape(v)?;
        self.bind_exact(v, hw, &Val::viewed(hw, vec![count, 1], identity(2), onnx));
        Ok(())
    }

    /// Pushes the product of one-hot rows `hw` with the `weight`s of one output.
    fn picked(
        &mut self,
        name: &str,
        hw: HwId,
        weight: Codes,
        shape: Vec<usize>,
        ty: Type,
    ) -> Result<HwId, Diagnostic> {
        let terms = weight.data.iter().map(|w| i128::from(*w)).sum::<i128>();
        let accum = Interval::new(0, terms.max(1), 0).format().map_err(|_| too_wide("an index"))?;
        let op = Op::Dot(hs_hw::Dot {
            window: vec![crate::ops::window::Window::UNIT.hardware()],
            groups: 1,
            weight,
            bias: None,
            accum: hs_hw::Accum::Exact(accum),
            act: Act::None,
        });
        self.push(name, op, vec![hw], shape, ty)
    }
}
