//! The typed configuration of each layer: a struct of types, constants and small functions that the kernels of
//! `hypersonic/*.h` are instantiated with.

use std::fmt::Write as _;

use hs_fixed::{Format, Rounding, Type};
use hs_hw::{
    Accum, Act, Average, BinaryOp, Codes, Divide, Dot, Lut, Node, Op, Order, Pool, PoolKind, Softmax,
    SoftmaxKind, SoftmaxTables, ValueId,
};

use super::design::Design;
use super::layout::{DotLayout, Geometry, MAX_PARTITION, is_tree};
use super::names::comment;
use super::network::Arg;

/// HLS spelling of a grid, modes given.
pub(crate) fn grid(format: Format) -> String {
    Type::new(format, Rounding::Trn, hs_fixed::Overflow::WRAP).hls()
}

/// `ap_int` or `ap_uint` of the format's width: the type of its codes.
fn code_type(format: Format) -> String {
    format!("ap_{}int<{}>", if format.is_signed() { "" } else { "u" }, format.width())
}

/// A C++ literal.
pub(crate) fn literal(value: i64) -> String {
    if value == i64::MIN { "(-9223372036854775807LL - 1)".to_owned() } else { format!("{value}LL") }
}

/// Elements in which an array can be reached at once.
fn banks(elements: usize, otherwise: usize) -> usize {
    if elements <= MAX_PARTITION { elements } else { otherwise.clamp(1, MAX_PARTITION) }
}

/// A struct being written.
struct Config {
    text: String,
}

impl Config {
    fn new(design: &Design<'_>, id: ValueId) -> Self {
        let node = design.program.node(id);
        let text =
            format!("// {}: {}\nstruct cfg_{} {{\n", node.op.keyword(), comment(&node.name), design.id(id));
        Self { text }
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "    {line}");
    }

    fn alias(&mut self, name: &str, ty: &str) {
        self.line(&format!("typedef {ty} {name};"));
    }

    fn constant(&mut self, name: &str, value: usize) {
        self.line(&format!("static const unsigned {name} = {value};"));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.line(&format!("static const bool {name} = {value};"));
    }

    fn function(&mut self, signature: &str, body: &[String]) {
        self.line(&format!("static {signature} {{"));
        self.text.push_str("#pragma HLS INLINE\n");
        for line in body {
            self.line(&format!("    {line}"));
        }
        self.line("}");
    }

    fn finish(mut self) -> String {
        self.text.push_str("};\n");
        self.text
    }
}

/// Index expression of a broadcast constant: flat index `i`, channel `c`.
fn broadcast(codes: &Codes, channels: usize) -> &'static str {
    match codes.len() {
        1 => "0",
        n if n == channels => "c",
        _ => "i",
    }
}

/// Statements that apply `act` to `e` (of format `exact`) and return it as `y_t`.
fn act_body(design: &Design<'_>, id: ValueId, act: &Act, exact: Format) -> Vec<String> {
    match act {
        Act::None => vec!["return y_t(e);".to_owned()],
        Act::Clamp { lo, hi } => {
            let mut body = vec!["exact_t v = e;".to_owned()];
            for (bound, name, op) in [(lo, "low", "<"), (hi, "high", ">")] {
                if let Some(code) = bound {
                    let value = format!("hypersonic::from_code<exact_t>({})", literal(*code));
                    body.push(format!("const exact_t {name} = {value};"));
                    body.push(format!("if (v {op} {name})"));
                    body.push(format!("    v = {name};"));
                }
            }
            body.push("return y_t(v);".to_owned());
            body
        }
        Act::Slope(s) => {
            let wide = act.format(exact).expect("verified");
            let at = broadcast(s, design.program.node(id).channels());
            vec![
                format!("typedef {} sloped_t;", grid(wide)),
                format!("typedef {} slope_t;", grid(s.format)),
                "sloped_t v = e;".to_owned(),
                "if (e < 0)".to_owned(),
                format!("    v = e * hypersonic::from_code<slope_t>(a_{}[{at}]);", design.id(id)),
                "return y_t(v);".to_owned(),
            ]
        }
    }
}

