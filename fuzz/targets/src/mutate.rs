//! Good files, made bad.

use hs_compiler::onnx::proto::{AttributeProto, ModelProto, NodeProto, tensor_shape_proto::dimension::Value};
use hs_hw::testing::Rng;
use prost::Message;

/// Sizes and indices that tend to break things.
const INTS: [i64; 22] = [
    i64::MIN,
    -65,
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    63,
    64,
    127,
    255,
    1 << 16,
    1 << 20,
    1 << 31,
    1 << 40,
    i64::MAX,
];

const FLOATS: [f32; 11] =
    [0.0, -0.0, 1.0, -1.0, 0.3, 1e-30, 1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];

/// Operators that a node may become.
const OPS: [&str; 64] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Selu",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Tile",
    "Transpose",
];

/// Attributes that a node may get.
const ATTRIBUTES: [&str; 16] = [
    "axis",
    "axes",
    "group",
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "perm",
    "alpha",
    "keepdims",
    "blocksize",
    "auto_pad",
    "ceil_mode",
    "transB",
    "to",
    "mode",
];

fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> Option<&'a T> {
    (!all.is_empty()).then(|| &all[rng.size(0..=all.len() - 1)])
}

fn pick_mut<'a, T>(rng: &mut Rng, all: &'a mut [T]) -> Option<&'a mut T> {
    let n = all.len();
    (n > 0).then(|| &mut all[rng.size(0..=n - 1)])
}

fn int(rng: &mut Rng) -> i64 {
    INTS[rng.size(0..=INTS.len() - 1)]
}

/// `bytes` with one to four bytes, runs or ends changed.
pub fn bytes(seed: u64, bytes: &[u8]) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut out = bytes.to_vec();
    for _ in 0..rng.size(1..=4) {
        let n = out.len();
        if n == 0 {
            return vec![rng.bits() as u8; 8];
        }
        let at = rng.size(0..=n - 1);
        let len = rng.size(1..=8.min(n - at));
        match rng.size(0..=7) {
            0 => out[at] ^= 1 << rng.size(0..=7),
            1 => out[at] = [0, 1, 0x7f, 0x80, 0xff][rng.size(0..=4)],
            2 => out.truncate(at),
            3 => drop(out.drain(at..at + len)),
            4 => {
                let run: Vec<u8> = out[at..at + len].to_vec();
                let to = rng.size(0..=n - 1);
                out.splice(to..to, run);
            }
            5 => out[at..at + len].fill(rng.bits() as u8),
            6 => {
                let number = int(&mut rng).to_le_bytes();
                for (to, from) in out[at..].iter_mut().zip(number) {
                    *to = from;
                }
            }
            _ => {
                let to = rng.size(0..=n - len);
                out.copy_within(at..at + len, to);
            }
        }
    }
    out
}

/// `text` with one to three lines, words or numbers changed.
pub fn text(seed: u64, text: &str) -> String {
    let mut rng = Rng::new(seed);
    let mut out = text.to_owned();
    for _ in 0..rng.size(1..=3) {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let words: Vec<&str> = out.split(|c| !is_part(c)).filter(|w| !w.is_empty()).collect();
        let lines: Vec<&str> = out.lines().collect();
        let (Some(word), Some(other)) = (pick(&mut rng, &words), pick(&mut rng, &words)) else { break };
        out = match rng.size(0..=4) {
            0 => out.replacen(*word, &int(&mut rng).to_string(), 1),
            1 => out.replacen(*word, other, 1),
            2 => out.replacen(*word, "", 1),
            3 => {
                let drop = rng.size(0..=lines.len() - 1);
                let kept: Vec<&str> =
                    lines.iter().enumerate().filter(|(i, _)| *i != drop).map(|(_, l)| *l).collect();
                kept.join("\n")
            }
            _ => {
                let (from, to) = (rng.size(0..=lines.len() - 1), rng.size(0..=lines.len() - 1));
                let mut lines = lines.clone();
                lines.insert(to, lines[from]);
                lines.join("\n")
            }
        };
    }
    out
}

/// A model with one to four of its parts changed, as bytes; what is no model is changed as bytes.
pub fn model(seed: u64, good: &[u8]) -> Vec<u8> {
    let Ok(mut model) = ModelProto::decode(good) else { return bytes(seed, good) };
    let mut rng = Rng::new(seed);
    for _ in 0..rng.size(1..=4) {
        change(&mut rng, &mut model);
    }
    model.encode_to_vec()
}

