//! Types, constants and configurations of a project.

use std::fmt::Write as _;

use hs_hw::Op;

use super::KERNEL_WEIGHTS;
use super::config;
use super::design::{Array, Design};
use super::names::comment;
use super::network::{Arg, Role};
use super::top;

/// `firmware/defines.h`: the type of every tensor.
pub(crate) fn defines(design: &Design<'_>) -> String {
    let guard = format!("{}_DEFINES_H", design.top.to_ascii_uppercase());
    let mut s = format!(
        "// Types of the tensors of {}.\n#ifndef {guard}\n#define {guard}\n\n",
        comment(&design.program.name)
    );
    s.push_str("#include \"ap_fixed.h\"\n\n");
    for (id, node) in design.program.iter() {
        let used = match node.op {
            Op::Input { .. } => true,
            Op::Const(_) => design.arrays.contains_key(&format!("k_{}", design.id(id))),
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
            | Op::Concat { .. }
            | Op::Pad { .. } => design.is_built(id) && !node.op.moves_data(),
        };
        if used {
            let _ = writeln!(
                s,
                "typedef {} t_{}; // {} {:?}",
                node.ty.hls(),
                design.id(id),
                comment(&node.name),
                node.shape
            );
        }
    }
    let _ = writeln!(s, "\n#endif");
    s
}

/// `firmware/parameters.h`: constants and typed configurations.
pub(crate) fn parameters(design: &Design<'_>) -> String {
    let guard = format!("{}_PARAMETERS_H", design.top.to_ascii_uppercase());
    let mut s =
        format!("// Layers of {}.\n#ifndef {guard}\n#define {guard}\n\n", comment(&design.program.name));
    s.push_str("#include \"defines.h\"\n");
    for header in top::headers(design) {
        let _ = writeln!(s, "#include \"hypersonic/{header}\"");
    }
    for array in design.arrays.values() {
        let _ = writeln!(s, "#include \"weights/{}.h\"", array.name);
    }
    s.push('\n');
    for process in &design.network.processes {
        if let Role::Node(id) = process.role {
            let text = config::config(design, id, &process.reads);
            if !text.is_empty() {
                s.push_str(&text);
                s.push('\n');
            }
        }
    }
    let _ = writeln!(s, "#endif");
    s
}

/// `firmware/weights/ARRAY.h`.
pub(crate) fn weights(design: &Design<'_>, array: &Array) -> String {
    let Array { name, format, data, .. } = array;
    let guard = format!("{}_{}_H", design.top.to_ascii_uppercase(), name.to_ascii_uppercase());
    let (prefix, id) = name.split_once('_').unwrap_or(("w", name));
    let code = format!("{prefix}t_{id}");
    let c_type = match array.bytes() {
        1 => "signed char",
        2 => "short",
        4 => "int",
        _ => "long long",
    };
    let u = if format.is_signed() { "" } else { "u" };
    let mut s = format!("#ifndef {guard}\n#define {guard}\n\n#include \"ap_int.h\"\n\n");
    let _ = writeln!(s, "// Codes of {}.", config::grid(*format));
    let _ = writeln!(
        s,
        "#ifdef __SYNTHESIS__\ntypedef ap_{u}int<{}> {code};\n#else\ntypedef {c_type} {code};\n#endif",
        format.width()
    );
    if array.loaded {
        let _ = writeln!(s, "// {} codes, loaded from {KERNEL_WEIGHTS}.", data.len());
    } else {
        let _ = write!(s, "static const {code} {name}[{}] = {{", data.len());
        for (i, v) in data.iter().enumerate() {
            s.push_str(if i % 16 == 0 { "\n    " } else { " " });
            if array.bytes() == 8 {
                s.push_str(&config::literal(*v));
            } else {
                let _ = write!(s, "{v}");
            }
            s.push(',');
        }
        s.push_str("\n};\n");
    }
    s.push_str("\n#endif\n");
    s
}

/// `README.md`'s table of layers.
pub(crate) fn layers(design: &Design<'_>) -> String {
    let mut s = String::from(
        "| layer | op | shape | type | strategy | reuse |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for process in &design.network.processes {
        let Role::Node(id) = process.role else { continue };
        let node = design.program.node(id);
        let layer = design.schedule.layers[id.index()];
        let (strategy, reuse) = match node.op {
            Op::Dot(_) => (format!("{:?}", layer.strategy).to_lowercase(), layer.reuse.to_string()),
            Op::Input { .. }
            | Op::Output { .. }
            | Op::Const(_)
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Pool(_)
            | Op::Softmax(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Pad { .. } => (String::new(), String::new()),
        };
        let consts = process.reads.iter().filter(|a| matches!(a, Arg::Const(_))).count();
        let note = if consts > 0 { " (constant operand)" } else { "" };
        let _ = writeln!(
            s,
            "| {} | {}{note} | {:?} | {} | {strategy} | {reuse} |",
            comment(&node.name),
            node.op.keyword(),
            node.shape,
            node.ty
        );
    }
    s
}
