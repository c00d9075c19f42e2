//! Options that verbs share.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hs_compiler::{
    driver::ConfigText,
    limits::{Limit, Limits},
};
use hs_fixed::{Modes, parse_type};

use super::exit::Failure;

/// How a model is compiled. For a package, which is compiled already, none of these can be given.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Compiling")]
pub(crate) struct CompileArgs {
    /// Type of inputs, weights, biases and results, such as 'fixed<16,6>' or 'fixed<12,4,RND,SAT>'
    ///
    /// fixed<W,I>, ufixed<W,I>, int<W> or uint<W>, with rounding and overflow mode if wanted; omitted modes
    /// are RND,SAT, under hls4ml's arithmetic TRN,WRAP. HLS's spelling ap_fixed<16,6,AP_RND,AP_SAT> is understood too; its omitted modes are
    /// AP_TRN,AP_WRAP. Without this option: 16 bits, with a warning.
    #[arg(long, value_name = "TYPE", value_parser = type_text)]
    pub(crate) precision: Option<String>,
    /// Rules by which the model is computed [default: native]
    #[arg(long)]
    pub(crate) arithmetic: Option<Arithmetic>,
    /// A TOML file with types, reuse and strategies of the model, of op types and of nodes; see `hypersonic config`
    #[arg(long, value_name = "FILE", conflicts_with = "hls4ml_config")]
    pub(crate) config: Option<PathBuf>,
    /// A configuration written for hls4ml (YAML or JSON): the same bits as hls4ml from it
    #[arg(long, value_name = "FILE")]
    pub(crate) hls4ml_config: Option<PathBuf>,
    /// Fit the integer bits of each tensor to what these inputs (.npy, .npz) make of it, and biases to its means
    #[arg(long, value_name = "[NAME=]FILE")]
    pub(crate) calibrate: Vec<String>,
    /// Fit the integer bits of weights to each output channel, not to each tensor
    ///
    /// The layer multiplies integers; behind it each channel is shifted. For 8 bits and fewer.
    #[arg(long)]
    pub(crate) per_channel: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// How tensors travel between layers [default: by the size of the model]
    #[arg(long)]
    pub(crate) io: Option<Io>,
    /// How the multiplications of a layer are laid out [default: by the size of the model]
    #[arg(long)]
    pub(crate) strategy: Option<Strategy>,
    /// Products that share a multiplier; rounded to a legal divisor in each layer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reuse: Option<u32>,
}

/// See [`hs_compiler::lower::Arithmetic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arithmetic {
    /// Exact sums, one rounding a value, saturation
    Native,
    /// hls4ml's C++ bit for bit: a cast a product, wrapping, its tables
    Hls4ml,
}

/// The text of a type, checked.
fn type_text(text: &str) -> Result<String, String> {
    parse_type(text, Modes::RND_SAT).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// How large a model may be.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub(crate) struct LimitArgs {
    /// Raise a limit on the model's size: file, nodes, depth, elements, constants, folding or package
    ///
    /// file: bytes of the ONNX file (512 MiB); nodes: of the graph (100000); depth: nodes one behind the other (20000);
    /// elements: of one tensor, for one row (2^26); constants: elements of all constants (2^26); folding:
    /// multiplications done to compute constants (2^33); package: its bytes (1 GiB).
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    limit: Vec<(Limit, u64)>,
}

impl LimitArgs {
    /// The defaults where nothing is said.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (limit, bound) in &self.limit {
            limits.set(*limit, *bound);
        }
        limits
    }
}

/// A limit and its bound.
fn limit(text: &str) -> Result<(Limit, u64), String> {
    let names = || Limit::ALL.map(Limit::name).join(", ");
    let (name, bound) = text.split_once('=').ok_or("write NAME=N, such as nodes=200000")?;
    let limit = Limit::find(name).ok_or_else(|| format!("there is no limit '{name}', only {}", names()))?;
    let bound = bound.parse().map_err(|_| format!("'{bound}' is no number of {}", limit.meaning()))?;
    Ok((limit, bound))
}

/// See [`hs_hw::Io`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    /// Whole tensors in registers
    Parallel,
    /// One pixel with all its channels a cycle, through FIFOs
    Stream,
}

