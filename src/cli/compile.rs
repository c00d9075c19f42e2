//! `compile`: a model into a package.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::{Context, Report, exit::Failure, model::Model, options::CompileArgs, table::pairs};

/// Compile an ONNX model into a package: program, weights, HLS project, manifest
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  hypersonic compile model.onnx -o package/
  hypersonic compile model.onnx -o package/ --precision 'fixed<16,6>'
  hypersonic compile model.onnx -o package/ --precision 'fixed<12,4>' --calibrate X.npy --io stream --reuse 4")]
pub(crate) struct Args {
    /// The ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The package to write: a directory that is not there yet
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace DIR if it is a package
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    compile: CompileArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    if args.model.is_dir() {
        return Err(Failure::usage(format!("{} is a directory; compile takes an ONNX file", args.model.display())));
    }
    let mut model = Model::compile(&args.model, &args.compile, context)?;
    {
        let _step = context.step("writing the package");
        model.write(&args.output, args.force)?;
    }
    let project = Model::project(&args.output);
    let text = pairs(&[
        ("package", args.output.display().to_string()),
        ("HLS project", project.display().to_string()),
        ("fingerprint", model.program.fingerprint().to_string()),
    ]);
    let json = json!({
        "package": args.output,
        "hls_project": project,
        "fingerprint": model.program.fingerprint().to_string(),
        "schedule": { "io": model.schedule.io },
        "layers": model.compiled.as_ref().map(|c| &c.notes),
    });
    Ok(Report::new(text, json).warnings(model.warnings))
}
