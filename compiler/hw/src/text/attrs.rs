//! Ops to attribute records and back.

use super::value::{Kind, Mismatch, Record, Value};
use crate::{
    Accum, Act, Average, BinaryOp, Codes, Divide, Dot, Index, Lut, Op, Order, Pool, PoolKind, Softmax,
    SoftmaxKind, SoftmaxTables, Window,
};

type Result<T> = std::result::Result<T, Mismatch>;

fn new() -> Record {
    Record::default()
}

fn size(v: usize) -> Kind {
    Kind::Int(v as i64)
}

fn flag(v: bool) -> Kind {
    Value::word(if v { "true" } else { "false" })
}

fn codes(c: &Codes) -> Kind {
    Kind::Codes(c.clone())
}

/// The attributes of an op.
pub(super) fn to_record(op: &Op) -> Record {
    match op {
        Op::Input { index, tensor, onnx_shape, perm } | Op::Output { index, tensor, onnx_shape, perm } => {
            new()
                .with("index", size(*index))
                .with("tensor", Kind::Str(tensor.clone()))
                .with("onnx_shape", Value::ints(onnx_shape))
                .with("perm", Value::ints(perm))
        }
        Op::Const(c) => new().with("codes", codes(c)),
        Op::Dot(d) => new()
            .with("window", windows(&d.window))
            .with("groups", size(d.groups))
            .with("weight", codes(&d.weight))
            .with_some("bias", d.bias.as_ref().map(codes))
            .with("accum", accum(&d.accum))
            .with("act", act(&d.act)),
        Op::Affine { scale, bias, act: a } => {
            new().with("scale", codes(scale)).with("bias", codes(bias)).with("act", act(a))
        }
        Op::Requant(a) => new().with("act", act(a)),
        Op::Binary { op, act: a } => new().with("op", Value::word(binary(*op))).with("act", act(a)),
        Op::Table(t) => lut(t),
        Op::Pool(p) => new().with("kind", pool_kind(&p.kind)).with("window", windows(&p.window)),
        Op::Softmax(Softmax::Argmax) => new().with("kind", Value::word(ARGMAX)),
        Op::Softmax(Softmax::Tables(s)) => new()
            .with("kind", Value::word(softmax_kind(s.kind)))
            .with("delta", Kind::Type(s.delta))
            .with("exp", Kind::Record(lut(&s.exp)))
            .with("exp_ty", Kind::Type(s.exp_ty))
            .with("sum", accum(&s.sum))
            .with("inv_in", Kind::Type(s.inv_in))
            .with("inv", Kind::Record(lut(&s.inv)))
            .with("inv_ty", Kind::Type(s.inv_ty)),
        Op::Reshape => new(),
        Op::Permute(perm) => new().with("perm", Value::ints(perm)),
        Op::Concat { axis } => new().with("axis", size(*axis)),
        Op::Pad { before, after } => {
            new().with("before", Value::ints(before)).with("after", Value::ints(after))
        }
    }
}

const KEYWORDS: &str = "input, output, const, dot, affine, requant, binary, table, pool, softmax, reshape, \
                        permute, concat, pad";

/// The op that a keyword at byte `at` and its attributes mean.
pub(super) fn from_record(keyword: &str, at: usize, mut r: Record) -> Result<Op> {
    let op = match keyword {
        "input" | "output" => {
            let index = r.take("index")?.size()?;
            let tensor = r.take("tensor")?.string()?;
            let onnx_shape = r.take("onnx_shape")?.sizes()?;
            let perm = r.take("perm")?.sizes()?;
            if keyword == "input" {
                Op::Input { index, tensor, onnx_shape, perm }
            } else {
                Op::Output { index, tensor, onnx_shape, perm }
            }
        }
        "const" => Op::Const(r.take("codes")?.codes()?),
        "dot" => Op::Dot(Dot {
            window: read_windows(r.take("window")?)?,
            groups: r.take("groups")?.size()?,
            weight: r.take("weight")?.codes()?,
            bias: r.optional("bias").map(Value::codes).transpose()?,
            accum: read_accum(r.take("accum")?)?,
            act: read_act(r.take("act")?)?,
        }),
        "affine" => Op::Affine {
            scale: r.take("scale")?.codes()?,
            bias: r.take("bias")?.codes()?,
            act: read_act(r.take("act")?)?,
        },
        "requant" => Op::Requant(read_act(r.take("act")?)?),
        "binary" => Op::Binary { op: read_binary(r.take("op")?)?, act: read_act(r.take("act")?)? },
        "table" => Op::Table(take_lut(&mut r)?),
        "pool" => Op::Pool(Pool {
            kind: read_pool_kind(r.take("kind")?)?,
            window: read_windows(r.take("window")?)?,
        }),
        "softmax" => Op::Softmax(match read_softmax_kind(r.take("kind")?)? {
            None => Softmax::Argmax,
            Some(kind) => Softmax::Tables(Box::new(SoftmaxTables {
                kind,
                delta: r.take("delta")?.ty()?,
                exp: read_lut(r.take("exp")?)?,
                exp_ty: r.take("exp_ty")?.ty()?,
                sum: read_accum(r.take("sum")?)?,
                inv_in: r.take("inv_in")?.ty()?,
                inv: read_lut(r.take("inv")?)?,
                inv_ty: r.take("inv_ty")?.ty()?,
            })),
        }),
        "reshape" => Op::Reshape,
        "permute" => Op::Permute(r.take("perm")?.sizes()?),
        "concat" => Op::Concat { axis: r.take("axis")?.size()? },
        "pad" => Op::Pad { before: r.take("before")?.sizes()?, after: r.take("after")?.sizes()? },
        _ => return Err(Mismatch::new(at, format!("an op: {KEYWORDS}"))),
    };
    r.done()?;
    Ok(op)
}

