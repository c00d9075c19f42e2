//! The reference interpreter: `SPEC.md` as code, one row at a time, in 128-bit integers.
//!
//! It is the oracle of every other execution, so it is written to be read, not to be fast. Programs must have
//! passed [`Program::verify`](crate::Program::verify); then nothing here can overflow or panic.

use hs_fixed::{Format, Rounding, Type, round};

use crate::{
    Accum, Act, BinaryOp, Codes, Divide, Dot, Index, Lut, Node, Op, Order, Pool, PoolKind, Program, Softmax,
    SoftmaxKind, SoftmaxTables, Window,
};

/// Runs one row. `inputs`: one vector a model input, codes in hardware order; the result likewise a vector a
/// model output.
///
/// # Panics
/// When the number or length of the inputs is wrong.
pub fn run(program: &Program, inputs: &[Vec<i128>]) -> Vec<Vec<i128>> {
    let mut values = trace(program, inputs);
    program.outputs().into_iter().map(|id| std::mem::take(&mut values[id.index()])).collect()
}

/// Runs one row and returns the codes of every node.
///
/// # Panics
/// When the number or length of the inputs is wrong.
pub fn trace(program: &Program, inputs: &[Vec<i128>]) -> Vec<Vec<i128>> {
    let mut values: Vec<Vec<i128>> = Vec::with_capacity(program.nodes.len());
    for node in &program.nodes {
        let args: Vec<Arg<'_>> = node
            .inputs
            .iter()
            .map(|id| {
                let from = program.node(*id);
                Arg { shape: &from.shape, format: from.format(), codes: &values[id.index()] }
            })
            .collect();
        let result = eval(node, &args, inputs);
        assert_eq!(result.len(), node.len(), "{}", node.name);
        values.push(result);
    }
    values
}

struct Arg<'a> {
    shape: &'a [usize],
    format: Format,
    codes: &'a [i128],
}

impl Arg<'_> {
    fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