/// The whole text of a built node's configuration.
pub(crate) fn config(design: &Design<'_>, id: ValueId, args: &[Arg]) -> String {
    let node = design.program.node(id);
    match &node.op {
        Op::Dot(d) => dot(design, id, d),
        Op::Affine { scale, bias, act } => affine(design, id, scale, bias, act),
        Op::Requant(act) => requant(design, id, act),
        Op::Binary { op, act } => binary(design, id, *op, act, args),
        Op::Table(lut) => table(design, id, lut),
        Op::Pool(p) => pool(design, id, p),
        Op::Softmax(s) => softmax(design, id, s),
        Op::Reshape | Op::Permute(_) | Op::Pad { .. } => super::moves::config(design, id),
        Op::Input { .. } | Op::Output { .. } | Op::Const(_) | Op::Concat { .. } => String::new(),
    }
}

/// `x_t`, `y_t`, `pixels`, `channels` of an elementwise op.
fn elementwise(design: &Design<'_>, c: &mut Config, id: ValueId, slots: &[(&str, ValueId)]) {
    let node = design.program.node(id);
    for (name, value) in slots {
        c.alias(name, &design.type_name(*value));
    }
    c.alias("y_t", &format!("t_{}", design.id(id)));
    c.constant("pixels", node.pixels());
    c.constant("channels", node.channels());
}

fn affine(design: &Design<'_>, id: ValueId, scale: &Codes, bias: &Codes, act: &Act) -> String {
    let node = design.program.node(id);
    let exact = exact_format(design, node);
    let mut c = Config::new(design, id);
    elementwise(design, &mut c, id, &[("x_t", node.inputs[0])]);
    c.alias("exact_t", &grid(exact));
    c.alias("scale_t", &grid(scale.format));
    c.alias("bias_t", &grid(bias.format));
    let (name, channels) = (design.id(id), node.channels());
    let mut body = vec![
        format!(
            "const scale_t s = hypersonic::from_code<scale_t>(s_{name}[{}]);",
            broadcast(scale, channels)
        ),
        format!("const bias_t b = hypersonic::from_code<bias_t>(b_{name}[{}]);", broadcast(bias, channels)),
        "const exact_t e = x * s + b;".to_owned(),
    ];
    body.extend(act_body(design, id, act, exact));
    c.function("y_t apply(const x_t &x, unsigned i, unsigned c)", &body);
    c.finish()
}

fn requant(design: &Design<'_>, id: ValueId, act: &Act) -> String {
    let node = design.program.node(id);
    let exact = exact_format(design, node);
    let mut c = Config::new(design, id);
    elementwise(design, &mut c, id, &[("x_t", node.inputs[0])]);
    c.alias("exact_t", &grid(exact));
    let mut body = vec!["const exact_t e = x;".to_owned()];
    body.extend(act_body(design, id, act, exact));
    c.function("y_t apply(const x_t &x, unsigned i, unsigned c)", &body);
    c.finish()
}

fn exact_format(design: &Design<'_>, node: &Node) -> Format {
    let inputs = design.program.input_formats(node);
    node.op.exact_format(&inputs).expect("has an exact value").expect("verified")
}

fn binary(design: &Design<'_>, id: ValueId, op: BinaryOp, act: &Act, args: &[Arg]) -> String {
    let node = design.program.node(id);
    let exact = exact_format(design, node);
    let mut c = Config::new(design, id);
    let value = |slot: usize| node.inputs[slot];
    let mut body = Vec::new();
    let mut constant = |name: &str, from: ValueId| {
        let t = design.type_name(from);
        body.push(format!("const {t} {name} = hypersonic::from_code<{t}>(k_{}[i]);", design.id(from)));
    };
    let signature = match (args[0], args[1]) {
        (Arg::Channel(_), Arg::Const(k)) => {
            elementwise(design, &mut c, id, &[("x_t", value(0))]);
            constant("b", k);
            "y_t apply(const x_t &a, unsigned i, unsigned c)"
        }
        (Arg::Const(k), Arg::Channel(_)) => {
            elementwise(design, &mut c, id, &[("x_t", value(1))]);
            constant("a", k);
            "y_t apply(const x_t &b, unsigned i, unsigned c)"
        }
        (Arg::Channel(_) | Arg::Const(_), _) => {
            elementwise(design, &mut c, id, &[("a_t", value(0)), ("b_t", value(1))]);
            "y_t apply(const a_t &a, const b_t &b, unsigned i, unsigned c)"
        }
    };
    c.alias("exact_t", &grid(exact));
    let picked = |cmp: &str| {
        vec![
            "const exact_t p = a;".to_owned(),
            "const exact_t q = b;".to_owned(),
            format!("const exact_t e = p {cmp} q ? p : q;"),
        ]
    };
    body.extend(match op {
        BinaryOp::Add => vec!["const exact_t e = a + b;".to_owned()],
        BinaryOp::Sub => vec!["const exact_t e = a - b;".to_owned()],
        BinaryOp::Mul => vec!["const exact_t e = a * b;".to_owned()],
        BinaryOp::Max => picked(">"),
        BinaryOp::Min => picked("<"),
    });
    body.extend(act_body(design, id, act, exact));
    c.function(signature, &body);
    c.finish()
}

