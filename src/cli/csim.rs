//! `csim`: run a model's generated C++, compiled with g++.

use clap::Args as ClapArgs;

use super::{
    Context, Report,
    emulate::run_to_files,
    exit::Failure,
    model::Model,
    options::{CompileArgs, InputArgs, ModelArg, OutputArgs},
    simulation::Simulation,
};

/// Run a model's generated C++, compiled with g++ against Xilinx's open headers
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Needs g++, and the ap_types headers in the cache (scripts/fetch-ap-types) or where HYPERSONIC_AP_TYPES says.

Examples:
  hypersonic csim model.onnx --input X.npy --output Y.npy --precision 'fixed<16,6>' --io stream
  hypersonic csim package/ --input X.npz --output Y.npz --raw")]
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
    let outcome = {
        let step = context.step("compiling the C++");
        let simulation = Simulation::new(&model, &step)?;
        step.say("simulating");
        run_to_files(&simulation, &args.input, &args.output)?
    };
    Ok(outcome.report("C simulation").warnings(model.warnings))
}
