//! The manifest.

use hs_fixed::Type;
use hs_hw::{Fingerprint, KERNEL_ABI, Node, Op, Program, Schedule, ValueId, abi::RowLayout};
use serde::{Deserialize, Serialize};

use crate::PackageError;

/// Whose rules decided the Program's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// Our own.
    Native,
    /// hls4ml's C++, bit for bit.
    Hls4ml,
}

/// What `manifest.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `hypersonic-package`.
    pub format: String,
    /// Version of the format.
    pub format_version: u32,
    /// The program that wrote the package, with its version.
    pub producer: String,
    /// Version of the kernel ABI that rows and trailer follow.
    pub kernel_abi: u32,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model file it was compiled from, 64 hexadecimal digits.
    pub source_sha256: Option<String>,
    /// Identity of the Program's bits.
    pub fingerprint: Fingerprint,
    /// Rules of arithmetic.
    pub arithmetic: Arithmetic,
    /// Model inputs, in order.
    pub inputs: Vec<Port>,
    /// Model outputs, in order.
    pub outputs: Vec<Port>,
    /// Layout in hardware.
    pub schedule: Schedule,
    /// The kernel of the HLS project, where the package has one.
    pub kernel: Option<Kernel>,
    /// Every other file of the package, by path.
    pub files: Vec<FileEntry>,
}

/// The kernel that the HLS project builds, by the names that a host and the linker use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Its function.
    pub name: String,
    /// Pointer arguments of the model inputs, in order.
    pub inputs: Vec<String>,
    /// Pointer arguments of the model outputs, in order.
    pub outputs: Vec<String>,
    /// Argument that counts rows.
    pub rows: String,
    /// Weights that it reads from memory.
    pub weights: Option<KernelWeights>,
    /// FPGA part that it is meant for.
    pub part: String,
    /// Vitis platform that it is meant for.
    pub platform: Option<String>,
    /// Clock asked for, in MHz.
    pub clock_mhz: u32,
    /// Compute units that are linked.
    pub compute_units: u32,
}

/// Name of the shared library that `make` builds in [`HOST`](crate::HOST): the card side of a model's host bindings.
pub fn card_library(kernel: &str) -> String {
    format!("lib{}_card.so", kernel.strip_suffix("_kernel").unwrap_or(kernel))
}

/// Weights that a kernel reads from memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelWeights {
    /// Pointer argument.
    pub argument: String,
    /// File of the package that holds exactly what the pointer points to.
    pub path: String,
    /// Size of that file.
    pub bytes: u64,
}

/// A model input or output and its rows at the kernel's boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// ONNX name.
    pub name: String,
    /// ONNX shape without the batch axis.
    pub onnx_shape: Vec<usize>,
    /// Axis i of the tensor in hardware order is ONNX axis `perm[i]`.
    pub perm: Vec<usize>,
    /// Type of the elements.
    #[serde(rename = "type")]
    pub ty: Type,
    /// Bytes of an element: 1, 2, 4 or 8, little-endian, sign- or zero-extended.
    pub element_bytes: usize,
    /// Bytes of a row's elements.
    pub row_bytes: usize,
    /// Bytes from one row to the next: `row_bytes` rounded up to 4.
    pub row_stride: usize,
}

/// A file and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path inside the package, `/` between parts.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

impl Port {
    fn new(node: &Node) -> Option<Self> {
        let (Op::Input { tensor, onnx_shape, perm, .. } | Op::Output { tensor, onnx_shape, perm, .. }) =
            &node.op
        else {
            return None;
        };
        let RowLayout { element_bytes, row_bytes, stride, .. } = RowLayout::of(node);
        Some(Self {
            name: tensor.clone(),
            onnx_shape: onnx_shape.clone(),
            perm: perm.clone(),
            ty: node.ty,
            element_bytes,
            row_bytes,
            row_stride: stride,
        })
    }

    /// Inputs and outputs of a verified Program, in model order.
    pub fn of(program: &Program) -> (Vec<Self>, Vec<Self>) {
        let ports = |ids: Vec<ValueId>| ids.iter().filter_map(|id| Self::new(program.node(*id))).collect();
        (ports(program.inputs()), ports(program.outputs()))
    }
}

