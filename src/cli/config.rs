//! `config`: a configuration file to start from.

use std::{io::Write, path::PathBuf};

use clap::Args as ClapArgs;
use hs_compiler::{
    config, onnx,
    passes::{self, PassOptions},
};
use serde_json::json;

use super::{Context, Report, exit::Failure, options::LimitArgs, tensors};

/// Write a commented configuration of a model to start from
///
/// Every node stands in it with its op, its shape and what can be said of it; as written it decides nothing.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  hypersonic config model.onnx
  hypersonic config model.onnx -o model.toml
  hypersonic compile model.onnx -o package/ --config model.toml")]
pub(crate) struct Args {
    /// The ONNX model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Where the file goes; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let step = context.step("reading the model");
    let (graph, warnings) = onnx::import_within(&args.model, &args.limits.limits())?;
    let normal = passes::normalise_with(graph.clone(), &PassOptions { limits: args.limits.limits(), ..PassOptions::default() })?;
    let text = config::template(&graph, &normal);
    drop(step);
    let mut report = match &args.output {
        None => Report::new(text.trim_end(), json!({ "config": text })),
        Some(path) => {
            if path.exists() && !args.force {
                return Err(Failure::usage(format!("{} exists", path.display())).help("--force replaces it"));
            }
            let mut file = tensors::temporary(path)?;
            file.write_all(text.as_bytes()).map_err(|e| Failure::file(path, e))?;
            file.persist(path).map_err(|e| Failure::file(path, e.error))?;
            Report::new(format!("configuration  {}", path.display()), json!({ "output": path }))
        }
    };
    report.warnings = warnings;
    Ok(report)
}
