//! Rules on the kernel: its ports, what it keeps on the chip, and how it slices beats.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{Source, is_identifier};

/// Most beats of 64 bytes in a burst: one of AXI may not cross 4 KiB.
const MAX_BURST: usize = 64;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    for (name, open, body) in source.functions() {
        if source.at(name).ends_with("_kernel") {
            ports(source, name, open, body, findings);
        }
    }
    trailers(source, findings);
    storage(source, findings);
    gearboxes(source, findings);
    shifts(source, findings);
}

/// The words of the directives in a function's body, with their lines.
fn directives(source: &Source, body: usize) -> Vec<(usize, Vec<&str>)> {
    (source.line(body)..=source.line(source.closing(body)))
        .filter_map(|n| {
            let words = source.lines.get(n - 1)?.trim().strip_prefix("#pragma HLS ")?;
            Some((n, words.split_whitespace().collect()))
        })
        .collect()
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
}

fn ports(source: &Source, name: usize, open: usize, body: usize, findings: &mut Vec<Finding>) {
    let mut broken = |line: usize, rule: &'static str, found: String| {
        findings.push(source.finding(line, rule, found));
    };
    let line = source.line(name);
    // Strings are emptied, so the linkage reads `extern "" void NAME`.
    if name < 4 || source.at(name - 4) != "extern" {
        broken(line, "extern-c", source.at(name).to_owned());
    }
    let directives = directives(source, body);
    let interface: Vec<&(usize, Vec<&str>)> =
        directives.iter().filter(|(_, w)| w[0] == "INTERFACE").collect();
    let mut bundles = Vec::new();
    let mut arguments = vec!["return"];
    let end = source.closing(open);
    for i in open + 1..end {
        let is_name = is_identifier(source.at(i)) && [",", ")"].contains(&source.at(i + 1));
        if !is_name {
            continue;
        }
        let port = source.at(i);
        arguments.push(port);
        if source.at(i - 1) != "*" {
            continue;
        }
        let wide = source.at(i - 2) == ">" && source.at(i - 3) == "512" && source.at(i - 5) == "ap_uint";
        if !wide {
            broken(line, "wide-pointer", format!("{port} is no pointer to 512 bits"));
        }
        let memory = |w: &[&str]| w.get(1) == Some(&"m_axi") && option(w, "port") == Some(port);
        let Some((at, words)) = interface.iter().find(|(_, w)| memory(w)) else {
            broken(line, "memory-port", format!("{port} has no m_axi port"));
            continue;
        };
        let number = |key: &str| option(words, key).and_then(|v| v.parse::<usize>().ok());
        match option(words, "bundle") {
            Some(bundle) if !bundles.contains(&bundle) => bundles.push(bundle),
            found => broken(*at, "own-bundle", format!("{port}: {found:?}")),
        }
        if option(words, "offset") != Some("slave") {
            broken(*at, "memory-port", format!("{port}: offset is not slave"));
        }
        if number("depth").is_none_or(|n| n == 0) {
            broken(*at, "memory-depth", format!("{port}: {:?}", option(words, "depth")));
        }
        for key in ["max_read_burst_length", "max_write_burst_length"] {
            if !number(key).is_some_and(|n| (1..=MAX_BURST).contains(&n)) {
                broken(*at, "burst-length", format!("{port}: {key} {:?}", option(words, key)));
            }
        }
        for key in ["num_read_outstanding", "num_write_outstanding"] {
            if number(key).is_none_or(|n| n == 0) {
                broken(*at, "outstanding", format!("{port}: {key} {:?}", option(words, key)));
            }
        }
    }
    for argument in arguments {
        let controls = |w: &[&str]| {
            w.get(1) == Some(&"s_axilite")
                && option(w, "port") == Some(argument)
                && option(w, "bundle") == Some("control")
        };
        if !interface.iter().any(|(_, w)| controls(w)) {
            broken(line, "control-port", format!("{argument} is not on s_axilite bundle=control"));
        }
    }
    for (at, words) in &interface {
        let known = ["m_axi", "s_axilite", "ap_ctrl_chain"].contains(words.get(1).unwrap_or(&""));
        let is_block = words.get(1).is_some_and(|w| w.starts_with("ap_ctrl"));
        if !known || (is_block && option(words, "port") != Some("return")) {
            broken(*at, "block-control", words.join(" "));
        }
    }
}

