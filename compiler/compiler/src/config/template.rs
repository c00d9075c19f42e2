//! A configuration file to start from: everything that can be said about a model, commented out.

use std::{collections::BTreeMap, fmt::Write as _};

use hs_ir::Graph;

use super::keys::{Key, keys_of};
use crate::passes::NormalGraph;

const HEAD: &str = "\
# Who decides a type, strongest first: [node], the model's own quantisers, [type], [model], precision.
# Types: fixed<W,I>, ufixed<W,I>, int<W>, uint<W>, with rounding and overflow modes if wanted: fixed<16,6,RND,SAT>.
# Omitted modes mean RND,SAT under native arithmetic and TRN,WRAP under hls4ml's.
# Every line that starts with '#' is off; what is left out is decided by the compiler.

[model]
# arithmetic = \"native\"            # or \"hls4ml\": the bits of hls4ml's C++
# precision = \"fixed<16,6>\"        # inputs, weights, biases and results of which nothing else is said
# input = \"fixed<16,6>\"            # the model's inputs
# per_channel = true               # integer bits of weights fitted to each output channel
# io = \"parallel\"                  # or \"stream\"
# strategy = \"latency\"             # or \"resource\"
# reuse = 1                        # products that share a multiplier
# clock_mhz = 200
# platform = \"NAME\"
";

/// A TOML file for `graph`, the model as imported, that decides nothing as it stands. `normal` is the graph that is
/// lowered; shapes come from there, without the batch axis.
pub fn template(graph: &Graph, normal: &NormalGraph) -> String {
    let mut out = format!("# Configuration of the model {}.\n{HEAD}", quoted(&graph.name));
    let shapes: BTreeMap<&str, &[usize]> = [graph, normal.graph()]
        .into_iter()
        .flat_map(|g| g.values.iter().filter_map(|v| Some((v.name.as_str(), v.shape.as_deref()?))))
        .collect();
    let shape = |name: &str| match shapes.get(name) {
        Some([_, rest @ ..]) => format!(", {rest:?}"),
        _ => String::new(),
    };
    // The node of the lowered graph that each node became part of; those that fold away are left out.
    let stands: BTreeMap<&str, &str> = normal
        .graph()
        .nodes
        .iter()
        .flat_map(|n| n.sources.iter().map(|s| (s.as_str(), n.name.as_str())))
        .collect();
    for v in &graph.inputs {
        let name = &graph.value(*v).name;
        let _ = write!(
            out,
            "\n[node.{}]  # input of the model{}\n# result = \"fixed<16,6>\"\n",
            quoted(name),
            shape(name)
        );
    }
    for node in &graph.nodes {
        let Some(stands) = stands.get(node.name.as_str()) else { continue };
        let keys = keys_of(&node.op);
        if keys.is_empty() {
            continue;
        }
        let shape = node.output(0).map(|v| shape(&graph.value(v).name)).unwrap_or_default();
        let fused =
            if *stands == node.name { String::new() } else { format!(", part of {}", quoted(stands)) };
        let _ = write!(out, "\n[node.{}]  # {}{shape}{fused}\n", quoted(&node.name), node.op);
        for key in keys {
            let hls4ml = if key.only_hls4ml() { "; hls4ml arithmetic only" } else { "" };
            let line = format!("# {} = {}", key.name(), example(*key));
            let _ = writeln!(out, "{line:<34} # {}{hls4ml}", key.meaning());
        }
    }
    out
}

fn example(key: Key) -> &'static str {
    match key {
        Key::Weight
        | Key::Bias
        | Key::Accum
        | Key::Result
        | Key::Unbiased
        | Key::Table
        | Key::Param
        | Key::ExpTable
        | Key::InvTable
        | Key::InvInput => "\"fixed<16,6>\"",
        Key::SplitBias | Key::Override => "false",
        Key::TableSize => "1024",
        Key::Softmax => "\"stable\"",
        Key::Strategy => "\"latency\"",
        Key::Reuse => "1",
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
