//! `build`: from a package towards a bitstream, with the vendor's tools where they are installed.

mod emu;
mod plan;
mod process;
mod record;
mod state;
mod steps;
mod tools;

use std::{cell::RefCell, fmt::Write as _, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;
use hs_bitstream::typed;
use hs_compiler::platform::Platform;
use hs_package::{BUILD, Figures, HLS, Package, StepEvidence};
use serde_json::{Value, json};

use super::{
    Context, Report,
    exit::{Exit, Failure},
    model::Model,
    options::CompileArgs,
    table::{count, pairs, table},
};
use plan::{Setting, Skip, Task, Until};
use steps::{Outcome, Run};
use tools::{Found, Tools};

/// Build a package with Vitis: simulate, synthesise, link
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Steps, in order:
  csim     C simulation with g++ against the emulator, on random rows; needs no Vitis
  csynth   C to RTL, with vitis_hls (up to 2024.2) or vitis-run
  cosim    simulation of the RTL against the C++
  hw_emu   the kernel exported and linked for hardware emulation, with v++ and the platform
  hw       placed and routed: the bitstream
A step that was done before with the same inputs is not run again. The tools work in PACKAGE/build, where each step leaves
a log; what their reports say is kept in PACKAGE/evidence.json.

Where a step needs what this machine does not have, the steps before it are done, nothing failed, and the commands for the
rest are printed: the exit code is 4, and \"complete\" is false in --json.

With --target emu no step runs: the xclbin, PACKAGE/build/KERNEL.emu.xclbin, is for the cards of `hypersonic xrt-emu`, and
needs no Vitis. emconfig.json beside it describes such a card.

Examples:
  hypersonic build package/ --until csim
  hypersonic build package/ --target emu --cus 4
  hypersonic build package/ --until hw --dry-run
  hypersonic build package/ --until cosim
  hypersonic build package/ --platform U55C --until hw --skip cosim,hw_emu")]
pub(crate) struct Args {
    /// A package that `compile` wrote
    #[arg(value_name = "PACKAGE")]
    package: PathBuf,
    /// Card, or Vitis platform by name or the path of its .xpfm [default: what the package was compiled for]
    #[arg(long, value_name = "CARD|NAME|XPFM")]
    platform: Option<String>,
    /// Last step
    #[arg(long, value_name = "STEP", required_unless_present = "target")]
    until: Option<Until>,
    /// Build for something else than the steps do
    #[arg(long, value_name = "TARGET", conflicts_with_all = ["until", "platform", "skip", "dry_run", "timeout"])]
    target: Option<emu::Target>,
    /// With --target emu: compute units [default: as many as the package links]
    #[arg(long, value_name = "N", requires = "target", conflicts_with = "until", value_parser = clap::value_parser!(u32).range(1..=emu::MOST_UNITS))]
    cus: Option<u32>,
    /// With --target emu: the xclbin [default: PACKAGE/build/KERNEL.emu.xclbin]
    #[arg(short, long, value_name = "FILE", requires = "target", conflicts_with = "until")]
    output: Option<PathBuf>,
    /// Steps before the last that are left out
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<Skip>,
    /// Print what would be run, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// Rows of the C simulation
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    rows: u32,
    /// Stop a tool that runs longer, and the build with it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    if !args.package.is_dir() {
        return Err(Failure::usage(format!("{} is no package", args.package.display()))
            .help("`hypersonic compile MODEL -o DIR` writes one"));
    }
    let package = Package::open(&args.package)?;
    let Some(kernel) = package.manifest().kernel.clone() else {
        return Err(Failure::input(format!("{}: the package has no kernel", args.package.display()))
            .help("compile the model again"));
    };
    let Some(until) = args.until else { return emu::run(&args, &package, &kernel) };
    let platform = platform(&args, until, kernel.platform.as_deref())?;
    // What is built must be what was compiled.
    package.check_files()?;
    let tasks = Task::until(until, &args.skip);
    let tools = if until > Until::Csim {
        let _step = context.step("looking for Vitis");
        Tools::find()
    } else {
        Tools::default()
    };
    let setting = Setting {
        package: &args.package,
        kernel: &kernel,
        launcher: tools.hls.as_ref().map_or("vitis-run", |f| &f.tool.name),
        platform: platform.as_deref(),
        connectivity: package.manifest().file(&format!("{HLS}/connectivity.cfg")).is_some(),
    };
    let model = Model::open(&args.package, &CompileArgs::default(), context)?;
    let run = Run {
        package: &package,
        model: &model,
        setting: &setting,
        tools: &tools,
        rows: args.rows as usize,
        limit: args.timeout.map(Duration::from_secs),
        context,
        warned: RefCell::default(),
    };
    let steps = if args.dry_run { run.look(&tasks) } else { run.run(&tasks)? };
    Ok(report(&args, &run, &steps))
}

