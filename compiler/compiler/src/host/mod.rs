//! Host bindings of a model: C++ and Rust that pack its rows and check its results, C++ that runs it on a card, and the
//! C interface that every package shares.
//!
//! [`emit`] is pure. What is the model's own, constants and names, is written here; everything else stands in the
//! templates below `hls_templates/host`.

mod literal;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use hs_fixed::{Overflow, Rounding, Type};
use hs_hw::{KERNEL_ABI, Op, Program, ValueId, abi::RowLayout};

use crate::hls::{EmittedFile, KERNEL_WEIGHTS, Project, names};

use literal::{cpp, rust};

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../../../hls_templates/host/", $name))
    };
}

/// Path of each file, where `@TOP@` is the name of the network's top function, and its template.
const TEMPLATES: &[(&str, &str)] = &[
    ("@TOP@.hpp", template!("model.hpp")),
    ("@TOP@_card.cpp", template!("card.cpp")),
    ("@TOP@_xrt.hpp", template!("model_xrt.hpp")),
    ("Makefile", template!("Makefile")),
    ("README.md", template!("README.md")),
    ("example.c", template!("example.c")),
    ("example.cpp", template!("example.cpp")),
    ("hypersonic.h", template!("hypersonic.h")),
    ("rust/@TOP@.rs", template!("rust/model.rs")),
    ("rust/hypersonic.rs", template!("rust/hypersonic.rs")),
];

/// The host bindings of a verified Program whose kernel `project` builds. `hls` is the folder of the package in which
/// the project lies. Paths are relative to the bindings' folder, in ascending order.
pub fn emit(program: &Program, project: &Project, hls: &str) -> Vec<EmittedFile> {
    let kernel = &project.kernel;
    let fingerprint = program.fingerprint();
    let weights = project.files.iter().find(|f| kernel.weights.is_some() && f.path == KERNEL_WEIGHTS);
    let inputs = ports(program, program.inputs(), &kernel.inputs);
    let outputs = ports(program, program.outputs(), &kernel.outputs);
    let half: Vec<String> = fingerprint.0[..16].iter().map(|b| format!("0x{b:02x}")).collect();
    let common = [
        ("TOP", project.top.clone()),
        ("GUARD", project.top.to_ascii_uppercase()),
        ("MODEL", names::comment(&program.name)),
        ("KERNEL", kernel.name.clone()),
        ("ABI", KERNEL_ABI.to_string()),
        ("FINGERPRINT", fingerprint.to_string()),
        ("FINGERPRINT_BYTES", half.join(", ")),
        ("WEIGHTS_PATH", weights.map(|f| format!("{hls}/{}", f.path)).unwrap_or_default()),
        ("WEIGHTS_BYTES", weights.map_or(0, |f| f.bytes.len()).to_string()),
        ("INPUTS", inputs.len().to_string()),
        ("OUTPUTS", outputs.len().to_string()),
    ];
    let cpp = [
        ("MODEL_TEXT", cpp(&program.name)),
        ("AXES", inputs.iter().chain(&outputs).map(Port::cpp_axes).collect()),
        ("INPUT_TENSORS", inputs.iter().map(Port::cpp_tensor).collect()),
        ("OUTPUT_TENSORS", outputs.iter().map(Port::cpp_tensor).collect()),
    ];
    let rust = [
        ("MODEL_TEXT", rust(&program.name)),
        ("INPUT_TENSORS", inputs.iter().map(Port::rust_tensor).collect::<String>()),
        ("OUTPUT_TENSORS", outputs.iter().map(Port::rust_tensor).collect()),
    ];
    let emitted = TEMPLATES.iter().map(|(path, template)| {
        let own: &[(&str, String)] = if path.ends_with(".rs") { &rust } else { &cpp };
        let value = |key: &str| common.iter().chain(own).find(|(k, _)| *k == key).map(|(_, v)| v.as_str());
        EmittedFile { path: fill(path, value), bytes: fill(template, value).into_bytes() }
    });
    let mut emitted: Vec<EmittedFile> = emitted.collect();
    emitted.sort_by(|a, b| a.path.cmp(&b.path));
    emitted
}

