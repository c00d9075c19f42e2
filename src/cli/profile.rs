//! `profile`: what data does to every tensor of a model, and which layer needs which type.

use std::{io::Write, path::PathBuf};

use clap::Args as ClapArgs;
use hs_compiler::profile::{
    LayerProfile, Profile, Profiler, html,
    report::{Cause, short},
};
use hs_emulator::{Emulator, Options};
use hs_runtime::{Executable, Tensor};
use serde_json::json;

use super::{
    Context, Report,
    exit::Failure,
    model::{Model, to_float},
    options::{CompileArgs, InputArgs},
    table::{count, pairs, table},
    tensors,
};

/// Rows that are traced at once: bounds the memory.
const CHUNK: usize = 128;
/// Layers whose advice is printed, the worst one aside.
const ADVISED: usize = 8;

/// Show what data does to every tensor: ranges, overflow, error against float, and the type that would help
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Every tensor is compared with float twice: with the float model on the same rows (SQNR), and with float
arithmetic on the fixed-point values in front of the layer (own SQNR): what the layer itself adds.

Examples:
  hypersonic profile model.onnx --input X.npy --precision 'fixed<16,6>'
  hypersonic profile model.onnx --input X.npy --precision 'fixed<12,4>' --html profile.html --target-db 30
  hypersonic profile model.onnx --input X.npy --config model.toml --json")]
pub(crate) struct Args {
    /// A model.onnx; a package does not hold the float model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    /// Only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rows: Option<u32>,
    /// Signal-to-noise ratio in dB that each layer should reach on its own
    #[arg(long, value_name = "DB", default_value_t = 40.0, value_parser = decibels)]
    target_db: f64,
    /// Write a page with plots, which needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    compile: CompileArgs,
}

fn decibels(text: &str) -> Result<f64, String> {
    let db: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if (0.0..=300.0).contains(&db) { Ok(db) } else { Err("the ratio lies between 0 and 300 dB".to_owned()) }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    if args.model.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a package, which does not hold the float model",
            args.model.display()
        ))
        .help("give the model.onnx, with the options it was compiled with"));
    }
    let mut model = Model::compile(&args.model, &args.compile, context)?;
    let Some(compiled) = model.compiled.take() else {
        return Err(Failure::internal("a model that was not compiled"));
    };
    let mut profiler = Profiler::new(&compiled.graph, &compiled.program, &compiled.placed, &compiled.notes);
    if profiler.is_empty() {
        return Err(Failure::input("the model has no tensor of at most 64 bits to look at"));
    }
    let emulator = Emulator::new(profiler.program().clone(), &Options::default())
        .map_err(|e| Failure::input(format!("{}: {e}", model.name)))?;
    let inputs = tensors::load("--input", &args.input.input, &tensors::names(emulator.inputs()))?;
    let rows = inputs.iter().map(Tensor::rows).min().unwrap_or(0);
    let rows = args.rows.map_or(rows, |n| rows.min(n as usize));
    if rows == 0 {
        return Err(
            Failure::input("the input has no rows").help("give at least one row, better some hundreds")
        );
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    {
        let _step = context.step(format!("tracing {} rows in fixed point and in float", count(rows as u64)));
        for from in (0..rows).step_by(CHUNK) {
            let to = (from + CHUNK).min(rows);
            let chunk: Vec<Tensor> = inputs.iter().map(|t| t.slice_rows(from..to)).collect();
            let fixed: Vec<Vec<f64>> = emulator.run_f64(&chunk)?.iter().map(Tensor::to_f64).collect();
            let float = (0..to - from).map(|r| row(&compiled, &chunk, r)).collect::<Result<Vec<_>, _>>()?;
            profiler.add(&float, &fixed, threads)?;
        }
    }
    let profile = profiler.finish(args.target_db);
    if let Some(path) = &args.html {
        let mut file = tensors::temporary(path)?;
        file.write_all(html::page(&profile).as_bytes()).map_err(|e| Failure::file(path, e))?;
        file.persist(path).map_err(|e| Failure::file(path, e.error))?;
    }
    let mut json = serde_json::to_value(&profile).map_err(Failure::internal)?;
    json["verdict"] = profile.verdict().into();
    json["worst_layer"] = json!(profile.worst_layer().map(|l| &l.node));
    json["fingerprint"] = compiled.program.fingerprint().to_string().into();
    json["html"] = json!(args.html);
    Ok(Report::new(text(&profile, args.html.as_deref()), json).warnings(model.warnings))
}

/// One row of each input, in the shapes of the float model.
fn row(
    compiled: &hs_compiler::driver::Compiled,
    inputs: &[Tensor],
    row: usize,
) -> Result<Vec<hs_ir::Tensor>, Failure> {
    let graph = compiled.graph.graph();
    let one = |(tensor, id): (&Tensor, &hs_ir::ValueId)| {
        let shape = compiled.graph.shape(*id).to_vec();
        to_float(&tensor.slice_rows(row..row + 1))?.reshaped(shape).map_err(Failure::input)
    };
    inputs.iter().zip(&graph.inputs).map(one).collect()
}

fn text(profile: &Profile, html: Option<&std::path::Path>) -> String {
    let heading = [
        "tensor",
        "type",
        "smallest",
        "largest",
        "outside",
        "at bounds",
        "max error",
        "SQNR",
        "own SQNR",
        "proposed",
    ];
    let line = |l: &LayerProfile| {
        vec![
            l.tensor.escape_debug().to_string(),
            l.ty.to_string(),
            short(l.range.min),
            short(l.range.max),
            count(l.outside.elements),
            count(l.at_bounds.elements),
            short(l.error.max),
            html::decibels(&l.error),
            html::decibels(&l.own),
            l.proposal.map_or_else(
                || if l.cause == Cause::Inside { "*" } else { "" }.to_owned(),
                |t| t.to_string(),
            ),
        ]
    };
    let lines: Vec<_> = profile.layers.iter().map(line).collect();
    let mut out = table(&heading, &lines);
    out.push_str("\n\n");
    out.push_str(&profile.verdict());
    let worst = profile.worst;
    let others = profile.layers.iter().enumerate().filter(|(i, _)| Some(*i) != worst);
    let advised: Vec<_> = others.filter_map(|(_, l)| Some((l, l.advice.as_ref()?))).collect();
    for (l, advice) in advised.iter().take(ADVISED) {
        out.push_str(&format!("\n'{}': {advice}", l.tensor.escape_debug()));
    }
    if let Some(more @ 1..) = advised.len().checked_sub(ADVISED) {
        out.push_str(&format!("\n… and {more} more"));
    }
    let mut facts =
        vec![("rows", count(profile.rows as u64)), ("target", format!("{} dB a layer", profile.target_db))];
    if !profile.skipped.is_empty() {
        facts.push(("too wide to watch", profile.skipped.join(", ")));
    }
    if profile.configuration.is_some() {
        facts.push(("proposed types", "as a configuration file: key 'configuration' of --json".to_owned()));
    }
    if let Some(path) = html {
        facts.push(("plots", path.display().to_string()));
    }
    out.push_str("\n\n");
    out.push_str(&pairs(&facts));
    out
}