impl Manifest {
    /// The entry of a file.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|f| f.path == path)
    }

    /// What the manifest must say of `program`, files and origin aside.
    pub(crate) fn describe(program: &Program, schedule: Schedule, arithmetic: Arithmetic) -> Self {
        let (inputs, outputs) = Port::of(program);
        Self {
            format: crate::FORMAT.to_owned(),
            format_version: crate::FORMAT_VERSION,
            producer: concat!("hypersonic ", env!("CARGO_PKG_VERSION")).to_owned(),
            kernel_abi: KERNEL_ABI,
            model: program.name.clone(),
            source_sha256: None,
            fingerprint: program.fingerprint(),
            arithmetic,
            inputs,
            outputs,
            schedule,
            kernel: None,
            files: Vec::new(),
        }
    }
}

/// A Schedule has one layer a node, and FIFOs between nodes that exist.
pub(crate) fn check_schedule(program: &Program, schedule: &Schedule) -> Result<(), PackageError> {
    let bad = |message: String| Err(PackageError::Schedule(message));
    let n = program.nodes.len();
    if schedule.layers.len() != n {
        return bad(format!("it has {} layers for {n} nodes", schedule.layers.len()));
    }
    if let Some(i) = schedule.layers.iter().position(|l| l.reuse == 0) {
        return bad(format!("node '{}' has reuse 0", program.nodes[i].name));
    }
    for fifo in &schedule.fifos {
        let reads = |(to, slot): (u32, usize)| {
            let input = program.nodes.get(to as usize).and_then(|node| node.inputs.get(slot));
            input.is_some_and(|input| carries(program, fifo.from, *input))
        };
        if fifo.from as usize >= n || !fifo.to.is_none_or(reads) {
            return bad(format!("no edge of the Program is the FIFO from %{} to {:?}", fifo.from, fifo.to));
        }
        if fifo.depth == 0 {
            return bad(format!("the FIFO from %{} to {:?} has depth 0", fifo.from, fifo.to));
        }
    }
    Ok(())
}

/// Whether `value` is `from`, or made of it by nodes that only move data: these may have no process of their own, so that
/// the FIFO of `from` leads past them.
fn carries(program: &Program, from: u32, mut value: ValueId) -> bool {
    while value.0 > from {
        let node = program.node(value);
        match node.op {
            Op::Reshape | Op::Permute(_) | Op::Pad { .. } => value = node.inputs[0],
            _ => return false,
        }
    }
    value.0 == from
}

/// A kernel has an argument for each input and output, and its weights are a file of the package.
pub(crate) fn check_kernel(manifest: &Manifest) -> Result<(), PackageError> {
    let Some(kernel) = &manifest.kernel else { return Ok(()) };
    let bad = |message: String| Err(PackageError::Kernel { kernel: kernel.name.clone(), message });
    for (what, arguments, ports) in
        [("inputs", &kernel.inputs, &manifest.inputs), ("outputs", &kernel.outputs, &manifest.outputs)]
    {
        if arguments.len() != ports.len() {
            return bad(format!("it has {} {what}, the model has {}", arguments.len(), ports.len()));
        }
    }
    let weights = kernel.weights.as_ref().map(|w| &w.argument);
    let all = kernel.inputs.iter().chain(&kernel.outputs).chain([&kernel.rows]).chain(weights);
    let mut seen = std::collections::BTreeSet::new();
    for name in [&kernel.name].into_iter().chain(all) {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return bad(format!("'{}' is no C++ name", name.escape_debug()));
        }
        if !seen.insert(name) {
            return bad(format!("the name '{name}' is given twice"));
        }
    }
    let Some(weights) = &kernel.weights else { return Ok(()) };
    match manifest.file(&weights.path) {
        Some(file) if file.bytes == weights.bytes => Ok(()),
        Some(file) => {
            bad(format!("its weights are {} bytes, and {} has {}", weights.bytes, file.path, file.bytes))
        }
        None => bad(format!("the package has no file '{}' for its weights", weights.path.escape_debug())),
    }
}