/// The platform to build for.
fn platform(args: &Args, until: Until, compiled: Option<&str>) -> Result<Option<String>, Failure> {
    let card = args.platform.as_ref().and_then(|name| match Platform::parse(name) {
        Ok(Platform::Card(card)) => Some(card),
        Ok(Platform::Part(_)) | Err(_) => None,
    });
    let given = match card {
        // Any platform of the card that was compiled for is meant.
        Some(card) if compiled.is_some_and(|c| card.platforms.iter().any(|p| p == c)) => compiled,
        Some(card) if !card.platforms.contains(args.platform.as_ref().unwrap_or(&card.name)) => {
            card.platforms.first().map(String::as_str)
        }
        Some(_) | None => args.platform.as_deref(),
    };
    if let (Some(given), Some(compiled)) = (given, compiled) {
        // A path may be that of the same platform.
        let name = given.rsplit('/').next().unwrap_or(given).trim_end_matches(".xpfm");
        if name != compiled {
            return Err(Failure::usage(format!(
                "the package was compiled for the platform {compiled}, not for {}",
                args.platform.as_deref().unwrap_or(given)
            ))
            .help("compile the model again with the other --platform: places and memories of its kernels differ"));
        }
    }
    let platform = given.or(compiled).map(str::to_owned);
    if platform.is_none() && until >= Until::HwEmu {
        return Err(Failure::usage("the package was compiled for a part alone: hw_emu and hw need a platform")
            .help("compile the model again with --platform, or name a Vitis platform here"));
    }
    Ok(platform)
}

