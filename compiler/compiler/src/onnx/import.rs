//! From the decoded protobuf to the graph IR.

use std::collections::{HashMap, HashSet};

use hs_ir::{Attrs, DType, Graph, Names, Node, Value, ValueId};

use super::external::Folder;
use super::proto::tensor_shape_proto::dimension::Value as Dim;
use super::proto::type_proto;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::{attribute, canonical, labels, quantised, sort, tensor};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits::{Limit, Limits};

/// The oldest opset that is read.
const OLDEST_OPSET: i64 = 7;
/// ONNX's number for strings.
const STRING: i32 = 8;
/// The newest opset whose operators are known.
const NEWEST_OPSET: i64 = 25;

pub(super) fn import(
    model: ModelProto,
    folder: Option<&Folder>,
    limits: &Limits,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    let mut importer = Importer { limits: *limits, ..Importer::default() };
    let opset = importer.opset(&model);
    let Some(proto) = model.graph else {
        let error =
            Diagnostic::error("the model holds no graph; this is not an ONNX model, or it is truncated");
        return Err(error.help("check the file with onnx.checker.check_model").into());
    };
    limits.check(Limit::Nodes, proto.node.len() as u64)?;
    importer.graph.name = proto.name.clone();
    importer.initialisers(&proto, folder);
    importer.inputs(&proto.input);
    for id in &importer.graph.inputs {
        let value = importer.graph.value(*id);
        limits
            .check_shape(value.shape.as_deref().unwrap_or_default())
            .map_err(|e| Diagnostic { message: format!("input '{}': {}", value.name, e.message), ..e })?;
    }
    importer.nodes(proto.node, folder);
    importer.outputs(&proto.output);
    let Importer { mut graph, errors, mut warnings, strings, .. } = importer;
    errors.into_result()?;
    sort::sort(&mut graph, limits)?;
    warnings.extend(labels::drop(&mut graph, &strings)?);
    let mut names = Names::of_values(&graph);
    quantised::rewrite(&mut graph, &mut names);
    let mut nodes = std::mem::take(&mut graph.nodes);
    for node in &mut nodes {
        canonical::canonicalise(node, opset, &mut graph, &mut names);
    }
    graph.nodes = nodes;
    debug_assert_eq!(graph.verify(), Ok(()));
    Ok((graph, warnings))
}

#[derive(Default)]
struct Importer {
    graph: Graph,
    ids: HashMap<String, ValueId>,
    errors: Diagnostics,
    warnings: Vec<Diagnostic>,
    /// Initialisers that hold strings.
    strings: Vec<ValueId>,
    limits: Limits,
    /// Elements of all initialisers so far.
    constants: u64,
}

impl Importer {
    /// The opset of ONNX's own operators. Imports of other domains are not looked at: exporters list unused ones.
    fn opset(&mut self, model: &ModelProto) -> i64 {
        let own = model.opset_import.iter().filter(|o| is_onnx_domain(&o.domain)).map(|o| o.version).max();
        let Some(version) = own else {
            self.warnings.push(Diagnostic::warning(format!(
                "the model declares no opset of ONNX's own operators; {NEWEST_OPSET} is assumed"
            )));
            return NEWEST_OPSET;
        };
        if version < OLDEST_OPSET {
            let message =
                format!("the model uses opset {version}; the oldest that is read is {OLDEST_OPSET}");
            let help =
                "convert it with onnx.version_converter.convert_version(model, 17), or export it again";
            self.errors.push(Diagnostic::error(message).help(help));
        }
        if version > NEWEST_OPSET {
            self.warnings.push(Diagnostic::warning(format!(
                "the model uses opset {version}, newer than {NEWEST_OPSET}; its operators are read as those of {NEWEST_OPSET}"
            )));
        }
        version
    }

    fn define(&mut self, value: Value) -> ValueId {
        let name = value.name.clone();
        let id = self.graph.add_value(value);
        self.ids.insert(name, id);
        id
    }

