//! From hls4ml's keys to the options of each ONNX node.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use hs_fixed::{Modes, Type};
use hs_hw::Strategy;
use hs_ir::{Graph, Grid, Node, Uses, ValueId};

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
    lower::{LayerOptions, SoftmaxImplementation, constants::grid_format},
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

/// A scaling: a batch normalisation, arithmetic with a constant, a bias, a scale of a quantiser.
struct Scaling {
    /// The name of our node.
    own: String,
    layer: Layer,
    /// Whether its factor and its summand have types that can be stated.
    scale: bool,
    bias: bool,
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
    /// Scalings, some of which hls4ml merges or folds.
    scalings: Vec<Scaling>,
    /// Names of layers into which hls4ml folds, by the names of our nodes.
    hosts: BTreeMap<String, String>,
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
            scalings: Vec::new(),
            hosts: BTreeMap::new(),
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
        self.place();
    }

    /// Notes the types of the scalings that remain, and which are part of another layer.
    fn place(&mut self) {
        let normal = passes::normalise_with(self.graph.clone(), &self.config.pass_options()).ok();
        let normal = normal.as_ref().map(NormalGraph::graph);
        for scaling in std::mem::take(&mut self.scalings) {
            let Scaling { own, layer, scale, bias } = scaling;
            let remains = normal.is_none_or(|g| g.nodes.iter().any(|n| n.name == own));
            if remains {
                let result = self.store.precision(&layer, "result").ty;
                let mut of = |var, asked: bool| asked.then(|| self.store.precision(&layer, var).ty).flatten();
                let (weight, bias) = (of("scale", scale), of("bias", bias));
                self.config
                    .nodes
                    .insert(own, LayerOptions { weight, bias, result, ..LayerOptions::default() });
                continue;
            }
            let product = own.strip_suffix("/bias").unwrap_or(&own);
            let host = normal
                .and_then(|g| g.nodes.iter().find(|n| n.name == product || n.sources.contains(&own)))
                .and_then(|n| self.hosts.get(&n.name).cloned());
            self.fold(&layer, host);
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
                if result.is_some() {
                    self.config.unfused.insert(node.name.clone());
                }
                self.hosts.insert(node.name.clone(), layer.name);
                self.weight_scale(node);
                self.set(node, options);
            }
            "BatchNormalization" => {
                let layer = self.layer(name, "BatchNormalization");
                self.scaling(&node.name, layer, (true, true));
            }
            "Add" | "Sub" | "Mul" | "Div" if self.constant_operand(node) => {
                let layer = self.made(name, "Merge", "bn", "ApplyAlpha");
                let (sum, product) =
                    (matches!(node.op.as_str(), "Add" | "Sub"), matches!(node.op.as_str(), "Mul" | "Div"));
                self.scaling(&node.name, layer, (product, sum));
            }
            "Quant" if self.is_foreign(node) => {
                for part in ["scale", "rescale"] {
                    let layer = self.part_of_quantiser(name.clone(), part);
                    self.scaling(&format!("{}/{part}", node.name), layer, (true, true));
                }
                self.known.insert(name);
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
        let accum = self.store.precision(&layer, "accum").ty.or(self.config.precision);
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

    /// A scaling, `own` in our graph; with whether its factor and its summand have types that can be stated.
    fn scaling(&mut self, own: &str, layer: Layer, (scale, bias): (bool, bool)) {
        if self.store.peek(&layer, "result").is_some() {
            self.config.unfused.insert(own.to_owned());
        }
        self.hosts.insert(own.to_owned(), layer.name.clone());
        self.scalings.push(Scaling { own: own.to_owned(), layer, scale, bias });
    }

    /// The scaling that the weights' quantiser leaves behind the layer `node`.
    fn weight_scale(&mut self, node: &Node) {
        let quantiser = node.input(1).and_then(|w| self.uses.producer(w));
        if let Some(at) = quantiser.filter(|at| self.is_foreign(&self.graph.nodes[*at]))
            && let Some(name) = self.name(at, Part::Main)
        {
            let layer = self.part_of_quantiser(name, "rescale");
            self.scaling(&format!("{}/rescale", node.name), layer, (true, true));
        }
    }

    /// The layer `NAME_part` that hls4ml makes of a quantiser.
    fn part_of_quantiser(&mut self, name: String, part: &str) -> Layer {
        self.classes.insert("Quant".to_owned());
        let mut layer = self.layer(format!("{name}_{part}"), "ApplyAlpha");
        self.made.insert(layer.name.clone(), name.clone());
        layer.base = Some((name, "Quant"));
        layer
    }

    /// Whether a quantiser has a scale or zero point that no fixed-point type has.
    fn is_foreign(&self, node: &Node) -> bool {
        let values = |i| node.input(i).and_then(|v| self.graph.constant(v)).map(|t| t.to_f64());
        let (Some(scale), Some(zero)) = (values(1), values(2)) else { return false };
        let zero_point = zero.first().copied().unwrap_or(0.0);
        let grid = Grid { scale, axis: None, zero_point, bits: 8, signed: true, narrow: false };
        node.op == "Quant" && grid_format(&grid).is_err()
    }

    fn dense(&mut self, index: usize, node: &Node, name: String) {
        let layer = self.made(name, "MatMul", "Dense", "Dense");
        let mut options = self.product(&layer);
        let result = self.store.precision(&layer, "result").ty;
        // Asked for even where the bias is a layer of its own.
        options.bias = self.store.precision(&layer, "bias").ty;
        options.result = result;
        self.hosts.insert(node.name.clone(), layer.name);
        self.weight_scale(node);
        if node.op == "Gemm" && node.input(2).is_some() {
            options.split_bias = Some(result.is_some());
            // Without a name of its own the bias is the layer's.
            if let Some(name) = self.name(index, Part::Bias).or_else(|| self.name(index, Part::Main)) {
                let bias = self.made(name, "Merge", "bn", "ApplyAlpha");
                self.scaling(&format!("{}/bias", node.name), bias, (false, true));
            }
        } else if result.is_some() {
            self.config.unfused.insert(node.name.clone());
        }
        self.set(node, options);
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

    fn fold(&mut self, layer: &Layer, host: Option<String>) {
        let why = match &host {
            Some(host) => format!(
                "hls4ml folds it into '{host}', since the result type of that one is auto, and infers the type"
            ),
            None => "hls4ml removes the layer, which does nothing".to_owned(),
        };
        let into = host.map_or_else(String::new, |h| self.made.get(&h).cloned().unwrap_or(h));
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