fn report(args: &Args, run: &Run<'_>, steps: &[(Task, Outcome)]) -> Report {
    let kernel = run.setting.kernel;
    let built = steps.iter().rev().find(|(_, o)| o.is_done()).map(|(t, _)| t.name());
    let complete = steps.iter().all(|(_, o)| o.is_done());
    let mut missing: Vec<&str> = Vec::new();
    for need in steps.iter().flat_map(|(_, o)| o.missing()) {
        if !missing.contains(&need.as_str()) {
            missing.push(need);
        }
    }
    let folder = std::path::absolute(&args.package).unwrap_or_else(|_| args.package.clone()).join(BUILD);
    let plan: Vec<String> = steps
        .iter()
        .filter(|(t, o)| !o.is_done() && *t != Task::Csim)
        .flat_map(|(t, _)| run.setting.commands(*t))
        .map(|words| typed(&words))
        .collect();

    let mut text = pairs(&[
        ("package", args.package.display().to_string()),
        ("kernel", kernel.name.clone()),
        ("part", format!("{}, {} MHz asked for", kernel.part, kernel.clock_mhz)),
        ("platform", run.setting.platform.unwrap_or("none").to_owned()),
        ("tools", tool_names(run.tools)),
    ]);
    let rows: Vec<Vec<String>> =
        steps.iter().map(|(t, o)| vec![t.name().to_owned(), o.state().to_owned(), o.text()]).collect();
    let _ = write!(text, "\n\n{}", table(&["step", "state", ""], &rows));
    for (_, outcome) in steps {
        if let Some(evidence) = outcome.evidence() {
            let _ = write!(text, "\n\n{}", figures(evidence));
        }
    }
    if !plan.is_empty() {
        let why = if args.dry_run { "what would be run" } else { "nothing failed; what is left to run" };
        let _ = write!(text, "\n\n{why}:\n  cd {}", typed(&[folder.display().to_string()]));
        for command in &plan {
            let _ = write!(text, "\n  {command}");
        }
    }
    if !missing.is_empty() {
        let _ = write!(text, "\n\nmissing here:");
        for need in &missing {
            let _ = write!(text, "\n  {need}");
        }
    }
    let steps: Vec<Value> = steps
        .iter()
        .map(|(task, outcome)| {
            let commands: Vec<_> = run.setting.commands(*task).iter().map(|w| typed(w)).collect();
            let mut step = outcome.json();
            step.insert("step".into(), task.name().into());
            step.insert("log".into(), json!(record::log_of(run.package, *task)));
            step.insert("commands".into(), json!(commands));
            Value::Object(step)
        })
        .collect();
    let json = json!({
        "package": args.package,
        "fingerprint": run.package.manifest().fingerprint.to_string(),
        "kernel": kernel.name,
        "part": kernel.part,
        "platform": run.setting.platform,
        "tools": found(run.tools).map(|f| json!({ "name": f.tool.name, "version": f.tool.version, "path": f.path })).collect::<Vec<_>>(),
        "until": steps.last().map(|s| s["step"].clone()),
        "dry_run": args.dry_run,
        "built": built,
        "complete": complete,
        "steps": steps,
        "missing": missing,
        "plan": { "cwd": folder, "commands": plan },
    });
    let exit = if complete || args.dry_run { Exit::Ok } else { Exit::Environment };
    Report::new(text, json).exit(exit).warnings(run.warnings())
}

fn found(tools: &Tools) -> impl Iterator<Item = &Found> {
    [&tools.hls, &tools.vpp, &tools.emconfigutil].into_iter().flatten()
}

fn tool_names(tools: &Tools) -> String {
    let names: Vec<String> = found(tools).map(|f| format!("{} {}", f.tool.name, f.tool.version)).collect();
    if names.is_empty() { "none of Vitis'".to_owned() } else { names.join(", ") }
}

/// What the reports of a step say.
fn figures(evidence: &StepEvidence) -> String {
    let Figures { latency_cycles, interval_cycles, estimated_clock_ns, kernel_clock_mhz, worst_slack_ns, .. } =
        &evidence.figures;
    let mut rows = vec![("step", evidence.step.name().to_owned())];
    for (name, cycles) in [("latency", latency_cycles), ("interval", interval_cycles)] {
        if let Some(c) = cycles {
            let range = if c.min == c.max { count(c.min) } else { format!("{} to {}", count(c.min), count(c.max)) };
            rows.push((name, format!("{range} cycles")));
        }
    }
    if let Some(ns) = estimated_clock_ns {
        rows.push(("estimated clock", format!("{ns:.2} ns ({:.0} MHz)", 1000.0 / ns)));
    }
    if let Some(mhz) = kernel_clock_mhz {
        rows.push(("clock", format!("{mhz} MHz")));
    }
    if let Some(ns) = worst_slack_ns {
        rows.push(("worst slack", format!("{ns} ns")));
    }
    let r = &evidence.figures.resources;
    for (name, n) in [("LUT", r.lut), ("FF", r.ff), ("DSP", r.dsp), ("BRAM18", r.bram18), ("URAM", r.uram)] {
        if let Some(n) = n {
            rows.push((name, count(n)));
        }
    }
    if !evidence.missing.is_empty() {
        rows.push(("not reported", evidence.missing.join(", ")));
    }
    pairs(&rows)
}