    fn initialisers(&mut self, proto: &GraphProto, folder: Option<&Folder>) {
        for sparse in &proto.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |v| v.name.as_str());
            let error = Diagnostic::error(format!("initialiser '{name}' is sparse, which is not supported"));
            self.errors.push(error.help("store it dense"));
        }
        for init in &proto.initializer {
            if init.data_type == STRING && !self.ids.contains_key(&init.name) {
                let id = self.define(Value::named(init.name.clone()));
                self.strings.push(id);
                continue;
            }
            match self.initialiser(init, folder) {
                Ok(value) => {
                    self.define(value);
                }
                Err(error) => {
                    // Defined all the same, so that its readers add no errors of their own.
                    self.define(Value::named(init.name.clone()));
                    let message = format!("initialiser '{}': {}", init.name, error.message);
                    self.errors.push(Diagnostic { message, ..error });
                }
            }
        }
    }

    fn initialiser(&mut self, proto: &TensorProto, folder: Option<&Folder>) -> Result<Value, Diagnostic> {
        if proto.name.is_empty() {
            return Err(Diagnostic::error("it has no name"));
        }
        if self.ids.contains_key(&proto.name) {
            return Err(Diagnostic::error("there is another of this name"));
        }
        let (shape, count) = tensor::shape(&proto.dims).map_err(Diagnostic::error)?;
        self.limits.check_shape(&shape)?;
        self.constants = self.constants.saturating_add(count as u64);
        self.limits.check(Limit::Constants, self.constants)?;
        let tensor = tensor::decode(proto, folder).map_err(Diagnostic::error)?;
        if let Some((at, x)) = tensor.first_non_finite()
            && (x.is_nan() || tensor.len() > 1)
        {
            let place = position(tensor.shape(), at);
            return Err(Diagnostic::error(format!(
                "element {place} is {x}; weights must be finite (did the training diverge?)"
            )));
        }
        Ok(Value::constant(proto.name.clone(), tensor))
    }

    /// Graph inputs. One that an initialiser shadows is a constant.
    fn inputs(&mut self, inputs: &[ValueInfoProto]) {
        let initialisers: HashSet<String> = self.ids.keys().cloned().collect();
        for info in inputs {
            if initialisers.contains(&info.name) {
                continue;
            }
            if info.name.is_empty() || self.ids.contains_key(&info.name) {
                let what = if info.name.is_empty() { "without a name" } else { "listed twice" };
                self.errors.push(Diagnostic::error(format!("the graph has an input '{}' {what}", info.name)));
                continue;
            }
            let value = input_value(info).unwrap_or_else(|error| {
                self.errors.push(*error);
                Value::named(info.name.clone())
            });
            let id = self.define(value);
            self.graph.inputs.push(id);
        }
    }

    fn nodes(&mut self, protos: Vec<NodeProto>, folder: Option<&Folder>) {
        let mut names = Names::new();
        let mut own_name: Vec<Option<String>> = Vec::with_capacity(protos.len());
        for proto in &protos {
            let free = !proto.name.is_empty() && names.take(&proto.name);
            own_name.push(free.then(|| proto.name.clone()));
        }
        let mut nodes = Vec::with_capacity(protos.len());
        for (proto, own) in protos.iter().zip(own_name) {
            let base = if proto.name.is_empty() { &proto.op_type } else { &proto.name };
            let name = own.unwrap_or_else(|| names.numbered(base));
            let domain = if is_onnx_domain(&proto.domain) { String::new() } else { proto.domain.clone() };
            let mut node = Node {
                sources: vec![name.clone()],
                name,
                domain,
                op: proto.op_type.clone(),
                attrs: Attrs::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            };
            for attr in &proto.attribute {
                match attribute::decode(attr, folder) {
                    Ok(Some(value)) => node.attrs.set(attr.name.clone(), value),
                    Ok(None) => {}
                    Err(message) => {
                        let message = format!("attribute '{}': {message}", attr.name);
                        self.errors.push(Diagnostic::error(message).at_node(&node));
                    }
                }
            }
            node.outputs = proto.output.iter().map(|name| self.output(name, &node)).collect();
            nodes.push(node);
        }
        // Inputs after all outputs: nodes may come in any order.
        for (node, proto) in nodes.iter_mut().zip(&protos) {
            for name in &proto.input {
                let id = self.ids.get(name).copied();
                if id.is_none() && !name.is_empty() {
                    let message = format!(
                        "reads '{name}', which is no input of the graph, no initialiser and no result of a node"
                    );
                    let help = "the model lacks a tensor: export it again, and check it with onnx.checker.check_model";
                    self.errors.push(Diagnostic::error(message).at_node(node).help(help));
                }
                node.inputs.push(id);
            }
        }
        self.graph.nodes = nodes;
    }

    fn output(&mut self, name: &str, node: &Node) -> Option<ValueId> {
        if name.is_empty() {
            return None;
        }
        if self.ids.contains_key(name) {
            let message = format!("produces '{name}', which something else in the graph defines already");
            self.errors.push(Diagnostic::error(message).at_node(node));
            return None;
        }
        Some(self.define(Value::named(name)))
    }

    fn outputs(&mut self, outputs: &[ValueInfoProto]) {
        if outputs.is_empty() {
            self.errors.push(Diagnostic::error("the graph has no outputs"));
        }
        let mut seen = HashSet::new();
        for info in outputs {
            let Some(&id) = self.ids.get(&info.name) else {
                let message = format!("the graph's output '{}' is no result of a node", info.name);
                self.errors.push(Diagnostic::error(message));
                continue;
            };
            if !seen.insert(id) {
                let message = format!("the graph lists its output '{}' twice", info.name);
                self.errors.push(Diagnostic::error(message));
                continue;
            }
            self.graph.outputs.push(id);
            let value = self.graph.value_mut(id);
            if let (None, Some(declared)) = (&value.shape, tensor_type(info)) {
                value.dtype = tensor::dtype(declared.elem_type).ok();
                value.shape = declared_shape(declared);
            }
        }
    }
}

