//! What hls4ml passes over in silence.

use super::{
    layers::{Folded, Resolver, activation_table},
    softmax_table,
    store::snake,
    value::Value,
};
use crate::{
    config::nearest::{advice, nearest},
    diagnostic::Diagnostic,
};

/// Keys of a layer that decide no bit.
const HARMLESS: [&str; 12] = [
    "Trace",
    "trace",
    "ConvImplementation",
    "ParallelizationFactor",
    "BramFactor",
    "TraceOutput",
    "PipelineStyle",
    "PipelineInterval",
    "ReuseFactor",
    "Strategy",
    "TableSize",
    "Skip",
];
/// Keys that hls4ml reads.
const LAYER_KEYS: [&str; 12] = [
    "Precision",
    "ReuseFactor",
    "Strategy",
    "TableSize",
    "Implementation",
    "Skip",
    "Trace",
    "ConvImplementation",
    "ParallelizationFactor",
    "TargetCycles",
    "Compression",
    "accum_t",
];
const MODEL_KEYS: [&str; 11] = [
    "Precision",
    "ReuseFactor",
    "Strategy",
    "BramFactor",
    "TraceOutput",
    "ConvImplementation",
    "Compression",
    "PipelineStyle",
    "PipelineInterval",
    "TargetCycles",
    "ParallelizationFactor",
];
/// Types that hls4ml looks up.
const VARS: [&str; 8] = ["default", "result", "weight", "bias", "accum", "scale", "param", "maximum"];

/// A warning for each entry that decided nothing.
pub(super) fn ignored(resolver: &Resolver<'_>, hls: &Value) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let mut say = |message: String, help: Option<String>| {
        let d = Diagnostic::warning(message);
        out.push(match help {
            Some(help) => d.help(help),
            None => d,
        });
    };
    if let Some(model) = hls.get("Model") {
        section(resolver, model, "Model", &MODEL_KEYS, None, &mut say);
    }
    for (class, entries) in hls.get("LayerType").map(Value::entries).unwrap_or_default() {
        let path = format!("LayerType.{class}");
        if resolver.classes.iter().any(|c| c.eq_ignore_ascii_case(class)) {
            section(resolver, entries, &path, &LAYER_KEYS, None, &mut say);
        } else {
            let help = match class.as_str() {
                "ReLU" => {
                    "hls4ml's own generator writes it, but the layers are of class 'Activation'".to_owned()
                }
                "LeakyReLU" | "ELU" | "ThresholdedReLU" => {
                    "hls4ml's own generator writes it, but the layers are of class 'ParametrizedActivation'"
                        .to_owned()
                }
                "InputLayer" => "the layers are of class 'Input'".to_owned(),
                "BatchNormOnnx" => "the layers are of class 'BatchNormalization'".to_owned(),
                _ => advice(class, resolver.classes.iter().map(String::as_str)),
            };
            if !all_auto(entries) {
                say(format!("hls4ml ignores {path}: no layer is of this class"), Some(help));
            }
        }
    }
    for (name, entries) in hls.get("LayerName").map(Value::entries).unwrap_or_default() {
        let path = format!("LayerName.{name}");
        let known = |n: &str| resolver.known.iter().any(|k| k.eq_ignore_ascii_case(n));
        let constant = name.rsplit_once("_param").filter(|(of, i)| known(of) && i.parse::<u32>().is_ok());
        if let Some((of, _)) = constant {
            if !all_auto(entries) && !same_as_owner(entries, named(hls, of)) {
                let help = format!("the type of a constant is the weight or bias type of '{of}'");
                say(format!("hls4ml ignores {path}"), Some(help));
            }
        } else if known(name) {
            let folded = resolver.folded.get(name.as_str());
            // What hls4ml itself copies to the layers that it makes.
            let copied = resolver.made.get(name.as_str()).and_then(|base| named(hls, base));
            if copied != Some(entries) {
                section(resolver, entries, &path, &LAYER_KEYS, folded.map(|f| (f, hls)), &mut say);
            }
        } else if !inserted(name) {
            let help = advice(name, resolver.known.iter().map(String::as_str));
            say(format!("hls4ml ignores {path}: no layer has this name"), Some(help));
        }
    }
    out
}

/// The entries of a layer.
fn named<'v>(hls: &'v Value, name: &str) -> Option<&'v Value> {
    hls.get("LayerName")?.get(name)
}

