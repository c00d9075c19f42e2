//! Rules on sizes: partitions, unrolled loops, constants.

use std::collections::BTreeMap;

use super::Finding;
use super::source::Source;
use crate::hls::layout::{MAX_CONST_ARRAY, MAX_CONST_TOTAL, MAX_PARTITION, MAX_UNROLL};

/// Elements of the constant arrays of a file, with their lines.
fn arrays(source: &Source) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for i in 0..source.tokens.len() {
        // static const TYPE NAME [ N ] =
        let is_array = source.at(i) == "static" && source.at(i + 1) == "const" && source.at(i + 4) == "[";
        if is_array && let Ok(n) = source.at(i + 5).parse() {
            found.push((source.line(i), n));
        }
    }
    found
}

pub(super) fn constant_arrays(source: &Source, findings: &mut Vec<Finding>) {
    for (line, n) in arrays(source) {
        if n > MAX_CONST_ARRAY {
            findings.push(source.finding(line, "constant-size", format!("an array of {n} constants")));
        }
    }
    for (n, line) in source.lines.iter().enumerate() {
        let factor = line.split("factor=").nth(1).and_then(|f| f.trim().parse::<usize>().ok());
        if line.trim_start().starts_with("#pragma HLS ARRAY_PARTITION")
            && factor.is_some_and(|f| f > MAX_PARTITION)
        {
            findings.push(source.finding(n + 1, "partition-limit", line.trim()));
        }
    }
}

pub(super) fn total(sources: &[Source], findings: &mut Vec<Finding>) {
    let total: usize = sources.iter().flat_map(arrays).map(|(_, n)| n).sum();
    if total > MAX_CONST_TOTAL
        && let Some(source) = sources.first()
    {
        findings.push(source.finding(1, "constant-size", format!("{total} constants in all")));
    }
}

/// A layer's configuration as it is written.
struct Layer<'a> {
    source: &'a Source,
    line: usize,
    name: &'a str,
    constants: BTreeMap<&'a str, usize>,
    words: Vec<&'a str>,
}

fn configurations(source: &Source) -> Vec<Layer<'_>> {
    let mut found = Vec::new();
    for i in 0..source.tokens.len() {
        let name = source.at(i + 1);
        if source.at(i) != "struct" || !name.starts_with("cfg_") || source.at(i + 2) != "{" {
            continue;
        }
        let end = source.closing(i + 2);
        let mut layer =
            Layer { source, line: source.line(i), name, constants: BTreeMap::new(), words: Vec::new() };
        for k in i + 3..end {
            if source.at(k + 1) == "="
                && let Ok(value) = source.at(k + 2).parse()
            {
                // The first of a name is the layer's own: nested tables follow.
                layer.constants.entry(source.at(k)).or_insert(value);
            }
            layer.words.push(source.at(k));
        }
        found.push(layer);
    }
    found
}

/// Each layer's constants against the limits of the kernel that is instantiated with it.
pub(super) fn layers(sources: &[Source], findings: &mut Vec<Finding>) {
    // What each layer is an argument of.
    let mut instances: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for s in sources {
        for i in (0..s.tokens.len()).filter(|i| s.at(i + 1) == "<") {
            instances.entry(s.at(i + 2)).or_default().push(s.at(i));
        }
    }
    let calls = |layer: &str, kernel: &str| {
        instances.get(layer).is_some_and(|kernels| kernels.iter().any(|k| k.starts_with(kernel)))
    };
    for layer in sources.iter().flat_map(configurations) {
        let get = |name: &str| layer.constants.get(name).copied().unwrap_or(0);
        let tree = layer.words.contains(&"order_tree");
        let dot = layer.constants.contains_key("lanes");
        let windows = calls(layer.name, "conv_stream") || calls(layer.name, "pool_stream");
        let pooled = calls(layer.name, "pool_stream") || calls(layer.name, "pool_parallel");
        let softmax = calls(layer.name, "softmax");
        let mut partitions: Vec<(&str, usize)> = layer
            .constants
            .iter()
            .filter(|(k, _)| k.ends_with("_banks") && **k != "w_banks")
            .map(|(k, v)| (*k, *v))
            .collect();
        let mut unrolled = vec![("channels", get("channels"))];
        if dot && tree {
            partitions.push(("terms", get("terms")));
        } else if dot {
            partitions.extend([("lanes", get("lanes")), ("depth", get("depth"))]);
            unrolled.push(("lanes * depth", get("lanes") * get("depth")));
        }
        if windows {
            partitions.push(("n_lines * channels", get("n_lines") * get("channels")));
            partitions.push(("n_planes * channels", get("n_planes") * get("channels")));
        }
        if pooled {
            unrolled.push(("taps * channels", get("taps") * get("channels")));
            partitions.push(("taps", get("taps")));
        }
        if softmax {
            partitions.push(("channels", get("channels")));
            if layer.words.contains(&"softmax_legacy") {
                unrolled.push(("channels * channels", get("channels").saturating_mul(get("channels"))));
            }
        }
        for (rule, limit, values) in
            [("partition-limit", MAX_PARTITION, partitions), ("unroll-limit", MAX_UNROLL, unrolled)]
        {
            for (what, value) in values.into_iter().filter(|(_, v)| *v > limit) {
                findings.push(layer.source.finding(
                    layer.line,
                    rule,
                    format!("{}: {what} = {value}", layer.name),
                ));
            }
        }
    }
}