/// `template` with each `@KEY@` replaced, in one pass: values are text, whatever they hold.
///
/// # Panics
/// When the template has a key without a value, which is a bug of the template.
fn fill<'a>(template: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('@') {
        filled.push_str(before);
        let key = after
            .split_once('@')
            .filter(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
        if let Some((key, after)) = key {
            filled.push_str(value(key).unwrap_or_else(|| panic!("a template has the unknown key '{key}'")));
            rest = after;
        } else {
            filled.push('@');
            rest = after;
        }
    }
    filled + rest
}

/// What a binding says of an input or output.
struct Port<'a> {
    name: &'a str,
    argument: &'a str,
    shape: &'a [usize],
    perm: &'a [usize],
    ty: Type,
    rows: RowLayout,
}

/// The model inputs or outputs `ids`, whose kernel arguments are `arguments`.
fn ports<'a>(program: &'a Program, ids: Vec<ValueId>, arguments: &'a [String]) -> Vec<Port<'a>> {
    let port = |(id, argument): (ValueId, &'a String)| {
        let node = program.node(id);
        let (Op::Input { tensor, onnx_shape, perm, .. } | Op::Output { tensor, onnx_shape, perm, .. }) =
            &node.op
        else {
            return None;
        };
        let rows = RowLayout::of(node);
        Some(Port { name: tensor, argument, shape: onnx_shape, perm, ty: node.ty, rows })
    };
    ids.into_iter().zip(arguments).filter_map(port).collect()
}

impl Port<'_> {
    fn cpp_axes(&self) -> String {
        let mut text = String::new();
        for (what, axes) in [("shape", self.shape), ("perm", self.perm)] {
            let _ = writeln!(
                text,
                "inline constexpr std::size_t {}_{what}[] = {{{}}};",
                self.argument,
                list(axes)
            );
        }
        text
    }

    fn cpp_tensor(&self) -> String {
        let Self { argument, ty, rows, .. } = self;
        let (f, n) = (ty.format, ty.overflow.saturated_bits());
        let (rounding, overflow) = modes(ty);
        format!(
            "    {{{}, \"{argument}\", {{{}, {}, {}, Rounding::{rounding}, Overflow::{overflow}, {n}, \"{ty}\"}},\n     {}, {argument}_shape, {argument}_perm, {}, {}, {}}},\n",
            cpp(self.name),
            f.is_signed(),
            f.width(),
            f.frac(),
            self.shape.len(),
            rows.elements,
            rows.element_bytes,
            rows.stride
        )
    }

    fn rust_tensor(&self) -> String {
        let Self { argument, ty, rows, .. } = self;
        let (f, saturated) = (ty.format, ty.overflow.saturated_bits());
        let (rounding, overflow) = modes(ty);
        let (rounding, overflow) = (camel(rounding), camel(overflow));
        format!(
            "    Tensor {{\n        name: {},\n        argument: \"{argument}\",\n        ty: Type {{\n            signed: {},\n            width: {},\n            fraction: {},\n            rounding: Rounding::{rounding},\n            overflow: Overflow::{overflow},\n            saturated: {saturated},\n            text: \"{ty}\",\n        }},\n        shape: &[{}],\n        perm: &[{}],\n        elements: {},\n        element_bytes: {},\n        stride: {},\n    }},\n",
            rust(self.name),
            f.is_signed(),
            f.width(),
            f.frac(),
            list(self.shape),
            list(self.perm),
            rows.elements,
            rows.element_bytes,
            rows.stride
        )
    }
}

/// Enumerators of a type's modes in C++.
fn modes(ty: &Type) -> (&'static str, &'static str) {
    let rounding = match ty.rounding {
        Rounding::Trn => "trn",
        Rounding::TrnZero => "trn_zero",
        Rounding::Rnd => "rnd",
        Rounding::RndZero => "rnd_zero",
        Rounding::RndMinInf => "rnd_min_inf",
        Rounding::RndInf => "rnd_inf",
        Rounding::RndConv => "rnd_conv",
    };
    let overflow = match ty.overflow {
        Overflow::Wrap { .. } => "wrap",
        Overflow::WrapSm { .. } => "wrap_sm",
        Overflow::Sat => "sat",
        Overflow::SatZero => "sat_zero",
        Overflow::SatSym => "sat_sym",
    };
    (rounding, overflow)
}

/// `rnd_min_inf` as `RndMinInf`.
fn camel(snake: &str) -> String {
    let word = |w: &str| w[..1].to_ascii_uppercase() + &w[1..];
    snake.split('_').map(word).collect()
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