/// A nested struct for `hypersonic::table`, of a table read with `x`, entries in `array`.
fn table_struct(c: &mut Config, name: &str, lut: &Lut, x: &str, format: Format, array: &str) {
    let index = &lut.index;
    let bits = |v: u64| 64 - v.leading_zeros();
    let (up, down) = ((-index.shift).max(0) as u32, index.shift.max(0) as u32);
    let mul = bits(index.mul.unsigned_abs()) + 1;
    let offset = bits(index.offset.unsigned_abs()) + if lut.interpolate { down } else { 0 };
    let last = bits(lut.entries.len() as u64) + down;
    let wide = (format.width() + mul + up).max(offset).max(last).max(down) + 4;
    let n = lut.entries.len();
    c.line(&format!("struct {name} {{"));
    let mut inner = Config { text: String::new() };
    inner.alias("x_t", x);
    inner.alias("code_t", &code_type(format));
    inner.alias("wide_t", &format!("ap_int<{wide}>"));
    inner.alias("entry_t", &grid(lut.entries.format));
    inner.alias("exact_t", &grid(lut.format().expect("verified")));
    inner.constant("last", n - 1);
    inner.constant("up", up as usize);
    inner.constant("down", down as usize);
    inner.flag("toward_zero", index.toward_zero);
    inner.line(&format!("static ap_int<{}> mul() {{ return {}; }}", mul + 1, literal(index.mul)));
    inner.line(&format!("static wide_t offset() {{ return {}; }}", literal(index.offset)));
    inner.line("static wide_t below_one() { return (wide_t(1) << down) - 1; }");
    if lut.interpolate {
        inner.alias("within_t", &grid(Format::new(false, down + 1, 1).expect("at most 41 bits")));
        inner.line("static wide_t offset_fine() { return offset() << down; }");
        inner.line("static wide_t end_fine() { return wide_t(last) << down; }");
    }
    inner.line(&format!(
        "static entry_t entry(unsigned i) {{ return hypersonic::from_code<entry_t>({array}[i]); }}"
    ));
    for line in inner.text.lines() {
        c.line(line);
    }
    c.line("};");
}

fn look_up(lut: &Lut, name: &str, x: &str) -> String {
    let how = if lut.interpolate { "between" } else { "nearest" };
    format!("hypersonic::table<{name}>::{how}({x})")
}

fn table(design: &Design<'_>, id: ValueId, lut: &Lut) -> String {
    let node = design.program.node(id);
    let from = node.inputs[0];
    let mut c = Config::new(design, id);
    elementwise(design, &mut c, id, &[("x_t", from)]);
    let array = format!("e_{}", design.id(id));
    table_struct(&mut c, "entries", lut, &design.type_name(from), design.program.node(from).format(), &array);
    c.function(
        "y_t apply(const x_t &x, unsigned i, unsigned c)",
        &[format!("return y_t({});", look_up(lut, "entries", "x"))],
    );
    c.finish()
}

/// `accum_t`, `order`, `rf`, `max_terms` of a sum.
fn accumulation(c: &mut Config, accum: &Accum, terms: usize) {
    let (ty, order, rf) = match accum {
        Accum::Exact(f) => (grid(*f), "sequential", 1),
        Accum::Stepwise { ty, order, .. } => {
            let (order, rf) = match order {
                Order::Any | Order::Sequential => ("sequential", 1),
                Order::Strided { rf } => ("strided", *rf),
                Order::Blocked { rf } => ("blocked", *rf),
                Order::Tree => ("tree", 1),
            };
            (ty.hls(), order, rf)
        }
    };
    c.alias("accum_t", &ty);
    c.line(&format!("static const hypersonic::accum_order order = hypersonic::order_{order};"));
    c.constant("rf", rf);
    c.constant("max_terms", terms);
}

