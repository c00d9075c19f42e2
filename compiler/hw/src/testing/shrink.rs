//! Makes a failing Program small.

use hs_fixed::{Overflow, Rounding, Type};

use super::resize::resize;
use crate::{Accum, Act, Codes, Divide, Lut, Node, Op, Order, PoolKind, Program, Softmax, ValueId};

/// The smallest Program found for which `still_fails` holds, by cutting nodes, shrinking axes, and replacing
/// attributes and constants by plainer ones. Every Program it is asked about verifies and is smaller than the
/// last one that failed; `program` itself is taken to fail.
pub fn shrink(program: Program, still_fails: impl FnMut(&Program) -> bool) -> Program {
    let mut s = Shrinker { size: size(&program), best: program, still_fails };
    // Each round tries the large cuts first, as every question may cost a compilation.
    while s.outputs() | s.nodes() | s.axes() | s.attributes() | s.constants() {}
    s.best
}

struct Shrinker<F> {
    best: Program,
    size: (usize, usize, usize, usize),
    still_fails: F,
}

impl<F: FnMut(&Program) -> bool> Shrinker<F> {
    /// Takes the candidate over if it is smaller, verifies and fails.
    fn accept(&mut self, candidate: Program) -> bool {
        let candidate = without_dead_nodes(&candidate);
        let size = size(&candidate);
        let better = size < self.size && candidate.verify().is_ok() && (self.still_fails)(&candidate);
        if better {
            self.best = candidate;
            self.size = size;
        }
        better
    }

    /// Applies `change` to a copy; for closures that return false there is nothing to try.
    fn attempt(&mut self, change: impl FnOnce(&mut Program) -> bool) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate) && self.accept(candidate)
    }

    fn outputs(&mut self) -> bool {
        let mut progress = false;
        let mut at = 0;
        while self.best.outputs().len() > 1 && at < self.best.outputs().len() {
            let id = self.best.outputs()[at];
            let only = self.attempt(|p| {
                p.nodes = retain(&p.nodes, |i, n| i == id.index() || !matches!(n.op, Op::Output { .. }));
                true
            });
            let less = only
                || self.attempt(|p| {
                    p.nodes = retain(&p.nodes, |i, _| i != id.index());
                    true
                });
            progress |= less;
            at = if only { usize::MAX } else { at + usize::from(!less) };
        }
        progress
    }

    fn nodes(&mut self) -> bool {
        let mut progress = false;
        let mut i = self.best.nodes.len();
        while i > 0 {
            i = (i - 1).min(self.best.nodes.len() - 1);
            if self.attempt(|p| make_input(p, i)) {
                progress = true;
                i = self.best.nodes.len();
                continue;
            }
            for slot in 0..self.best.nodes[i].inputs.len() {
                if self.attempt(|p| raise_output(p, i, slot))
                    || self.attempt(|p| bypass(p, i, slot))
                    || self.attempt(|p| make_cast(p, i, slot))
                {
                    progress = true;
                    break;
                }
            }
        }
        progress
    }

    fn axes(&mut self) -> bool {
        let mut progress = false;
        let mut i = 0;
        while i < self.best.nodes.len() {
            let mut axis = 0;
            while i < self.best.nodes.len() && axis < self.best.nodes[i].shape.len() {
                let n = self.best.nodes[i].shape[axis];
                let id = ValueId(i as u32);
                let smaller = [1, n / 2, n - 1].into_iter().filter(|m| (1..n).contains(m));
                let done = smaller.into_iter().any(|m| {
                    [false, true].into_iter().any(|alike| {
                        resize(&self.best, id, axis, m, alike).is_some_and(|candidate| self.accept(candidate))
                    })
                });
                progress |= done;
                axis += usize::from(!done);
            }
            i += 1;
        }
        progress
    }

    fn attributes(&mut self) -> bool {
        let mut progress = false;
        for i in 0..self.best.nodes.len() {
            let edits: [fn(&mut Node) -> bool; 8] = [
                half_tables,
                no_act,
                no_bias,
                no_product,
                in_sequence,
                plain_kernel,
                plain_name,
                first_modes,
            ];
            for edit in edits {
                while i < self.best.nodes.len() && self.attempt(|p| edit(&mut p.nodes[i])) {
                    progress = true;
                }
            }
            progress |= self.attempt(|p| {
                let node = &p.nodes[i];
                let plain = plain(node.ty);
                let changed = node.ty != plain;
                p.nodes[i].ty = plain;
                changed
            });
        }
        progress
    }

    fn constants(&mut self) -> bool {
        let mut progress = false;
        for i in 0..self.best.nodes.len() {
            for c in 0..codes_mut(&mut self.best.nodes[i].op.clone()).len() {
                let n = codes_mut(&mut self.best.nodes[i].op.clone())[c].len();
                // All, then ever smaller blocks.
                let mut block = n;
                while block > 0 && n / block <= 32 {
                    for start in (0..n).step_by(block) {
                        for to in [|_: i64| 0, |v: i64| v.signum(), |v: i64| v / 16] {
                            progress |= self.attempt(|p| rewrite(&mut p.nodes[i].op, c, start, block, to));
                        }
                    }
                    block /= 2;
                }
            }
        }
        progress
    }
}