fn eval(node: &Node, args: &[Arg<'_>], inputs: &[Vec<i128>]) -> Vec<i128> {
    let ty = &node.ty;
    match &node.op {
        Op::Input { index, .. } => inputs[*index].clone(),
        Op::Output { .. } | Op::Reshape => args[0].codes.to_vec(),
        Op::Const(c) => c.data.iter().map(|v| i128::from(*v)).collect(),
        Op::Dot(d) => dot(d, node, &args[0]),
        Op::Affine { scale, bias, act } => {
            let x = &args[0];
            let product = x.format.mul(scale.format).expect("verified");
            let exact = product.add(bias.format).expect("verified");
            elementwise(node, x, |i, code| {
                let p = code * scale.broadcast(i, x.channels());
                let sum =
                    align(p, product, exact) + align(bias.broadcast(i, x.channels()), bias.format, exact);
                finish(sum, exact, act, ty, i, x.channels())
            })
        }
        Op::Requant(act) => {
            let x = &args[0];
            elementwise(node, x, |i, code| finish(code, x.format, act, ty, i, x.channels()))
        }
        Op::Binary { op, act } => {
            let (a, b) = (&args[0], &args[1]);
            let exact = op.format(a.format, b.format).expect("verified");
            elementwise(node, a, |i, x| {
                finish(
                    binary(*op, (x, a.format), (b.codes[i], b.format), exact),
                    exact,
                    act,
                    ty,
                    i,
                    a.channels(),
                )
            })
        }
        Op::Table(lut) => {
            let exact = lut.format().expect("verified");
            elementwise(node, &args[0], |_, x| ty.cast(lookup(lut, x), exact))
        }
        Op::Pool(p) => pool(p, node, &args[0]),
        Op::Softmax(s) => softmax(s, &node.ty, &args[0]),
        Op::Permute(perm) => permute(&args[0], perm),
        Op::Concat { axis } => concat(node, args, *axis),
        Op::Pad { before, .. } => pad(node, &args[0], before),
    }
}

fn elementwise(node: &Node, x: &Arg<'_>, f: impl Fn(usize, i128) -> i128) -> Vec<i128> {
    debug_assert_eq!(node.len(), x.codes.len());
    x.codes.iter().enumerate().map(|(i, code)| f(i, *code)).collect()
}

/// The code of the same value on `to`'s grid, which is at least as fine.
fn align(code: i128, from: Format, to: Format) -> i128 {
    code << (to.frac() - from.frac())
}

/// [`Act`], then the cast of the node.
fn finish(code: i128, exact: Format, act: &Act, ty: &Type, i: usize, channels: usize) -> i128 {
    let format = act.format(exact).expect("verified");
    let code = match act {
        Act::None => code,
        Act::Clamp { lo, hi } => {
            let code = lo.map_or(code, |lo| code.max(i128::from(lo)));
            hi.map_or(code, |hi| code.min(i128::from(hi)))
        }
        Act::Slope(_) if code >= 0 => align(code, exact, format),
        Act::Slope(s) => {
            let product = exact.mul(s.format).expect("verified");
            align(code * s.broadcast(i, channels), product, format)
        }
    };
    ty.cast(code, format)
}

fn binary(op: BinaryOp, (a, fa): (i128, Format), (b, fb): (i128, Format), exact: Format) -> i128 {
    match op {
        BinaryOp::Mul => a * b,
        BinaryOp::Add => align(a, fa, exact) + align(b, fb, exact),
        BinaryOp::Sub => align(a, fa, exact) - align(b, fb, exact),
        BinaryOp::Max => align(a, fa, exact).max(align(b, fb, exact)),
        BinaryOp::Min => align(a, fa, exact).min(align(b, fb, exact)),
    }
}

/// Sums `terms` (codes of `format`) onto `init`.
fn accumulate(terms: &[i128], format: Format, init: Option<(i128, Format)>, accum: &Accum) -> i128 {
    match accum {
        Accum::Exact(f) => {
            let start = init.map_or(0, |(b, fb)| align(b, fb, *f));
            terms.iter().fold(start, |sum, t| sum + align(*t, format, *f))
        }
        Accum::Stepwise { product, ty, order } => {
            let cast = |t: &i128| product.as_ref().map_or(*t, |p| p.cast(*t, format));
            let terms: Vec<i128> = terms.iter().map(cast).collect();
            let format = product.map_or(format, |p| p.format);
            let add = |a: i128, (b, fb): (i128, Format)| {
                let exact = ty.format.add(fb).expect("verified");
                ty.cast(align(a, ty.format, exact) + align(b, fb, exact), exact)
            };
            let start = init.map_or(0, |(b, fb)| ty.cast(b, fb));
            match order {
                Order::Any | Order::Sequential => terms.iter().fold(start, |s, t| add(s, (*t, format))),
                Order::Strided { rf } => (0..*rf)
                    .flat_map(|first| terms.iter().skip(first).step_by(*rf))
                    .fold(start, |s, t| add(s, (*t, format))),
                Order::Blocked { rf } => terms.chunks(*rf).fold(start, |s, block| {
                    let partial = block.iter().fold(0, |s, t| add(s, (*t, format)));
                    add(s, (partial, ty.format))
                }),
                Order::Tree => {
                    let sum = tree(&terms, &|t| ty.cast(t, format), &|a, b| add(a, (b, ty.format)));
                    if init.is_some() { add(start, (sum, ty.format)) } else { sum }
                }
            }
        }
    }
}

fn tree(terms: &[i128], leaf: &dyn Fn(i128) -> i128, add: &dyn Fn(i128, i128) -> i128) -> i128 {
    match terms {
        [] => 0,
        [t] => leaf(*t),
        _ => {
            let (left, right) = terms.split_at(largest_power_below(terms.len()));
            add(tree(left, leaf, add), tree(right, leaf, add))
        }
    }
}

/// The largest power of two strictly below `n >= 2`.
fn largest_power_below(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Positions of `node`'s pixels in order, as indices of each spatial axis.
fn for_each_pixel(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let mut at = vec![0; shape.len()];
    loop {
        f(&at);
        let Some(axis) = (0..shape.len()).rev().find(|a| at[*a] + 1 < shape[*a]) else { return };
        at[axis] += 1;
        at[axis + 1..].fill(0);
    }
}

/// Flat pixel index of each element of the window at output pixel `at`, in order; `None` in the padding.
fn window_pixels(window: &[Window], spatial: &[usize], at: &[usize]) -> Vec<Option<usize>> {
    let kernel: Vec<usize> = window.iter().map(|w| w.kernel).collect();
    let mut pixels = Vec::new();
    for_each_pixel(&kernel, |k| {
        let flat = window
            .iter()
            .zip(spatial)
            .enumerate()
            .try_fold(0, |flat, (axis, (w, n))| w.position(at[axis], k[axis], *n).map(|p| flat * n + p));
        pixels.push(flat);
    });
    pixels
}

fn split_channels(shape: &[usize]) -> (&[usize], usize) {
    shape.split_last().map_or((&[][..], 1), |(c, s)| (s, *c))
}

fn dot(d: &Dot, node: &Node, x: &Arg<'_>) -> Vec<i128> {
    let (spatial, cin) = split_channels(x.shape);
    let (out_spatial, cout) = split_channels(&node.shape);
    let product = x.format.mul(d.weight.format).expect("verified");
    let exact = d.accum.format();
    let (cin_group, cout_group) = (cin / d.groups, cout / d.groups);
    let terms_per_out = d.terms(cin);
    let mut result = Vec::with_capacity(node.len());
    let mut terms = Vec::with_capacity(terms_per_out);
    for_each_pixel(out_spatial, |at| {
        let pixels = window_pixels(&d.window, spatial, at);
        for o in 0..cout {
            let first = o / cout_group * cin_group;
            let weight = &d.weight.data[o * terms_per_out..(o + 1) * terms_per_out];
            terms.clear();
            for (k, pixel) in pixels.iter().enumerate() {
                for c in 0..cin_group {
                    let value = pixel.map_or(0, |p| x.codes[p * cin + first + c]);
                    terms.push(value * i128::from(weight[k * cin_group + c]));
                }
            }
            let bias = d.bias.as_ref().map(|b| (i128::from(b.data[o]), b.format));
            let sum = accumulate(&terms, product, bias, &d.accum);
            result.push(finish(sum, exact, &d.act, &node.ty, result.len(), cout));
        }
    });
    result
}

fn pool(p: &Pool, node: &Node, x: &Arg<'_>) -> Vec<i128> {
    let (spatial, channels) = split_channels(x.shape);
    let (out_spatial, _) = split_channels(&node.shape);
    let mut result = Vec::with_capacity(node.len());
    for_each_pixel(out_spatial, |at| {
        let pixels = window_pixels(&p.window, spatial, at);
        for c in 0..channels {
            let covered: Vec<i128> = pixels.iter().flatten().map(|p| x.codes[p * channels + c]).collect();
            result.push(match &p.kind {
                PoolKind::Max => {
                    let largest = covered.iter().copied().max().expect("verified: never empty");
                    node.ty.cast(largest, x.format)
                }
                PoolKind::Average(a) => {
                    let count = if a.include_pad { pixels.len() } else { covered.len() };
                    let sum = accumulate(&covered, x.format, None, &a.accum);
                    let format = a.accum.format();
                    match &a.divide {
                        Divide::Reciprocal(r) => {
                            let exact = format.mul(r.format).expect("verified");
                            node.ty.cast(sum * i128::from(r.data[count - 1]), exact)
                        }
                        Divide::TowardZero => node.ty.cast(sum / count as i128, format),
                    }
                }
            });
        }
    });
    result
}

/// Position before clamping: R(x × mul / 2^shift) + offset, saturated far outside any table.
pub(crate) fn position(index: &Index, x: i128) -> i128 {
    let scaled = x * i128::from(index.mul);
    let mode = if index.toward_zero { Rounding::TrnZero } else { Rounding::Trn };
    let moved = if index.shift >= 0 {
        round(scaled, index.shift as u32, mode)
    } else {
        let factor = 1i128 << -index.shift;
        scaled.saturating_mul(factor)
    };
    moved.saturating_add(i128::from(index.offset))
}

/// The exact table value at code `x`, in [`Lut::format`].
pub fn lookup(lut: &Lut, x: i128) -> i128 {
    let last = lut.entries.len() as i128 - 1;
    let entry = |i: i128| i128::from(lut.entries.data[i as usize]);
    if !lut.interpolate {
        return entry(position(&lut.index, x).clamp(0, last));
    }
    let shift = lut.index.shift;
    let fine = x * i128::from(lut.index.mul) + (i128::from(lut.index.offset) << shift);
    let fine = fine.clamp(0, last << shift);
    let i = (fine >> shift).min(last - 1);
    let within = fine - (i << shift);
    (entry(i) << shift) + (entry(i + 1) - entry(i)) * within
}

fn softmax(s: &Softmax, ty: &Type, x: &Arg<'_>) -> Vec<i128> {
    let pixels = x.codes.chunks(x.channels());
    match s {
        Softmax::Tables(s) => pixels.flat_map(|pixel| softmax_tables(s, ty, pixel, x.format)).collect(),
        Softmax::Argmax => pixels.flat_map(|pixel| argmax(ty, pixel)).collect(),
    }
}

fn softmax_tables(s: &SoftmaxTables, ty: &Type, x: &[i128], format: Format) -> Vec<i128> {
    let arg_format = s.kind.argument(format).expect("verified");
    let (exp_format, inv_format) = (s.exp.format().expect("verified"), s.inv.format().expect("verified"));
    let exact = s.exact_format().expect("verified");
    let exponential = |arg: i128| s.exp_ty.cast(lookup(&s.exp, s.delta.cast(arg, arg_format)), exp_format);
    let reciprocal = |exp: &[i128]| {
        let sum = accumulate(exp, s.exp_ty.format, None, &s.sum);
        s.inv_ty.cast(lookup(&s.inv, s.inv_in.cast(sum, s.sum.format())), inv_format)
    };
    let scaled = |exp: Vec<i128>| {
        let r = reciprocal(&exp);
        exp.iter().map(|e| ty.cast(e * r, exact)).collect()
    };
    match s.kind {
        SoftmaxKind::Stable => {
            let largest = x.iter().max().expect("verified: never empty");
            scaled(x.iter().map(|x| exponential(largest - x)).collect())
        }
        SoftmaxKind::Latency => scaled(x.iter().map(|x| exponential(*x)).collect()),
        SoftmaxKind::Legacy => x
            .iter()
            .map(|from| {
                let exp: Vec<i128> = x.iter().map(|x| exponential(x - from)).collect();
                ty.cast(reciprocal(&exp), exact)
            })
            .collect(),
    }
}

fn argmax(ty: &Type, x: &[i128]) -> Vec<i128> {
    let largest = x.iter().max().expect("verified: never empty");
    let first = x.iter().position(|v| v == largest);
    (0..x.len()).map(|i| if Some(i) == first { Softmax::one(ty) } else { 0 }).collect()
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i];
    }
    s
}