/// The window's constants; a dense layer or a pixel of its own needs no more than its channels.
fn geometry(c: &mut Config, g: &Geometry, windowed: bool) {
    c.constant("channels", g.channels);
    if !windowed {
        return;
    }
    let padded = g.padded();
    for (axis, a) in ["d", "h", "w"].into_iter().enumerate() {
        let w = &g.window[axis];
        let values = [
            ("in", g.input[axis]),
            ("kernel", w.kernel),
            ("stride", w.stride),
            ("dilation", w.dilation),
            ("pad", w.pad_begin),
            ("padded", padded[axis]),
            ("out", g.output[axis]),
            ("extent", w.extent()),
        ];
        c.line(&format!(
            "static const unsigned {};",
            values.map(|(name, v)| format!("{name}_{a} = {v}")).join(", ")
        ));
    }
    let (lines, planes) = g.lines();
    let (line, plane) = g.delays();
    c.constant("taps", g.taps());
    c.constant("n_in", g.input.iter().product::<usize>() * g.channels);
    c.constant("n_lines", lines.max(1));
    c.constant("n_planes", planes.max(1));
    c.constant("line_delay", line.max(1));
    c.constant("plane_delay", plane.max(1));
    c.constant("n_ring", g.ring() * g.channels);
    c.constant("ring_banks", banks(g.ring() * g.channels, g.channels));
}

fn dot(design: &Design<'_>, id: ValueId, d: &Dot) -> String {
    let node = design.program.node(id);
    let from = design.program.node(node.inputs[0]);
    let name = design.id(id);
    let g = design.geometry(id).expect("a dot has a geometry");
    let layout: DotLayout = design.dot_layout(id, d).expect("checked");
    let product = from.format().mul(d.weight.format).expect("verified");
    let product_ty = match d.accum {
        Accum::Stepwise { product: Some(p), .. } => p.hls(),
        Accum::Stepwise { product: None, .. } | Accum::Exact(_) => grid(product),
    };
    let mut c = Config::new(design, id);
    c.alias("x_t", &design.type_name(node.inputs[0]));
    c.alias("w_t", &grid(d.weight.format));
    c.alias("wcode_t", &format!("wt_{name}"));
    c.alias("product_t", &product_ty);
    accumulation(&mut c, &d.accum, layout.terms);
    c.alias("exact_t", "accum_t");
    c.alias("y_t", &format!("t_{name}"));
    let fold = design.fold(id);
    let (n_x, steps) = match &fold {
        Some(fold) => {
            c.constant("channels", fold.channels);
            c.constant("folds", fold.pixels);
            (fold.channels, fold.channels / layout.depth)
        }
        None => {
            geometry(&mut c, &g, design.is_windowed(id));
            (g.taps() * g.channels, layout.steps)
        }
    };
    c.constant("n_x", n_x);
    c.constant("n_w", d.weight.len());
    c.constant("n_y", node.len());
    c.constant("n_out", layout.outputs);
    c.constant("pixels", node.pixels());
    c.constant("terms", layout.terms);
    c.constant("turns", layout.turns);
    c.constant("steps", steps);
    c.constant("lanes", layout.lanes);
    c.constant("depth", layout.depth);
    let tree = is_tree(&d.accum);
    c.constant("w_banks", if tree { layout.terms } else { layout.multipliers() });
    c.constant("x_banks", banks(n_x, layout.depth.max(g.channels.min(MAX_PARTITION))));
    c.constant("y_banks", banks(layout.outputs, layout.lanes));
    c.flag("has_bias", d.bias.is_some());
    c.function("unsigned source(unsigned o, unsigned p)", &source(d, &g, &layout));
    let start = match &d.bias {
        None => vec!["return accum_t(0);".to_owned()],
        Some(b) => {
            vec![format!("return accum_t(hypersonic::from_code<{} >(b_{name}[o]));", grid(b.format))]
        }
    };
    c.function("accum_t start(unsigned o)", &start);
    c.function(
        "y_t finish(const exact_t &e, unsigned i, unsigned c)",
        &act_body(design, id, &d.act, d.accum.format()),
    );
    c.finish()
}

/// Where in the window the term at place `p` of output `o` lies.
fn source(d: &Dot, g: &Geometry, layout: &DotLayout) -> Vec<String> {
    let place = match d.accum {
        Accum::Stepwise { order: Order::Strided { rf }, .. } => {
            format!("hypersonic::strided(p, terms, {rf})")
        }
        Accum::Stepwise { .. } | Accum::Exact(_) => "p".to_owned(),
    };
    if d.groups == 1 {
        return vec![format!("return {place};")];
    }
    let (cin, cout) = (g.channels / d.groups, layout.outputs / d.groups);
    vec![
        format!("const unsigned t = {place};"),
        format!("return t / {cin} * channels + o / {cout} * {cin} + t % {cin};"),
    ]
}

