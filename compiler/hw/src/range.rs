//! Exact value ranges, over the actual weights.
//!
//! Ranges are sound, not tight: inputs of an op are taken as independent. [`None`] means that a bound does not
//! fit 127 bits, which the verifier turns into an error.

use hs_fixed::{Format, Interval, Type};

use crate::{
    Accum, Act, Average, BinaryOp, Codes, Divide, Dot, Lut, Node, Op, Pool, PoolKind, Program, Softmax,
    SoftmaxKind, SoftmaxTables, interp::position,
};

/// Range of every node's result.
///
/// # Panics
/// When the Program does not verify.
pub fn ranges(program: &Program) -> Vec<Interval> {
    let mut found: Vec<Interval> = Vec::with_capacity(program.nodes.len());
    for node in &program.nodes {
        let inputs: Vec<Interval> = node.inputs.iter().map(|id| found[id.index()]).collect();
        found.push(result(node, &inputs).expect("verified"));
    }
    found
}

/// Ranges of a sum of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumRange {
    /// The finished sum, bias included.
    pub total: Interval,
    /// Every partial sum in any order, zero and the bias included.
    pub partial: Interval,
    /// Every single product.
    pub product: Interval,
}

/// Range of the exact sums of `dot` with `outputs` output channels over inputs in `x`, on the finer grid of
/// product and bias.
pub fn dot_sum(dot: &Dot, outputs: usize, x: Interval) -> Option<SumRange> {
    let padded = dot.window.iter().any(|w| w.pad_begin + w.pad_end > 0);
    let x = if padded { x.union(Interval::point(0, x.frac))? } else { x };
    let product_frac = x.frac + dot.weight.format.frac();
    let frac = dot.bias.as_ref().map_or(product_frac, |b| b.format.frac().max(product_frac));
    let terms = dot.weight.len() / outputs.max(1);
    let mut all: Option<SumRange> = None;
    for o in 0..outputs {
        let weights = &dot.weight.data[o * terms..(o + 1) * terms];
        let one = weights_sum(weights, x, product_frac)?;
        let bias = dot.bias.as_ref().map_or(0, |b| i128::from(b.data[o]));
        let bias = Interval::point(bias, dot.bias.as_ref().map_or(frac, |b| b.format.frac()));
        let with_bias = SumRange {
            total: one.total.add(bias)?.refine(frac)?,
            partial: one.partial.add(bias.union(Interval::point(0, bias.frac))?)?.refine(frac)?,
            product: one.product,
        };
        all = Some(match all {
            None => with_bias,
            Some(a) => SumRange {
                total: a.total.union(with_bias.total)?,
                partial: a.partial.union(with_bias.partial)?,
                product: a.product.union(with_bias.product)?,
            },
        });
    }
    all
}

fn weights_sum(weights: &[i64], x: Interval, frac: i32) -> Option<SumRange> {
    let (mut lo, mut hi, mut below, mut above) = (0i128, 0i128, 0i128, 0i128);
    let (mut least, mut most) = (0i128, 0i128);
    for w in weights {
        let w = i128::from(*w);
        let (a, b) = (w.checked_mul(x.lo)?, w.checked_mul(x.hi)?);
        let (a, b) = (a.min(b), a.max(b));
        lo = lo.checked_add(a)?;
        hi = hi.checked_add(b)?;
        below = below.checked_add(a.min(0))?;
        above = above.checked_add(b.max(0))?;
        least = least.min(a);
        most = most.max(b);
    }
    Some(SumRange {
        total: Interval::new(lo, hi, frac),
        partial: Interval::new(below, above, frac),
        product: Interval::new(least, most, frac),
    })
}

/// Range after [`Act`], on the grid of the act's exact format.
pub fn act(act: &Act, exact: Interval) -> Option<Interval> {
    Some(match act {
        Act::None => exact,
        Act::Clamp { lo, hi } => {
            let clamp = |v: i128| {
                let v = lo.map_or(v, |lo| v.max(i128::from(lo)));
                hi.map_or(v, |hi| v.min(i128::from(hi)))
            };
            Interval::new(clamp(exact.lo), clamp(exact.hi), exact.frac)
        }
        Act::Slope(slope) => {
            let positive = (exact.hi >= 0).then(|| Interval::new(exact.lo.max(0), exact.hi, exact.frac));
            let negative = (exact.lo < 0).then(|| Interval::new(exact.lo, exact.hi.min(-1), exact.frac));
            let scaled = match negative {
                Some(n) => Some(n.mul(codes(slope))?),
                None => None,
            };
            match (positive, scaled) {
                (Some(a), Some(b)) => a.union(b)?,
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => return None,
            }
        }
    })
}

fn codes(c: &Codes) -> Interval {
    let lo = c.data.iter().copied().min().unwrap_or(0);
    let hi = c.data.iter().copied().max().unwrap_or(0);
    Interval::new(i128::from(lo), i128::from(hi), c.format.frac())
}

fn cast(exact: Interval, ty: &Type) -> Interval {
    exact.cast(ty).0
}