/// See [`hs_hw::Strategy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// All at once
    Latency,
    /// In as many steps as --reuse says, on the same multipliers
    Resource,
}

/// See [`hs_emulator::Isa`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isa {
    /// Those of every machine that this program runs on
    Generic,
    /// AVX2
    Avx2,
    /// AVX-512 F, BW, DQ and VL
    Avx512,
    /// The same and VNNI
    #[value(name = "avx512vnni")]
    Avx512Vnni,
    /// The same and VBMI2
    #[value(name = "avx512vbmi2")]
    Avx512Vbmi2,
}

impl From<Isa> for hs_emulator::Isa {
    fn from(isa: Isa) -> Self {
        match isa {
            Isa::Generic => Self::Generic,
            Isa::Avx2 => Self::Avx2,
            Isa::Avx512 => Self::Avx512,
            Isa::Avx512Vnni => Self::Avx512Vnni,
            Isa::Avx512Vbmi2 => Self::Avx512Vbmi2,
        }
    }
}

impl CompileArgs {
    /// The options that were given, as the user writes them.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let mut given = Vec::new();
        let mut note = |is: bool, name| given.extend(is.then_some(name));
        note(self.precision.is_some(), "--precision");
        note(self.arithmetic.is_some(), "--arithmetic");
        note(self.config.is_some(), "--config");
        note(self.hls4ml_config.is_some(), "--hls4ml-config");
        note(!self.calibrate.is_empty(), "--calibrate");
        note(self.per_channel, "--per-channel");
        note(!self.limits.limit.is_empty(), "--limit");
        note(self.io.is_some(), "--io");
        note(self.strategy.is_some(), "--strategy");
        note(self.reuse.is_some(), "--reuse");
        given
    }

    /// Rules of arithmetic, where chosen.
    pub(crate) fn arithmetic(&self) -> Option<hs_compiler::lower::Arithmetic> {
        self.arithmetic.map(|a| match a {
            Arithmetic::Native => hs_compiler::lower::Arithmetic::Native,
            Arithmetic::Hls4ml => hs_compiler::lower::Arithmetic::Hls4ml,
        })
    }

    /// The text of the configuration file, if one is named.
    pub(crate) fn config(&self) -> Result<ConfigText, Failure> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|e| Failure::input(format!("cannot read {}: {e}", path.display())))
        };
        Ok(match (&self.config, &self.hls4ml_config) {
            (Some(path), _) => ConfigText::Toml(read(path)?),
            (None, Some(path)) => ConfigText::Hls4ml(read(path)?),
            (None, None) => ConfigText::None,
        })
    }

    /// Transport between layers, where chosen.
    pub(crate) fn io(&self) -> Option<hs_hw::Io> {
        self.io.map(|io| match io {
            Io::Parallel => hs_hw::Io::Parallel,
            Io::Stream => hs_hw::Io::Stream,
        })
    }

    /// Reuse factor, where chosen.
    pub(crate) fn reuse(&self) -> Option<usize> {
        self.reuse.map(|n| n as usize)
    }

    /// Layout of the multiplications, where chosen.
    pub(crate) fn strategy(&self) -> Option<hs_hw::Strategy> {
        self.strategy.map(|s| match s {
            Strategy::Latency => hs_hw::Strategy::Latency,
            Strategy::Resource => hs_hw::Strategy::Resource,
        })
    }
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub(crate) struct InputArgs {
    /// Rows to run: X.npy for a model with one input, NAME=X.npy for each of several, or X.npz with all
    ///
    /// The first axis counts rows. Floats are rounded and clipped to the input's type; NaN is an error.
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
}

/// Where results go.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub(crate) struct OutputArgs {
    /// Where results go: Y.npy for a model with one output, NAME=Y.npy for each of several, or Y.npz for all
    ///
    /// Written under another name first, then renamed: the file is whole or not there.
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    pub(crate) output: Vec<String>,
    /// Input and output are raw integer codes, not numbers
    #[arg(long)]
    pub(crate) raw: bool,
}

/// A package directory or an ONNX file.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub(crate) struct ModelArg {
    /// A model.onnx, or a package that `compile` wrote
    #[arg(value_name = "MODEL|PACKAGE")]
    pub(crate) model: PathBuf,
}
