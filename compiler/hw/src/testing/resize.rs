//! Shorter axes: the same Program over smaller tensors.

use super::shrink::codes_mut;
use crate::{Codes, Dot, Node, Op, Program, ValueId};

/// `program` with `axis` of an input, or the channels of a dot, cut to `size`; everything that reads it
/// follows, and constants are cut to fit. `alike`: also the same axis of every other input of the same shape.
/// `None` where nothing simple follows; the result need not verify.
pub(super) fn resize(
    program: &Program,
    id: ValueId,
    axis: usize,
    size: usize,
    alike: bool,
) -> Option<Program> {
    let old = &program.node(id).shape;
    let dot_channels = matches!(program.node(id).op, Op::Dot(_)) && axis + 1 == old.len();
    let source = matches!(program.node(id).op, Op::Input { .. } | Op::Const(_));
    if !(dot_channels && !alike || source) {
        return None;
    }
    let mut result = program.clone();
    for i in 0..program.nodes.len() {
        let before = &program.nodes[i];
        let shapes: Vec<(&[usize], &[usize])> = before
            .inputs
            .iter()
            .map(|x| (program.node(*x).shape.as_slice(), result.nodes[x.index()].shape.as_slice()))
            .collect();
        let forced = i == id.index()
            || alike && before.shape == *old && matches!(before.op, Op::Input { .. } | Op::Const(_));
        let mut shape = shape(before, &shapes)?;
        if forced {
            *shape.get_mut(axis)? = size;
        }
        let mut node = Node { shape, ..before.clone() };
        let from = shapes.first().copied();
        fit(&mut node, before, from)?;
        result.nodes[i] = node;
    }
    Some(result)
}

/// The node's shape over resized inputs (pairs of old and new shape).
fn shape(node: &Node, inputs: &[(&[usize], &[usize])]) -> Option<Vec<usize>> {
    let Some((old, new)) = inputs.first().copied() else { return Some(node.shape.clone()) };
    Some(match &node.op {
        Op::Input { .. } | Op::Const(_) => node.shape.clone(),
        Op::Output { .. }
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Softmax(_) => new.to_vec(),
        Op::Dot(Dot { window, .. }) => {
            let spatial = window.iter().zip(new).map(|(w, n)| w.output(*n));
            spatial.chain([node.shape.last().copied()]).collect::<Option<_>>()?
        }
        Op::Pool(p) => {
            let spatial = p.window.iter().zip(new).map(|(w, n)| w.output(*n));
            spatial.chain([new.last().copied()]).collect::<Option<_>>()?
        }
        Op::Reshape if old == new => node.shape.clone(),
        Op::Reshape => {
            // One axis takes the difference, if one can.
            let elements = new.iter().product::<usize>();
            let mut shape = node.shape.clone();
            let total = shape.iter().product::<usize>();
            let takes = |n: usize| (elements * n).is_multiple_of(total) && elements * n / total > 0;
            let axis = (0..shape.len()).rev().find(|a| takes(shape[*a]))?;
            shape[axis] = elements * shape[axis] / total;
            shape
        }
        Op::Permute(perm) => perm.iter().map(|p| new.get(*p).copied()).collect::<Option<_>>()?,
        Op::Concat { axis } => {
            let mut shape = new.to_vec();
            shape[*axis] = inputs.iter().map(|(_, n)| n[*axis]).sum();
            shape
        }
        Op::Pad { before, after } => new.iter().zip(before).zip(after).map(|((n, b), a)| n + b + a).collect(),
    })
}

/// Cuts attributes to the node's new shape.
fn fit(node: &mut Node, old: &Node, from: Option<(&[usize], &[usize])>) -> Option<()> {
    let shape = node.shape.clone();
    match &mut node.op {
        Op::Input { onnx_shape, perm, .. } | Op::Output { onnx_shape, perm, .. } => {
            for (axis, to) in perm.iter().enumerate() {
                *onnx_shape.get_mut(*to)? = *shape.get(axis)?;
            }
        }
        Op::Const(c) => *c = cut(c, &strip(&old.shape, &shape)?),
        Op::Dot(d) => {
            let (old_in, new_in) = from.map(|(o, n)| (o.last().copied(), n.last().copied()))?;
            dot(d, (old_in?, new_in?), (old.channels(), *shape.last()?))?;
            if let crate::Act::Slope(c) = &mut d.act {
                broadcast(c, old, &shape)?;
            }
        }
        Op::Affine { .. } | Op::Requant(_) | Op::Binary { .. } => {
            for c in codes_mut(&mut node.op) {
                broadcast(c, old, &shape)?;
            }
        }
        Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => {}
    }
    Some(())
}

/// Flat positions, in a tensor of shape `old`, of the elements that a tensor of shape `new` keeps.
fn strip(old: &[usize], new: &[usize]) -> Option<Vec<usize>> {
    if old.len() != new.len() || new.iter().zip(old).any(|(n, o)| n > o) {
        return None;
    }
    let mut kept = vec![0];
    for (n, o) in new.iter().zip(old) {
        kept = kept.iter().flat_map(|base| (0..*n).map(move |i| base * o + i)).collect();
    }
    Some(kept)
}

fn cut(codes: &Codes, keep: &[usize]) -> Codes {
    Codes::new(codes.format, keep.iter().map(|i| codes.data[*i]).collect::<Vec<_>>())
}

fn broadcast(codes: &mut Codes, old: &Node, shape: &[usize]) -> Option<()> {
    let n = codes.len();
    if n == 1 || old.shape == shape {
        return Some(());
    }
    let keep =
        if n == old.channels() { (0..*shape.last()?.min(&n)).collect() } else { strip(&old.shape, shape)? };
    *codes = cut(codes, &keep);
    Some(())
}

/// Cuts weights and bias from and to pairs of old and new channels.
fn dot(d: &mut Dot, (old_in, new_in): (usize, usize), (old_out, new_out): (usize, usize)) -> Option<()> {
    if old_in == new_in && old_out == new_out {
        return Some(());
    }
    if d.groups > 1 {
        return None;
    }
    let kernel: usize = d.window.iter().map(|w| w.kernel).product();
    d.weight = cut(&d.weight, &strip(&[old_out, kernel, old_in], &[new_out, kernel, new_in])?);
    if let Some(b) = &mut d.bias {
        *b = cut(b, &(0..new_out).collect::<Vec<_>>());
    }
    let terms = kernel * new_in;
    if let crate::Accum::Stepwise {
        order: crate::Order::Strided { rf } | crate::Order::Blocked { rf }, ..
    } = &mut d.accum
    {
        *rf = (*rf).min(terms);
    }
    Some(())
}
