//! From hls4ml's keys to the options of each ONNX node.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use hs_fixed::{Format, Modes, Type};
use hs_hw::Strategy;
use hs_ir::{Graph, Node, Uses, ValueId};

use super::{
    names::{self, Names, Part},
    softmax_table,
    store::{Layer, Store},
    table_type,
    value::Value,
};
use crate::{
    config::Config,
    diagnostic::Diagnostic,
    lower::{LayerOptions, SoftmaxImplementation},
    passes::{self, NormalGraph},
};

/// A layer that is no longer one.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    /// The layer that it is part of, by the name it has in the configuration.
    pub(super) into: String,
    /// Why.
    pub(super) why: String,
}

/// Reads a configuration for each node of a graph.
pub(super) struct Resolver<'a> {
    graph: &'a Graph,
    uses: Uses,
    names: Names,
    pub(super) store: Store<'a>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Layers that are folded into another, by name.
    pub(super) folded: BTreeMap<String, Folded>,
    /// Layers that a key of `LayerName` may mean.
    pub(super) known: BTreeSet<String>,
    /// Classes that a key of `LayerType` may mean.
    pub(super) classes: BTreeSet<String>,
    /// Layers that hls4ml makes, and the ones that it makes them from.
    pub(super) made: BTreeMap<String, String>,
    config: &'a mut Config,
    /// The graph with every shape known, once it is needed.
    shapes: OnceCell<Option<NormalGraph>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(graph: &'a Graph, hls: &'a Value, config: &'a mut Config) -> Self {
        let (names, known) = names::qonnx(graph);
        let mut known: BTreeSet<String> = known.into_iter().collect();
        let own: Names =
            graph.nodes.iter().enumerate().map(|(i, n)| ((i, Part::Main), n.name.clone())).collect();
        let keys: Vec<&str> = hls
            .get("LayerName")
            .map(|v| v.entries().iter().map(|(k, _)| k.as_str()).collect())
            .unwrap_or_default();
        let fits = |names: &Names| {
            let all: BTreeSet<String> = names.values().map(|n| n.to_lowercase()).collect();
            let owner = |key: &str| key.rsplit_once("_param").map_or(key, |(of, _)| of).to_lowercase();
            keys.iter().filter(|k| all.contains(&owner(k))).count()
        };
        let names = if fits(&own) > fits(&names) {
            known = own.values().cloned().collect();
            own
        } else {
            names
        };
        Self {
            graph,
            uses: Uses::of(graph),
            names,
            store: Store::new(hls),
            warnings: Vec::new(),
            folded: BTreeMap::new(),
            known,
            classes: BTreeSet::new(),
            made: BTreeMap::new(),
            config,
            shapes: OnceCell::new(),
        }
    }

    /// Fills in the configuration.
    pub(super) fn run(&mut self) {
        self.config.precision = self.store.default_type();
        if self.store.of_model(&["Precision", "maximum"]).is_some() {
            self.store.errors.push(
                Diagnostic::error("Model.Precision.maximum, a limit to inferred types, is not supported")
                    .help("write the types of the layers that it limits"),
            );
        }
        let graph = self.graph;
        for (i, v) in graph.inputs.iter().enumerate() {
            self.input(i, *v);
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            if node.inputs.iter().flatten().any(|v| graph.constant(*v).is_none()) {
                self.node(index, node);
            }
        }
    }

    /// Shape of a value. Where the model does not state it, folding finds it.
    fn shape(&self, v: ValueId) -> Option<&[usize]> {
        self.graph.shape(v).or_else(|| {
            let normal = self.shapes.get_or_init(|| passes::normalise(self.graph.clone()).ok()).as_ref()?;
            normal.graph().shape(normal.graph().find(&self.graph.value(v).name)?)
        })
    }

    fn layer(&mut self, name: String, class: impl Into<String>) -> Layer {
        self.known.insert(name.clone());
        let class = class.into();
        self.classes.insert(class.clone());
        Layer { base: None, name, class }
    }

    /// A layer that hls4ml makes from the layer `name`.
    fn made(&mut self, name: String, base: &'static str, prefix: &str, class: &str) -> Layer {
        self.classes.insert(base.to_owned());
        let mut layer = self.layer(format!("{prefix}_{name}"), class);
        self.known.insert(name.clone());
        self.made.insert(layer.name.clone(), name.clone());
        layer.base = Some((name, base));
        layer
    }

    fn name(&self, index: usize, part: Part) -> Option<String> {
        self.names.get(&(index, part)).cloned()
    }

    fn input(&mut self, index: usize, v: ValueId) {
        let own = &self.graph.value(v).name;
        let global = if index == 0 { "global_in".to_owned() } else { format!("global_in_{index}") };
        for name in [global, own.replace('.', "_")] {
            let layer = self.layer(name, "Input");
            let found = self.store.precision(&layer, "result");
            if let Some(ty) = found.ty {
                let options = LayerOptions { result: Some(ty), ..LayerOptions::default() };
                self.config.nodes.entry(own.clone()).or_insert(options);
            }
            if !found.of_model {
                return;
            }
        }
    }

    fn node(&mut self, index: usize, node: &Node) {
        let Some(name) = self.name(index, Part::Main) else { return };
        let rank = node.input(0).and_then(|v| self.shape(v)).map_or(0, <[usize]>::len);
        let space = if rank == 3 { "1D" } else { "2D" };
        match node.op.as_str() {
            "Gemm" | "MatMul" => self.dense(index, node, name),
            "Conv" => {
                let depthwise = matches!(node.attrs.get("group"), Some(hs_ir::Attr::Int(g)) if *g != 1);
                let class = format!("{}Conv{space}", if depthwise { "Depthwise" } else { "" });
                let layer = self.made(name, "Conv", &class, &class);
                let result = self.store.precision(&layer, "result").ty;
                let mut options = self.product(&layer);
                options.bias = self.store.precision(&layer, "bias").ty;
                options.result = result;
                self.product_done(index, node, result, options);
            }
            "BatchNormalization" => {
                let layer = self.layer(name, "BatchNormalization");
                self.scale(node, &layer);
            }
            "Add" | "Sub" | "Mul" | "Div" if self.constant_operand(node) => {
                let layer = self.made(name, "Merge", "bn", "ApplyAlpha");
                self.scale(node, &layer);
            }
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "Mean" => self.plain(node, name, "Merge"),
            "Concat" => self.plain(node, name, "Concatenate"),
            "Relu" | "Clip" => self.plain(node, name, "Activation"),
            "Sigmoid" | "Tanh" | "Softplus" | "Softsign" | "Selu" => {
                self.activation(node, name, "Activation")
            }
            "HardSigmoid" => self.plain(node, name, "HardActivation"),
            "LeakyRelu" | "Elu" | "ThresholdedRelu" => self.activation(node, name, "ParametrizedActivation"),
            "PRelu" => self.activation(node, name, "PReLU"),
            "Softmax" => self.softmax(node, name),
            "MaxPool" | "AveragePool" => {
                let layer = self.layer(name, format!("Pooling{space}"));
                let (accum, result) =
                    (self.store.precision(&layer, "accum").ty, self.store.precision(&layer, "result").ty);
                self.set(node, LayerOptions { accum, result, ..LayerOptions::default() });
            }
            "GlobalMaxPool" | "GlobalAveragePool" => {
                // Nothing is inferred for these: `auto` is the default type.
                let layer = self.layer(name, format!("GlobalPooling{space}"));
                let default = self.config.precision;
                let accum = self.store.precision(&layer, "accum").ty.or(default);
                let result = self.store.precision(&layer, "result").ty.or(default);
                self.set(node, LayerOptions { accum, result, ..LayerOptions::default() });
            }
            _ => {
                // Layouts and quantisers: their types follow from what they read or state.
                self.known.insert(name);
            }
        }
    }

    /// A node of which only the result has a type.
    fn plain(&mut self, node: &Node, name: String, class: &str) {
        let layer = self.layer(name, class);
        let result = self.store.precision(&layer, "result").ty;
        self.set(node, LayerOptions { result, ..LayerOptions::default() });
    }

    fn activation(&mut self, node: &Node, name: String, class: &str) {
        let layer = self.layer(name, class);
        let mut options =
            LayerOptions { result: self.store.precision(&layer, "result").ty, ..LayerOptions::default() };
        if class != "Activation" {
            options.param = self.store.precision(&layer, "param").ty;
        }
        if !matches!(node.op.as_str(), "LeakyRelu" | "ThresholdedRelu" | "PRelu") {
            options.table_size = self.table_size(&layer);
            options.table = self.store.attribute_type(&layer, "table_t");
        }
        self.set(node, options);
    }

    fn softmax(&mut self, node: &Node, name: String) {
        let layer = self.layer(name, "Softmax");
        let mut table =
            |key: &str| Some(self.store.attribute_type(&layer, key).unwrap_or_else(softmax_table));
        let (exp_table, inv_table, inv_input) =
            (table("exp_table_t"), table("inv_table_t"), table("inv_inp_t"));
        let result = self.store.precision(&layer, "result").ty;
        let accum = self.store.precision(&layer, "accum");
        let accum =
            if accum.of_model { self.wide_sum(node, exp_table) } else { accum.ty.or(self.config.precision) };
        let accum = self.store.attribute_type(&layer, "accum_t").or(accum);
        let softmax = self.store.attribute(&layer, "implementation").and_then(|(value, path)| {
            let found = match value.text().map(str::to_lowercase).as_deref() {
                Some("stable") => SoftmaxImplementation::Stable,
                Some("latency") => SoftmaxImplementation::Latency,
                Some("legacy") => SoftmaxImplementation::Legacy,
                Some("argmax") => SoftmaxImplementation::Argmax,
                _ => {
                    let error = Diagnostic::error(format!("{path} is {value}"));
                    self.store.errors.push(error.help("it is one of stable, latency, legacy, argmax"));
                    return None;
                }
            };
            Some(found)
        });
        if let Some((Value::Bool(true), path)) = self.store.attribute(&layer, "skip") {
            let error = Diagnostic::error(format!("{path}: a softmax that is left out is not supported"));
            self.store.errors.push(error.help("cut the softmax off the model instead"));
        }
        let table_size = self.table_size(&layer);
        let layer = LayerOptions {
            result,
            accum,
            exp_table,
            inv_table,
            inv_input,
            softmax,
            table_size,
            ..LayerOptions::default()
        };
        self.set(node, layer);
    }

    /// The sum of a softmax whose type nobody states: the table's, wide enough for all of them.
    fn wide_sum(&self, node: &Node, table: Option<Type>) -> Option<Type> {
        let shape = node.input(0).and_then(|v| self.shape(v))?;
        let axis = match node.attrs.get("axis") {
            Some(hs_ir::Attr::Int(a)) => *a,
            _ => -1,
        };
        let at =
            if axis < 0 { shape.len().checked_sub(axis.unsigned_abs() as usize)? } else { axis as usize };
        let grow = shape.get(at)?.next_power_of_two().trailing_zeros();
        let f = table?.format;
        let format = Format::new(f.is_signed(), f.width() + grow, f.int() + grow as i32).ok()?;
        Some(Type::new(format, Modes::TRN_WRAP.rounding, Modes::TRN_WRAP.overflow))
    }

    fn table_size(&mut self, layer: &Layer) -> Option<usize> {
        let (value, path) = self.store.attribute(layer, "table_size")?;
        match value {
            Value::Int(n) if (2..=1 << 20).contains(n) => usize::try_from(*n).ok(),
            _ => {
                self.store.errors.push(Diagnostic::error(format!("{path} is {value}; write 2 to 1048576")));
                None
            }
        }
    }

    /// Whether one of two operands is constant.
    fn constant_operand(&self, node: &Node) -> bool {
        node.inputs.iter().flatten().any(|v| self.graph.constant(*v).is_some() || self.quantised(*v))
    }

    /// Whether `v` is a constant behind a quantiser.
    fn quantised(&self, v: ValueId) -> bool {
        self.uses.producer(v).is_some_and(|p| {
            let node = &self.graph.nodes[p];
            node.inputs.iter().flatten().all(|v| self.graph.constant(*v).is_some())
        })
    }

    /// A batch normalisation, or a constant added or multiplied.
    fn scale(&mut self, node: &Node, layer: &Layer) {
        if self.folded.contains_key(&layer.name) {
            return;
        }
        let mut options =
            LayerOptions { result: self.store.precision(layer, "result").ty, ..LayerOptions::default() };
        if !matches!(node.op.as_str(), "Add" | "Sub") {
            options.weight = self.store.precision(layer, "scale").ty;
        }
        if !matches!(node.op.as_str(), "Mul" | "Div") {
            options.bias = self.store.precision(layer, "bias").ty;
        }
        self.set(node, options);
    }

    fn dense(&mut self, index: usize, node: &Node, name: String) {
        let layer = self.made(name, "MatMul", "Dense", "Dense");
        let mut options = self.product(&layer);
        let result = self.store.precision(&layer, "result").ty;
        // Asked for even where the bias is a layer of its own.
        options.bias = self.store.precision(&layer, "bias").ty;
        // The bias is the Gemm's own, or an Add that alone reads the product.
        let add = if node.op == "Gemm" { node.input(2).and(Some(index)) } else { self.bias_behind(index) };
        let bias = add.and_then(|at| {
            let part = if at == index { Part::Bias } else { Part::Main };
            // Without a name of its own the bias is the layer's.
            let name = self.name(at, part).or_else(|| self.name(at, Part::Main))?;
            Some(self.made(name, "Merge", "bn", "ApplyAlpha"))
        });
        match (result, bias) {
            (Some(result), Some(bias)) => {
                options.unbiased = Some(result);
                options.split_bias = Some(true);
                options.bias = self.store.precision(&bias, "bias").ty;
                options.result = self.store.precision(&bias, "result").ty;
            }
            (None, Some(bias)) => {
                options.split_bias = Some(false);
                self.fold(&bias, &layer);
            }
            (result, None) => options.result = result,
        }
        self.product_done(add.unwrap_or(index), node, result, options);
    }

    /// The node that adds a constant to what node `index` computes, when nothing else reads that.
    fn bias_behind(&self, index: usize) -> Option<usize> {
        let y = self.graph.nodes[index].output(0)?;
        let at = self.uses.sole_consumer(y)?;
        let node = &self.graph.nodes[at];
        (node.is("Add") && self.constant_operand(node)).then_some(at)
    }

    /// Weight, accumulator, strategy and reuse of a product.
    fn product(&mut self, layer: &Layer) -> LayerOptions {
        let weight = self.store.precision(layer, "weight").ty;
        let accum = self.store.precision(layer, "accum").ty;
        let accum = self.store.attribute_type(layer, "accum_t").or(accum);
        let reuse = self.store.reuse(layer);
        let strategy = self.store.strategy(layer);
        let (name, path) = strategy.unwrap_or_else(|| ("latency".into(), String::new()));
        let strategy = match name.as_str() {
            "resource" => Strategy::Resource,
            "resource_unrolled" => {
                self.warnings.push(Diagnostic::warning(format!(
                    "{path}: resource_unrolled is built as resource; a saturating accumulator may sum in another order"
                )));
                Strategy::Resource
            }
            "latency" | "unrolled" => Strategy::Latency,
            "distributed_arithmetic" | "da" => {
                let error = Diagnostic::error(format!("{path}: distributed arithmetic is not supported"));
                self.store.errors.push(error.help("use the strategy Latency"));
                Strategy::Latency
            }
            other => {
                let near = ["latency", "resource"];
                let help = crate::config::nearest::advice(other, near);
                let message = format!("{path}: hls4ml knows no strategy '{other}' and takes latency");
                self.warnings.push(Diagnostic::warning(message).help(help));
                Strategy::Latency
            }
        };
        // Under Latency the reuse factor changes no bit and is no part of our latency strategy.
        let reuse = reuse.filter(|_| strategy == Strategy::Resource);
        LayerOptions { weight, accum, strategy: Some(strategy), reuse, ..LayerOptions::default() }
    }

    /// Notes the options of a product; `last` is its bias's node, or it itself. Without a type of its own, a batch
    /// normalisation behind it is folded in.
    fn product_done(&mut self, last: usize, node: &Node, result: Option<Type>, options: LayerOptions) {
        if result.is_some() {
            self.config.unfused.insert(node.name.clone());
        } else if node.input(1).is_some_and(|w| self.graph.constant(w).is_some())
            && let Some(norm) = self.graph.nodes[last].output(0).and_then(|y| self.uses.sole_consumer(y))
            && self.graph.nodes[norm].is("BatchNormalization")
            && let Some(name) = self.name(norm, Part::Main)
        {
            let layer = Layer { base: None, name, class: String::new() };
            let into = Layer { base: None, name: node.name.clone(), class: String::new() };
            self.fold(&layer, &into);
        }
        self.set(node, options);
    }

    fn fold(&mut self, layer: &Layer, into: &Layer) {
        let why = format!(
            "hls4ml folds it into '{}', since the result type of that one is auto, and infers the type",
            into.name
        );
        let into = into.base.as_ref().map_or(&into.name, |(name, _)| name).clone();
        for name in [Some(&layer.name), layer.base.as_ref().map(|(n, _)| n)].into_iter().flatten() {
            self.folded.insert(name.clone(), Folded { into: into.clone(), why: why.clone() });
        }
    }

    fn set(&mut self, node: &Node, options: LayerOptions) {
        self.config.nodes.insert(node.name.clone(), options);
    }
}

/// hls4ml's default type of activation tables.
pub(super) fn activation_table() -> Type {
    table_type(18, 8, Modes::TRN_WRAP)
}
