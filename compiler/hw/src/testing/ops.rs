//! One random op of each kind. `None`: the draw does not apply to the value.

use hs_fixed::{Format, Interval};

use super::build::Builder;
use crate::{
    Accum, Act, Average, BinaryOp, Divide, Dot, Node, Op, Pool, PoolKind, Softmax, SoftmaxKind,
    SoftmaxTables, ValueId, op::affine_format, range,
};

type Made = Option<ValueId>;

impl Builder<'_> {
    /// Appends an op with an act: the type is drawn to suit the exact values.
    fn push_acted(&mut self, op: Op, act: &Act, inputs: Vec<ValueId>, shape: Vec<usize>) -> Made {
        let ranges: Vec<Interval> = inputs.iter().map(|id| self.range(*id)).collect();
        let ty = self.node(inputs[0]).ty;
        let draft = Node { name: String::new(), op, inputs, shape, ty };
        let near = range::act(act, range::exact(&draft, &ranges)?)?;
        let ty = self.ty(near);
        self.push(draft.op, draft.inputs, draft.shape, ty)
    }

    pub(super) fn dot(&mut self, x: ValueId) -> Made {
        let (shape, xf, xr) = (self.node(x).shape.clone(), self.node(x).format(), self.range(x));
        let (window, mut out) = self.windows(&shape, false)?;
        let cin = self.node(x).channels();
        let divisors: Vec<usize> = (1..=cin).filter(|g| cin.is_multiple_of(*g)).collect();
        let groups = match self.rng.size(0..=9) {
            0..=5 => 1,
            6 | 7 => cin,
            _ => *self.rng.pick(&divisors),
        };
        let cout = groups * self.rng.size(1..=(self.config.max_dim / groups).max(1));
        let kernel: usize = window.iter().map(|w| w.kernel).product();
        let terms = kernel * (cin / groups);
        out.push(cout);
        if !self.allows(&out) || cout * terms > self.config.max_elements {
            return None;
        }
        let format = self.constant_format(self.factor_width(xf));
        let product = xf.mul(format).ok()?;
        let weight = self.codes(format, cout * terms);
        let bias = if self.rng.chance(70) {
            let format = self.summand(product);
            Some(self.codes(format, cout))
        } else {
            None
        };
        let mut d = Dot { window, groups, weight, bias, accum: Accum::Exact(product), act: Act::None };
        let sum = range::dot_sum(&d, cout, xr)?;
        d.accum = self.accum(product, d.bias.as_ref().map(|b| b.format), sum.partial, terms, true)?;
        let exact = match &d.accum {
            Accum::Exact(f) => sum.total.refine(f.frac())?,
            Accum::Stepwise { ty, .. } => ty.format.interval(),
        };
        d.act = self.act(d.accum.format(), exact, &out)?;
        let act = d.act.clone();
        if let (Accum::Exact(f), Act::Clamp { .. }) = (&d.accum, &act) {
            bounds_fit(&act, *f)?;
        }
        let near = range::act(&act, exact)?;
        let mut ty = self.ty(near);
        if self.config.usual_types && self.rng.chance(40) {
            // A tensor has at most 64 bits, 63 when unsigned.
            let held = near.refine(d.accum.format().frac())?.format().ok().filter(|f| f.width() < 64)?;
            ty.format = held;
        }
        self.push(Op::Dot(d), vec![x], out, ty)
    }

    pub(super) fn affine(&mut self, x: ValueId) -> Made {
        let (shape, xf) = (self.node(x).shape.clone(), self.node(x).format());
        let format = self.constant_format(self.factor_width(xf));
        let product = xf.mul(format).ok()?;
        let scale = self.broadcast(format, &shape);
        let format = self.summand(product);
        let bias = self.broadcast(format, &shape);
        let exact = affine_format(xf, scale.format, bias.format).ok()?;
        let draft = Op::Affine { scale, bias, act: Act::None };
        self.acted(draft, exact, vec![x], shape)
    }

    /// A format for constants that are added to a product: mostly of its magnitude, on a grid near its own.
    fn summand(&mut self, product: Format) -> Format {
        let width = if self.rng.chance(85) { self.width().min(product.width()) } else { self.width() };
        let frac = product.frac() + self.rng.int(-6..=2) as i32;
        let signed = self.rng.chance(85);
        self.format(signed, width, width as i32 - frac)
    }

    pub(super) fn requant(&mut self, x: ValueId) -> Made {
        let (shape, exact) = (self.node(x).shape.clone(), self.node(x).format());
        self.acted(Op::Requant(Act::None), exact, vec![x], shape)
    }

    pub(super) fn binary(&mut self, a: ValueId) -> Made {
        let shape = self.node(a).shape.clone();
        let alike: Vec<ValueId> =
            self.tensors().into_iter().filter(|b| self.node(*b).shape == shape).collect();
        let alone = alike.len() == 1 && self.rng.chance(80);
        let b = if alone || self.rng.chance(25) { self.constant(&shape)? } else { *self.rng.pick(&alike) };
        const ALL: [BinaryOp; 5] =
            [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Max, BinaryOp::Min];
        let op = *self.rng.pick(&ALL);
        let inputs = if self.rng.chance(50) { vec![a, b] } else { vec![b, a] };
        let exact = op.format(self.node(inputs[0]).format(), self.node(inputs[1]).format()).ok()?;
        self.acted(Op::Binary { op, act: Act::None }, exact, inputs, shape)
    }

    /// Draws the act of `draft`, whose exact values have format `exact`, and appends it.
    fn acted(&mut self, draft: Op, exact: Format, inputs: Vec<ValueId>, shape: Vec<usize>) -> Made {
        let ranges: Vec<Interval> = inputs.iter().map(|id| self.range(*id)).collect();
        let ty = self.node(inputs[0]).ty;
        let node = Node { name: String::new(), op: draft, inputs: inputs.clone(), shape: shape.clone(), ty };
        let range = range::exact(&node, &ranges)?.refine(exact.frac())?;
        let act = self.act(exact, range, &shape)?;
        bounds_fit(&act, exact)?;
        let mut op = node.op;
        match &mut op {
            Op::Affine { act: a, .. } | Op::Requant(a) | Op::Binary { act: a, .. } => *a = act.clone(),
            Op::Dot(_)
            | Op::Input { .. }
            | Op::Output { .. }
            | Op::Const(_)
            | Op::Table(_)
            | Op::Pool(_)
            | Op::Softmax(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Pad { .. } => return None,
        }
        self.push_acted(op, &act, inputs, shape)
    }

    fn constant(&mut self, shape: &[usize]) -> Made {
        let format = self.constant_format(self.config.max_width);
        let codes = self.codes(format, shape.iter().product());
        let ty = self.modes(format);
        self.push(Op::Const(codes), Vec::new(), shape.to_vec(), ty)
    }

    pub(super) fn table(&mut self, x: ValueId) -> Made {
        let lut = self.lut(self.range(x), self.config.max_width)?;
        let near = Self::entry_range(&lut)?;
        let ty = self.ty(near);
        self.push(Op::Table(lut), vec![x], self.node(x).shape.clone(), ty)
    }

    pub(super) fn pool(&mut self, x: ValueId) -> Made {
        let (shape, xf, xr) = (self.node(x).shape.clone(), self.node(x).format(), self.range(x));
        if shape.len() < 2 {
            return None;
        }
        let (window, mut out) = self.windows(&shape, true)?;
        out.push(self.node(x).channels());
        if !self.allows(&out) {
            return None;
        }
        let largest: usize = window.iter().map(|w| w.kernel).product();
        let (kind, near) = if self.rng.chance(45) {
            (PoolKind::Max, xr)
        } else {
            let sum = range::pool_sum(xr, largest)?;
            let accum = self.accum(xf, None, sum, largest, false)?;
            let divide = if self.rng.chance(60) {
                self.reciprocal(accum.format(), largest)?
            } else {
                Divide::TowardZero
            };
            (PoolKind::Average(Average { include_pad: self.rng.chance(50), accum, divide }), xr)
        };
        let ty = self.ty(near);
        self.push(Op::Pool(Pool { kind, window }), vec![x], out, ty)
    }

    /// Constants near 1 / count.
    fn reciprocal(&mut self, sum: Format, largest: usize) -> Option<Divide> {
        let width = self.rng.int(2..=18).min(i64::from(self.config.max_width)) as u32;
        let format = self.format(false, width, 1);
        sum.mul(format).ok()?;
        let one = 1i64 << (width - 1);
        let codes: Vec<i64> = (1..=largest as i64).map(|n| (one + n / 2) / n).collect();
        Some(Divide::Reciprocal(crate::Codes::new(format, codes)))
    }

    pub(super) fn softmax(&mut self, x: ValueId) -> Made {
        let (shape, xf, xr) = (self.node(x).shape.clone(), self.node(x).format(), self.range(x));
        let n = self.node(x).channels();
        if n == 1 && self.rng.chance(80) {
            return None;
        }
        if self.rng.chance(15) {
            let ty = self.ty(Interval::new(0, 1, 0));
            return self.push(Op::Softmax(Softmax::Argmax), vec![x], shape, ty);
        }
        let kind = *self.rng.pick(&SoftmaxKind::ALL);
        kind.argument(xf).ok()?;
        let spread = xr.hi - xr.lo;
        let arg = match kind {
            SoftmaxKind::Stable => Interval::new(0, spread, xr.frac),
            SoftmaxKind::Latency => xr,
            SoftmaxKind::Legacy => Interval::new(-spread, spread, xr.frac),
        };
        let delta = self.inner_ty(arg);
        let exp = self.lut(arg.cast(&delta).0, 18)?;
        let entries = Self::entry_range(&exp)?;
        let exp_ty = self.inner_ty(entries);
        let e = entries.cast(&exp_ty).0;
        let all = range::pool_sum(exp_ty.format.interval(), n)?;
        let sum = self.accum(exp_ty.format, None, all, n, false)?;
        let sums = match &sum {
            Accum::Exact(_) => range::pool_sum(e, n)?,
            Accum::Stepwise { ty, .. } => ty.format.interval(),
        };
        let inv_in = self.inner_ty(sums);
        let inv = self.lut(sums.cast(&inv_in).0, 18)?;
        let entries = Self::entry_range(&inv)?;
        let inv_ty = self.inner_ty(entries);
        let r = entries.cast(&inv_ty).0;
        let tables = SoftmaxTables { kind, delta, exp, exp_ty, sum, inv_in, inv, inv_ty };
        tables.exact_format().ok()?;
        let ty = match kind {
            SoftmaxKind::Stable | SoftmaxKind::Latency => self.inner_ty(e.mul(r)?),
            SoftmaxKind::Legacy => self.inner_ty(r),
        };
        self.push(Op::Softmax(Softmax::Tables(Box::new(tables))), vec![x], shape, ty)
    }

    pub(super) fn reshape(&mut self, x: ValueId) -> Made {
        let (len, ty) = (self.node(x).len(), self.node(x).ty);
        let rank = self.rng.size(1..=self.config.max_rank);
        let mut shape = vec![len];
        while shape.len() < rank {
            let last = shape.pop()?;
            let divisors: Vec<usize> = (1..=last).filter(|d| last.is_multiple_of(*d)).collect();
            let d = *self.rng.pick(&divisors);
            shape.extend([d, last / d]);
        }
        self.push(Op::Reshape, vec![x], shape, ty)
    }

    pub(super) fn permute(&mut self, x: ValueId) -> Made {
        let (from, ty) = (self.node(x).shape.clone(), self.node(x).ty);
        let perm = self.rng.permutation(from.len());
        let shape = perm.iter().map(|p| from[*p]).collect();
        self.push(Op::Permute(perm), vec![x], shape, ty)
    }

    pub(super) fn concat(&mut self, x: ValueId) -> Made {
        let mut shape = self.node(x).shape.clone();
        let axis = self.rng.size(0..=shape.len() - 1);
        let fits =
            |s: &[usize]| s.len() == shape.len() && (0..s.len()).all(|a| a == axis || s[a] == shape[a]);
        let alike: Vec<ValueId> = self.tensors().into_iter().filter(|b| fits(&self.node(*b).shape)).collect();
        let mut inputs = vec![x];
        for _ in 0..self.rng.size(1..=2) {
            let next = if self.rng.chance(20) {
                let mut part = shape.clone();
                part[axis] = self.rng.size(1..=2);
                self.constant(&part)?
            } else {
                *self.rng.pick(&alike)
            };
            let at = self.rng.size(0..=inputs.len());
            inputs.insert(at, next);
        }
        shape[axis] = inputs.iter().map(|id| self.node(*id).shape[axis]).sum();
        if !self.allows(&shape) {
            return None;
        }
        let like = *self.rng.pick(&inputs);
        let ty = self.ty(self.range(like));
        self.push(Op::Concat { axis }, inputs, shape, ty)
    }

    pub(super) fn pad(&mut self, x: ValueId) -> Made {
        let (mut shape, ty) = (self.node(x).shape.clone(), self.node(x).ty);
        let mut amount = || (0..shape.len()).map(|_| self.rng.size(0..=3).saturating_sub(1)).collect();
        let (before, after): (Vec<usize>, Vec<usize>) = (amount(), amount());
        for (axis, n) in shape.iter_mut().enumerate() {
            *n += before[axis] + after[axis];
        }
        if !self.allows(&shape) || shape.iter().any(|n| *n > self.config.max_dim + 4) {
            return None;
        }
        self.push(Op::Pad { before, after }, vec![x], shape, ty)
    }
}

/// `None` when a clamp's bound is no code of the exact format.
fn bounds_fit(act: &Act, exact: Format) -> Option<()> {
    match act {
        Act::Clamp { lo, hi } => {
            [lo, hi].into_iter().flatten().all(|b| exact.contains(i128::from(*b))).then_some(())
        }
        Act::None | Act::Slope(_) => Some(()),
    }
}
