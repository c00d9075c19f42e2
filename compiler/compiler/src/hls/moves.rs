//! Reshape, permute, pad, concat and clone: index arithmetic and the functions whose number of arguments varies.

use std::fmt::Write as _;

use hs_hw::{Io, Op, ValueId};

use super::design::Design;
use super::names::comment;
use super::network::{Arg, Process};

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i];
    }
    s
}

/// Coordinate `axis` of the flat index `i` over `shape`.
fn coordinate(i: &str, shape: &[usize], axis: usize) -> String {
    let stride = strides(shape)[axis];
    let at = if stride == 1 { i.to_owned() } else { format!("{i} / {stride}") };
    if shape[..axis].iter().all(|n| *n == 1) { at } else { format!("{at} % {}", shape[axis]) }
}

/// How a move node's result is made in a streamed design.
pub(crate) enum Move {
    /// Beats of `ratio` times as many elements.
    Widen(usize),
    /// Beats of a `ratio`-th.
    Narrow(usize),
    /// Through a stored tensor.
    Rearrange,
    /// Zeros around.
    Pad,
}

/// How `id`, a reshape, permute or pad that a process computes, is made.
pub(crate) fn kind(design: &Design<'_>, id: ValueId) -> Move {
    let node = design.program.node(id);
    let from = design.program.node(node.inputs[0]).channels();
    let to = node.channels();
    match &node.op {
        Op::Reshape if to.is_multiple_of(from) => Move::Widen(to / from),
        Op::Reshape if from.is_multiple_of(to) => Move::Narrow(from / to),
        Op::Pad { .. } => Move::Pad,
        Op::Permute(_)
        | Op::Reshape
        | Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Dot(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Concat { .. } => Move::Rearrange,
    }
}

/// Configuration of a reshape, permute or pad.
pub(crate) fn config(design: &Design<'_>, id: ValueId) -> String {
    if design.schedule.io == Io::Stream && matches!(kind(design, id), Move::Widen(_) | Move::Narrow(_)) {
        return String::new();
    }
    let node = design.program.node(id);
    let from = design.program.node(node.inputs[0]);
    let (source, inside) = match &node.op {
        Op::Permute(perm) => {
            let steps = strides(&from.shape);
            let terms: Vec<String> = (0..perm.len())
                .filter(|axis| node.shape[*axis] != 1)
                .map(|axis| format!("({}) * {}", coordinate("i", &node.shape, axis), steps[perm[axis]]))
                .collect();
            (terms.join(" + "), "true".to_owned())
        }
        Op::Pad { before, .. } => pad(&node.shape, &from.shape, before),
        Op::Reshape
        | Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Dot(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Concat { .. } => ("i".to_owned(), "true".to_owned()),
    };
    let mut s =
        format!("// {}: {}\nstruct cfg_{} {{\n", node.op.keyword(), comment(&node.name), design.id(id));
    let _ = writeln!(s, "    typedef {} x_t;", design.type_name(id));
    for (name, value) in [
        ("n_in", from.len()),
        ("n_y", node.len()),
        ("in_beats", from.pixels()),
        ("in_channels", from.channels()),
        ("out_beats", node.pixels()),
        ("out_channels", node.channels()),
    ] {
        let _ = writeln!(s, "    static const unsigned {name} = {value};");
    }
    if let Op::Pad { before, .. } = &node.op {
        let last = node.shape.len() - 1;
        let _ = writeln!(s, "    static const unsigned before = {};", before[last]);
        let (_, inside) = pad(&node.shape[..last], &from.shape[..last], &before[..last]);
        function(&mut s, "bool inside_beat(unsigned i)", &inside);
    }
    function(&mut s, "unsigned source(unsigned i)", if source.is_empty() { "0" } else { &source });
    function(&mut s, "bool inside(unsigned i)", &inside);
    s.push_str("};\n");
    s
}

fn function(s: &mut String, signature: &str, value: &str) {
    let _ = writeln!(s, "    static {signature} {{\n#pragma HLS INLINE\n        return {value};\n    }}");
}

/// Source index and whether an element of the padded tensor lies on the input, for flat index `i`.
fn pad(shape: &[usize], from: &[usize], before: &[usize]) -> (String, String) {
    let steps = strides(from);
    let mut source = Vec::new();
    let mut inside = Vec::new();
    for axis in 0..shape.len() {
        let at = coordinate("i", shape, axis);
        if shape[axis] == from[axis] {
            if shape[axis] != 1 {
                source.push(format!("({at}) * {}", steps[axis]));
            }
            continue;
        }
        source.push(format!("({at} - {}) * {}", before[axis], steps[axis]));
        if before[axis] > 0 {
            inside.push(format!("{at} >= {}", before[axis]));
        }
        if before[axis] + from[axis] < shape[axis] {
            inside.push(format!("{at} < {}", before[axis] + from[axis]));
        }
    }
    let or = |v: Vec<String>, sep: &str, none: &str| if v.is_empty() { none.to_owned() } else { v.join(sep) };
    (or(source, " + ", "0"), or(inside, " && ", "true"))
}

/// The function that copies a value to its readers.
pub(crate) fn clone_function(design: &Design<'_>, value: ValueId, process: &Process) -> String {
    let node = design.program.node(value);
    let (ty, name) = (design.type_name(value), design.id(value));
    let outs = 0..process.writes.len();
    let mut s = format!("// The readers of {}.\n", comment(&node.name));
    match design.schedule.io {
        Io::Parallel => {
            let n = node.len();
            let params: Vec<String> = outs.clone().map(|k| format!("{ty} y{k}[{n}]")).collect();
            let _ = writeln!(s, "static void f_{name}(const {ty} x[{n}], {}) {{", params.join(", "));
            let _ = writeln!(s, "    for (unsigned i = 0; i < {n}; i++) {{\n#pragma HLS PIPELINE II=1");
            for k in outs {
                let _ = writeln!(s, "        y{k}[i] = x[i];");
            }
            s.push_str("    }\n}\n");
        }
        Io::Stream => {
            let beat = format!("hypersonic::beat<{ty}, {}>", node.channels());
            let params: Vec<String> = outs.clone().map(|k| format!("hls::stream<{beat} > &y{k}")).collect();
            let _ = writeln!(
                s,
                "static void f_{name}(hls::stream<{beat} > &x, {}, unsigned rows) {{",
                params.join(", ")
            );
            s.push_str("    for (unsigned r = 0; r < rows; r++) {\n");
            let _ = writeln!(
                s,
                "        for (unsigned p = 0; p < {}; p++) {{\n#pragma HLS PIPELINE II=1\n            const {beat} v = x.read();",
                node.pixels()
            );
            for k in outs {
                let _ = writeln!(s, "            y{k}.write(v);");
            }
            s.push_str("        }\n    }\n}\n");
        }
    }
    s
}

/// The function of a concat node.
pub(crate) fn concat_function(design: &Design<'_>, id: ValueId, axis: usize, args: &[Arg]) -> String {
    let node = design.program.node(id);
    let mut s = format!("// concat: {}\n", comment(&node.name));
    let name = design.id(id);
    let own = format!("t_{name}");
    let outer: usize = node.shape[..axis].iter().product();
    let inner: usize = node.shape[axis + 1..].iter().product();
    let last = axis + 1 == node.shape.len();
    let stream = design.schedule.io == Io::Stream;
    let part = |slot: usize| {
        let from = design.program.node(node.inputs[slot]);
        (design.type_name(node.inputs[slot]), from.shape[axis] * inner, from.channels(), from.len())
    };
    let mut params = Vec::new();
    for (slot, arg) in args.iter().enumerate() {
        let (ty, _, channels, len) = part(slot);
        if matches!(arg, Arg::Channel(_)) {
            params.push(if stream {
                format!("hls::stream<hypersonic::beat<{ty}, {channels}> > &x{slot}")
            } else {
                format!("const {ty} x{slot}[{len}]")
            });
        }
    }
    let channels = node.channels();
    let beat = format!("hypersonic::beat<{own}, {channels}>");
    let element = |slot: usize, arg: &Arg, index: &str| match arg {
        Arg::Channel(_) => format!("x{slot}[{index}]"),
        Arg::Const(k) => {
            format!("hypersonic::from_code<{} >(k_{}[{index}])", design.type_name(*k), design.id(*k))
        }
    };
    if !stream {
        params.push(format!("{own} y[{}]", node.len()));
        let _ = writeln!(s, "static void f_{name}({}) {{", params.join(", "));
        let row = node.shape[axis] * inner;
        let mut at = 0;
        for (slot, arg) in args.iter().enumerate() {
            let (_, run, ..) = part(slot);
            let _ = writeln!(s, "    for (unsigned o = 0; o < {outer}; o++) {{");
            let _ = writeln!(s, "        for (unsigned j = 0; j < {run}; j++) {{\n#pragma HLS PIPELINE II=1");
            let from = element(slot, arg, &format!("o * {run} + j"));
            let _ = writeln!(s, "            y[o * {row} + {at} + j] = {from};\n        }}\n    }}");
            at += run;
        }
        s.push_str("}\n");
        return s;
    }
    params.push(format!("hls::stream<{beat} > &y"));
    let _ = writeln!(s, "static void f_{name}({}, unsigned rows) {{", params.join(", "));
    s.push_str("    for (unsigned r = 0; r < rows; r++) {\n");
    if last {
        let _ = writeln!(
            s,
            "        for (unsigned p = 0; p < {}; p++) {{\n#pragma HLS PIPELINE II=1",
            node.pixels()
        );
        let _ = writeln!(s, "            {beat} to;");
        let mut at = 0;
        for (slot, arg) in args.iter().enumerate() {
            let (ty, _, channels, _) = part(slot);
            let from = match arg {
                Arg::Channel(_) => {
                    let _ = writeln!(
                        s,
                        "            const hypersonic::beat<{ty}, {channels}> v{slot} = x{slot}.read();"
                    );
                    format!("v{slot}.v[c]")
                }
                Arg::Const(_) => element(slot, arg, &format!("p * {channels} + c")),
            };
            let _ =
                writeln!(s, "            for (unsigned c = 0; c < {channels}; c++) {{\n#pragma HLS UNROLL");
            let _ = writeln!(s, "                to.v[{at} + c] = {from};\n            }}");
            at += channels;
        }
        s.push_str("            y.write(to);\n        }\n    }\n}\n");
        return s;
    }
    let _ = writeln!(s, "        for (unsigned o = 0; o < {outer}; o++) {{");
    for (slot, arg) in args.iter().enumerate() {
        let (ty, run, ..) = part(slot);
        let beats = run / channels;
        let _ =
            writeln!(s, "            for (unsigned p = 0; p < {beats}; p++) {{\n#pragma HLS PIPELINE II=1");
        let from = match arg {
            Arg::Channel(_) => {
                let _ = writeln!(
                    s,
                    "                const hypersonic::beat<{ty}, {channels}> v = x{slot}.read();"
                );
                "v.v[c]".to_owned()
            }
            Arg::Const(_) => element(slot, arg, &format!("(o * {beats} + p) * {channels} + c")),
        };
        let _ = writeln!(s, "                {beat} to;");
        let _ =
            writeln!(s, "                for (unsigned c = 0; c < {channels}; c++) {{\n#pragma HLS UNROLL");
        let _ = writeln!(s, "                    to.v[c] = {from};\n                }}");
        s.push_str("                y.write(to);\n            }\n");
    }
    s.push_str("        }\n    }\n}\n");
    s
}
