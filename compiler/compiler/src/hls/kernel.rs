//! The kernel: packed rows over AXI around the network, to the kernel ABI (SPEC.md, section 7).

use std::fmt::Write as _;

use hs_hw::abi::{BEAT_BYTES, RowLayout};
use hs_hw::{Io, KERNEL_ABI, ValueId};

use super::design::Design;
use super::names::comment;
use super::words::{self, WordLayout};
use super::{KERNEL_ROWS, Kernel, top};

/// Beats of a FIFO beside a memory port.
pub(crate) const PORT_DEPTH: usize = 64;
/// Words of a FIFO of a row's pieces.
pub(crate) const WORD_DEPTH: usize = 2;
/// Beats of a burst: 4 KiB, which no burst may cross.
pub(crate) const BURST: usize = 64;
/// Bursts under way at once.
pub(crate) const OUTSTANDING: usize = 16;

/// Names of the kernel and its arguments.
pub(crate) fn names(design: &Design<'_>) -> Kernel {
    let names = |prefix: &str, ids: Vec<ValueId>| {
        ids.into_iter().map(|id| format!("{prefix}_{}", design.id(id))).collect()
    };
    Kernel {
        name: format!("{}_kernel", design.top),
        inputs: names("x", design.program.inputs()),
        outputs: names("y", design.program.outputs()),
        weights: design.arrays.values().any(|a| a.loaded).then(|| "weights".to_owned()),
    }
}

