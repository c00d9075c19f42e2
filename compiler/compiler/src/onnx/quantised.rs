//! ONNX Runtime's quantised operators and `QuantizeLinear` around activations, as float operators and `Quant`.
//!
//! `QLinearConv` and its kin become dequantised operands, the float operator and a quantiser: the same integers. Then each
//! activation that is quantised and dequantised passes one `Quant`; operators between the two that only move or compare
//! elements read and yield reals. Constants keep their `QuantizeLinear` and `DequantizeLinear`, which fold.
//!
//! ONNX Runtime's quantised operators are what its kernels do, which differs from the float operator between quantisers where
//! [`Kernel`] says so.

use std::collections::HashMap;

use hs_ir::{Attr, Attrs, DType, Graph, Names, Node, Tensor, Value, ValueId};

use crate::ops::linear::{self, exact_range};
use crate::ops::quant::LINEAR_ATTR;
use crate::ops::{QONNX_DOMAINS, find};

/// An operand of a quantised operator: the places of tensor, scale and zero point.
type Place = [usize; 3];

/// A quantised operator with its parts at fixed places.
struct Form {
    op: &'static str,
    float: &'static str,
    operands: &'static [Place],
    bias: Option<usize>,
    /// Places of the result's scale and zero point.
    result: [usize; 2],
}

const fn form(
    op: &'static str,
    float: &'static str,
    operands: &'static [Place],
    bias: Option<usize>,
    result: [usize; 2],
) -> Form {
    Form { op, float, operands, bias, result }
}

const ONE: &[Place] = &[[0, 1, 2]];
const TWO: &[Place] = &[[0, 1, 2], [3, 4, 5]];

const FORMS: &[Form] = &[
    form("QLinearConv", "Conv", TWO, Some(8), [6, 7]),
    form("QLinearMatMul", "MatMul", TWO, None, [6, 7]),
    form("QGemm", "Gemm", TWO, Some(6), [7, 8]),
    form("QLinearAdd", "Add", TWO, None, [6, 7]),
    form("QLinearMul", "Mul", TWO, None, [6, 7]),
    form("QLinearAveragePool", "AveragePool", ONE, None, [3, 4]),
    form("QLinearGlobalAveragePool", "GlobalAveragePool", ONE, None, [3, 4]),
    form("QLinearReduceMean", "ReduceMean", ONE, None, [3, 4]),
    form("QLinearSigmoid", "Sigmoid", ONE, None, [3, 4]),
    form("QLinearLeakyRelu", "LeakyRelu", ONE, None, [3, 4]),
    form("QLinearSoftmax", "Softmax", ONE, None, [3, 4]),
];

/// Operators that move or compare elements, so that they mean the same of codes and of the reals behind them.
const MOVERS: &[&str] = &[
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Bits of a quantiser that cuts nothing off.
const WIDEST_QUANTISER: f64 = 32.0;

/// What a quantised operator of ONNX Runtime does otherwise than the float operator between quantisers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// It adds the zero point before it rounds, so that ties go elsewhere when it is odd.
    ZeroFirst,
    /// It takes the whole part of 1/scale for the steps in 1.
    WholeSteps,
}

/// In what the quantised operator `op` differs.
fn kernel(op: &str) -> Option<Kernel> {
    match op {
        "QLinearAdd" | "QLinearAveragePool" | "QLinearMul" => Some(Kernel::ZeroFirst),
        "QLinearSoftmax" => Some(Kernel::WholeSteps),
        _ => None,
    }
}

/// Rewrites a graph whose nodes are sorted.
pub(super) fn rewrite(graph: &mut Graph, values: &mut Names) {
    // QONNX's newer name.
    let renamed = |n: &&mut Node| n.op == "IntQuant" && QONNX_DOMAINS.contains(&n.domain.as_str());
    for node in graph.nodes.iter_mut().filter(renamed) {
        "Quant".clone_into(&mut node.op);
    }
    let quantised =
        |n: &Node| n.op.starts_with('Q') || ["DequantizeLinear", "Trunc"].contains(&n.op.as_str());
    if !graph.nodes.iter().any(quantised) {
        return;
    }
    let nodes = std::mem::take(&mut graph.nodes);
    let mut names = Names::new();
    for node in &nodes {
        names.take(&node.name);
    }
    let mut state = State {
        graph,
        names,
        values,
        out: Vec::new(),
        reals: HashMap::new(),
        known: Vec::new(),
        kernels: HashMap::new(),
    };
    for node in nodes {
        state.expand(node);
    }
    let nodes = std::mem::take(&mut state.out);
    state.known = state.graph.values.iter().map(|v| v.constant.is_some()).collect();
    let mut codes = Vec::new();
    for node in nodes {
        state.activation(node, &mut codes);
    }
    let nodes = std::mem::take(&mut state.out);
    graph.nodes = without_unread(nodes, &codes, &graph.outputs);
}

