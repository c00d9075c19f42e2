//! The printer: one line where it fits, else one field a line.

use std::fmt::Write as _;

use super::{INLINE, TEXT_VERSION, attrs, digest, side, value::Kind, value::Record};
use crate::{Codes, Node, Program};

/// Longest line that is not broken into fields.
const LINE: usize = 110;

/// How constants are printed.
pub(super) enum Constants<'a> {
    /// Their codes.
    Inline,
    /// The larger ones as references to bytes beside the text.
    Side(&'a mut side::Writer),
    /// Their digests, and no names.
    Digest,
}

pub(super) fn program(out: &mut String, program: &Program, constants: &mut Constants<'_>) {
    let bare = matches!(constants, Constants::Digest);
    out.push_str("program ");
    string(out, if bare { "" } else { &program.name });
    let _ = writeln!(out, " version {TEXT_VERSION}\n");
    for (id, n) in program.nodes.iter().enumerate() {
        let _ = write!(out, "%{id} = ");
        node(out, n, bare, constants);
    }
}

fn node(out: &mut String, node: &Node, bare: bool, constants: &mut Constants<'_>) {
    let start = out.len();
    out.push_str(node.op.keyword());
    for (i, input) in node.inputs.iter().enumerate() {
        let _ = write!(out, "{}%{}", if i == 0 { "(" } else { ", " }, input.0);
    }
    if !node.inputs.is_empty() {
        out.push(')');
    }
    out.push(' ');
    string(out, if bare { "" } else { &node.name });
    let fields = attrs::to_record(&node.op);
    if !fields.fields.is_empty() {
        out.push(' ');
        let used = out.len() - start;
        let mut p = Printer { out, constants };
        p.record(&fields, 0, used);
    }
    out.push_str(" : ");
    ints(out, &node.shape, 0);
    let _ = writeln!(out, " {}", node.ty);
}

struct Printer<'a, 'b> {
    out: &'a mut String,
    constants: &'a mut Constants<'b>,
}

impl Printer<'_, '_> {
    /// `used`: columns taken before the record.
    fn record(&mut self, record: &Record, depth: usize, used: usize) {
        let mut budget = LINE.saturating_sub(used);
        if flat_record(record, &mut budget) {
            self.out.push('{');
            for (i, (name, value)) in record.fields.iter().enumerate() {
                self.out.push_str(if i == 0 { "" } else { ", " });
                let _ = write!(self.out, "{name}: ");
                self.value(&value.kind, depth + 1, 0);
            }
            self.out.push('}');
            return;
        }
        self.out.push_str("{\n");
        for (name, value) in &record.fields {
            indent(self.out, depth + 1);
            let _ = write!(self.out, "{name}: ");
            self.value(&value.kind, depth + 1, 2 * depth + 4 + name.len());
            self.out.push_str(",\n");
        }
        indent(self.out, depth);
        self.out.push('}');
    }

    fn value(&mut self, kind: &Kind, depth: usize, used: usize) {
        match kind {
            Kind::Int(i) => {
                let _ = write!(self.out, "{i}");
            }
            Kind::Str(s) => string(self.out, s),
            Kind::Ints(l) => ints(self.out, l, depth),
            Kind::List(l) => {
                self.out.push('[');
                for (i, v) in l.iter().enumerate() {
                    self.out.push_str(if i == 0 { "" } else { ", " });
                    self.value(&v.kind, depth, 0);
                }
                self.out.push(']');
            }
            Kind::Record(r) => self.record(r, depth, used),
            Kind::Word(w, fields) => {
                self.out.push_str(w);
                if let Some(r) = fields {
                    self.record(r, depth, used + w.len());
                }
            }
            Kind::Format(f) => {
                let _ = write!(self.out, "{f}");
            }
            Kind::Type(t) => {
                let _ = write!(self.out, "{t}");
            }
            Kind::Codes(c) => self.codes(c, depth),
        }
    }

    fn codes(&mut self, codes: &Codes, depth: usize) {
        let _ = write!(self.out, "{}", codes.format);
        match self.constants {
            Constants::Side(side) if codes.len() > INLINE => {
                let offset = side.push(codes);
                let _ = write!(self.out, " side{{offset: {offset}, count: {}}}", codes.len());
            }
            Constants::Inline | Constants::Side(_) => ints(self.out, &codes.data[..], depth),
            Constants::Digest => {
                let _ = write!(self.out, " sha256{{count: {}, digest: \"{}\"}}", codes.len(), digest(codes));
            }
        }
    }
}

/// Whether the record fits into `budget` characters, which it uses up.
fn flat_record(record: &Record, budget: &mut usize) -> bool {
    record.fields.iter().all(|(name, value)| take(budget, name.len() + 4) && flat(&value.kind, budget))
}

fn flat(kind: &Kind, budget: &mut usize) -> bool {
    match kind {
        Kind::Int(i) => take(budget, i.to_string().len()),
        Kind::Str(s) => take(budget, s.len() + 2),
        Kind::Ints(l) => take(budget, 2) && l.iter().all(|v| take(budget, v.to_string().len() + 2)),
        Kind::List(l) => take(budget, 2) && l.iter().all(|v| take(budget, 2) && flat(&v.kind, budget)),
        Kind::Record(r) => take(budget, 2) && flat_record(r, budget),
        Kind::Word(w, r) => take(budget, w.len()) && r.as_ref().is_none_or(|r| flat_record(r, budget)),
        Kind::Format(f) => take(budget, f.to_string().len()),
        Kind::Type(t) => take(budget, t.to_string().len()),
        Kind::Codes(c) => take(budget, 12) && c.data.iter().all(|v| take(budget, v.to_string().len() + 2)),
    }
}

fn take(budget: &mut usize, n: usize) -> bool {
    let enough = *budget >= n;
    *budget = budget.saturating_sub(n);
    enough
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// A list of integers, broken into lines where it is long.
fn ints<T: ToString>(out: &mut String, list: &[T], depth: usize) {
    out.push('[');
    let mut column = 0;
    let items: usize = list.iter().take(LINE).map(|v| v.to_string().len() + 2).sum();
    let broken = items > LINE;
    for (i, v) in list.iter().enumerate() {
        let text = v.to_string();
        if i > 0 {
            out.push(',');
        }
        if broken && (i == 0 || column + text.len() + 2 > LINE) {
            out.push('\n');
            indent(out, depth + 1);
            column = 2 * (depth + 1);
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(&text);
        column += text.len() + 1;
    }
    if broken {
        out.push('\n');
        indent(out, depth);
    }
    out.push(']');
}

/// A quoted string in printable ASCII, so that no name can disguise itself in a report.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out.push('"');
}
