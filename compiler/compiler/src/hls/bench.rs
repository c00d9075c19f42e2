//! The kernel's test bench, and the data that it is checked with outside of this program.

use std::fmt::Write as _;

use hs_hw::abi::{RowLayout, Trailer};
use hs_hw::testing::random_inputs;
use hs_hw::{Node, Op, Program, interp};

use super::design::Design;
use super::{EmittedFile, kernel, words};

/// Most rows of the data: odd, so that the last beat is not full.
const DATA_ROWS: usize = 17;
/// Most multiplications that the data's expected outputs may take: they are interpreted while the project is emitted.
const DATA_PRODUCTS: usize = 20_000_000;
/// Directory of the data.
const DATA: &str = "tb/data";

/// Rows of data: fewer for large models, none for those too slow to interpret.
pub(crate) fn data_rows(program: &Program) -> usize {
    let of = |node: &Node| {
        let Op::Dot(d) = &node.op else { return node.len() };
        node.len() * d.terms(program.node(node.inputs[0]).channels())
    };
    let products: usize = program.nodes.iter().map(of).sum();
    (DATA_PRODUCTS / products.max(1)).min(DATA_ROWS)
}

/// `tb/data/ARGUMENT.bin`: packed rows in, and the packed rows and trailer that must come out.
pub(crate) fn data(design: &Design<'_>, rows: usize) -> Vec<EmittedFile> {
    let program = design.program;
    let inputs = random_inputs(program, 1, rows);
    let results: Vec<Vec<Vec<i128>>> = inputs.iter().map(|row| interp::run(program, row)).collect();
    let trailer = Trailer::new(rows as u32, &program.fingerprint()).to_bytes();
    let names = kernel::names(design);
    let mut files = Vec::new();
    for (is_output, names, ids, rows) in
        [(false, names.inputs, program.inputs(), &inputs), (true, names.outputs, program.outputs(), &results)]
    {
        for (k, (name, id)) in names.iter().zip(ids).enumerate() {
            let codes: Vec<i64> =
                rows.iter().flat_map(|row| row[k].iter().map(|code| *code as i64)).collect();
            let mut bytes = RowLayout::of(program.node(id)).pack(&codes);
            if is_output {
                bytes.extend(trailer);
            }
            files.push(EmittedFile { path: format!("{DATA}/{name}.bin"), bytes });
        }
    }
    files
}

/// `tb/NAME_kernel_bench.h`: the kernel's arguments as a table, and its call.
pub(crate) fn bench(design: &Design<'_>, rows: usize) -> String {
    let top = &design.top;
    let names = kernel::names(design);
    let mut s = format!("// What the test bench knows of {}.\n", names.name);
    let port = |name: &str, id| {
        let RowLayout { elements, element_bytes, signed, .. } = RowLayout::of(design.program.node(id));
        format!("    {{\"{name}\", {elements}, {element_bytes}, {signed}}},\n")
    };
    let ports: String = names
        .inputs
        .iter()
        .zip(design.program.inputs())
        .chain(names.outputs.iter().zip(design.program.outputs()))
        .map(|(name, id)| port(name, id))
        .collect();
    let _ = writeln!(s, "static const hypersonic_bench::port ports_{top}[] = {{\n{ports}}};");
    let mut args: Vec<String> =
        (0..names.inputs.len() + names.outputs.len()).map(|k| format!("memory[{k}]")).collect();
    args.push("rows".to_owned());
    if names.weights.is_some() {
        args.push("weights".to_owned());
    }
    let _ = write!(
        s,
        "static void run_{top}(ap_uint<512> *const *memory, const ap_uint<512> *weights, unsigned rows) {{\n    \
         (void)weights;\n    {}({});\n}}\n",
        names.name,
        args.join(", ")
    );
    let beats: usize = words::loaded(design).iter().map(|(_, layout, _)| layout.beats()).sum();
    let (i, o) = (names.inputs.len(), names.outputs.len());
    let _ = writeln!(
        s,
        "static const hypersonic_bench::model model_{top} = {{\"{top}\", \"{}\", {i}, {o}, ports_{top}, {beats}, {rows}, \
         &run_{top}}};",
        design.program.fingerprint()
    );
    s
}

/// `tb/NAME_kernel_test.cpp`.
pub(crate) fn test(design: &Design<'_>) -> String {
    let top = &design.top;
    format!(
        "// Runs the kernel on packed rows, as files: {top} ROWS WEIGHTS INPUT... OUTPUT..., or on the project's own data \
         and\n// compares: PROJECT-DIRECTORY.\n\
         #include \"../firmware/{top}_kernel.h\"\n\n#include \"hs_bench.h\"\n\n#include \"{top}_kernel_bench.h\"\n\n\
         int main(int argc, char **argv) {{\n    \
         const hypersonic_bench::model *const models[] = {{&model_{top}}};\n    \
         return hypersonic_bench::main_of(models, 1, argc, argv);\n}}\n"
    )
}
