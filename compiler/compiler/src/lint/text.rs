//! Rules on single lines and functions: the language that synthesis accepts.

use super::Finding;
use super::source::Source;

/// Words that kernel code has no use for, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("float", "no-float"),
    ("double", "no-float"),
    ("half", "no-float"),
    ("std", "no-std"),
    ("new", "no-dynamic-memory"),
    ("delete", "no-dynamic-memory"),
    ("malloc", "no-dynamic-memory"),
    ("calloc", "no-dynamic-memory"),
    ("realloc", "no-dynamic-memory"),
    ("free", "no-dynamic-memory"),
    ("volatile", "no-volatile"),
    ("goto", "no-goto"),
    ("asm", "no-asm"),
];

/// Directives and the options that each may have.
const PRAGMAS: &[(&str, &[&str])] = &[
    ("PIPELINE", &["II"]),
    ("UNROLL", &[]),
    ("ARRAY_PARTITION", &["variable", "type", "factor", "dim"]),
    ("ARRAY_RESHAPE", &["variable", "type", "factor", "dim"]),
    ("INLINE", &[]),
    ("DATAFLOW", &[]),
    ("STREAM", &["variable", "depth"]),
    ("BIND_STORAGE", &["variable", "type", "impl"]),
    (
        "INTERFACE",
        &[
            "m_axi",
            "s_axilite",
            "ap_ctrl_chain",
            "port",
            "bundle",
            "offset",
            "depth",
            "max_read_burst_length",
            "max_write_burst_length",
            "num_read_outstanding",
            "num_write_outstanding",
        ],
    ),
];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    for (i, token) in source.tokens.iter().enumerate() {
        for (word, rule) in FORBIDDEN {
            if token.text == *word {
                findings.push(source.finding(token.line, rule, *word));
            }
        }
        if token.text.contains("__") && token.text != "__SYNTHESIS__" || token.text.starts_with('_') {
            findings.push(source.finding(token.line, "reserved-name", &token.text));
        }
        if (token.text == "ap_fixed" || token.text == "ap_ufixed") && source.at(i + 1) == "<" {
            let close = source.closing(i + 1);
            let commas = (i + 1..close).filter(|k| source.at(*k) == ",").count();
            if commas != 4 {
                let text: String = (i..=close).map(|k| source.at(k)).collect();
                findings.push(source.finding(token.line, "explicit-modes", text));
            }
        }
    }
    for (n, line) in source.lines.iter().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix("#include") {
            if header.trim_start().starts_with('<') {
                findings.push(source.finding(n + 1, "no-system-header", header.trim()));
            }
        } else if let Some(pragma) = line.strip_prefix("#pragma")
            && let Err(why) = check_pragma(pragma)
        {
            findings.push(source.finding(n + 1, "pragma-whitelist", why));
        }
    }
    for (name, _, body) in source.functions() {
        for i in body..source.closing(body) {
            // A qualified call is one of another class' function of that name.
            let own = source.at(i) == source.at(name) && source.at(i - 1) != "::" && source.at(i - 1) != ".";
            if own && (source.at(i + 1) == "(" || source.at(i + 1) == "<") {
                findings.push(source.finding(source.line(i), "no-recursion", source.at(name)));
            }
        }
    }
}

fn check_pragma(pragma: &str) -> Result<(), String> {
    let mut words = pragma.split_whitespace();
    if words.next() != Some("HLS") {
        return Err(pragma.trim().to_owned());
    }
    let directive = words.next().unwrap_or_default();
    let Some((_, options)) = PRAGMAS.iter().find(|(name, _)| *name == directive) else {
        return Err(directive.to_owned());
    };
    for word in words {
        let option = word.split('=').next().unwrap_or_default();
        if !options.contains(&option) {
            return Err(format!("{directive} {word}"));
        }
    }
    Ok(())
}
