//! Printing.

use std::fmt::{self, Write as _};

use crate::{Attr, Graph, Grid, Tensor, TensorData, Value, ValueId};

/// Constants of more elements than this are summarised by `Display`.
const SUMMARY_LIMIT: usize = 16;

impl Graph {
    /// The whole graph as text that parses back to an equal graph, once compacted: values that nothing mentions are
    /// left out.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = print(self, &mut out, true);
        out
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f, f.alternate())
    }
}

/// A quoted string: escapes are `\"`, `\\`, `\n`, `\r`, `\t` and `\u{hex}` for other control characters.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A word as it is, when it reads as one, else quoted.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if plain { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

fn print(graph: &Graph, out: &mut impl fmt::Write, full: bool) -> fmt::Result {
    writeln!(out, "graph {}", Quoted(&graph.name))?;
    for id in &graph.inputs {
        let value = graph.value(*id);
        writeln!(out, "input {}: {}", Quoted(&value.name), Type(value))?;
    }
    let mut used = vec![false; graph.values.len()];
    for id in graph.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).chain(&graph.outputs) {
        used[id.index()] = true;
    }
    for (index, value) in graph.values.iter().enumerate() {
        let Some(tensor) = &value.constant else { continue };
        if !used[index] {
            continue;
        }
        write!(out, "const {}: ", Quoted(&value.name))?;
        print_tensor(out, tensor, full)?;
        if let Some(grid) = &value.grid {
            print_grid(out, grid)?;
        }
        writeln!(out)?;
    }
    for node in &graph.nodes {
        write!(out, "node {} ", Quoted(&node.name))?;
        if !node.domain.is_empty() {
            write!(out, "{}::", Word(&node.domain))?;
        }
        write!(out, "{}(", Word(&node.op))?;
        print_list(out, &node.inputs, |out, id| print_operand(out, graph, *id))?;
        out.write_str(") -> (")?;
        print_list(out, &node.outputs, |out, id| {
            print_operand(out, graph, *id)?;
            id.map_or(Ok(()), |id| write!(out, ": {}", Type(graph.value(id))))
        })?;
        out.write_char(')')?;
        if !node.attrs.is_empty() {
            let attrs: Vec<_> = node.attrs.iter().collect();
            out.write_str(" {")?;
            print_list(out, &attrs, |out, (name, attr)| {
                write!(out, "{} = ", Word(name))?;
                print_attr(out, attr, full)
            })?;
            out.write_char('}')?;
        }
        if node.sources.as_slice() != [node.name.as_str()] {
            out.write_str(" from [")?;
            print_list(out, &node.sources, |out, s| write!(out, "{}", Quoted(s)))?;
            out.write_char(']')?;
        }
        writeln!(out)?;
    }
    for id in &graph.outputs {
        writeln!(out, "output {}", Quoted(&graph.value(*id).name))?;
    }
    Ok(())
}

struct Type<'a>(&'a Value);

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.dtype {
            Some(dtype) => write!(f, "{dtype}")?,
            None => f.write_char('?')?,
        }
        match &self.0.shape {
            Some(shape) => write!(f, "{shape:?}"),
            None => f.write_str(" ?"),
        }
    }
}

fn print_list<T, W: fmt::Write>(
    out: &mut W,
    items: &[T],
    mut each: impl FnMut(&mut W, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        each(out, item)?;
    }
    Ok(())
}

fn print_operand(out: &mut impl fmt::Write, graph: &Graph, id: Option<ValueId>) -> fmt::Result {
    match id {
        Some(id) => write!(out, "{}", Quoted(&graph.value(id).name)),
        None => out.write_char('_'),
    }
}

fn print_tensor(out: &mut impl fmt::Write, tensor: &Tensor, full: bool) -> fmt::Result {
    write!(out, "{}{:?} = ", tensor.dtype(), tensor.shape())?;
    if !full && tensor.len() > SUMMARY_LIMIT {
        let values = tensor.to_f64();
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        return write!(out, "<{} elements in {min:?} to {max:?}>", tensor.len());
    }
    out.write_char('[')?;
    match tensor.data() {
        TensorData::F32(v) => print_list(out, v, |out, x| write!(out, "{x:?}"))?,
        TensorData::F64(v) => print_list(out, v, |out, x| write!(out, "{x:?}"))?,
        TensorData::I64(v) => print_list(out, v, |out, x| write!(out, "{x}"))?,
    }
    out.write_char(']')
}

fn print_grid(out: &mut impl fmt::Write, grid: &Grid) -> fmt::Result {
    out.write_str(" grid {scale = [")?;
    print_list(out, &grid.scale, |out, x| write!(out, "{x:?}"))?;
    out.write_char(']')?;
    if let Some(axis) = grid.axis {
        write!(out, ", axis = {axis}")?;
    }
    write!(out, ", zero = {:?}, bits = {}", grid.zero_point, grid.bits)?;
    write!(out, ", signed = {}, narrow = {}}}", u8::from(grid.signed), u8::from(grid.narrow))
}

fn print_attr(out: &mut impl fmt::Write, attr: &Attr, full: bool) -> fmt::Result {
    match attr {
        Attr::Int(x) => write!(out, "int {x}"),
        Attr::Float(x) => write!(out, "float {x:?}"),
        Attr::Str(x) => write!(out, "{}", Quoted(x)),
        Attr::Ints(v) => {
            out.write_str("ints [")?;
            print_list(out, v, |out, x| write!(out, "{x}"))?;
            out.write_char(']')
        }
        Attr::Floats(v) => {
            out.write_str("floats [")?;
            print_list(out, v, |out, x| write!(out, "{x:?}"))?;
            out.write_char(']')
        }
        Attr::Strs(v) => {
            out.write_str("strs [")?;
            print_list(out, v, |out, x| write!(out, "{}", Quoted(x)))?;
            out.write_char(']')
        }
        Attr::Tensor(t) => {
            out.write_str("tensor ")?;
            print_tensor(out, t, full)
        }
    }
}