fn permute(x: &Arg<'_>, perm: &[usize]) -> Vec<i128> {
    let from = strides(x.shape);
    let shape: Vec<usize> = perm.iter().map(|p| x.shape[*p]).collect();
    let mut result = Vec::with_capacity(x.codes.len());
    for_each_pixel(&shape, |at| {
        let flat: usize = at.iter().zip(perm).map(|(i, p)| i * from[*p]).sum();
        result.push(x.codes[flat]);
    });
    result
}

fn concat(node: &Node, args: &[Arg<'_>], axis: usize) -> Vec<i128> {
    let outer: usize = node.shape[..axis].iter().product();
    let mut result = Vec::with_capacity(node.len());
    for o in 0..outer {
        for x in args {
            let run = x.codes.len() / outer;
            result.extend(x.codes[o * run..(o + 1) * run].iter().map(|c| node.ty.cast(*c, x.format)));
        }
    }
    result
}

fn pad(node: &Node, x: &Arg<'_>, before: &[usize]) -> Vec<i128> {
    let to = strides(&node.shape);
    let mut result = vec![0; node.len()];
    let mut next = 0;
    for_each_pixel(x.shape, |at| {
        let flat: usize = at.iter().zip(before).zip(&to).map(|((i, b), s)| (i + b) * s).sum();
        result[flat] = x.codes[next];
        next += 1;
    });
    result
}

/// The codes of `codes` spread over a tensor of `len` elements with `channels` channels.
pub fn broadcast(codes: &Codes, len: usize, channels: usize) -> Vec<i128> {
    (0..len).map(|i| codes.broadcast(i, channels)).collect()
}

#[cfg(test)]
mod tests;
