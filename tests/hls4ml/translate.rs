//! From a case's `config.json` to our own configuration.

use std::collections::{BTreeMap, BTreeSet};

use hs_compiler::{
    lower::{Arithmetic, LayerOptions, LowerOptions, SoftmaxImplementation},
    passes::PassOptions,
};
use hs_fixed::{Modes, Type, parse_type};
use hs_hw::{Io, Strategy};
use serde_json::Value;

/// What a case configures.
pub(crate) struct Translated {
    pub(crate) lower: LowerOptions,
    pub(crate) passes: PassOptions,
}

/// Translates the resolved types, strategies and tables; `input` is the ONNX name of the model's input.
pub(crate) fn options(config: &Value, input: &str) -> Result<Translated, String> {
    let stream = config["io_type"] == "io_stream";
    let mut nodes: BTreeMap<String, LayerOptions> = BTreeMap::new();
    let mut unfused = BTreeSet::new();
    for layer in config["layers"].as_array().ok_or("config.json has no layers")? {
        let ty = |key: &str| ty(&layer["types"][key]);
        let attributes = &layer["attributes"];
        let owner = match layer["role"].as_str() {
            Some("input") => input,
            _ => match layer["onnx_nodes"].get(0).and_then(Value::as_str) {
                Some(name) => name,
                None => continue,
            },
        };
        let options = nodes.entry(owner.to_owned()).or_default();
        match layer["role"].as_str() {
            Some("input") => options.result = ty("result_t")?,
            Some("operator" | "quantiser scale") => {
                let split = options.split_bias == Some(true);
                options.weight = ty("weight_t")?.or(ty("scale_t")?);
                if !split {
                    options.bias = ty("bias_t")?;
                }
                options.accum = ty("accum_t")?;
                let result = ty("result_t")?;
                if split {
                    options.unbiased = result
                } else {
                    options.result = result
                }
                options.table = ty("table_t")?;
                options.param = ty("param_t")?;
                options.exp_table = ty("exp_table_t")?;
                options.inv_table = ty("inv_table_t")?;
                options.inv_input = ty("inv_inp_t")?;
                options.table_size = number(&attributes["table_size"]);
                options.reuse = number(&attributes["reuse_factor"]);
                options.softmax = match attributes["implementation"].as_str() {
                    Some("stable") => Some(SoftmaxImplementation::Stable),
                    Some("latency") => Some(SoftmaxImplementation::Latency),
                    Some("legacy") => Some(SoftmaxImplementation::Legacy),
                    Some("argmax") => Some(SoftmaxImplementation::Argmax),
                    _ => None,
                };
                options.strategy = match attributes["strategy"].as_str() {
                    Some("latency") => Some(Strategy::Latency),
                    Some("resource") => Some(Strategy::Resource),
                    _ => None,
                };
            }
            Some("bias split off") => {
                options.unbiased = options.result;
                options.result = ty("result_t")?;
                options.bias = ty("bias_t")?;
                options.split_bias = Some(true);
            }
            _ => {}
        }
        // A batch normalisation that is a layer of its own keeps what is in front of it apart.
        if layer["class"] == "BatchNormalization" {
            unfused.extend(producers(config, layer));
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
    let passes = PassOptions { arithmetic: Arithmetic::Hls4ml, unfused, ..PassOptions::default() };
    Ok(Translated { lower, passes })
}

/// ONNX nodes of the layers that `layer` reads.
fn producers(config: &Value, layer: &Value) -> Vec<String> {
    let inputs: Vec<&Value> = layer["inputs"].as_array().into_iter().flatten().collect();
    let reads =
        |other: &&Value| other["outputs"].as_array().into_iter().flatten().any(|o| inputs.contains(&o));
    let layers = config["layers"].as_array().into_iter().flatten();
    layers
        .filter(reads)
        .flat_map(|l| l["onnx_nodes"].as_array().into_iter().flatten())
        .filter_map(|n| n.as_str().map(str::to_owned))
        .collect()
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
