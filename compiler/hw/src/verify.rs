//! What a Program must satisfy before anything else looks at it.

use std::collections::HashSet;

use hs_fixed::{Format, FormatError, Interval, Overflow, Type};

use crate::{
    Accum, Act, Average, Codes, Divide, Dot, KERNEL_ABI, Lut, Node, Op, Order, Pool, PoolKind, Program,
    Softmax, SoftmaxTables, Window, range,
};

/// Most elements of a tensor.
const MAX_ELEMENTS: usize = 1 << 28;
/// Most axes of a tensor.
const MAX_RANK: usize = 8;
/// Most bits that a table index may be shifted by.
const MAX_SHIFT: i32 = 62;

/// A Program that breaks a rule of the hardware IR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", node.as_ref().map(|n| format!("node '{n}': ")).unwrap_or_default())]
pub struct VerifyError {
    /// Name of the node, where it is one node's fault.
    pub node: Option<String>,
    /// What is wrong: value found, value expected.
    pub message: String,
}

type Check = Result<(), String>;

macro_rules! ensure {
    ($cond:expr, $($message:tt)+) => {
        if !$cond {
            return Err(format!($($message)+));
        }
    };
}

impl Program {
    /// Checks every rule of the hardware IR; all errors found.
    pub fn verify(&self) -> Result<(), Vec<VerifyError>> {
        const { assert!(KERNEL_ABI == 1) };
        let mut errors = Vec::new();
        if let Err(message) = interface(self) {
            errors.push(VerifyError { node: None, message });
        }
        let mut names = HashSet::new();
        let mut ranges: Vec<Interval> = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let checked = structure(self, i).and_then(|()| {
                ensure!(names.insert(node.name.as_str()), "another node has the same name");
                let inputs: Vec<Interval> = node.inputs.iter().map(|id| ranges[id.index()]).collect();
                semantics(self, node, &inputs)?;
                range::result(node, &inputs).ok_or_else(|| {
                    "the range of its values needs more than 127 bits; narrow the types".to_owned()
                })
            });
            match checked {
                Ok(range) => ranges.push(range),
                Err(message) => {
                    errors.push(VerifyError { node: Some(node.name.clone()), message });
                    ranges.push(node.format().interval());
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn interface(program: &Program) -> Check {
    let indices = |pick: fn(&Op) -> Option<usize>| {
        let mut found: Vec<usize> = program.nodes.iter().filter_map(|n| pick(&n.op)).collect();
        found.sort_unstable();
        found
    };
    let inputs = indices(|op| if let Op::Input { index, .. } = op { Some(*index) } else { None });
    let outputs = indices(|op| if let Op::Output { index, .. } = op { Some(*index) } else { None });
    ensure!(!inputs.is_empty(), "the Program has no input");
    ensure!(!outputs.is_empty(), "the Program has no output");
    ensure!(inputs.iter().copied().eq(0..inputs.len()), "input indices {inputs:?} are not 0, 1, …");
    ensure!(outputs.iter().copied().eq(0..outputs.len()), "output indices {outputs:?} are not 0, 1, …");
    Ok(())
}

/// What holds for every op: arity, order, shape, width.
fn structure(program: &Program, at: usize) -> Check {
    let node = &program.nodes[at];
    for id in &node.inputs {
        ensure!(id.index() < at, "reads %{}, which does not precede it", id.0);
        let from = program.node(*id);
        ensure!(!matches!(from.op, Op::Output { .. }), "reads the output '{}'", from.name);
        let takes_const = matches!(node.op, Op::Binary { .. } | Op::Concat { .. });
        ensure!(
            takes_const || !matches!(from.op, Op::Const(_)),
            "reads the constant '{}'; only binary and concat may",
            from.name
        );
    }
    let arity = match node.op {
        Op::Input { .. } | Op::Const(_) => 0..=0,
        Op::Binary { .. } => 2..=2,
        Op::Concat { .. } => 1..=usize::MAX,
        Op::Output { .. }
        | Op::Dot(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Pad { .. } => 1..=1,
    };
    ensure!(arity.contains(&node.inputs.len()), "has {} inputs, not {arity:?}", node.inputs.len());
    let constant = |id: &crate::ValueId| matches!(program.node(*id).op, Op::Const(_));
    ensure!(node.inputs.is_empty() || !node.inputs.iter().all(constant), "reads nothing but constants");
    ensure!((1..=MAX_RANK).contains(&node.shape.len()), "has {} axes, not 1 to {MAX_RANK}", node.shape.len());
    let elements = node.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    ensure!(
        elements.is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)),
        "shape {:?} has no or more than {MAX_ELEMENTS} elements",
        node.shape
    );
    tensor_type(&node.ty)?;
    if node.op.moves_data() {
        let from = program.node(node.inputs[0]);
        ensure!(
            node.format() == from.format(),
            "moves {} data but has type {}",
            from.format(),
            node.format()
        );
    }
    Ok(())
}

fn width(format: Format, what: &str) -> Check {
    let most = 64 - u32::from(!format.is_signed());
    ensure!(format.width() <= most, "{what} is {} bits wide, more than {most}", format.width());
    Ok(())
}

/// A cast that the hardware's types have.
fn castable(ty: &Type) -> Check {
    let (n, f) = (ty.overflow.saturated_bits(), ty.format);
    ensure!(n <= f.width(), "{ty} saturates more bits than it has");
    ensure!(
        f.is_signed() || !matches!(ty.overflow, Overflow::WrapSm { .. }),
        "{ty}: HLS has no unsigned WRAP_SM; use WRAP"
    );
    // The symmetric range would hold only 0.
    ensure!(
        !(f.is_signed() && f.width() == 1 && ty.overflow == Overflow::SatSym),
        "{ty}: HLS has no SAT_SYM of one signed bit; use SAT or two bits"
    );
    Ok(())
}

fn tensor_type(ty: &Type) -> Check {
    castable(ty)?;
    width(ty.format, "its type")
}

fn codes(c: &Codes, what: &str) -> Check {
    width(c.format, what)?;
    for (i, code) in c.data.iter().enumerate() {
        ensure!(
            c.format.contains(i128::from(*code)),
            "{what} {i} has code {code}, which {} cannot hold",
            c.format
        );
    }
    Ok(())
}

fn broadcastable(c: &Codes, node: &Node, what: &str) -> Check {
    codes(c, what)?;
    let n = c.len();
    ensure!(
        n == 1 || n == node.channels() || n == node.len(),
        "{what} has {n} codes for {} channels, {} elements",
        node.channels(),
        node.len()
    );
    Ok(())
}

fn expr(format: Result<Format, FormatError>, what: &str) -> Result<Format, String> {
    format.map_err(|e| format!("{what}: {e}"))
}

fn semantics(program: &Program, node: &Node, ranges: &[Interval]) -> Check {
    let x = node.inputs.first().map(|id| program.node(*id));
    let same_shape = |of: &Node| -> Check {
        ensure!(of.shape == node.shape, "shape {:?} is not its input's {:?}", node.shape, of.shape);
        Ok(())
    };
    match (&node.op, x) {
        (Op::Input { onnx_shape, perm, .. }, _) => layout(onnx_shape, perm, &node.shape),
        (Op::Output { onnx_shape, perm, .. }, Some(x)) => {
            same_shape(x)?;
            layout(onnx_shape, perm, &node.shape)
        }
        (Op::Const(c), _) => {
            codes(c, "code")?;
            ensure!(c.len() == node.len(), "has {} codes for {} elements", c.len(), node.len());
            ensure!(c.format == node.format(), "has codes of {} and type {}", c.format, node.format());
            Ok(())
        }
        (Op::Dot(d), Some(x)) => dot(d, node, x, ranges[0]),
        (Op::Affine { scale, bias, act }, Some(x)) => {
            same_shape(x)?;
            broadcastable(scale, node, "scale")?;
            broadcastable(bias, node, "bias")?;
            let exact =
                expr(crate::op::affine_format(x.format(), scale.format, bias.format), "x × scale + bias")?;
            activation(act, node, exact)
        }
        (Op::Requant(act), Some(x)) => {
            same_shape(x)?;
            activation(act, node, x.format())
        }
        (Op::Binary { op, act }, Some(a)) => {
            let b = program.node(node.inputs[1]);
            same_shape(a)?;
            same_shape(b)?;
            activation(act, node, expr(op.format(a.format(), b.format()), "the exact result")?)
        }
        (Op::Table(lut), Some(x)) => {
            same_shape(x)?;
            table(lut, x.format()).map(|_| ())
        }
        (Op::Pool(p), Some(x)) => pool(p, node, x, ranges[0]),
        (Op::Softmax(s), Some(x)) => {
            same_shape(x)?;
            match s {
                Softmax::Tables(s) => softmax(s, x),
                Softmax::Argmax => Ok(()),
            }
        }
        (Op::Reshape, Some(x)) => {
            ensure!(x.len() == node.len(), "shape {:?} has other elements than {:?}", node.shape, x.shape);
            Ok(())
        }
        (Op::Permute(perm), Some(x)) => layout(&x.shape, perm, &node.shape),
        (Op::Concat { axis }, _) => concat(program, node, *axis),
        (Op::Pad { before, after }, Some(x)) => pad(node, x, before, after),
        (
            Op::Output { .. }
            | Op::Dot(_)
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Pool(_)
            | Op::Softmax(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Pad { .. },
            None,
        ) => Err("has no input".to_owned()),
    }
}

/// `to[i] == from[perm[i]]`, with `perm` a permutation.
fn layout(from: &[usize], perm: &[usize], to: &[usize]) -> Check {
    let mut seen = perm.to_vec();
    seen.sort_unstable();
    ensure!(seen.iter().copied().eq(0..from.len()), "{perm:?} is no permutation of {} axes", from.len());
    let mut permuted: Vec<usize> = perm.iter().map(|p| from[*p]).collect();
    if permuted.is_empty() {
        // A single number: a tensor has at least one axis.
        permuted.push(1);
    }
    ensure!(permuted == to, "shape {to:?} is not {from:?} permuted by {perm:?}");
    Ok(())
}

fn activation(act: &Act, node: &Node, exact: Format) -> Check {
    match act {
        Act::None => {}
        Act::Clamp { lo, hi } => {
            for bound in [lo, hi].into_iter().flatten() {
                ensure!(exact.contains(i128::from(*bound)), "clamp bound {bound} is no code of {exact}");
            }
            if let (Some(lo), Some(hi)) = (lo, hi) {
                ensure!(lo <= hi, "clamp bounds {lo} > {hi}");
            }
        }
        Act::Slope(s) => {
            broadcastable(s, node, "slope")?;
            expr(act.format(exact), "x × slope")?;
        }
    }
    Ok(())
}

fn windows(window: &[Window], node: &Node, x: &Node) -> Check {
    let spatial = x.shape.len() - 1;
    ensure!(window.len() == spatial, "has {} windows for {spatial} spatial axes", window.len());
    ensure!(window.len() <= 3, "has {} spatial axes, more than 3", window.len());
    for (axis, w) in window.iter().enumerate() {
        let sane = |n: usize| n <= MAX_ELEMENTS;
        ensure!(
            w.kernel >= 1 && w.stride >= 1 && w.dilation >= 1,
            "axis {axis}: kernel {}, stride {} and dilation {} must be at least 1",
            w.kernel,
            w.stride,
            w.dilation
        );
        ensure!(
            [w.kernel, w.stride, w.dilation, w.pad_begin, w.pad_end].into_iter().all(sane)
                && w.kernel.checked_mul(w.dilation).is_some_and(sane),
            "axis {axis}: window beyond {MAX_ELEMENTS} elements"
        );
        let expected = w.output(x.shape[axis]);
        ensure!(
            expected == Some(node.shape[axis]),
            "axis {axis}: {} elements give {expected:?} outputs, not {}",
            x.shape[axis],
            node.shape[axis]
        );
    }
    ensure!(node.shape.len() == x.shape.len(), "shape {:?} has other axes than {:?}", node.shape, x.shape);
    Ok(())
}

fn accum(a: &Accum, terms: Format, init: Option<Format>, n: usize) -> Check {
    match a {
        Accum::Exact(f) => {
            for grid in [Some(terms), init].into_iter().flatten() {
                ensure!(f.frac() >= grid.frac(), "accumulator {f} is coarser than its terms {grid}");
            }
        }
        Accum::Stepwise { product, ty, order } => {
            castable(ty)?;
            width(ty.format, "the accumulator")?;
            let terms = match product {
                Some(p) => {
                    castable(p)?;
                    width(p.format, "the product type")?;
                    p.format
                }
                None => terms,
            };
            expr(ty.format.add(terms), "accumulator + term")?;
            expr(ty.format.add(ty.format), "accumulator + accumulator")?;
            match *order {
                Order::Any => ensure!(
                    ty.overflow == Overflow::WRAP && ty.format.frac() >= terms.frac(),
                    "order 'any' needs an accumulator that wraps and rounds nothing"
                ),
                Order::Strided { rf } | Order::Blocked { rf } => {
                    ensure!((1..=n).contains(&rf), "reuse factor {rf} is outside 1..={n}");
                }
                Order::Sequential | Order::Tree => {}
            }
        }
    }
    Ok(())
}

fn holds(format: Format, range: Option<Interval>, what: &str) -> Check {
    let Some(range) = range else {
        return Err(format!("the range of {what} needs more than 127 bits; narrow the types"));
    };
    ensure!(
        range.fits(format),
        "accumulator {format} cannot hold {what}: it needs {}",
        range.format().map_or_else(|e| e.to_string(), |f| f.to_string())
    );
    Ok(())
}

fn dot(d: &Dot, node: &Node, x: &Node, range: Interval) -> Check {
    windows(&d.window, node, x)?;
    let (cin, cout) = (x.channels(), node.channels());
    ensure!(
        d.groups >= 1 && cin % d.groups == 0 && cout % d.groups == 0,
        "{} groups do not divide {cin} input and {cout} output channels",
        d.groups
    );
    let terms = d.terms(cin);
    ensure!(
        terms.checked_mul(cout) == Some(d.weight.len()),
        "has {} weights, not {cout} × {terms}",
        d.weight.len()
    );
    codes(&d.weight, "weight")?;
    if let Some(b) = &d.bias {
        codes(b, "bias")?;
        ensure!(b.len() == cout, "has {} biases for {cout} outputs", b.len());
    }
    let product = expr(x.format().mul(d.weight.format), "input × weight")?;
    accum(&d.accum, product, d.bias.as_ref().map(|b| b.format), terms)?;
    if let Accum::Exact(f) = d.accum {
        holds(f, range::dot_sum(d, cout, range).map(|s| s.partial), "its partial sums")?;
    }
    activation(&d.act, node, d.accum.format())
}

fn table(lut: &Lut, x: Format) -> Result<Format, String> {
    codes(&lut.entries, "table entry")?;
    let n = lut.entries.len();
    ensure!(n > usize::from(lut.interpolate), "table has {n} entries");
    let i = &lut.index;
    ensure!(i.shift.abs() <= MAX_SHIFT, "table index shift {} is beyond ±{MAX_SHIFT}", i.shift);
    // Room for |x × mul| << |shift| and the offset in 126 bits.
    let mul_bits = 64 - i.mul.unsigned_abs().leading_zeros();
    ensure!(x.width() + mul_bits <= 126, "table index multiplier {} is too wide for {x}", i.mul);
    if lut.interpolate {
        ensure!(i.shift >= 0 && !i.toward_zero, "an interpolated table rounds its index down by shift >= 0");
        ensure!(i.shift <= 40, "interpolation over {} bits is beyond 40", i.shift);
    }
    ensure!(i.offset.unsigned_abs() < 1 << 62, "table index offset {} is beyond 62 bits", i.offset);
    expr(lut.format(), "table value")
}

fn pool(p: &Pool, node: &Node, x: &Node, range: Interval) -> Check {
    windows(&p.window, node, x)?;
    ensure!(node.channels() == x.channels(), "has {} channels, not {}", node.channels(), x.channels());
    for (axis, w) in p.window.iter().enumerate() {
        let n = x.shape[axis];
        let covers = |o: usize| (0..w.kernel).any(|k| w.position(o, k, n).is_some());
        ensure!((0..node.shape[axis]).all(covers), "axis {axis}: a window covers nothing but padding");
    }
    let PoolKind::Average(Average { accum: a, divide, include_pad: _ }) = &p.kind else { return Ok(()) };
    let largest: usize = p.window.iter().map(|w| w.kernel).product();
    accum(a, x.format(), None, largest)?;
    match a {
        Accum::Exact(f) => holds(*f, range::pool_sum(range, largest), "the sum")?,
        Accum::Stepwise { product, .. } => {
            ensure!(product.is_none(), "pooling has no products to cast");
        }
    }
    if let Divide::Reciprocal(r) = divide {
        codes(r, "reciprocal")?;
        ensure!(r.len() == largest, "has {} reciprocals for {largest} counts", r.len());
        expr(a.format().mul(r.format), "sum × reciprocal")?;
    }
    Ok(())
}

fn softmax(s: &SoftmaxTables, x: &Node) -> Check {
    for ty in [&s.delta, &s.exp_ty, &s.inv_in, &s.inv_ty] {
        tensor_type(ty)?;
    }
    expr(s.kind.argument(x.format()), "the difference of two elements")?;
    table(&s.exp, s.delta.format)?;
    table(&s.inv, s.inv_in.format)?;
    accum(&s.sum, s.exp_ty.format, None, x.channels())?;
    match &s.sum {
        Accum::Exact(f) => {
            let sum = range::softmax_exp(s).and_then(|e| range::pool_sum(e, x.channels()));
            holds(*f, sum, "the sum")?;
        }
        Accum::Stepwise { product, .. } => {
            ensure!(product.is_none(), "softmax has no products to cast in its sum");
        }
    }
    expr(s.exact_format(), "exp × 1/sum").map(|_| ())
}

fn concat(program: &Program, node: &Node, axis: usize) -> Check {
    ensure!(axis < node.shape.len(), "axis {axis} of {} axes", node.shape.len());
    let mut along = 0;
    for id in &node.inputs {
        let x = program.node(*id);
        let fits = x.shape.len() == node.shape.len()
            && (0..x.shape.len()).all(|a| a == axis || x.shape[a] == node.shape[a]);
        ensure!(fits, "cannot concatenate {:?} into {:?} along axis {axis}", x.shape, node.shape);
        along += x.shape[axis];
    }
    ensure!(
        along == node.shape[axis],
        "inputs add up to {along} along axis {axis}, not {}",
        node.shape[axis]
    );
    Ok(())
}

fn pad(node: &Node, x: &Node, before: &[usize], after: &[usize]) -> Check {
    let rank = x.shape.len();
    ensure!(
        before.len() == rank && after.len() == rank,
        "pads {} and {} of {rank} axes",
        before.len(),
        after.len()
    );
    for axis in 0..rank {
        let padded = x.shape[axis].checked_add(before[axis]).and_then(|n| n.checked_add(after[axis]));
        ensure!(
            node.shape.get(axis) == padded.as_ref() && node.shape.len() == rank,
            "axis {axis}: shape {:?} is not {:?} padded by {before:?} and {after:?}",
            node.shape,
            x.shape
        );
    }
    Ok(())
}