/// How a model input or output travels between memory and network; `rows.h` says what the figures mean.
pub(crate) struct Port {
    pub(crate) id: ValueId,
    pub(crate) rows: RowLayout,
    /// Bytes of a piece.
    pub(crate) piece: usize,
    /// Pieces of a row: beats of the network.
    pub(crate) pieces: usize,
    /// Bytes behind the last piece.
    pub(crate) pad: usize,
    /// What divides every position.
    pub(crate) unit: usize,
    /// The value whose beats the network has.
    value: ValueId,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Port {
    /// Of a model input or output.
    pub(crate) fn new(design: &Design<'_>, id: ValueId) -> Self {
        let value = design.network.carrier[id.index()];
        let node = design.program.node(value);
        let rows = RowLayout::of(design.program.node(id));
        let pieces = match design.schedule.io {
            Io::Stream => node.pixels(),
            Io::Parallel => 1,
        };
        let (piece, pad) = if pieces == 1 {
            (rows.stride, 0)
        } else {
            (rows.row_bytes / pieces, rows.stride - rows.row_bytes)
        };
        let unit = gcd(gcd(piece, pad), BEAT_BYTES);
        Self { id, rows, piece, pieces, pad, unit, value }
    }

    /// Words of a row.
    pub(crate) fn words(&self) -> usize {
        self.pieces * self.piece.div_ceil(BEAT_BYTES)
    }

    /// Bytes of a word.
    pub(crate) fn word(&self) -> usize {
        self.piece.min(BEAT_BYTES)
    }

    fn cut(&self) -> String {
        format!("<{}, {}, {}, {}, {}>", self.piece, self.pieces, self.pad, self.unit, self.word())
    }

    /// Type of a word.
    fn word_type(&self) -> String {
        format!("ap_uint<{}>", 8 * self.word())
    }
}

fn ports(design: &Design<'_>, ids: Vec<ValueId>) -> Vec<Port> {
    ids.into_iter().map(|id| Port::new(design, id)).collect()
}

/// `void NAME_kernel(…)` without its body.
pub(crate) fn signature(design: &Design<'_>) -> String {
    format!("void {}({})", names(design).name, parameters(design).join(",\n    "))
}

fn parameters(design: &Design<'_>) -> Vec<String> {
    let kernel = names(design);
    let mut params: Vec<String> =
        kernel.inputs.iter().map(|name| format!("const ap_uint<512> *{name}")).collect();
    params.extend(kernel.outputs.iter().map(|name| format!("ap_uint<512> *{name}")));
    params.push(format!("unsigned {KERNEL_ROWS}"));
    params.extend(kernel.weights.map(|name| format!("const ap_uint<512> *{name}")));
    params
}

/// `firmware/NAME_kernel.h`.
pub(crate) fn header(design: &Design<'_>) -> String {
    let guard = format!("{}_KERNEL_H", design.top.to_ascii_uppercase());
    format!(
        "#ifndef {guard}\n#define {guard}\n\n#include \"ap_int.h\"\n\n\
         // Packed rows in, packed rows and a trailer out.\nextern \"C\" {};\n\n#endif\n",
        signature(design)
    )
}

/// `firmware/NAME_kernel.cpp`. `rows`: rows of the test bench's data, which co-simulation sizes its memories by.
pub(crate) fn source(design: &Design<'_>, rows: usize) -> String {
    let mut s = format!(
        "// {}\n#include \"{}_kernel.h\"\n\n#include \"parameters.h\"\n\n",
        comment(&design.program.name),
        design.top
    );
    let fingerprint = design.program.fingerprint().0;
    let half = |at: usize| {
        let bytes: Vec<u8> = fingerprint[at..at + 8].iter().rev().copied().collect();
        bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let _ = writeln!(
        s,
        "// What identifies the bits that this kernel computes.\nstruct cfg_trailer_{} {{\n    \
         static const unsigned abi = {KERNEL_ABI};\n    \
         static const unsigned long long fingerprint_low = 0x{}ULL;\n    \
         static const unsigned long long fingerprint_high = 0x{}ULL;\n}};\n",
        design.top,
        half(0),
        half(8)
    );
    s.push_str(&top::functions(design));
    if design.schedule.io == Io::Parallel {
        s.push_str(&top::row_function(design));
        s.push('\n');
        s.push_str(&rows_function(design));
        s.push('\n');
    }
    let loaded = words::loaded(design);
    for (array, layout, first) in &loaded {
        s.push_str(&load_function(design, array, layout, *first));
        s.push('\n');
    }
    let kernel = names(design);
    if loaded.is_empty() {
        let _ = write!(
            s,
            "extern \"C\" {} {{\n{}{}}}\n",
            signature(design),
            interface(design, rows),
            flow(design)
        );
        return s;
    }
    let flow_name = format!("{}_flow", design.top);
    let mut params = parameters(design);
    // Without the pointer to weights; the row count stays last.
    params.truncate(params.len() - 2);
    params.extend(top::loaded_parameters(design));
    params.push(format!("unsigned {KERNEL_ROWS}"));
    let _ = writeln!(s, "static void {flow_name}({}) {{\n{}}}\n", params.join(",\n    "), flow(design));
    let _ = write!(s, "extern \"C\" {} {{\n{}", signature(design), interface(design, rows));
    for (array, layout, _) in &loaded {
        let (name, id) = (&array.name, design.id(array.node));
        let _ = write!(
            s,
            "    HS_ON_CHIP wt_{id} {name}[{}];\n\
             #pragma HLS ARRAY_RESHAPE variable={name} type=cyclic factor={}\n\
             #pragma HLS BIND_STORAGE variable={name} type=ram_1p impl={}\n",
            array.data.len(),
            layout.codes,
            layout.storage().name()
        );
    }
    for (array, ..) in &loaded {
        let _ = writeln!(s, "    load_{}({}, {});", array.name, words_argument(&kernel), array.name);
    }
    let mut args: Vec<String> = kernel.inputs.iter().chain(&kernel.outputs).cloned().collect();
    args.extend(loaded.iter().map(|(a, ..)| a.name.clone()));
    args.push(KERNEL_ROWS.to_owned());
    let _ = writeln!(s, "    {flow_name}({});\n}}", args.join(", "));
    s
}

fn words_argument(kernel: &Kernel) -> &str {
    kernel.weights.as_deref().unwrap_or_default()
}

/// Directives of the kernel's ports.
fn interface(design: &Design<'_>, rows: usize) -> String {
    let kernel = names(design);
    let mut s = String::new();
    let mut pointer = |name: &str, beats: usize, reads: bool| {
        let (read, write) = if reads { (OUTSTANDING, 1) } else { (1, OUTSTANDING) };
        let _ = write!(
            s,
            "#pragma HLS INTERFACE m_axi port={name} bundle=gmem_{name} offset=slave depth={} \
             max_read_burst_length={BURST} max_write_burst_length={BURST} num_read_outstanding={read} \
             num_write_outstanding={write}\n#pragma HLS INTERFACE s_axilite port={name} bundle=control\n",
            beats.max(1)
        );
    };
    for (name, id) in kernel.inputs.iter().zip(design.program.inputs()) {
        pointer(name, RowLayout::of(design.program.node(id)).bytes(rows) / BEAT_BYTES, true);
    }
    for (name, id) in kernel.outputs.iter().zip(design.program.outputs()) {
        pointer(name, RowLayout::of(design.program.node(id)).output_bytes(rows) / BEAT_BYTES, false);
    }
    if let Some(name) = &kernel.weights {
        let beats = words::loaded(design).iter().map(|(_, layout, _)| layout.beats()).sum();
        pointer(name, beats, true);
    }
    let _ = write!(
        s,
        "#pragma HLS INTERFACE s_axilite port={KERNEL_ROWS} bundle=control\n\
         #pragma HLS INTERFACE s_axilite port=return bundle=control\n\
         #pragma HLS INTERFACE ap_ctrl_chain port=return\n"
    );
    s
}

/// The DATAFLOW region: load, cut, unpack, the network, pack, join, store.
fn flow(design: &Design<'_>) -> String {
    let (inputs, outputs) = (ports(design, design.program.inputs()), ports(design, design.program.outputs()));
    let stream = design.schedule.io == Io::Stream;
    let mut s = String::from("#pragma HLS DATAFLOW\n");
    for (side, ports) in [("x", &inputs), ("y", &outputs)] {
        for port in ports {
            let id = design.id(port.id);
            s.push_str(&top::fifo("ap_uint<512>", &format!("m{side}_{id}"), PORT_DEPTH));
            s.push_str(&top::fifo(&port.word_type(), &format!("p{side}_{id}"), WORD_DEPTH));
        }
    }
    if stream {
        s.push_str(&top::fifos(design));
    }
    let mut tasks = Vec::new();
    for port in &inputs {
        let (id, stride, cut) = (design.id(port.id), port.rows.stride, port.cut());
        tasks.push(format!("hypersonic::load_rows<{stride}>(x_{id}, mx_{id}, rows)"));
        tasks.push(format!("hypersonic::cut_rows{cut}(mx_{id}, px_{id}, rows)"));
        if stream {
            let node = design.program.node(port.value);
            tasks.push(format!(
                "hypersonic::unpack_rows<{}, {}, {}, {}, {}>(px_{id}, nx_{id}, rows)",
                design.type_name(port.value),
                node.channels(),
                port.rows.element_bytes,
                port.pieces,
                port.word()
            ));
        }
    }
    if stream {
        tasks.extend(top::tasks(design));
    } else {
        tasks.push(rows_call(design));
    }
    for port in &outputs {
        let (id, stride, cut) = (design.id(port.id), port.rows.stride, port.cut());
        if stream {
            let node = design.program.node(port.value);
            tasks.push(format!(
                "hypersonic::pack_rows<{}, {}, {}, {}, {}, {}>(ny_{id}, py_{id}, rows)",
                design.type_name(port.value),
                node.channels(),
                port.rows.element_bytes,
                port.rows.signed,
                port.pieces,
                port.word()
            ));
        }
        tasks.push(format!("hypersonic::join_rows{cut}(py_{id}, my_{id}, rows)"));
        let top = &design.top;
        tasks.push(format!("hypersonic::store_rows<cfg_trailer_{top}, {stride}>(my_{id}, y_{id}, rows)"));
    }
    for task in tasks {
        let _ = writeln!(s, "    HS_TASK({task});");
    }
    s.push_str("    HS_RUN();\n");
    s
}

fn rows_call(design: &Design<'_>) -> String {
    let mut args: Vec<String> =
        design.program.inputs().into_iter().map(|id| format!("px_{}", design.id(id))).collect();
    args.extend(design.program.outputs().into_iter().map(|id| format!("py_{}", design.id(id))));
    args.extend(words::loaded(design).iter().map(|(a, ..)| a.name.clone()));
    format!("{}_rows({}, rows)", design.top, args.join(", "))
}

/// The process that computes the rows of a parallel design.
fn rows_function(design: &Design<'_>) -> String {
    let (inputs, outputs) = (ports(design, design.program.inputs()), ports(design, design.program.outputs()));
    let mut params = Vec::new();
    for (side, ports) in [("x", &inputs), ("y", &outputs)] {
        params.extend(
            ports.iter().map(|p| format!("hls::stream<{} > &p{side}_{}", p.word_type(), design.id(p.id))),
        );
    }
    params.extend(top::loaded_parameters(design));
    params.push("unsigned rows".to_owned());
    let mut s = format!(
        "static void {}_rows({}) {{\n    for (unsigned r = 0; r < rows; r++) {{\n",
        design.top,
        params.join(",\n    ")
    );
    if design.is_one_pipeline() {
        let interval = inputs.iter().chain(&outputs).map(Port::words).max().unwrap_or(1).max(1);
        let _ = writeln!(s, "#pragma HLS PIPELINE II={interval}");
    }
    let mut args = Vec::new();
    for (side, ports) in [("x", &inputs), ("y", &outputs)] {
        for port in ports {
            let (ty, name) = (design.type_name(port.id), format!("{side}_{}", design.id(port.id)));
            let _ = writeln!(s, "        {ty} {name}[{}];", port.rows.elements);
            s.push_str(&top::partition(design, &name, port.id));
            args.push(name);
        }
    }
    for port in &inputs {
        let (ty, id) = (design.type_name(port.id), design.id(port.id));
        let (n, bytes) = (port.rows.elements, port.rows.element_bytes);
        let word = port.word();
        let _ = writeln!(s, "        hypersonic::read_row<{ty}, {n}, {bytes}, {word}>(px_{id}, x_{id});");
    }
    args.extend(words::loaded(design).iter().map(|(a, ..)| a.name.clone()));
    let _ = writeln!(s, "        {}({});", design.top, args.join(", "));
    for port in &outputs {
        let (ty, id) = (design.type_name(port.id), design.id(port.id));
        let RowLayout { elements, element_bytes, signed, .. } = port.rows;
        let _ = writeln!(
            s,
            "        hypersonic::write_row<{ty}, {elements}, {element_bytes}, {signed}, {}>(y_{id}, py_{id});",
            port.word()
        );
    }
    s.push_str("    }\n}\n");
    s
}

/// The function that loads an array of weights.
fn load_function(
    design: &Design<'_>,
    array: &super::design::Array,
    layout: &WordLayout,
    first: usize,
) -> String {
    let (name, id) = (&array.name, design.id(array.node));
    let WordLayout { codes, words, code_bytes, stride } = *layout;
    let kind = if stride <= BEAT_BYTES { "narrow" } else { "wide" };
    format!(
        "static void load_{name}(const ap_uint<512> *weights, wt_{id} {name}[{}]) {{\n#pragma HLS DATAFLOW\n{}    \
         HS_TASK(hypersonic::load_beats<{}, {}>(weights, beats));\n    \
         HS_TASK(hypersonic::fill_{kind}<wt_{id}, {words}, {codes}, {code_bytes}, {stride}>(beats, {name}));\n    \
         HS_RUN();\n}}\n",
        array.data.len(),
        top::fifo("ap_uint<512>", "beats", PORT_DEPTH),
        first / BEAT_BYTES,
        layout.beats()
    )
}