fn windows(list: &[Window]) -> Kind {
    let window = |w: &Window| {
        let fields = new()
            .with("kernel", size(w.kernel))
            .with("stride", size(w.stride))
            .with("dilation", size(w.dilation))
            .with("pad", Value::ints(&[w.pad_begin, w.pad_end]));
        Value { kind: Kind::Record(fields), at: 0 }
    };
    if list.is_empty() { Kind::Ints(Vec::new()) } else { Kind::List(list.iter().map(window).collect()) }
}

fn read_windows(v: Value) -> Result<Vec<Window>> {
    let read = |v: Value| {
        let mut r = v.record()?;
        let kernel = r.take("kernel")?.size()?;
        let stride = r.take("stride")?.size()?;
        let dilation = r.take("dilation")?.size()?;
        let pad = r.take("pad")?;
        let at = pad.at;
        let &[pad_begin, pad_end] = pad.sizes()?.as_slice() else {
            return Err(Mismatch::new(at, "[pad before, pad after]"));
        };
        r.done()?;
        Ok(Window { kernel, stride, dilation, pad_begin, pad_end })
    };
    v.list()?.into_iter().map(read).collect()
}

fn accum(a: &Accum) -> Kind {
    match a {
        Accum::Exact(f) => new().with("format", Kind::Format(*f)).named("exact"),
        Accum::Stepwise { product, ty, order: o } => new()
            .with_some("product", product.map(Kind::Type))
            .with("ty", Kind::Type(*ty))
            .with("order", order(*o))
            .named("stepwise"),
    }
}

fn read_accum(v: Value) -> Result<Accum> {
    let at = v.at;
    let (name, mut r) = v.variant("exact, stepwise")?;
    let accum = match name.as_str() {
        "exact" => Accum::Exact(r.take("format")?.format()?),
        "stepwise" => Accum::Stepwise {
            product: r.optional("product").map(Value::ty).transpose()?,
            ty: r.take("ty")?.ty()?,
            order: read_order(r.take("order")?)?,
        },
        _ => return Err(Mismatch::new(at, "exact{…} or stepwise{…}")),
    };
    r.done()?;
    Ok(accum)
}

fn order(o: Order) -> Kind {
    match o {
        Order::Any => Value::word("any"),
        Order::Sequential => Value::word("sequential"),
        Order::Strided { rf } => new().with("rf", size(rf)).named("strided"),
        Order::Blocked { rf } => new().with("rf", size(rf)).named("blocked"),
        Order::Tree => Value::word("tree"),
    }
}

fn read_order(v: Value) -> Result<Order> {
    const ALL: &str = "any, sequential, strided{rf: …}, blocked{rf: …}, tree";
    let at = v.at;
    let (name, mut r) = v.variant(ALL)?;
    let order = match name.as_str() {
        "any" => Order::Any,
        "sequential" => Order::Sequential,
        "strided" => Order::Strided { rf: r.take("rf")?.size()? },
        "blocked" => Order::Blocked { rf: r.take("rf")?.size()? },
        "tree" => Order::Tree,
        _ => return Err(Mismatch::new(at, format!("one of {ALL}"))),
    };
    r.done()?;
    Ok(order)
}

fn act(a: &Act) -> Kind {
    match a {
        Act::None => Value::word("none"),
        Act::Clamp { lo, hi } => {
            new().with_some("lo", lo.map(Kind::Int)).with_some("hi", hi.map(Kind::Int)).named("clamp")
        }
        Act::Slope(c) => new().with("slope", codes(c)).named("slope"),
    }
}

