//! The files of a project other than the top function.

use std::fmt::Write as _;

use hs_hw::{Io, Op};

use super::KERNEL_WEIGHTS;
use super::config;
use super::design::{Array, Design};
use super::kernel::{self, WordLayout};
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

/// `firmware/NAME.h`: the top function.
pub(crate) fn header(design: &Design<'_>) -> String {
    let guard = format!("{}_H", design.top.to_ascii_uppercase());
    let mut s = format!(
        "#ifndef {guard}\n#define {guard}\n\n#include \"hls_stream.h\"\n\n#include \"defines.h\"\n#include \"hypersonic/types.h\"\n"
    );
    for array in design.arrays.values().filter(|a| a.loaded) {
        let _ = writeln!(s, "#include \"weights/{}.h\"", array.name);
    }
    let rows = match design.schedule.io {
        Io::Stream => "// One beat a pixel, all its channels in it; `rows` inputs one after the other.",
        Io::Parallel => "// One input a call.",
    };
    let _ = writeln!(s, "\n{rows}\n{};\n\n#endif", top::signature(design));
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

/// Rows that a streamed design is handed in one call of the test bench.
const ROWS_A_CALL: usize = 64;

/// `tb/NAME_bench.h`: reads inputs, calls the top function, writes outputs.
pub(crate) fn bench(design: &Design<'_>) -> String {
    let top = &design.top;
    let stream = design.schedule.io == Io::Stream;
    let (inputs, outputs) = (design.program.inputs(), design.program.outputs());
    let mut s = format!(
        "// Test bench of {top}.\nstatic void bench_{top}(size_t rows, const std::string &weights, const char *const *files) {{\n"
    );
    s.push_str("    (void)weights;\n");
    let mut call: Vec<String> = Vec::new();
    for (k, id) in inputs.iter().enumerate() {
        let (ty, len) = (design.type_name(*id), design.program.node(*id).len());
        let _ = writeln!(s, "    hypersonic_bench::source from{k}(files[{k}], rows, {len});");
        if stream {
            let _ = writeln!(s, "    hls::stream<{} > x{k}(\"x{k}\");", top::beat(design, *id));
        } else {
            let _ = writeln!(s, "    hypersonic_bench::tensor<{ty}> x{k}({len});");
        }
        call.push(if stream { format!("x{k}") } else { format!("x{k}.data") });
    }
    for (k, id) in outputs.iter().enumerate() {
        let (ty, len) = (design.type_name(*id), design.program.node(*id).len());
        let format = design.program.node(*id).format();
        let file = inputs.len() + k;
        let (width, signed) = (format.width(), format.is_signed());
        let _ = writeln!(s, "    hypersonic_bench::sink to{k}(files[{file}], {width}, {signed});");
        if stream {
            let carrier = design.network.carrier[id.index()];
            let _ = writeln!(s, "    hls::stream<{} > y{k}(\"y{k}\");", top::beat(design, carrier));
        } else {
            let _ = writeln!(s, "    hypersonic_bench::tensor<{ty}> y{k}({len});");
        }
        call.push(if stream { format!("y{k}") } else { format!("y{k}.data") });
    }
    for (array, layout, first) in kernel::loaded(design) {
        let (name, id) = (&array.name, design.id(array.node));
        let WordLayout { codes, words, code_bytes, stride } = layout;
        let _ = writeln!(
            s,
            "    const std::vector<wt_{id}> {name} = hypersonic_bench::weights<wt_{id}>(weights, {first}, {words}, {codes}, \
             {code_bytes}, {stride});",
        );
        call.push(format!("{name}.data()"));
    }
    if stream {
        call.push("unsigned(n)".to_owned());
        stream_rows(design, &mut s, &call);
    } else {
        s.push_str("    for (size_t r = 0; r < rows; r++) {\n");
        for (k, id) in inputs.iter().enumerate() {
            let len = design.program.node(*id).len();
            let _ = writeln!(
                s,
                "        for (size_t i = 0; i < {len}; i++)\n            from{k}.take(x{k}.data[i]);"
            );
        }
        let _ = writeln!(s, "        {top}({});", call.join(", "));
        for (k, id) in outputs.iter().enumerate() {
            let len = design.program.node(*id).len();
            let _ = writeln!(
                s,
                "        for (size_t i = 0; i < {len}; i++)\n            to{k}.put(y{k}.data[i]);"
            );
        }
        s.push_str("        if ((r + 1) % 64 == 0)\n            hypersonic_bench::progress(r + 1);\n    }\n");
    }
    s.push_str("}\n");
    s
}

fn stream_rows(design: &Design<'_>, s: &mut String, call: &[String]) {
    let _ = writeln!(
        s,
        "    for (size_t done = 0; done < rows;) {{\n        const size_t n = rows - done < {ROWS_A_CALL} ? rows - done : {ROWS_A_CALL};"
    );
    for (k, id) in design.program.inputs().iter().enumerate() {
        let node = design.program.node(*id);
        let beat = top::beat(design, *id);
        let _ = writeln!(
            s,
            "        for (size_t p = 0; p < n * {}; p++) {{\n            {beat} b;\n            for (unsigned c = 0; c < {}; c++)\n                from{k}.take(b.v[c]);\n            x{k}.write(b);\n        }}",
            node.pixels(),
            node.channels()
        );
    }
    let _ = writeln!(s, "        {}({});", design.top, call.join(", "));
    for (k, id) in design.program.outputs().iter().enumerate() {
        let node = design.program.node(design.network.carrier[id.index()]);
        let beat = top::beat(design, design.network.carrier[id.index()]);
        let _ = writeln!(
            s,
            "        for (size_t p = 0; p < n * {}; p++) {{\n            const {beat} b = y{k}.read();\n            for (unsigned c = 0; c < {}; c++)\n                to{k}.put(b.v[c]);\n        }}",
            node.pixels(),
            node.channels()
        );
    }
    for k in 0..design.program.inputs().len() {
        let _ = writeln!(s, "        hypersonic_bench::used_up(x{k});");
    }
    for k in 0..design.program.outputs().len() {
        let _ = writeln!(s, "        hypersonic_bench::used_up(y{k});");
    }
    s.push_str("        done += n;\n        hypersonic_bench::progress(done);\n    }\n");
}

/// Entry of the table of models in a bench's main function.
pub(crate) fn bench_entry(design: &Design<'_>, scope: &str) -> String {
    let (i, o) = (design.program.inputs().len(), design.program.outputs().len());
    format!("    {{\"{top}\", {i}, {o}, &{scope}bench_{top}}},\n", top = design.top)
}

/// `tb/NAME_test.cpp`.
pub(crate) fn test(design: &Design<'_>) -> String {
    let top = &design.top;
    format!(
        "// Little-endian 64-bit codes in, the same out: csim {top} ROWS WEIGHTS INPUT... OUTPUT...\n\
         #include \"../firmware/{top}.h\"\n\n#include \"hs_bench.h\"\n\n#include \"{top}_bench.h\"\n\n\
         static const hypersonic_bench::model models[] = {{\n{}}};\n\n\
         int main(int argc, char **argv) {{\n    return hypersonic_bench::main_of(models, 1, argc, argv);\n}}\n",
        bench_entry(design, "")
    )
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
