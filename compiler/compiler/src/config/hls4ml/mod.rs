//! hls4ml's own configuration: from its YAML or JSON to ours, with the same bits.
//!
//! What hls4ml does with it is not written in the file: which of its layers a key reaches, which types it looks up,
//! where a bias or a batch normalisation is folded. This module follows that, and reports what hls4ml passes over
//! in silence.

mod layers;
mod names;
mod report;
mod store;
mod value;

use hs_fixed::Type;
use hs_hw::Io;
use hs_ir::Graph;

use super::{Config, nearest::advice};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    lower::Arithmetic,
};
use layers::Resolver;
use value::Value;

/// Keys of a project's configuration that say nothing about bits, beside those that are read.
const PROJECT_KEYS: [&str; 24] = [
    "Backend",
    "IOType",
    "HLSConfig",
    "OnnxModel",
    "KerasModel",
    "PytorchModel",
    "OutputDir",
    "ProjectName",
    "ProjectDir",
    "Part",
    "Board",
    "ClockPeriod",
    "ClockUncertainty",
    "WriterConfig",
    "InputData",
    "OutputPredictions",
    "Stamp",
    "Version",
    "TraceOutput",
    "InputShape",
    "AcceleratorConfig",
    "Device",
    "hls4ml_version",
    "Interface",
];
/// Parts of the configuration proper.
const SECTIONS: [&str; 6] = ["Model", "LayerType", "LayerName", "Flows", "Optimizers", "SkipOptimizers"];

/// Reads a configuration of hls4ml for `graph`, the model as imported: a whole project's, or what hls4ml calls
/// `HLSConfig`. YAML or JSON. Returns the configuration under hls4ml arithmetic, and a warning for each entry that
/// hls4ml ignores without a word.
///
/// Keys are the names that qonnx gives the nodes, or the model's own where those fit better.
pub fn from_hls4ml(text: &str, graph: &Graph) -> Result<(Config, Vec<Diagnostic>), Diagnostics> {
    let root: Value = serde_saphyr::from_str(text)
        .map_err(|e| Diagnostic::error(format!("the hls4ml configuration is not YAML or JSON: {e}")))?;
    if root.entries().is_empty() {
        let error = Diagnostic::error("the hls4ml configuration is empty")
            .help("expected is a mapping with Model, LayerType or LayerName, or a project's with HLSConfig");
        return Err(error.into());
    }
    let mut warnings = Vec::new();
    let project = root.get("HLSConfig").is_some();
    let hls = root.get("HLSConfig").unwrap_or(&root);
    let mut config = Config { arithmetic: Arithmetic::Hls4ml, ..Config::of(graph) };
    let mut errors = Vec::new();
    if project {
        unknown(&mut warnings, &root, "", &PROJECT_KEYS);
        read_project(&mut config, &root, &mut errors, &mut warnings);
    }
    unknown(&mut warnings, hls, if project { "HLSConfig." } else { "" }, &SECTIONS);
    for key in ["Flows", "Optimizers", "SkipOptimizers"] {
        if hls.get(key).is_some() {
            warnings.push(Diagnostic::warning(format!("{key} is not followed: hls4ml's default passes are")));
        }
    }
    let mut resolver = Resolver::new(graph, hls, &mut config);
    resolver.run();
    warnings.append(&mut resolver.warnings);
    errors.append(&mut resolver.store.errors);
    let reports = report::ignored(&resolver, hls);
    warnings.extend(reports);
    if errors.is_empty() { Ok((config, warnings)) } else { Err(Diagnostics(errors)) }
}

fn unknown(warnings: &mut Vec<Diagnostic>, map: &Value, path: &str, known: &[&str]) {
    for (key, _) in map.entries() {
        if !known.contains(&key.as_str()) {
            warnings.push(
                Diagnostic::warning(format!("hls4ml ignores the key {path}{key}"))
                    .help(advice(key, known.iter().copied())),
            );
        }
    }
}

fn read_project(
    config: &mut Config,
    root: &Value,
    errors: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) {
    config.io = match root.get("IOType").map(Value::text) {
        None => Some(Io::Parallel),
        Some(Some("io_parallel")) => Some(Io::Parallel),
        Some(Some("io_stream")) => Some(Io::Stream),
        Some(_) => {
            errors.push(
                Diagnostic::error("IOType is neither io_parallel nor io_stream")
                    .help("hls4ml knows no other"),
            );
            None
        }
    };
    if let Some(period) = root.get("ClockPeriod").and_then(Value::number).filter(|p| *p > 0.0) {
        config.clock_mhz = Some(1000.0 / period);
    }
    config.platform = root.get("Part").and_then(Value::text).map(str::to_owned);
    if let Some(backend) = root.get("Backend").and_then(Value::text)
        && !["vivado", "vitis", "vivadoaccelerator", "vitisaccelerator", "vitisunified"]
            .contains(&backend.to_lowercase().as_str())
    {
        warnings.push(Diagnostic::warning(format!(
            "the bits are those of hls4ml's Vivado and Vitis back-ends; the {backend} back-end's may differ"
        )));
    }
}

/// hls4ml's default type of softmax tables.
fn softmax_table() -> Type {
    table_type(18, 8, hs_fixed::Modes::RND_SAT)
}

fn table_type(width: u32, int: i32, modes: hs_fixed::Modes) -> Type {
    let format =
        hs_fixed::Format::new(true, width, int).unwrap_or_else(|_| unreachable!("fixed<{width},{int}>"));
    Type::new(format, modes.rounding, modes.overflow)
}

#[cfg(test)]
mod tests;