/// Range of the exact value that [`Act`] sees (`Dot`, `Affine`, `Requant`, `Binary`); `None` for other ops, and
/// where a bound is too wide.
pub fn exact(node: &Node, inputs: &[Interval]) -> Option<Interval> {
    match &node.op {
        Op::Dot(d) => match d.accum {
            Accum::Exact(_) => Some(dot_sum(d, node.channels(), inputs[0])?.total),
            Accum::Stepwise { ty, .. } => Some(ty.format.interval()),
        },
        Op::Affine { scale, bias, .. } => {
            // Pairs of scale and bias belong together, so they are bounded channel by channel.
            let n = scale.len().max(bias.len());
            let mut all: Option<Interval> = None;
            for i in 0..n {
                let s = Interval::point(scale.broadcast(i, scale.len()), scale.format.frac());
                let b = Interval::point(bias.broadcast(i, bias.len()), bias.format.frac());
                let one = inputs[0].mul(s)?.add(b)?;
                all = Some(match all {
                    None => one,
                    Some(a) => a.union(one)?,
                });
            }
            all
        }
        Op::Requant(_) => Some(inputs[0]),
        Op::Binary { op, .. } => {
            let (a, b) = (inputs[0], inputs[1]);
            match op {
                BinaryOp::Add => a.add(b),
                BinaryOp::Sub => a.sub(b),
                BinaryOp::Mul => a.mul(b),
                BinaryOp::Max | BinaryOp::Min => {
                    let frac = a.frac.max(b.frac);
                    let (a, b) = (a.refine(frac)?, b.refine(frac)?);
                    Some(if *op == BinaryOp::Max {
                        Interval::new(a.lo.max(b.lo), a.hi.max(b.hi), frac)
                    } else {
                        Interval::new(a.lo.min(b.lo), a.hi.min(b.hi), frac)
                    })
                }
            }
        }
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => None,
    }
}

/// Range of a node's result for given ranges of its inputs.
pub fn result(node: &Node, inputs: &[Interval]) -> Option<Interval> {
    let acted = |a: &Act| Some(cast(act(a, exact(node, inputs)?)?, &node.ty));
    match &node.op {
        Op::Input { .. } => Some(node.format().interval()),
        Op::Output { .. } | Op::Reshape | Op::Permute(_) => Some(inputs[0]),
        Op::Const(c) => Some(codes(c)),
        Op::Dot(Dot { act, .. }) | Op::Affine { act, .. } | Op::Requant(act) | Op::Binary { act, .. } => {
            acted(act)
        }
        Op::Table(lut) => Some(cast(lut_range(lut, inputs[0])?, &node.ty)),
        Op::Pool(p) => pool(p, node, inputs[0]),
        Op::Softmax(Softmax::Tables(s)) => softmax(s, node),
        Op::Softmax(Softmax::Argmax) => {
            let point = |code| Interval::point(code, node.format().frac());
            point(0).union(point(Softmax::one(&node.ty)))
        }
        Op::Concat { .. } => {
            let mut all: Option<Interval> = None;
            for x in inputs {
                let one = cast(*x, &node.ty);
                all = Some(match all {
                    None => one,
                    Some(a) => a.union(one)?,
                });
            }
            all
        }
        Op::Pad { .. } => inputs[0].union(Interval::point(0, inputs[0].frac)),
    }
}

/// Range of the exact values of `lut` for codes in `x`.
pub fn lut_range(lut: &Lut, x: Interval) -> Option<Interval> {
    let last = lut.entries.len().checked_sub(1)? as i128;
    let (a, b) = (position(&lut.index, x.lo), position(&lut.index, x.hi));
    // An interpolated value lies between the entry at the rounded-down position and the next one.
    let first = a.min(b).clamp(0, last) as usize;
    let end = (a.max(b).saturating_add(i128::from(lut.interpolate))).clamp(0, last) as usize;
    let reached = &lut.entries.data[first..=end];
    let lo = i128::from(*reached.iter().min()?);
    let hi = i128::from(*reached.iter().max()?);
    Interval::new(lo, hi, lut.entries.format.frac()).refine(lut.format().ok()?.frac())
}

fn pool(p: &Pool, node: &Node, x: Interval) -> Option<Interval> {
    match &p.kind {
        PoolKind::Max => Some(cast(x, &node.ty)),
        PoolKind::Average(a) => {
            let largest: usize = p.window.iter().map(|w| w.kernel).product();
            let mut all: Option<Interval> = None;
            for count in 1..=largest {
                let one = average(a, x, count)?;
                all = Some(match all {
                    None => one,
                    Some(all) => all.union(one)?,
                });
            }
            Some(cast(all?, &node.ty))
        }
    }
}

/// Range of the sum of up to `terms` values of `x`.
pub fn pool_sum(x: Interval, terms: usize) -> Option<Interval> {
    let n = Interval::new(0, terms as i128, 0);
    x.mul(n)
}

fn average(a: &Average, x: Interval, count: usize) -> Option<Interval> {
    let sum = match a.accum {
        Accum::Stepwise { ty, .. } => ty.format.interval(),
        // With padding in the count, any number of terms up to it can be present.
        Accum::Exact(f) if a.include_pad => pool_sum(x, count)?.refine(f.frac())?,
        Accum::Exact(f) => x.mul(Interval::point(count as i128, 0))?.refine(f.frac())?,
    };
    match &a.divide {
        Divide::Reciprocal(r) => sum.mul(Interval::point(i128::from(r.data[count - 1]), r.format.frac())),
        Divide::TowardZero => Some(Interval::new(sum.lo / count as i128, sum.hi / count as i128, sum.frac)),
    }
}

/// Range of the exponentials e of a softmax.
pub fn softmax_exp(s: &SoftmaxTables) -> Option<Interval> {
    looked_up(&s.exp, s.delta.format, &s.exp_ty)
}

fn looked_up(lut: &Lut, input: Format, ty: &Type) -> Option<Interval> {
    Some(cast(lut_range(lut, input.interval())?, ty))
}

fn softmax(s: &SoftmaxTables, node: &Node) -> Option<Interval> {
    let r = looked_up(&s.inv, s.inv_in.format, &s.inv_ty)?;
    let exact = match s.kind {
        SoftmaxKind::Stable | SoftmaxKind::Latency => softmax_exp(s)?.mul(r)?,
        SoftmaxKind::Legacy => r,
    };
    Some(cast(exact, &node.ty))
}