fn read_act(v: Value) -> Result<Act> {
    const ALL: &str = "none, clamp{lo: …, hi: …}, slope{slope: …}";
    let at = v.at;
    let (name, mut r) = v.variant(ALL)?;
    let act = match name.as_str() {
        "none" => Act::None,
        "clamp" => Act::Clamp {
            lo: r.optional("lo").map(Value::int).transpose()?,
            hi: r.optional("hi").map(Value::int).transpose()?,
        },
        "slope" => Act::Slope(r.take("slope")?.codes()?),
        _ => return Err(Mismatch::new(at, format!("one of {ALL}"))),
    };
    r.done()?;
    Ok(act)
}

fn binary(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "add",
        BinaryOp::Sub => "sub",
        BinaryOp::Mul => "mul",
        BinaryOp::Max => "max",
        BinaryOp::Min => "min",
    }
}

fn read_binary(v: Value) -> Result<BinaryOp> {
    const ALL: [BinaryOp; 5] = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Max, BinaryOp::Min];
    const NAMES: &str = "add, sub, mul, max, min";
    let at = v.at;
    let (name, r) = v.variant(NAMES)?;
    r.done()?;
    let found = ALL.into_iter().find(|op| binary(*op) == name);
    found.ok_or_else(|| Mismatch::new(at, format!("one of {NAMES}")))
}

fn lut(l: &Lut) -> Record {
    let index = new()
        .with("mul", Kind::Int(l.index.mul))
        .with("shift", Kind::Int(i64::from(l.index.shift)))
        .with("toward_zero", flag(l.index.toward_zero))
        .with("offset", Kind::Int(l.index.offset));
    new()
        .with("index", Kind::Record(index))
        .with("entries", codes(&l.entries))
        .with("interpolate", flag(l.interpolate))
}

fn take_lut(r: &mut Record) -> Result<Lut> {
    let mut i = r.take("index")?.record()?;
    let mul = i.take("mul")?.int()?;
    let shift = i.take("shift")?;
    let at = shift.at;
    let shift = i32::try_from(shift.int()?).map_err(|_| Mismatch::new(at, "a shift of 32 bits"))?;
    let toward_zero = i.take("toward_zero")?.bool()?;
    let offset = i.take("offset")?.int()?;
    i.done()?;
    Ok(Lut {
        index: Index { mul, shift, toward_zero, offset },
        entries: r.take("entries")?.codes()?,
        interpolate: r.take("interpolate")?.bool()?,
    })
}

fn read_lut(v: Value) -> Result<Lut> {
    let mut r = v.record()?;
    let lut = take_lut(&mut r)?;
    r.done()?;
    Ok(lut)
}

fn pool_kind(k: &PoolKind) -> Kind {
    match k {
        PoolKind::Max => Value::word("max"),
        PoolKind::Average(a) => new()
            .with("include_pad", flag(a.include_pad))
            .with("accum", accum(&a.accum))
            .with("divide", divide(&a.divide))
            .named("average"),
    }
}

fn read_pool_kind(v: Value) -> Result<PoolKind> {
    let at = v.at;
    let (name, mut r) = v.variant("max, average{…}")?;
    let kind = match name.as_str() {
        "max" => PoolKind::Max,
        "average" => PoolKind::Average(Average {
            include_pad: r.take("include_pad")?.bool()?,
            accum: read_accum(r.take("accum")?)?,
            divide: read_divide(r.take("divide")?)?,
        }),
        _ => return Err(Mismatch::new(at, "max or average{…}")),
    };
    r.done()?;
    Ok(kind)
}

fn divide(d: &Divide) -> Kind {
    match d {
        Divide::Reciprocal(c) => new().with("codes", codes(c)).named("reciprocal"),
        Divide::TowardZero => Value::word("toward_zero"),
    }
}

fn read_divide(v: Value) -> Result<Divide> {
    let at = v.at;
    let (name, mut r) = v.variant("reciprocal{codes: …}, toward_zero")?;
    let divide = match name.as_str() {
        "reciprocal" => Divide::Reciprocal(r.take("codes")?.codes()?),
        "toward_zero" => Divide::TowardZero,
        _ => return Err(Mismatch::new(at, "reciprocal{codes: …} or toward_zero")),
    };
    r.done()?;
    Ok(divide)
}

/// The kind of a softmax without tables.
const ARGMAX: &str = "argmax";

fn softmax_kind(k: SoftmaxKind) -> &'static str {
    match k {
        SoftmaxKind::Stable => "stable",
        SoftmaxKind::Latency => "latency",
        SoftmaxKind::Legacy => "legacy",
    }
}

/// How the tables are used; `None` for argmax.
fn read_softmax_kind(v: Value) -> Result<Option<SoftmaxKind>> {
    const ALL: &str = "stable, latency, legacy, argmax";
    let at = v.at;
    let (name, r) = v.variant(ALL)?;
    r.done()?;
    let found = SoftmaxKind::ALL.into_iter().find(|k| softmax_kind(*k) == name);
    if found.is_none() && name != ARGMAX {
        return Err(Mismatch::new(at, format!("one of {ALL}")));
    }
    Ok(found)
}