fn pool(design: &Design<'_>, id: ValueId, p: &Pool) -> String {
    let node = design.program.node(id);
    let g = design.geometry(id).expect("a pool has a geometry");
    let mut c = Config::new(design, id);
    c.alias("x_t", &design.type_name(node.inputs[0]));
    c.alias("y_t", &format!("t_{}", design.id(id)));
    geometry(&mut c, &g, true);
    let n_x = g.taps() * g.channels;
    c.constant("n_x", n_x);
    c.constant("n_y", node.len());
    c.constant("x_banks", banks(n_x, g.channels));
    c.constant("y_banks", banks(g.channels, 1));
    c.flag("padded", g.is_padded());
    match &p.kind {
        PoolKind::Max => {
            c.line("static const hypersonic::pool_kind kind = hypersonic::pool_max;");
            c.function("y_t finish(const x_t &largest)", &["return y_t(largest);".to_owned()]);
        }
        PoolKind::Average(a) => average(design, &mut c, id, a, g.taps()),
    }
    c.finish()
}

fn average(design: &Design<'_>, c: &mut Config, id: ValueId, a: &Average, taps: usize) {
    c.line("static const hypersonic::pool_kind kind = hypersonic::pool_average;");
    accumulation(c, &a.accum, taps);
    c.flag("include_pad", a.include_pad);
    let body = match &a.divide {
        Divide::Reciprocal(r) => vec![format!(
            "return y_t(sum * hypersonic::from_code<{} >(r_{}[count - 1]));",
            grid(r.format),
            design.id(id)
        )],
        Divide::TowardZero => {
            let f = a.accum.format();
            let wide = f.width() + 1;
            vec![
                format!("const ap_int<{wide}> n = hypersonic::to_code<{} >(sum);", code_type(f)),
                "const ap_int<33> by = count;".to_owned(),
                format!("const ap_int<{wide}> q = n / by;"),
                "return y_t(hypersonic::from_code<accum_t>(q));".to_owned(),
            ]
        }
    };
    c.function("y_t finish(const accum_t &sum, unsigned count)", &body);
}

fn softmax(design: &Design<'_>, id: ValueId, s: &Softmax) -> String {
    let node = design.program.node(id);
    let mut c = Config::new(design, id);
    elementwise(design, &mut c, id, &[("x_t", node.inputs[0])]);
    let kind = match s {
        Softmax::Tables(s) => match s.kind {
            SoftmaxKind::Stable | SoftmaxKind::Latency => "scaled",
            SoftmaxKind::Legacy => "legacy",
        },
        Softmax::Argmax => "argmax",
    };
    c.line(&format!("static const hypersonic::softmax_kind kind = hypersonic::softmax_{kind};"));
    match s {
        Softmax::Tables(s) => softmax_tables(design, &mut c, id, s),
        Softmax::Argmax => {}
    }
    c.finish()
}

fn softmax_tables(design: &Design<'_>, c: &mut Config, id: ValueId, s: &SoftmaxTables) {
    let name = design.id(id);
    c.alias("delta_t", &s.delta.hls());
    c.alias("exp_t", &s.exp_ty.hls());
    c.alias("inv_in_t", &s.inv_in.hls());
    c.alias("inv_t", &s.inv_ty.hls());
    accumulation(c, &s.sum, design.program.node(id).channels());
    table_struct(c, "exp_entries", &s.exp, "delta_t", s.delta.format, &format!("e_{name}"));
    table_struct(c, "inv_entries", &s.inv, "inv_in_t", s.inv_in.format, &format!("v_{name}"));
    let delta = match s.kind {
        SoftmaxKind::Stable => "from - x",
        SoftmaxKind::Latency => "x",
        SoftmaxKind::Legacy => "x - from",
    };
    c.function(
        "exp_t exponent(const x_t &x, const x_t &from)",
        &[
            format!("const delta_t d = {delta};"),
            format!("return exp_t({});", look_up(&s.exp, "exp_entries", "d")),
        ],
    );
    c.function(
        "inv_t reciprocal(const accum_t &sum)",
        &[
            "const inv_in_t a = sum;".to_owned(),
            format!("return inv_t({});", look_up(&s.inv, "inv_entries", "a")),
        ],
    );
}