fn change(rng: &mut Rng, model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    let outputs = graph.node.iter().flat_map(|n| n.output.clone());
    let names: Vec<String> = outputs
        .chain(graph.initializer.iter().map(|t| t.name.clone()))
        .chain(graph.input.iter().map(|i| i.name.clone()))
        .collect();
    let kind = rng.size(0..=15);
    match kind {
        0..=7 => {
            let Some(node) = pick_mut(rng, &mut graph.node) else { return };
            change_node(rng, node, kind, &names);
        }
        8 => {
            let Some(tensor) = pick_mut(rng, &mut graph.initializer) else { return };
            let value = int(rng);
            match pick_mut(rng, &mut tensor.dims) {
                Some(dim) => *dim = value,
                None => tensor.dims.push(value),
            }
        }
        9 => {
            let Some(tensor) = pick_mut(rng, &mut graph.initializer) else { return };
            let new = rng.size(0..=64);
            match rng.size(0..=2) {
                0 => tensor.raw_data.truncate(new),
                1 => tensor.data_type = new as i32 / 3,
                _ => tensor.dims.reverse(),
            }
        }
        10 => {
            let Some(tensor) = pick_mut(rng, &mut graph.initializer) else { return };
            let value = FLOATS[rng.size(0..=FLOATS.len() - 1)].to_le_bytes();
            let whole = tensor.raw_data.len() / 4;
            if whole > 0 {
                let at = rng.size(0..=whole - 1) * 4;
                tensor.raw_data[at..at + 4].copy_from_slice(&value);
            }
        }
        11 => {
            if let Some(output) = pick_mut(rng, &mut graph.output)
                && let Some(name) = pick(rng, &names)
            {
                (output.name, output.r#type) = (name.clone(), None);
            }
        }
        12 => {
            let n = graph.node.len();
            if n > 1 {
                graph.node.remove(rng.size(0..=n - 1));
            }
        }
        13 => {
            let n = graph.node.len();
            if n > 1 {
                graph.node.swap(rng.size(0..=n - 1), rng.size(0..=n - 1));
            }
        }
        14 => {
            if let Some(opset) = pick_mut(rng, &mut model.opset_import) {
                opset.version = int(rng);
            }
        }
        _ => {
            let Some(input) = pick_mut(rng, &mut graph.input) else { return };
            if let Some(t) = input.r#type.as_mut().and_then(|t| t.tensor_type.as_mut())
                && let Some(shape) = &mut t.shape
                && let Some(dim) = pick_mut(rng, &mut shape.dim)
            {
                dim.value = Some(Value::DimValue(int(rng)));
            }
        }
    }
}

fn change_node(rng: &mut Rng, node: &mut NodeProto, kind: usize, names: &[String]) {
    match kind {
        0 => node.op_type = OPS[rng.size(0..=OPS.len() - 1)].to_owned(),
        1 => {
            if let Some(input) = pick_mut(rng, &mut node.input) {
                *input = pick(rng, names).cloned().unwrap_or_default();
            }
        }
        2 => {
            let name = if rng.size(0..=3) == 0 { None } else { pick(rng, names) };
            node.input.push(name.cloned().unwrap_or_default());
        }
        3 => drop(node.input.pop()),
        4 => {
            let name = ATTRIBUTES[rng.size(0..=ATTRIBUTES.len() - 1)].to_owned();
            node.attribute.retain(|a| a.name != name);
            let mut new = AttributeProto { name, ..AttributeProto::default() };
            match rng.size(0..=3) {
                0 => (new.r#type, new.i) = (2, int(rng)),
                1 => (new.r#type, new.f) = (1, FLOATS[rng.size(0..=FLOATS.len() - 1)]),
                2 => (new.r#type, new.s) = (3, b"SAME_UPPER".to_vec()),
                _ => (new.r#type, new.ints) = (7, (0..rng.size(0..=5)).map(|_| int(rng)).collect()),
            }
            node.attribute.push(new);
        }
        5 => {
            let value = int(rng);
            let float = FLOATS[rng.size(0..=FLOATS.len() - 1)];
            if let Some(attribute) = pick_mut(rng, &mut node.attribute) {
                (attribute.i, attribute.f) = (value, float);
                if let Some(i) = pick_mut(rng, &mut attribute.ints) {
                    *i = value;
                }
            }
        }
        6 => drop(node.attribute.pop()),
        _ => node.input.reverse(),
    }
}