/// Nodes, elements, bits of constants, oddities: compared in this order.
fn size(p: &Program) -> (usize, usize, usize, usize) {
    let mut elements = 0;
    let mut bits = 0;
    let mut odd = 0;
    for node in &p.nodes {
        let mut op = node.op.clone();
        elements += node.len();
        for c in codes_mut(&mut op) {
            bits += c.data.iter().map(|v| 1 + 64 - v.unsigned_abs().leading_zeros() as usize).sum::<usize>();
        }
        let types = types_mut(&mut op);
        odd += types.iter().map(|t| usize::from(**t != plain(**t))).sum::<usize>();
        odd += usize::from(node.ty != plain(node.ty)) + node.name.len();
        if let Some(a) = act_mut(&mut op) {
            odd += usize::from(*a != Act::None);
        }
        if let Some(Accum::Stepwise { product, order, .. }) = accum_mut(&mut op) {
            odd += 2 + usize::from(product.is_some()) + usize::from(*order != Order::Sequential);
        }
        if let Op::Dot(d) = &op {
            odd += usize::from(d.bias.is_some());
            odd += d
                .window
                .iter()
                .map(|w| w.kernel + w.stride + w.dilation + w.pad_begin + w.pad_end)
                .sum::<usize>();
        }
        if let Op::Pool(d) = &op {
            odd += d
                .window
                .iter()
                .map(|w| w.kernel + w.stride + w.dilation + w.pad_begin + w.pad_end)
                .sum::<usize>();
        }
    }
    (p.nodes.len(), elements, bits, odd)
}

fn plain(ty: Type) -> Type {
    Type::new(ty.format, Rounding::Trn, Overflow::WRAP)
}

/// Drops nodes; readers of a dropped node are the caller's concern.
fn retain(nodes: &[Node], mut keep: impl FnMut(usize, &Node) -> bool) -> Vec<Node> {
    let kept: Vec<bool> = nodes.iter().enumerate().map(|(i, n)| keep(i, n)).collect();
    let mut renumbered = Vec::with_capacity(nodes.len());
    let mut next = 0;
    for k in &kept {
        renumbered.push(ValueId(next));
        next += u32::from(*k);
    }
    let mut found: Vec<Node> = nodes.iter().zip(&kept).filter(|(_, k)| **k).map(|(n, _)| n.clone()).collect();
    for node in &mut found {
        for id in &mut node.inputs {
            *id = renumbered[id.index()];
        }
    }
    found
}

/// Only what the outputs need, with interface indices renumbered.
fn without_dead_nodes(p: &Program) -> Program {
    let mut live = vec![false; p.nodes.len()];
    for (i, node) in p.nodes.iter().enumerate().rev() {
        live[i] |= matches!(node.op, Op::Output { .. });
        if live[i] {
            node.inputs.iter().for_each(|id| live[id.index()] = true);
        }
    }
    let mut result = Program { name: p.name.clone(), nodes: retain(&p.nodes, |i, _| live[i]) };
    let (inputs, outputs) = (result.inputs(), result.outputs());
    for (position, id) in inputs.into_iter().enumerate().chain(outputs.into_iter().enumerate()) {
        if let Op::Input { index, .. } | Op::Output { index, .. } = &mut result.nodes[id.index()].op {
            *index = position;
        }
    }
    result
}

