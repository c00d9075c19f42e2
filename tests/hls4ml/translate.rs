//! From a case's `config.json` to our own configuration.

use std::collections::{BTreeMap, BTreeSet};

use hs_compiler::{
    lower::{Arithmetic, LayerOptions, LowerOptions, SoftmaxImplementation},
    passes::PassOptions,
};
use hs_fixed::{Modes, Type, parse_type};
use hs_hw::{Io, Strategy};
use hs_ir::Graph;
use serde_json::Value;

/// What a case configures.
pub(crate) struct Translated {
    pub(crate) lower: LowerOptions,
    pub(crate) passes: PassOptions,
}

/// Translates the resolved types, strategies and tables of the layers of `graph`, the model as imported.
pub(crate) fn options(config: &Value, graph: &Graph) -> Result<Translated, String> {
    let stream = config["io_type"] == "io_stream";
    let layers = config["layers"].as_array().ok_or("config.json has no layers")?;
    let mut nodes: BTreeMap<String, LayerOptions> = BTreeMap::new();
    let (mut unfused, mut split) = (BTreeSet::new(), BTreeSet::new());
    for layer in layers {
        let Some(name) = own_name(layer, graph) else { continue };
        nodes.insert(name.clone(), layer_options(layer)?);
        // A scaling that is a layer of its own was not folded into what is in front of it.
        if !is_scaling(layer) {
            continue;
        }
        for before in layers.iter().filter(|l| feeds(l, layer)) {
            let Some(before_name) = own_name(before, graph) else { continue };
            // The quantiser in between is the type of what is in front of it.
            if quantises(&name, &before_name, graph) {
                continue;
            }
            let name = before_name;
            if before["class"] == "Dense" {
                split.insert(name);
            } else {
                unfused.insert(name);
            }
        }
    }
    let precision = match config["default_precision"].as_str() {
        Some(text) => Some(parse_type(text, Modes::TRN_WRAP).map_err(|e| e.to_string())?),
        None => None,
    };
    let lower = LowerOptions {
        arithmetic: Arithmetic::Hls4ml,
        precision,
        io: Some(if stream { Io::Stream } else { Io::Parallel }),
        nodes,
        ..LowerOptions::default()
    };
    let passes = PassOptions { arithmetic: Arithmetic::Hls4ml, unfused, split, ..PassOptions::default() };
    Ok(Translated { lower, passes })
}

fn layer_options(layer: &Value) -> Result<LayerOptions, String> {
    let ty = |key: &str| ty(&layer["types"][key]);
    let attributes = &layer["attributes"];
    if layer["role"] == "input" {
        return Ok(LayerOptions { result: ty("result_t")?, ..LayerOptions::default() });
    }
    Ok(LayerOptions {
        weight: ty("weight_t")?.or(ty("scale_t")?),
        bias: ty("bias_t")?,
        accum: ty("accum_t")?,
        result: ty("result_t")?,
        table: ty("table_t")?,
        table_size: number(&attributes["table_size"]),
        param: ty("param_t")?,
        exp_table: ty("exp_table_t")?,
        inv_table: ty("inv_table_t")?,
        inv_input: ty("inv_inp_t")?,
        softmax: match attributes["implementation"].as_str() {
            Some("stable") => Some(SoftmaxImplementation::Stable),
            Some("latency") => Some(SoftmaxImplementation::Latency),
            Some("legacy") => Some(SoftmaxImplementation::Legacy),
            Some("argmax") => Some(SoftmaxImplementation::Argmax),
            _ => None,
        },
        strategy: match attributes["strategy"].as_str() {
            Some("latency") => Some(Strategy::Latency),
            Some("resource") => Some(Strategy::Resource),
            _ => None,
        },
        reuse: number(&attributes["reuse_factor"]),
        ..LayerOptions::default()
    })
}

/// The name that our configuration has for a layer.
fn own_name(layer: &Value, graph: &Graph) -> Option<String> {
    let source = layer["onnx_nodes"].get(0).and_then(Value::as_str);
    let node = |name: &str| graph.nodes.iter().find(|n| n.name == name);
    match layer["role"].as_str()? {
        "input" => graph.inputs.first().map(|v| graph.value(*v).name.clone()),
        "operator" => source.map(str::to_owned),
        "bias split off" => source.map(|s| match node(s) {
            Some(n) if n.op == "Gemm" => format!("{s}/bias"),
            _ => s.to_owned(),
        }),
        "quantiser scale" => {
            let (name, part) = layer["name"].as_str()?.rsplit_once('_')?;
            let quantiser = node(source.unwrap_or(name)).filter(|n| n.op.ends_with("Quant"))?;
            let weights = quantiser.input(0).is_some_and(|v| graph.constant(v).is_some());
            let reader = graph.nodes.iter().find(|n| n.inputs.contains(&quantiser.output(0)));
            match reader.filter(|_| weights) {
                Some(reader) => Some(format!("{}/{part}", reader.name)),
                None => Some(format!("{}/{part}", quantiser.name)),
            }
        }
        _ => None,
    }
}

fn is_scaling(layer: &Value) -> bool {
    layer["class"] == "BatchNormalization" || layer["class"] == "ApplyAlpha"
}

/// Whether the scaling `name` ends a quantiser of the result of the node `before`.
fn quantises(name: &str, before: &str, graph: &Graph) -> bool {
    let node = |name: &str| graph.nodes.iter().find(|n| n.name == name);
    let quantiser = name.strip_suffix("/rescale").and_then(node).filter(|n| n.op.ends_with("Quant"));
    let before = node(before.strip_suffix("/bias").unwrap_or(before));
    matches!((quantiser, before), (Some(q), Some(b)) if q.input(0) == b.output(0))
}

/// Whether `layer` reads a result of `before`.
fn feeds(before: &Value, layer: &Value) -> bool {
    let inputs: Vec<&Value> = layer["inputs"].as_array().into_iter().flatten().collect();
    before["outputs"].as_array().into_iter().flatten().any(|o| inputs.contains(&o))
}

fn number(v: &Value) -> Option<usize> {
    v.as_u64().and_then(|n| usize::try_from(n).ok()).or_else(|| v.as_str()?.parse().ok())
}

fn ty(v: &Value) -> Result<Option<Type>, String> {
    let (Some(quantization), Some(overflow)) = (v["quantization"].as_str(), v["overflow"].as_str()) else {
        return Ok(None);
    };
    let unsigned = if v["signed"] == false { "u" } else { "" };
    let bits = match number(&v["saturation_bits"]) {
        None | Some(0) => String::new(),
        Some(n) => format!(",{n}"),
    };
    let text = format!("{unsigned}fixed<{},{},{quantization},{overflow}{bits}>", v["width"], v["integer"]);
    parse_type(&text, Modes::TRN_WRAP).map(Some).map_err(|e| e.to_string())
}
