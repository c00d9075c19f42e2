//! `run`: run a package on cards.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::Args as ClapArgs;
use hs_runtime::CardStatus;
use serde_json::{Value, json};

use super::{
    Context, Report, backends,
    emulate::run_to_files,
    exit::Failure,
    model::Model,
    options::{CompileArgs, InputArgs, OutputArgs},
    table::{count, table},
};

/// Run a package on cards through XRT, with the emulator's bits
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
The bitstream is --xclbin, or the one that `build` left in the package, or the newest one that is
registered for the model. Before a card gets the rows, each compute unit computes some whose results
are known; a card that gets them wrong is refused.

Examples:
  hypersonic run package/ --input X.npy --output Y.npy
  hypersonic run package/ --input X.npy --output Y.npy --devices 0,1 --slots 8
  hypersonic run package/ --input X.npy --output Y.npy --xclbin model.awsxclbin
  hypersonic xrt-emu -- hypersonic run package/ --input X.npy --output Y.npy     (without a card)")]
pub(crate) struct Args {
    /// A package that `compile` wrote
    #[arg(value_name = "PACKAGE")]
    package: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The bitstream
    #[arg(long, value_name = "FILE")]
    xclbin: Option<PathBuf>,
    /// Indices of cards, or `all`
    #[arg(long, value_name = "LIST", default_value = "all")]
    devices: String,
    /// What of XRT is called
    #[arg(long, value_name = "API", value_parser = ["native", "opencl"], default_value = "native")]
    api: String,
    /// Buffer slots of each compute unit
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// Rows of a launch at most
    #[arg(long, value_name = "N")]
    rows_per_launch: Option<usize>,
    /// Longest time of a step on the card
    #[arg(long, value_name = "MS")]
    step_timeout_ms: Option<u64>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    if !args.package.is_dir() {
        return Err(Failure::usage(format!("{} is no package", args.package.display()))
            .help("`hypersonic compile MODEL -o DIR` writes one"));
    }
    let model = Model::open(&args.package, &CompileArgs::default(), context)?;
    let mut options = BTreeMap::from([("devices".to_owned(), args.devices), ("xrt_api".to_owned(), args.api)]);
    let mut set = |key: &str, value: Option<String>| {
        options.extend(value.map(|value| (key.to_owned(), value)));
    };
    // A path on the command line is not one in the package.
    let xclbin = args.xclbin.as_deref().map(std::path::absolute).transpose();
    let xclbin = xclbin.map_err(|e| Failure::usage(format!("--xclbin: {e}")))?;
    set("xclbin", xclbin.map(|path| path.to_string_lossy().into_owned()));
    set("slots", args.slots.map(|n| n.to_string()));
    set("rows_per_launch", args.rows_per_launch.map(|n| n.to_string()));
    set("step_timeout_ms", args.step_timeout_ms.map(|n| n.to_string()));
    let form = hs_runtime::Model {
        name: model.name.clone(),
        program: Some(Arc::clone(&model.program)),
        package: Some(args.package),
        options,
        ..hs_runtime::Model::default()
    };
    let executable = {
        let _step = context.step("opening the cards");
        backends::load("xrt", &form)?
    };
    let outcome = {
        let _step = context.step("running");
        run_to_files(executable.as_ref(), &args.input, &args.output)?
    };
    let cards = executable.cards();
    let mut report = outcome.report("card");
    report.text.push_str(&format!("\n\n{}", shown(&cards)));
    report.json.insert("cards".to_owned(), cards.iter().map(card_json).collect());
    Ok(report.warnings(model.warnings))
}

/// Cards and what they did, a line each.
fn shown(cards: &[CardStatus]) -> String {
    let stages: Vec<&str> = cards.first().map_or_else(Vec::new, |c| c.times.iter().map(|(s, _)| *s).collect());
    let mut heading = vec!["card", "state", "units", "launches", "rows"];
    let times: Vec<String> = stages.iter().map(|s| format!("{s} ms")).collect();
    heading.extend(times.iter().map(String::as_str));
    let rows: Vec<Vec<String>> = cards
        .iter()
        .map(|c| {
            let units = c.units.len().to_string();
            let numbers = [units, count(c.launches), count(c.rows)];
            let times = c.times.iter().map(|(_, time)| format!("{:.3}", time.as_secs_f64() * 1e3));
            [c.card.clone(), c.state.name().to_owned()].into_iter().chain(numbers).chain(times).collect()
        })
        .collect();
    table(&heading, &rows)
}

fn card_json(c: &CardStatus) -> Value {
    let seconds: BTreeMap<&str, f64> = c.times.iter().map(|(stage, time)| (*stage, time.as_secs_f64())).collect();
    json!({
        "card": c.card, "state": c.state.name(), "why": c.why, "slots": c.slots, "launches": c.launches,
        "rows": c.rows, "seconds": seconds,
        "compute_units": c.units.iter().map(|u| json!({ "name": u.name, "busy_seconds": u.busy.as_secs_f64() }))
            .collect::<Vec<_>>(),
    })
}