/// Turns node `i` into a model input, which cuts off what it computes from.
fn make_input(p: &mut Program, i: usize) -> bool {
    if matches!(p.nodes[i].op, Op::Input { .. } | Op::Output { .. } | Op::Const(_)) {
        return false;
    }
    let index = p.inputs().len();
    let node = &mut p.nodes[i];
    let perm = (0..node.shape.len()).collect();
    node.op = Op::Input { index, tensor: format!("cut{i}"), onnx_shape: node.shape.clone(), perm };
    node.inputs.clear();
    true
}

/// Lets readers of node `i` read its input instead.
fn bypass(p: &mut Program, i: usize, slot: usize) -> bool {
    let id = p.nodes[i].inputs[slot];
    let from = p.node(id);
    if matches!(p.nodes[i].op, Op::Output { .. }) || from.shape != p.nodes[i].shape {
        return false;
    }
    let ty = from.ty;
    for node in &mut p.nodes[i + 1..] {
        for input in &mut node.inputs {
            if input.index() == i {
                *input = id;
                if node.op.moves_data() {
                    node.ty = ty;
                }
            }
        }
    }
    true
}

/// Lets outputs that read node `i` give its input instead.
fn raise_output(p: &mut Program, i: usize, slot: usize) -> bool {
    let id = p.nodes[i].inputs[slot];
    let Node { shape, ty, op, .. } = p.node(id).clone();
    if matches!(op, Op::Const(_)) {
        return false;
    }
    let mut raised = false;
    for node in &mut p.nodes[i + 1..] {
        if let Op::Output { onnx_shape, perm, .. } = &mut node.op
            && node.inputs[0].index() == i
        {
            *perm = (0..shape.len()).collect();
            onnx_shape.clone_from(&shape);
            node.inputs[0] = id;
            node.shape.clone_from(&shape);
            node.ty = ty;
            raised = true;
        }
    }
    raised
}

/// Replaces node `i` by a cast of its input.
fn make_cast(p: &mut Program, i: usize, slot: usize) -> bool {
    let id = p.nodes[i].inputs[slot];
    let plain = matches!(p.nodes[i].op, Op::Output { .. } | Op::Requant(Act::None));
    if plain || p.node(id).shape != p.nodes[i].shape {
        return false;
    }
    p.nodes[i].op = Op::Requant(Act::None);
    p.nodes[i].inputs = vec![id];
    true
}

