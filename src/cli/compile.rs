//! `compile`: a model into a package.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::{
    Context, Report, estimate::Figures, exit::Failure, model::Model, options::CompileArgs, table::pairs,
    target::TargetArgs,
};

/// Compile an ONNX model into a package: program, weights, HLS project, manifest
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  hypersonic compile model.onnx -o package/
  hypersonic compile model.onnx -o package/ --precision 'fixed<16,6>'
  hypersonic compile model.onnx -o package/ --precision 'fixed<12,4>' --calibrate X.npy --io stream --reuse 4
  hypersonic compile model.onnx -o package/ --precision 'fixed<8,4>' --calibrate X.npy --per-channel
  hypersonic compile model.onnx -o package/ --precision 'fixed<12,4>' --platform U55C")]
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
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    if args.model.is_dir() {
        return Err(Failure::usage(format!("{} is a directory; compile takes an ONNX file", args.model.display())));
    }
    let mut model = Model::compile(&args.model, &args.compile, context)?;
    // What emission refuses has no estimate; writing says why.
    let figures = model.figures(args.target.clock_mhz()).ok();
    if let Some(figures) = &figures {
        model.target = args.target.target(&figures.estimate)?;
    }
    {
        let _step = context.step("writing the package");
        model.write(&args.output, args.force, &args.compile.limits.limits())?;
    }
    let project = Model::project(&args.output);
    let target = &model.target;
    let platform = target.platform.clone().unwrap_or_else(|| format!("none, part {}", target.part));
    let mut lines = vec![
        ("package", args.output.display().to_string()),
        ("HLS project", project.display().to_string()),
        ("fingerprint", model.program.fingerprint().to_string()),
        ("platform", platform),
    ];
    if target.link.is_some() {
        lines.push(("compute units", target.compute_units().to_string()));
    }
    if let Some(figures) = &figures {
        lines.push(("estimate", figures.summary()));
    }
    let text = pairs(&lines);
    let json = json!({
        "package": args.output,
        "hls_project": project,
        "fingerprint": model.program.fingerprint().to_string(),
        "schedule": { "io": model.schedule.io },
        "layers": model.compiled.as_ref().map(|c| &c.notes),
        "target": {
            "part": target.part,
            "platform": target.platform,
            "clock_mhz": target.clock_mhz,
            "compute_units": target.compute_units(),
        },
        "estimate": figures.as_ref().map(Figures::json),
    });
    Ok(Report::new(text, json).warnings(model.warnings))
}
