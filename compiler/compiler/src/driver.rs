//! From a model file to everything a package holds, as one function.

use std::path::Path;

use hs_fixed::{Modes, parse_type};
use hs_hw::{Io, Program, Schedule, Strategy};
use hs_ir::{Graph, Tensor, ValueId};

use crate::platform::Target;
use crate::{
    config::{self, Config},
    diagnostic::{Diagnostic, Diagnostics},
    hls,
    lower::{self, Arithmetic, LayerNote, LowerOptions, ObservedRanges, Placed},
    onnx,
    passes::{self, NormalGraph},
    reference, schedule,
};

/// The text of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ConfigText {
    /// None.
    #[default]
    None,
    /// Our TOML.
    Toml(String),
    /// A configuration of hls4ml, YAML or JSON; it asks for hls4ml's arithmetic.
    Hls4ml(String),
}

/// What the user may choose.
#[derive(Debug, Clone, Default)]
pub struct CompileOptions {
    /// A configuration file.
    pub config: ConfigText,
    /// Rules of arithmetic; stronger than the configuration file's.
    pub arithmetic: Option<Arithmetic>,
    /// Type of input, weight, bias and result, as text: its omitted modes depend on the arithmetic. Stronger than the
    /// configuration file's.
    pub precision: Option<String>,
    /// Calibration data, one entry a model input in model order, float, `[rows, …]`; fits integer bits.
    pub calibration: Option<Vec<Tensor>>,
    /// Transport between layers; chosen by size when omitted.
    pub io: Option<Io>,
    /// Layout of multiplications; chosen by size when omitted.
    pub strategy: Option<Strategy>,
    /// Products a multiplier; snapped to a legal value.
    pub reuse: Option<usize>,
}

/// A compiled model.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The graph that was lowered: static shapes, constants folded.
    pub graph: NormalGraph,
    /// The bits.
    pub program: Program,
    /// Their layout in hardware.
    pub schedule: Schedule,
    /// Rules of arithmetic that hold.
    pub arithmetic: Arithmetic,
    /// What lowering decided a layer.
    pub notes: Vec<LayerNote>,
    /// Where the graph's tensors lie in the Program.
    pub placed: Vec<Placed>,
    /// Warnings of every stage, in order.
    pub warnings: Vec<Diagnostic>,
}

/// Stages of [`compile`], told to its observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the ONNX file.
    Import,
    /// Folding and fixing shapes.
    Normalise,
    /// Running calibration data in float.
    Calibrate,
    /// Deciding types, building the Program.
    Lower,
    /// Laying it out.
    Schedule,
}

/// Compiles the model at `path`; `observe` hears of each stage as it begins.
pub fn compile(
    path: &Path,
    options: &CompileOptions,
    observe: &mut dyn FnMut(Stage),
) -> Result<Compiled, Diagnostics> {
    observe(Stage::Import);
    let (graph, mut warnings) = onnx::import(path)?;
    let config = configured(&graph, options, &mut warnings)?;
    observe(Stage::Normalise);
    let graph = passes::normalise_with(graph, &config.pass_options())?;
    let ranges = match &options.calibration {
        None => None,
        Some(data) => {
            observe(Stage::Calibrate);
            Some(observed_ranges(&graph, data)?)
        }
    };
    observe(Stage::Lower);
    let lowering = LowerOptions { ranges, ..config.lower_options() };
    let lowered = lower::lower(&graph, &lowering)?;
    warnings.extend(lowered.warnings.iter().cloned());
    observe(Stage::Schedule);
    let wishes = config.schedule_options(&graph);
    let (schedule, remarks) = schedule::schedule(&lowered.program, &wishes)
        .map_err(|errors| Diagnostics(errors.iter().map(|e| Diagnostic::error(e.to_string())).collect()))?;
    warnings
        .extend(remarks.into_iter().map(|n| Diagnostic { node: n.node, ..Diagnostic::warning(n.message) }));
    let lower::Lowered { program, notes, placed, warnings: _ } = lowered;
    Ok(Compiled { graph, program, schedule, arithmetic: config.arithmetic, notes, placed, warnings })
}

/// The configuration file's word, and the options' where they say something.
fn configured(
    graph: &Graph,
    options: &CompileOptions,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Config, Diagnostics> {
    let mut config = match &options.config {
        ConfigText::None => Config::of(graph),
        ConfigText::Toml(text) => config::parse(text, graph)?,
        ConfigText::Hls4ml(text) => {
            let (config, ignored) = config::from_hls4ml(text, graph)?;
            warnings.extend(ignored);
            config
        }
    };
    config.arithmetic = options.arithmetic.unwrap_or(config.arithmetic);
    if let Some(text) = &options.precision {
        let modes = match config.arithmetic {
            Arithmetic::Native => Modes::RND_SAT,
            Arithmetic::Hls4ml => Modes::TRN_WRAP,
        };
        config.precision = Some(parse_type(text, modes).map_err(|e| Diagnostic::error(e.to_string()))?);
    }
    config.io = options.io.or(config.io);
    config.model.strategy = options.strategy.or(config.model.strategy);
    config.model.reuse = options.reuse.or(config.model.reuse);
    Ok(config)
}

/// The HLS project of a compiled model.
pub fn hls_project(compiled: &Compiled, name: &str, target: &Target) -> Result<hls::Project, Diagnostics> {
    hls::emit(&compiled.program, &compiled.schedule, name, target)
        .map_err(|errors| Diagnostics(errors.iter().map(|e| Diagnostic::error(e.to_string())).collect()))
}

/// Smallest and largest value of every tensor over the rows of `data` (one tensor a model input).
fn observed_ranges(graph: &NormalGraph, data: &[Tensor]) -> Result<ObservedRanges, Diagnostics> {
    let inputs = &graph.graph().inputs;
    if data.len() != inputs.len() {
        return Err(Diagnostic::error(format!(
            "calibration data has {} tensors, the model {} inputs",
            data.len(),
            inputs.len()
        ))
        .into());
    }
    let mut columns = Vec::with_capacity(data.len());
    let mut rows = usize::MAX;
    for (tensor, v) in data.iter().zip(inputs) {
        let shape = graph.graph().shape(*v).unwrap_or(&[]);
        let (found, len) = (tensor.shape().first().copied().unwrap_or(0), shape.iter().product::<usize>());
        if found == 0 || tensor.len() != len * found {
            return Err(Diagnostic::error(format!(
                "calibration data of shape {:?} does not fit input '{}' of shape {shape:?}",
                tensor.shape(),
                graph.graph().value(*v).name
            ))
            .help("the first axis counts rows; the others are the input's own")
            .into());
        }
        rows = rows.min(found);
        columns.push((shape, len, tensor.to_f64()));
    }
    let mut ranges = ObservedRanges::new();
    for row in 0..rows {
        let mut one = Vec::with_capacity(columns.len());
        for (shape, len, values) in &columns {
            let values = values[row * len..(row + 1) * len].iter().map(|v| *v as f32).collect();
            one.push(Tensor::from_f32(shape.to_vec(), values).map_err(|e| Diagnostic::error(e.to_string()))?);
        }
        let run = reference::eval_all(graph.graph(), &one)?;
        for (i, value) in graph.graph().values.iter().enumerate() {
            let Some(tensor) = run.get(ValueId::new(i)).filter(|_| value.constant.is_none()) else {
                continue;
            };
            let range = ranges.entry(value.name.clone()).or_insert((f64::INFINITY, f64::NEG_INFINITY));
            for v in tensor.to_f64() {
                range.0 = range.0.min(v);
                range.1 = range.1.max(v);
            }
        }
    }
    Ok(ranges)
}