fn half_tables(node: &mut Node) -> bool {
    let halve = |lut: &mut Lut| {
        let n = lut.entries.len();
        lut.entries.data = lut.entries.data[..n.div_ceil(2)].into();
        n > 1
    };
    match &mut node.op {
        Op::Table(lut) => halve(lut),
        Op::Softmax(Softmax::Tables(s)) => halve(&mut s.exp) | halve(&mut s.inv),
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Dot(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Pool(_)
        | Op::Softmax(Softmax::Argmax)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => false,
    }
}

fn no_act(node: &mut Node) -> bool {
    act_mut(&mut node.op).is_some_and(|a| std::mem::replace(a, Act::None) != Act::None)
}

fn no_bias(node: &mut Node) -> bool {
    if let Op::Dot(d) = &mut node.op { d.bias.take().is_some() } else { false }
}

fn no_product(node: &mut Node) -> bool {
    match accum_mut(&mut node.op) {
        Some(Accum::Stepwise { product, .. }) => product.take().is_some(),
        Some(Accum::Exact(_)) | None => false,
    }
}

fn in_sequence(node: &mut Node) -> bool {
    match accum_mut(&mut node.op) {
        Some(Accum::Stepwise { order, .. }) => {
            std::mem::replace(order, Order::Sequential) != Order::Sequential
        }
        Some(Accum::Exact(_)) | None => false,
    }
}

/// Smaller steps; the verifier says whether the shape stays.
fn plain_kernel(node: &mut Node) -> bool {
    let (Op::Dot(crate::Dot { window, .. }) | Op::Pool(crate::Pool { window, .. })) = &mut node.op else {
        return false;
    };
    let before = window.clone();
    for w in window.iter_mut() {
        w.dilation = 1;
        w.stride = if w.stride > 2 { 2 } else { 1 };
    }
    before != *window
}

fn plain_name(node: &mut Node) -> bool {
    // Short and still unique: all names are made of their length first.
    let odd = node.name.len() > 12 || !node.name.bytes().all(|b| b.is_ascii_alphanumeric());
    if odd {
        let sum = node.name.bytes().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
        node.name = format!("n{:x}", sum & 0xfffff);
    }
    odd
}

/// The first type inside the op that is not plain.
fn first_modes(node: &mut Node) -> bool {
    for ty in types_mut(&mut node.op) {
        if *ty != plain(*ty) {
            *ty = plain(*ty);
            return true;
        }
    }
    false
}

fn rewrite(op: &mut Op, which: usize, start: usize, n: usize, to: fn(i64) -> i64) -> bool {
    let mut all = codes_mut(op);
    let codes = &mut *all[which];
    let mut data = codes.data.to_vec();
    let end = (start + n).min(data.len());
    data[start..end].iter_mut().for_each(|v| *v = to(*v));
    let changed = data[..] != codes.data[..];
    codes.data = data.into();
    changed
}

/// Every constant of an op.
pub(super) fn codes_mut(op: &mut Op) -> Vec<&mut Codes> {
    fn act(a: &mut Act) -> Option<&mut Codes> {
        if let Act::Slope(c) = a { Some(c) } else { None }
    }
    match op {
        Op::Const(c) => vec![c],
        Op::Dot(d) => [&mut d.weight].into_iter().chain(&mut d.bias).chain(act(&mut d.act)).collect(),
        Op::Affine { scale, bias, act: a } => [scale, bias].into_iter().chain(act(a)).collect(),
        Op::Requant(a) | Op::Binary { act: a, .. } => act(a).into_iter().collect(),
        Op::Table(l) => vec![&mut l.entries],
        Op::Pool(p) => match &mut p.kind {
            PoolKind::Max => Vec::new(),
            PoolKind::Average(a) => match &mut a.divide {
                Divide::Reciprocal(c) => vec![c],
                Divide::TowardZero => Vec::new(),
            },
        },
        Op::Softmax(Softmax::Tables(s)) => vec![&mut s.exp.entries, &mut s.inv.entries],
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Softmax(Softmax::Argmax)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => Vec::new(),
    }
}

/// Every type inside an op, the node's own aside.
fn types_mut(op: &mut Op) -> Vec<&mut Type> {
    fn accum(a: &mut Accum) -> Vec<&mut Type> {
        match a {
            Accum::Exact(_) => Vec::new(),
            Accum::Stepwise { product, ty, .. } => product.iter_mut().chain([ty]).collect(),
        }
    }
    match op {
        Op::Softmax(Softmax::Tables(s)) => {
            let s = &mut **s;
            let mut all = vec![&mut s.delta, &mut s.exp_ty, &mut s.inv_in, &mut s.inv_ty];
            all.extend(accum(&mut s.sum));
            all
        }
        other => accum_mut(other).map_or_else(Vec::new, accum),
    }
}

fn accum_mut(op: &mut Op) -> Option<&mut Accum> {
    match op {
        Op::Dot(d) => Some(&mut d.accum),
        Op::Softmax(Softmax::Tables(s)) => Some(&mut s.sum),
        Op::Pool(p) => match &mut p.kind {
            PoolKind::Max => None,
            PoolKind::Average(a) => Some(&mut a.accum),
        },
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Softmax(Softmax::Argmax)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => None,
    }
}

fn act_mut(op: &mut Op) -> Option<&mut Act> {
    match op {
        Op::Dot(d) => Some(&mut d.act),
        Op::Affine { act, .. } | Op::Requant(act) | Op::Binary { act, .. } => Some(act),
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