/// What is known of a quantised activation.
#[derive(Clone, Copy)]
struct Codes {
    /// The reals that the codes stand for.
    reals: ValueId,
    /// What was quantised, while nothing has moved it.
    source: Option<ValueId>,
    scale: ValueId,
    zero: Option<ValueId>,
}

struct State<'a> {
    graph: &'a mut Graph,
    names: Names,
    values: &'a mut Names,
    out: Vec<Node>,
    reals: HashMap<ValueId, Codes>,
    known: Vec<bool>,
    /// Codes that a quantised operator yields, and in what it differs.
    kernels: HashMap<ValueId, Kernel>,
}

impl State<'_> {
    fn value(&mut self, name: &str) -> ValueId {
        let name = self.values.fresh(name);
        self.known.push(false);
        self.graph.add_value(Value::named(name))
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let name = self.values.fresh(name);
        self.known.push(true);
        self.graph.add_value(Value::constant(name, tensor))
    }

    fn name_of(&self, id: ValueId) -> String {
        self.graph.value(id).name.clone()
    }

    /// Appends a node of ONNX's own domain under the free name `name`.
    fn push(&mut self, name: &str, op: &str, inputs: &[Option<ValueId>], output: ValueId) -> &mut Node {
        let name = self.names.fresh(name);
        self.out.push(Node {
            sources: vec![name.clone()],
            name,
            domain: String::new(),
            op: op.to_owned(),
            attrs: Attrs::new(),
            inputs: inputs.to_vec(),
            outputs: vec![Some(output)],
        });
        let last = self.out.len() - 1;
        &mut self.out[last]
    }

    fn expand(&mut self, mut node: Node) {
        if QONNX_DOMAINS.contains(&node.domain.as_str()) {
            let done = match node.op.as_str() {
                "Quant" => self.bipolar(&node),
                "Trunc" => self.truncation(&node),
                _ => None,
            };
            return if done.is_none() {
                self.out.push(node)
            };
        }
        let domain = node.domain.as_str();
        let at_home = domain.is_empty() || domain == "com.microsoft";
        let last = matches!(node.attrs.get("channels_last"), Some(Attr::Int(n)) if *n != 0);
        if !at_home || last {
            return self.out.push(node);
        }
        if node.op == "QLinearConcat" {
            let parts = node.inputs.len().saturating_sub(2) / 3;
            let places: Vec<Place> = (0..parts).map(|i| [2 + 3 * i, 3 + 3 * i, 4 + 3 * i]).collect();
            let inputs = places.iter().map(|p| self.dequantised(&node, *p, None)).collect();
            return self.float_and_quantiser(&mut node, "Concat", inputs, [0, 1]);
        }
        let Some(form) = FORMS.iter().find(|f| f.op == node.op) else { return self.out.push(node) };
        let alpha = matches!(node.attrs.get("alpha"), Some(Attr::Float(a)) if *a != 1.0);
        if alpha && form.bias.is_some_and(|at| node.input(at).is_some()) {
            return self.out.push(node);
        }
        let trans_b = matches!(node.attrs.get("transB"), Some(Attr::Int(1)));
        let axis = match form.float {
            "Conv" => 0,
            "Gemm" if trans_b => 0,
            _ => -1,
        };
        let mut inputs: Vec<_> =
            form.operands.iter().map(|place| self.dequantised(&node, *place, Some(axis))).collect();
        if let Some(bias) = form.bias.and_then(|at| node.input(at)) {
            let name = node.name.clone();
            let (scale, reals) =
                (self.value(&format!("{name}_bias_scale")), self.value(&format!("{name}_bias")));
            self.push(&format!("{name}/bias_scale"), "Mul", &[node.input(1), node.input(4)], scale);
            let dequantise = format!("{name}/bias");
            self.push(&dequantise, "DequantizeLinear", &[Some(bias), Some(scale)], reals)
                .attrs
                .set("axis", Attr::Int(0));
            inputs.push(Some(reals));
        }
        self.float_and_quantiser(&mut node, form.float, inputs, form.result);
    }

    /// The one element of the constant operand `slot`.
    fn single(&self, node: &Node, slot: usize) -> Option<f64> {
        match self.tensor(node.input(slot)?)?.to_f64()[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// A QONNX `Quant` to one signed bit: it gives the signs, times the scale.
    fn bipolar(&mut self, node: &Node) -> Option<()> {
        let signed = !matches!(node.attrs.get("signed"), Some(Attr::Int(0)));
        let one =
            self.single(node, 3)? == 1.0 && self.single(node, 2)? == 0.0 && self.single(node, 1).is_some();
        (signed && one).then_some(())?;
        let mut new = node.clone();
        "BipolarQuant".clone_into(&mut new.op);
        new.attrs = Attrs::new();
        new.inputs.truncate(2);
        self.out.push(new);
        Some(())
    }

    /// A QONNX `Trunc` without zero point: the quantiser of what is truncated, one to as many bits fewer, and, in version 1,
    /// the factor that brings the integers back to the first scale.
    fn truncation(&mut self, node: &Node) -> Option<()> {
        let (x, y) = (node.input(0)?, node.output(0)?);
        let scale = self.single(node, 1)?;
        (self.single(node, 2)? == 0.0).then_some(())?;
        let second = node.inputs.len() > 5;
        let (shift, bits, factor) = if second {
            let result = self.single(node, 4)?;
            let shift = (result / scale).log2().round_ties_even();
            (shift, self.single(node, 6)?, result / (scale * shift.exp2()))
        } else {
            let shift = self.single(node, 3)? - self.single(node, 4)?;
            (shift, WIDEST_QUANTISER, (-shift).exp2())
        };
        let mode = match node.attrs.get("rounding_mode") {
            Some(Attr::Str(mode)) => mode.clone(),
            _ => "FLOOR".to_owned(),
        };
        let flag = |name: &str, default: i64| match node.attrs.get(name) {
            Some(Attr::Int(n)) if second => *n,
            _ => default,
        };
        let domain = node.domain.clone();
        let steps = [
            (scale, WIDEST_QUANTISER, "ROUND".to_owned(), 1, 0),
            (scale * shift.exp2(), bits, mode, flag("signed", 1), flag("narrow", 0)),
        ];
        let mut at = x;
        for (i, (scale, bits, mode, signed, narrow)) in steps.into_iter().enumerate() {
            let last = i == 1 && factor == 1.0;
            let to = if last { y } else { self.value(&format!("{}/truncated{i}", self.name_of(y))) };
            let name = self.name_of(to);
            let operands = [("scale", scale), ("zero", 0.0), ("bits", bits)].map(|(what, v)| {
                Some(self.constant(&format!("{name}_{what}"), Tensor::scalar_f32(v as f32)))
            });
            let inputs: Vec<_> = std::iter::once(Some(at)).chain(operands).collect();
            let name = if i == 1 { node.name.clone() } else { format!("{}/round", node.name) };
            let new = self.push(&name, "Quant", &inputs, to);
            new.domain.clone_from(&domain);
            new.attrs = Attrs::from_iter([
                ("signed", Attr::Int(signed)),
                ("narrow", Attr::Int(narrow)),
                ("rounding_mode", Attr::Str(mode)),
            ]);
            at = to;
        }
        if at != y {
            let factor =
                self.constant(&format!("{}_factor", self.name_of(y)), Tensor::scalar_f32(factor as f32));
            self.push(&format!("{}/factor", node.name), "Mul", &[Some(at), Some(factor)], y);
        }
        Some(())
    }

    fn dequantised(&mut self, node: &Node, [x, scale, zero]: Place, axis: Option<i64>) -> Option<ValueId> {
        let x = node.input(x)?;
        let reals = self.value(&format!("{}/{}_reals", node.name, self.name_of(x)));
        let name = format!("{}/dequantise", node.name);
        let new =
            self.push(&name, "DequantizeLinear", &[Some(x), node.input(scale), node.input(zero)], reals);
        if let Some(axis) = axis {
            new.attrs.set("axis", Attr::Int(axis));
        }
        Some(reals)
    }

    /// Appends `node` as the operator `float` of `inputs`, and its quantiser where it has one.
    fn float_and_quantiser(
        &mut self,
        node: &mut Node,
        float: &str,
        inputs: Vec<Option<ValueId>>,
        [scale, zero]: [usize; 2],
    ) {
        let (scale, zero) = (node.input(scale), node.input(zero));
        let mut new = node.clone();
        (new.op, new.domain, new.inputs) = (float.to_owned(), String::new(), inputs);
        for attr in ["channels_last", "opset"] {
            new.attrs.remove(attr);
        }
        let Some(y) = node.output(0).filter(|_| scale.is_some()) else { return self.out.push(new) };
        if let Some(kernel) = kernel(&node.op) {
            self.kernels.insert(y, kernel);
        }
        let reals = self.value(&format!("{}_reals", self.name_of(y)));
        new.outputs = vec![Some(reals)];
        let name = format!("{}/quantise", new.name);
        self.out.push(new);
        self.push(&name, "QuantizeLinear", &[Some(reals), scale, zero], y);
    }

    /// Appends `node` with reals in the place of the codes of activations. Nodes that still yield codes are appended too, and
    /// noted in `codes`.
    fn activation(&mut self, mut node: Node, codes: &mut Vec<String>) {
        if node.op == "Constant" || node.inputs.iter().flatten().all(|i| self.known[i.index()]) {
            for id in node.outputs.iter().flatten() {
                self.known[id.index()] = true;
            }
            return self.out.push(node);
        }
        let own = linear::DOMAINS.contains(&node.domain.as_str());
        let of = node.input(0).and_then(|x| self.reals.get(&x)).copied();
        let done = match (node.op.as_str(), of) {
            ("QuantizeLinear", None) if own => self.quantise(&node),
            ("DequantizeLinear", Some(of)) if own => return self.dequantise(node, of),
            ("Clip", Some(of)) => self.narrow(&node, of),
            (op, Some(of)) if node.domain.is_empty() && MOVERS.contains(&op) => self.mover(&node, of),
            _ => None,
        };
        if done.is_some() {
            node.name = self.names.fresh(&format!("{}/codes", node.name));
            node.sources = vec![node.name.clone()];
            codes.push(node.name.clone());
        }
        self.out.push(node);
    }

    /// `x` times the whole part of the steps of `scale` in 1, over their number.
    fn whole_steps(&mut self, node: &Node, x: ValueId, scale: ValueId) -> Option<ValueId> {
        let tensor = self.tensor(scale)?;
        let [step] = tensor.to_f64()[..] else { return None };
        let whole = f64::from((1.0 / step as f32).floor());
        if whole < 1.0 || (whole * step) as f32 == 1.0 {
            return None;
        }
        let name = self.name_of(x);
        let factor = self.constant(&format!("{name}_steps"), Tensor::scalar_f32((whole * step) as f32));
        let y = self.value(&format!("{name}_whole"));
        self.push(&format!("{}/whole_steps", node.name), "Mul", &[Some(x), Some(factor)], y);
        Some(y)
    }

    /// The constant that `id` is, directly or as the value of a `Constant`.
    fn tensor(&self, id: ValueId) -> Option<Tensor> {
        if let Some(tensor) = self.graph.constant(id) {
            return Some(tensor.as_ref().clone());
        }
        let constant = self.out.iter().find(|n| n.op == "Constant" && n.output(0) == Some(id))?;
        let call = crate::ops::Call::of(self.graph, constant)?;
        (find(constant)?.infer)(&call).ok()?.into_iter().next()?.value
    }

    fn quantise(&mut self, node: &Node) -> Option<()> {
        let (x, scale, y) = (node.input(0)?, node.input(1)?, node.output(0)?);
        let (dtype, zero) = match node.input(2) {
            Some(id) => {
                let zero = self.tensor(id)?;
                let first = *zero.ints()?.first()?;
                zero.ints()?.iter().all(|z| *z == first).then_some(())?;
                (zero.dtype(), first)
            }
            None => match node.attrs.get("output_dtype") {
                Some(Attr::Int(code)) if *code != 0 => (super::dtype(i32::try_from(*code).ok()?).ok()?, 0),
                _ => (DType::U8, 0),
            },
        };
        let (bits, signed) = linear::width(dtype);
        let kernel = self.kernels.get(&y).copied();
        let read = match kernel {
            Some(Kernel::WholeSteps) => self.whole_steps(node, x, scale).unwrap_or(x),
            Some(Kernel::ZeroFirst) | None => x,
        };
        let linear = kernel != Some(Kernel::ZeroFirst);
        let reals = self.quant(node, (read, y), (scale, zero, linear), (bits, signed, false))?;
        self.reals.insert(y, Codes { reals, source: Some(x), scale, zero: node.input(2) });
        Some(())
    }

    /// Appends the `Quant` of `x` that the quantiser `node` of the codes `y` is.
    fn quant(
        &mut self,
        node: &Node,
        (x, y): (ValueId, ValueId),
        (scale, zero, linear): (ValueId, i64, bool),
        (bits, signed, narrow): (u32, bool, bool),
    ) -> Option<ValueId> {
        let name = self.name_of(y);
        let reals = self.value(&format!("{name}_reals"));
        let zero = self.constant(&format!("{name}_zero"), Tensor::scalar_f32(zero as f32));
        let width = self.constant(&format!("{name}_bits"), Tensor::scalar_f32(bits as f32));
        let mut new = node.clone();
        (*QONNX_DOMAINS.first()?).clone_into(&mut new.domain);
        "Quant".clone_into(&mut new.op);
        let axis = match node.attrs.get("axis") {
            Some(Attr::Int(axis)) => *axis,
            _ => 1,
        };
        new.attrs = Attrs::from_iter([
            ("signed", Attr::Int(signed.into())),
            ("narrow", Attr::Int(narrow.into())),
            (LINEAR_ATTR, Attr::Int(linear.into())),
            ("axis", Attr::Int(axis)),
        ]);
        new.inputs = vec![Some(x), Some(scale), Some(zero), Some(width)];
        new.outputs = vec![Some(reals)];
        self.out.push(new);
        Some(reals)
    }

    /// A `Clip` of codes to the range of a narrower type: that type's quantiser.
    fn narrow(&mut self, node: &Node, of: Codes) -> Option<()> {
        let y = node.output(0)?;
        let bound = |at: usize| self.tensor(node.input(at)?)?.ints()?.first().copied();
        let range = exact_range(bound(1)?, bound(2)?)?;
        let zero = match of.zero {
            Some(id) => self.tensor(id)?.ints()?.iter().any(|z| *z != 0),
            None => false,
        };
        if zero {
            return None;
        }
        let reals = self.quant(node, (of.source?, y), (of.scale, 0, true), range)?;
        self.reals.insert(y, Codes { reals, ..of });
        Some(())
    }

    fn same(&self, a: Option<ValueId>, b: Option<ValueId>) -> bool {
        let tensor = |id: Option<ValueId>| id.and_then(|id| self.tensor(id));
        a == b || tensor(a).zip(tensor(b)).is_some_and(|(a, b)| a.to_f64() == b.to_f64())
    }

    fn dequantise(&mut self, mut node: Node, of: Codes) {
        if self.same(node.input(1), Some(of.scale)) && self.same(node.input(2), of.zero) {
            (node.op, node.attrs, node.inputs) = ("Identity".to_owned(), Attrs::new(), vec![Some(of.reals)]);
            node.domain.clear();
        }
        self.out.push(node);
    }

    fn mover(&mut self, node: &Node, of: Codes) -> Option<()> {
        let mut new = node.clone();
        let several = self.tensor(of.scale)?.len() > 1;
        let moved = if node.op == "Concat" { node.inputs.len() } else { 1 };
        for slot in new.inputs.iter_mut().take(moved) {
            let part = *self.reals.get(&(*slot)?)?;
            let same = self.same(Some(part.scale), Some(of.scale)) && self.same(part.zero, of.zero);
            (same && !several).then_some(())?;
            *slot = Some(part.reals);
        }
        if node.op == "Pad" {
            let code =
                |id: Option<ValueId>| id.map_or(Some(0), |id| self.tensor(id)?.ints()?.first().copied());
            let steps = code(node.input(2))? - code(of.zero)?;
            let real = steps as f32 * *self.tensor(of.scale)?.to_f64().first()? as f32;
            let id = self.constant(&format!("{}_value", node.name), Tensor::scalar_f32(real));
            new.inputs.resize(new.inputs.len().max(3), None);
            new.inputs[2] = Some(id);
        }
        for slot in &mut new.outputs {
            let Some(y) = *slot else { continue };
            let reals = self.value(&format!("{}_reals", self.name_of(y)));
            self.reals.insert(y, Codes { reals, source: None, ..of });
            *slot = Some(reals);
        }
        self.out.push(new);
        Some(())
    }
}

/// `nodes` without those named in `codes` that nothing reads.
fn without_unread(nodes: Vec<Node>, codes: &[String], outputs: &[ValueId]) -> Vec<Node> {
    let mut reads: HashMap<ValueId, usize> = HashMap::new();
    for id in nodes.iter().flat_map(|n| n.inputs.iter().flatten()).chain(outputs) {
        *reads.entry(*id).or_default() += 1;
    }
    let mut kept: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        let unread = node.outputs.iter().flatten().all(|y| reads.get(y).is_none_or(|n| *n == 0));
        if unread && codes.contains(&node.name) {
            for id in node.inputs.iter().flatten() {
                reads.entry(*id).and_modify(|n| *n -= 1);
            }
        } else {
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}