fn is_onnx_domain(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn tensor_type(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    info.r#type.as_ref()?.tensor_type.as_ref()
}

/// The shape that an output declares, its batch taken as 1; `None` unless all its other dimensions are fixed.
fn declared_shape(declared: &type_proto::Tensor) -> Option<Vec<usize>> {
    let dims = &declared.shape.as_ref()?.dim;
    let rest = dims.iter().skip(1).map(|d| match d.value {
        Some(Dim::DimValue(n)) => usize::try_from(n).ok().filter(|n| *n > 0),
        _ => None,
    });
    let batch = dims.first().map(|_| Some(1));
    batch.into_iter().chain(rest).collect()
}

/// A graph input with its batch fixed to 1.
fn input_value(info: &ValueInfoProto) -> Result<Value, Box<Diagnostic>> {
    let name = &info.name;
    let fail = |message: String, help: &str| {
        Box::new(Diagnostic::error(format!("the graph's input '{name}' {message}")).help(help))
    };
    let Some(declared) = tensor_type(info) else {
        return Err(fail(
            "is no tensor".to_owned(),
            "only tensors can be inputs; for scikit-learn, export with zipmap=False and float inputs",
        ));
    };
    let dtype: DType = tensor::dtype(declared.elem_type)
        .map_err(|e| fail(format!("cannot be read: {e}"), "export the model with float inputs"))?;
    let Some(shape) = &declared.shape else {
        return Err(fail("declares no shape".to_owned(), "export the model with the shapes of its inputs"));
    };
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (axis, dim) in shape.dim.iter().enumerate() {
        let (fixed, text) = match &dim.value {
            Some(Dim::DimValue(n)) => (usize::try_from(*n).ok().filter(|n| *n > 0), n.to_string()),
            Some(Dim::DimParam(p)) => (None, format!("'{p}'")),
            None => (None, "unknown".to_owned()),
        };
        match (axis, fixed) {
            (0, None | Some(1)) => dims.push(1),
            (0, Some(n)) => {
                return Err(fail(
                    format!("has a fixed first dimension of {n}, which must be the batch"),
                    "export the model with a batch of 1 or a symbolic batch (torch: dynamic_axes={'x': {0: 'batch'}})",
                ));
            }
            (_, Some(n)) => dims.push(n),
            (_, None) => {
                return Err(fail(
                    format!("has the dimension {axis} of size {text}; only the first, the batch, may vary"),
                    "export the model with fixed sizes (onnxruntime.tools.make_dynamic_shape_fixed sets them in a file)",
                ));
            }
        }
    }
    match hs_ir::element_count(&dims) {
        Some(n) if n <= tensor::MAX_ELEMENTS => Ok(Value::typed(name.clone(), dtype, dims)),
        _ => Err(fail(format!("has the shape {dims:?}, which is too large"), "split the model")),
    }
}

/// `[1, 0, 2]`, the position of the element `at` (row-major).
fn position(shape: &[usize], mut at: usize) -> String {
    let mut index = vec![0; shape.len()];
    for (i, d) in index.iter_mut().zip(shape).rev() {
        (*i, at) = (at % d, at / d);
    }
    format!("{index:?}")
}
