//! `emulate`: run a model on the CPU, bit for bit as the FPGA would.

use clap::Args as ClapArgs;
use serde_json::json;

use super::{
    Context, Report, backends,
    exit::Failure,
    model::Model,
    options::{CompileArgs, InputArgs, ModelArg, OutputArgs},
    tensors::{self, Destination},
};

/// Run a model on the CPU, bit for bit as the FPGA would
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  hypersonic emulate model.onnx --input X.npy --output Y.npy --precision 'fixed<32,12>'
  hypersonic emulate package/ --input X.npy --output Y.npy
  hypersonic emulate two.onnx --input left=L.npy --input right=R.npy --output Y.npz
  hypersonic emulate package/ --input codes.npy --output codes_out.npy --raw")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    compile: CompileArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let model = Model::open(&args.model.model, &args.compile, context)?;
    let emulator = backends::emulator(&model)?;
    let outcome = {
        let _step = context.step("emulating");
        run_to_files(emulator.as_ref(), &args.input, &args.output)?
    };
    Ok(outcome.report("emulator").warnings(model.warnings))
}

/// Rows done and files written.
pub(super) struct Outcome {
    rows: usize,
    seconds: f64,
    files: Vec<String>,
}

impl Outcome {
    pub(super) fn report(&self, by: &str) -> Report {
        let text = format!("{} rows in {:.3} s by the {by}: {}", self.rows, self.seconds, self.files.join(", "));
        Report::new(text, json!({ "rows": self.rows, "seconds": self.seconds, "outputs": self.files }))
    }
}

/// Runs the rows of `--input` and writes `--output`.
pub(super) fn run_to_files(
    model: &dyn hs_runtime::Executable,
    input: &InputArgs,
    output: &OutputArgs,
) -> Result<Outcome, Failure> {
    let names = tensors::names(model.outputs());
    let destination = Destination::new(&output.output, &names)?;
    let inputs = tensors::load("--input", &input.input, &tensors::names(model.inputs()))?;
    let begin = std::time::Instant::now();
    let outputs = tensors::run(model, &inputs, output.raw)?;
    let seconds = begin.elapsed().as_secs_f64();
    destination.save(&names, &outputs)?;
    let files = destination.paths().iter().map(|p| p.display().to_string()).collect();
    Ok(Outcome { rows: inputs.first().map_or(0, hs_runtime::Tensor::rows), seconds, files })
}
