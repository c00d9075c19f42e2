//! The network: its processes, the channels between them, and the calls that connect them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hs_hw::{Io, Op, ValueId};

use super::design::Design;
use super::layout::{MAX_PARTITION, is_tree};
use super::moves::{self, Move};
use super::network::{Arg, Channel, Place, Process, Role};

/// Name of a channel: `c_` straight from the producer, `c0_`, `c1_`, … from its clone; at the network's ends `x_` and
/// `y_` (arrays of a row) or `nx_` and `ny_` (streams).
pub(crate) fn channel_name(design: &Design<'_>, channel: &Channel) -> String {
    let stream = if design.schedule.io == Io::Stream { "n" } else { "" };
    match channel.place {
        Place::Input(id) => format!("{stream}x_{}", design.id(id)),
        Place::Output(id) => format!("{stream}y_{}", design.id(id)),
        Place::Local => {
            let branch = channel.branch.map_or(String::new(), |b| b.to_string());
            format!("c{branch}_{}", design.id(channel.value))
        }
    }
}

/// Type of a channel's beats.
pub(crate) fn beat(design: &Design<'_>, value: ValueId) -> String {
    format!("hypersonic::beat<{}, {}>", design.type_name(value), design.program.node(value).channels())
}

/// Parameters of the function that computes one row of a parallel design: inputs, outputs, loaded weights.
fn row_parameters(design: &Design<'_>) -> String {
    let len = |id: ValueId| design.program.node(id).len();
    let inputs = design.program.inputs().into_iter();
    let outputs = design.program.outputs().into_iter();
    let mut params: Vec<String> = inputs
        .map(|id| format!("const {} x_{}[{}]", design.type_name(id), design.id(id), len(id)))
        .chain(outputs.map(|id| format!("{} y_{}[{}]", design.type_name(id), design.id(id), len(id))))
        .collect();
    params.extend(loaded_parameters(design));
    params.join(",\n    ")
}

/// Parameters for the arrays of weights that are loaded.
pub(crate) fn loaded_parameters(design: &Design<'_>) -> Vec<String> {
    let loaded = design.arrays.values().filter(|a| a.loaded);
    loaded.map(|a| format!("const wt_{} {}[{}]", design.id(a.node), a.name, a.data.len())).collect()
}

/// Elements of a parallel channel that can be reached at once.
pub(crate) fn array_banks(design: &Design<'_>, value: ValueId) -> usize {
    let node = design.program.node(value);
    if node.len() <= MAX_PARTITION { node.len() } else { node.channels().min(MAX_PARTITION) }
}

/// The processes that are functions of this design: clones and concatenations.
pub(crate) fn functions(design: &Design<'_>) -> String {
    let mut s = String::new();
    for process in &design.network.processes {
        let text = match process.role {
            Role::Clone(value) => moves::clone_function(design, value, process),
            Role::Node(id) => match design.program.node(id).op {
                Op::Concat { axis } => moves::concat_function(design, id, axis, &process.reads),
                Op::Input { .. }
                | Op::Output { .. }
                | Op::Const(_)
                | Op::Dot(_)
                | Op::Affine { .. }
                | Op::Requant(_)
                | Op::Binary { .. }
                | Op::Table(_)
                | Op::Pool(_)
                | Op::Softmax(_)
                | Op::Reshape
                | Op::Permute(_)
                | Op::Pad { .. } => continue,
            },
            Role::Forward(_) | Role::Drain(_) => continue,
        };
        s.push_str(&text);
        s.push('\n');
    }
    s
}

/// The function `NAME` that computes one row of a parallel design: one pipeline, or layer after layer.
pub(crate) fn row_function(design: &Design<'_>) -> String {
    let mut s = format!("static void {}({}) {{\n", design.top, row_parameters(design));
    if design.is_one_pipeline() {
        s.push_str("#pragma HLS PIPELINE II=1\n");
    }
    for (prefix, ids) in [("x", design.program.inputs()), ("y", design.program.outputs())] {
        for id in ids {
            s.push_str(&partition(design, &format!("{prefix}_{}", design.id(id)), id));
        }
    }
    for channel in design.network.channels.iter().filter(|c| c.place == Place::Local) {
        let name = channel_name(design, channel);
        let len = design.program.node(channel.value).len();
        let _ = writeln!(s, "    {} {name}[{len}];", design.type_name(channel.value));
        s.push_str(&partition(design, &name, channel.value));
    }
    for process in &design.network.processes {
        if !matches!(process.role, Role::Drain(_)) {
            let _ = writeln!(s, "    {};", call(design, process));
        }
    }
    s.push_str("}\n");
    s
}

/// The directive that lays out an array of a value's elements.
pub(crate) fn partition(design: &Design<'_>, name: &str, value: ValueId) -> String {
    let banks = array_banks(design, value);
    format!("#pragma HLS ARRAY_PARTITION variable={name} type=cyclic factor={banks}\n")
}

/// A FIFO of `depth` beats of a type.
pub(crate) fn fifo(beat: &str, name: &str, depth: usize) -> String {
    format!(
        "    hls::stream<{beat}, {depth}> {name}(\"{name}\");\n#pragma HLS STREAM variable={name} depth={depth}\n"
    )
}

/// FIFOs of a streamed network, those at its ends included.
pub(crate) fn fifos(design: &Design<'_>) -> String {
    let mut s = String::new();
    for channel in &design.network.channels {
        let depth = match channel.place {
            Place::Local => design.depth(channel).expect("checked"),
            Place::Input(_) | Place::Output(_) => END_DEPTH,
        };
        s.push_str(&fifo(&beat(design, channel.value), &channel_name(design, channel), depth));
    }
    s
}

