//! From a model file to everything a package holds, as one function.

use std::path::Path;

use hs_fixed::{Modes, parse_type};
use hs_hw::{Io, Program, Schedule, Strategy};
use hs_ir::{Graph, Tensor};

use crate::platform::Target;
use crate::{
    calibrate,
    config::{self, Config},
    diagnostic::{Diagnostic, Diagnostics},
    hls,
    limits::Limits,
    lower::{self, Arithmetic, LayerNote, LowerOptions, Placed},
    onnx,
    passes::{self, NormalGraph, PassOptions},
    schedule,
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
    /// How large the model may be.
    pub limits: Limits,
    /// Fit the integer bits of weights to each output channel; the configuration file may say so too.
    pub per_channel: bool,
    /// Calibration data, one entry a model input in model order, float, `[rows, …]`; fits integer bits, corrects biases.
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
    /// What fixed point follows, in float: static shapes, constants folded.
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
    let (graph, mut warnings) = onnx::import_within(path, &options.limits)?;
    let config = configured(&graph, options, &mut warnings)?;
    observe(Stage::Normalise);
    let passes = PassOptions { limits: options.limits, ..config.pass_options() };
    let float = passes::normalise_with(graph.clone(), &PassOptions { per_channel: None, ..passes.clone() })?;
    let rounded = match passes.per_channel {
        None => float.clone(),
        Some(_) => passes::normalise_with(graph, &passes)?,
    };
    let calibrated = match &options.calibration {
        None => None,
        Some(data) => {
            observe(Stage::Calibrate);
            let rows = calibrate::Rows::new(&float, data)?;
            Some((calibrate::observe(&float, &rows)?, rows))
        }
    };
    observe(Stage::Lower);
    let ranges = calibrated.as_ref().map(|(seen, _)| seen.ranges.clone());
    let lowering = LowerOptions { ranges, ..config.lower_options() };
    let mut lowered = lower::lower(&rounded, &lowering)?;
    if let Some((seen, rows)) = &calibrated
        && let Some(graph) = calibrate::corrected(&rounded, seen, (&lowered, &lowering), rows)?
    {
        lowered = lower::lower(&graph, &lowering)?;
    }
    warnings.extend(lowered.warnings.iter().cloned());
    observe(Stage::Schedule);
    let wishes = config.schedule_options(&rounded);
    let (schedule, remarks) = schedule::schedule(&lowered.program, &wishes)
        .map_err(|errors| Diagnostics(errors.iter().map(|e| Diagnostic::error(e.to_string())).collect()))?;
    warnings
        .extend(remarks.into_iter().map(|n| Diagnostic { node: n.node, ..Diagnostic::warning(n.message) }));
    let lower::Lowered { program, notes, placed, .. } = lowered;
    Ok(Compiled { graph: float, program, schedule, arithmetic: config.arithmetic, notes, placed, warnings })
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
    config.per_channel |= options.per_channel;
    if config.per_channel && config.arithmetic == Arithmetic::Hls4ml {
        return Err(Diagnostic::error("hls4ml's arithmetic has one type for all weights of a layer")
            .help("leave per_channel out, or use --arithmetic native")
            .into());
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
