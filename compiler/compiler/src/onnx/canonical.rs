//! One form for each operator, whatever opset the model was written for: what newer opsets pass as inputs becomes an
//! input, and defaults that changed are spelled out.

use hs_ir::{Attr, Graph, Names, Node, Tensor, Value};

/// Attributes of older opsets that are inputs of newer ones: operator, attribute, input.
const ATTRIBUTE_INPUTS: &[(&str, &str, usize)] = &[
    ("Squeeze", "axes", 1),
    ("Unsqueeze", "axes", 1),
    ("ReduceL1", "axes", 1),
    ("ReduceL2", "axes", 1),
    ("ReduceLogSum", "axes", 1),
    ("ReduceLogSumExp", "axes", 1),
    ("ReduceMax", "axes", 1),
    ("ReduceMean", "axes", 1),
    ("ReduceMin", "axes", 1),
    ("ReduceProd", "axes", 1),
    ("ReduceSum", "axes", 1),
    ("ReduceSumSquare", "axes", 1),
    ("Slice", "starts", 1),
    ("Slice", "ends", 2),
    ("Slice", "axes", 3),
    ("Split", "split", 1),
    ("Upsample", "scales", 1),
    ("Pad", "pads", 1),
    ("Pad", "value", 2),
    ("Clip", "min", 1),
    ("Clip", "max", 2),
];

/// Softmax and its kin flattened the axes from `axis` on before this opset.
const SOFTMAX_PER_AXIS: i64 = 13;

/// Marks a softmax that spans all axes from its `axis` on.
pub(crate) const SPAN_ATTR: &str = "span";

/// Rewrites `node`, read from a model of `opset`, to its canonical form.
pub(super) fn canonicalise(node: &mut Node, opset: i64, graph: &mut Graph, names: &mut Names) {
    if !node.domain.is_empty() {
        return;
    }
    for (op, attr, index) in ATTRIBUTE_INPUTS {
        if node.op != *op || node.input(*index).is_some() {
            continue;
        }
        let tensor = match node.attrs.get(attr) {
            Some(Attr::Ints(v)) => Tensor::vec_i64(v.clone()),
            Some(Attr::Float(x)) => Tensor::scalar_f32(*x),
            Some(Attr::Floats(v)) => Tensor::vec_f32(v.clone()),
            _ => continue,
        };
        node.attrs.remove(attr);
        let name = names.fresh(&format!("{}_{attr}", node.name));
        let id = graph.add_value(Value::constant(name, tensor));
        if node.inputs.len() <= *index {
            node.inputs.resize(index + 1, None);
        }
        node.inputs[*index] = Some(id);
    }
    if matches!(node.op.as_str(), "Softmax" | "LogSoftmax" | "Hardmax") {
        let spans = opset < SOFTMAX_PER_AXIS;
        if node.attrs.get("axis").is_none() {
            node.attrs.set("axis", Attr::Int(if spans { 1 } else { -1 }));
        }
        if spans {
            node.attrs.set(SPAN_ATTR, Attr::Int(1));
        }
    }
}