/// Each output leaves through `store_rows`, which writes the trailer, with what identifies this kernel.
fn trailers(source: &Source, findings: &mut Vec<Finding>) {
    let calls = (0..source.tokens.len())
        .filter(|k| source.at(*k) == "store_rows" && source.at(k + 2).starts_with("cfg_trailer_"));
    // The pointer is among the last arguments.
    let stored: BTreeSet<&str> = calls
        .flat_map(|k| source.closing(k + 1)..source.closing(k + 1) + 8)
        .map(|argument| source.at(argument))
        .collect();
    for (name, open, _) in source.functions() {
        let end = source.closing(open);
        let params = open + 1..end;
        if !source.at(name).ends_with("_kernel") {
            continue;
        }
        for i in params {
            // `ap_uint < 512 > * y`, not `const`.
            let is_output =
                source.at(i - 1) == "*" && source.at(i - 6) != "const" && is_identifier(source.at(i));
            let port = source.at(i);
            if is_output && !stored.contains(port) {
                findings.push(source.finding(source.line(i), "trailer", format!("{port} gets no trailer")));
            }
        }
    }
}

/// What is bound to a memory has no initial contents: URAM cannot have any.
fn storage(source: &Source, findings: &mut Vec<Finding>) {
    let arrays = (0..source.tokens.len()).filter(|i| {
        source.at(*i) == "HS_ON_CHIP"
            && source.at(i + 3) == "["
            && source.at(source.closing(i + 3) + 1) == ";"
    });
    let declared: BTreeSet<&str> = arrays.map(|i| source.at(i + 2)).collect();
    for (n, line) in source.lines.iter().enumerate() {
        let Some(words) = line.trim().strip_prefix("#pragma HLS BIND_STORAGE ") else { continue };
        let words: Vec<&str> = words.split_whitespace().collect();
        let variable = option(&words, "variable").unwrap_or_default();
        if !declared.contains(variable) {
            let found = format!("{variable} is no array of HS_ON_CHIP without initial contents");
            findings.push(source.finding(n + 1, "empty-storage", found));
        }
    }
}

/// Phases of the gearbox of rows that are one piece: their stride is a multiple of 4 bytes.
const MAX_PHASES: usize = 16;

/// `cut_rows<PIECE, PIECES, PAD, UNIT, WORD>` and `join_rows<…>`: positions are multiples of UNIT, strides of 4.
fn gearboxes(source: &Source, findings: &mut Vec<Finding>) {
    for i in 0..source.tokens.len() {
        if !["cut_rows", "join_rows"].contains(&source.at(i)) || source.at(i + 1) != "<" {
            continue;
        }
        let given: Vec<usize> =
            (i + 2..source.closing(i + 1)).filter_map(|k| source.at(k).parse().ok()).collect();
        let [piece, pieces, pad, unit, word] = given[..] else {
            findings.push(source.finding(source.line(i), "gearbox", "its figures are no numbers"));
            continue;
        };
        let phases = 64usize.checked_div(unit).unwrap_or(usize::MAX);
        let fits = unit > 0 && [piece, pad, 64].iter().all(|n| n.is_multiple_of(unit));
        let strides = (piece * pieces + pad).is_multiple_of(4) && word == piece.min(64);
        if !fits || !strides || (pieces == 1 && phases > MAX_PHASES) {
            let found = format!("pieces of {piece} bytes, {pieces} a row, {pad} of padding, units of {unit}");
            findings.push(source.finding(source.line(i), "gearbox", found));
        }
    }
}

/// Where beats are handled, shifts are by constants: template arguments, which are in capitals, and numbers.
fn shifts(source: &Source, findings: &mut Vec<Finding>) {
    let is_constant = |token: &str| {
        token.starts_with(|c: char| c.is_ascii_digit())
            || token == "width"
            || (is_identifier(token) && !token.contains(|c: char| c.is_ascii_lowercase()))
    };
    for (name, open, body) in source.functions() {
        let all = open..source.closing(body);
        if !all.clone().any(|i| source.at(i) == "512") {
            continue;
        }
        for i in body..source.closing(body) {
            let twice = ["<", ">"].contains(&source.at(i)) && source.at(i + 1) == source.at(i);
            let mut next = i + 2;
            if source.at(next) == "=" {
                next += 1;
            }
            let operand = is_identifier(source.at(next))
                || source.at(next) == "("
                || source.at(next).starts_with(|c: char| c.is_ascii_digit());
            if !twice || !operand {
                continue;
            }
            let last = if source.at(next) == "(" { source.closing(next) } else { next };
            let variable = (next..=last).map(|k| source.at(k)).find(|t| is_identifier(t) && !is_constant(t));
            // Before an operand that is no template's argument.
            if let Some(variable) = variable {
                let found = format!("{}: a shift by {variable}", source.at(name));
                findings.push(source.finding(source.line(i), "constant-slices", found));
            }
        }
    }
}