/// Beats between the network and what packs its rows.
pub(crate) const END_DEPTH: usize = 2;

/// Calls of a streamed network's processes.
pub(crate) fn tasks(design: &Design<'_>) -> Vec<String> {
    design.network.processes.iter().map(|p| call(design, p)).collect()
}

/// The call of a process.
fn call(design: &Design<'_>, process: &Process) -> String {
    let stream = design.schedule.io == Io::Stream;
    let io = if stream { "stream" } else { "parallel" };
    let name = |c: &usize| channel_name(design, &design.network.channels[*c]);
    let mut args: Vec<String> = process.read_channels().iter().map(name).collect();
    args.extend(process.writes.iter().map(name));
    let beats_of = |value: ValueId| {
        let node = design.program.node(value);
        format!("{}, {}", design.type_name(value), node.channels())
    };
    let function = match process.role {
        Role::Clone(value) => format!("f_{}", design.id(value)),
        Role::Forward(id) => {
            let value = design.network.carrier[id.index()];
            let node = design.program.node(value);
            if stream {
                args.push(node.pixels().to_string());
                format!("hypersonic::forward_stream<{}>", beats_of(value))
            } else {
                format!("hypersonic::copy_parallel<{}, {}>", design.type_name(value), node.len())
            }
        }
        Role::Drain(value) => {
            args.push(design.program.node(value).pixels().to_string());
            format!("hypersonic::drain_stream<{}>", beats_of(value))
        }
        Role::Node(id) => {
            let (function, extra) = node_call(design, id, process, io);
            args.extend(extra);
            function
        }
    };
    if stream {
        args.push("rows".to_owned());
    }
    format!("{function}({})", args.join(", "))
}

/// Function of a node, and what it takes beside its channels.
fn node_call(design: &Design<'_>, id: ValueId, process: &Process, io: &str) -> (String, Option<String>) {
    let node = design.program.node(id);
    let name = design.id(id);
    let with = |kernel: &str| format!("hypersonic::{kernel}_{io}<cfg_{name}>");
    match &node.op {
        Op::Dot(d) => {
            let latency = design.dot_layout(id, d).is_some_and(|l| l.reuse() == 1) && !is_tree(&d.accum);
            let speed = if latency { "latency" } else { "resource" };
            let function = match design.schedule.io {
                Io::Parallel if !design.is_windowed(id) => with("dense"),
                Io::Parallel => format!("hypersonic::conv_parallel_{speed}<cfg_{name}>"),
                Io::Stream if design.fold(id).is_some() => {
                    format!("hypersonic::dense_stream_folded<cfg_{name}>")
                }
                Io::Stream if !design.is_windowed(id) => {
                    format!("hypersonic::pointwise_stream_{speed}<cfg_{name}>")
                }
                Io::Stream => format!("hypersonic::conv_stream_{speed}<cfg_{name}>"),
            };
            // Weights stand before the outputs in no kernel: they follow the channels.
            (function, Some(format!("w_{name}")))
        }
        Op::Affine { .. } | Op::Requant(_) | Op::Table(_) => (with("map"), None),
        Op::Binary { .. } => {
            let both = process.reads.iter().all(|a| matches!(a, Arg::Channel(_)));
            (with(if both { "zip" } else { "map" }), None)
        }
        Op::Pool(_) if design.runs(id) && design.schedule.io == Io::Stream => (with("pool_whole"), None),
        Op::Pool(_) => (with("pool"), None),
        Op::Softmax(_) => (with("softmax"), None),
        Op::Concat { .. } => (format!("f_{name}"), None),
        Op::Reshape | Op::Permute(_) | Op::Pad { .. } if design.schedule.io == Io::Parallel => {
            (with("move"), None)
        }
        Op::Reshape | Op::Permute(_) | Op::Pad { .. } => {
            let from = design.program.node(node.inputs[0]);
            let ty = design.type_name(id);
            match moves::kind(design, id) {
                Move::Widen(r) => (
                    format!("hypersonic::widen_stream<{ty}, {}, {r}>", from.channels()),
                    Some(node.pixels().to_string()),
                ),
                Move::Narrow(r) => (
                    format!("hypersonic::narrow_stream<{ty}, {}, {r}>", node.channels()),
                    Some(from.pixels().to_string()),
                ),
                Move::Rearrange => (with("rearrange"), None),
                Move::Pad => (with("pad"), None),
            }
        }
        Op::Input { .. } | Op::Output { .. } | Op::Const(_) => unreachable!("no process computes it"),
    }
}

/// The kernel headers that the design needs.
pub(crate) fn headers(design: &Design<'_>) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::from(["rows.h", "task.h", "types.h"]);
    if design.arrays.values().any(|a| a.loaded) {
        used.insert("load.h");
    }
    for process in &design.network.processes {
        let Role::Node(id) = process.role else {
            used.insert("move.h");
            continue;
        };
        match design.program.node(id).op {
            Op::Dot(_) => used.insert("dot.h"),
            Op::Affine { .. } | Op::Requant(_) | Op::Binary { .. } => used.insert("map.h"),
            Op::Table(_) => {
                used.insert("map.h");
                used.insert("table.h")
            }
            Op::Pool(_) => used.insert("pool.h"),
            Op::Softmax(_) => {
                used.insert("softmax.h");
                used.insert("table.h")
            }
            Op::Reshape | Op::Permute(_) | Op::Pad { .. } | Op::Concat { .. } => used.insert("move.h"),
            Op::Input { .. } | Op::Output { .. } | Op::Const(_) => unreachable!("no process computes it"),
        };
    }
    used
}