/// Whether a constant has the type that the layer it belongs to gives its weights or bias.
fn same_as_owner(constant: &Value, owner: Option<&Value>) -> bool {
    let types = |v: &Value| v.get("Precision").cloned().unwrap_or(Value::Null);
    let (Some(owner), constant) = (owner.map(types), types(constant)) else { return false };
    let own: Vec<&Value> = ["weight", "bias"].into_iter().filter_map(|var| owner.get(var)).collect();
    !own.is_empty() && constant.entries().iter().all(|(_, ty)| own.contains(&ty))
}

/// Whether a strategy is the name of a softmax's implementation, and nothing else.
fn names_a_softmax(strategy: &str) -> bool {
    ["stable", "legacy", "argmax"].iter().any(|s| strategy.eq_ignore_ascii_case(s))
}

/// Layers that conversion puts in.
fn inserted(name: &str) -> bool {
    let kind = name.rsplit_once('_').map_or(name, |(kind, _)| kind);
    matches!(kind, "Transpose" | "Flatten" | "Reshape" | "Quant") || name.ends_with("_act")
}

/// Whether all types of a layer are left to inference.
fn all_auto(entries: &Value) -> bool {
    let auto = |v: &Value| v.text().is_some_and(|t| t.eq_ignore_ascii_case("auto")) || *v == Value::Null;
    entries.entries().iter().all(|(key, value)| match key.as_str() {
        "Precision" if value.entries().is_empty() => auto(value),
        "Precision" => value.entries().iter().all(|(_, v)| auto(v)),
        key => HARMLESS.contains(&key),
    })
}

fn section(
    resolver: &Resolver<'_>,
    entries: &Value,
    path: &str,
    known: &[&str],
    folded: Option<(&Folded, &Value)>,
    say: &mut dyn FnMut(String, Option<String>),
) {
    for (key, value) in entries.entries() {
        let at = format!("{path}.{key}");
        if key == "Precision" {
            for (var, ty) in value.entries() {
                let at = format!("{at}.{var}");
                precision(resolver, (&at, var, ty), path, folded, say);
            }
            continue;
        }
        if resolver.store.is_used(&at) {
            continue;
        }
        match key.as_str() {
            "TargetCycles" => say(format!("{at} is not followed: set ReuseFactor instead"), None),
            "Compression" if *value != Value::Bool(false) && *value != Value::Int(0) => {
                say(format!("{at} is not followed: weights are stored as they are"), None);
            }
            "Compression" => {}
            // Before it had attributes, hls4ml read this here.
            "Strategy" if value.text().is_some_and(names_a_softmax) => {
                let help = format!("write Implementation: {value}");
                say(
                    format!("hls4ml ignores {at}: no strategy decides how a softmax is computed"),
                    Some(help),
                );
            }
            key if HARMLESS.contains(&key) && (path != "Model" || MODEL_KEYS.contains(&key)) => {}
            "Implementation" => {
                say(format!("hls4ml ignores {at}: only a Softmax has an implementation"), None)
            }
            key if snake(key).ends_with("_t") => {
                say(format!("hls4ml ignores {at}"), Some("write it under Precision".to_owned()));
            }
            key => say(
                format!("hls4ml ignores {at}"),
                nearest(key, known.iter().copied()).map(|near| format!("did you mean '{near}'?")),
            ),
        }
    }
}

fn precision(
    resolver: &Resolver<'_>,
    (at, var, ty): (&str, &str, &Value),
    path: &str,
    folded: Option<(&Folded, &Value)>,
    say: &mut dyn FnMut(String, Option<String>),
) {
    let text = ty.text().unwrap_or_default();
    if resolver.store.is_used(at) || text.eq_ignore_ascii_case("auto") {
        return;
    }
    // What hls4ml's own generator writes, and takes all the same.
    let parsed = hs_fixed::parse_type(text, hs_fixed::Modes::TRN_WRAP).ok();
    let default = match var {
        "table" => parsed == Some(activation_table()),
        "exp_table" | "inv_table" | "inv_inp" => parsed == Some(softmax_table()),
        _ => false,
    };
    if default {
        return;
    }
    if let Some((folded, hls)) = folded
        && named(hls, &folded.into).and_then(|of| of.get("Precision")?.get(var)) == Some(ty)
    {
        return;
    }
    let help = match (folded, var) {
        (Some((folded, _)), _) => folded.why.clone(),
        (None, "table" | "exp_table" | "inv_table" | "inv_inp") => {
            format!("tables keep their default type; hls4ml reads '{var}_t' beside Precision, in {path}")
        }
        (None, _) => match nearest(var, VARS) {
            Some(near) if near != var => format!("did you mean '{near}'?"),
            _ => "no layer that it could reach looks this type up, or another entry comes first".to_owned(),
        },
    };
    say(format!("hls4ml ignores {at}"), Some(help));
}
