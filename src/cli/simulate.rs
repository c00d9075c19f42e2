//! `simulate`: a model on a card that is not there, on virtual time.

use std::time::Duration;

use clap::Args as ClapArgs;
use hs_card::{
    Config, DEFAULT_LEAST, DEFAULT_SLOTS, Scheduler,
    sim::{Binds, Kernel, Load, Preset, Report as Seen, SimDevice, run as simulate},
};
use hs_compiler::{
    estimate::{Estimate, UNPROVEN},
    platform::{Card, MAX_COMPUTE_UNITS, PlaceOptions, fit, place},
};
use hs_hw::{Program, ValueId, abi::RowLayout};
use hs_package::Package;
use serde_json::json;

use super::{
    Context, Report,
    exit::Failure,
    model::Model,
    options::{CompileArgs, ModelArg},
    table::{count, pairs},
};

/// Most launches that clients may ask for at a time: beyond, a simulation takes minutes.
const MOST_LAUNCHES: u32 = 1_000_000;

/// Simulate clients of a model on a card: throughput, latency, and what limits them
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Nothing is run and no card is needed: the scheduler of the engine works on virtual time. A card's costs are fitted to
published throughputs, the kernel's cycles are estimated; neither was measured on such a card.

Examples:
  hypersonic simulate package/ --card U55C --clients 16
  hypersonic simulate package/ --card U250 --clients 64 --rows 16384 --cus 4 --slots 8 --json
  hypersonic simulate model.onnx --precision 'fixed<16,6>' --card aws-f1 --clients 100 --rows 500")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Card to simulate: U55C, U250 or aws-f1
    #[arg(long, value_name = "CARD", value_parser = preset)]
    card: &'static Preset,
    /// Clients; each sends a request when the one before is answered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Rows of a request
    #[arg(long, value_name = "R", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rows: u32,
    /// Most rows of a launch: what a buffer slot holds
    #[arg(long, value_name = "R", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    launch_rows: u32,
    /// Compute units [default: those that the package was linked for; else as usual for the card, if they fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_COMPUTE_UNITS)))]
    cus: Option<u32>,
    /// Buffer slots of each compute unit
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SLOTS as u32, value_parser = clap::value_parser!(u32).range(1..=64))]
    slots: u32,
    /// Seconds to simulate, after a tenth as much to settle [default: 1, more where requests take long]
    #[arg(long, value_name = "S", value_parser = duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    compile: CompileArgs,
}

fn preset(name: &str) -> Result<&'static Preset, String> {
    Preset::all().iter().find(|p| p.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = Preset::all().iter().map(|p| p.name.as_str()).collect();
        format!("no card of that name can be simulated; give one of {}", names.join(", "))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=3600.0).contains(&seconds) {
        return Err("give 0.001 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let preset = args.card;
    let model = Model::open(&args.model.model, &args.compile, context)?;
    let figures = model.figures(model.target.clock_mhz).map_err(|why| {
        Failure::input(format!("there is no estimate of the kernel, so nothing to simulate: {why}"))
    })?;
    let units = compute_units(&args, &model, &figures.estimate)?;
    let kernel = kernel(&model.program, &figures.estimate, model.target.clock_mhz);
    let timing = preset.timing();
    let (clients, rows) = (args.clients as usize, args.rows as usize);
    let config = Config {
        slots: args.slots as usize,
        least: DEFAULT_LEAST.min(args.launch_rows as usize),
        // A kernel may be slow; it does not hang.
        step_limit: Duration::MAX,
        ..Config::new(units as usize, args.launch_rows as usize)
    };
    let launches = u32::try_from(clients * rows.div_ceil(config.rows)).unwrap_or(u32::MAX);
    if launches > MOST_LAUNCHES {
        return Err(Failure::usage(format!(
            "{clients} clients with {rows} rows each ask for more than {MOST_LAUNCHES} launches at a time"
        ))
        .help("give fewer --clients or --rows, or more --launch-rows"));
    }
    let duration = args.duration.unwrap_or_else(|| {
        let turns = launches.div_ceil(units * args.slots);
        let round = timing.alone(&kernel, rows.min(config.rows)).saturating_mul(turns);
        round.saturating_mul(10).max(Duration::from_secs(1))
    });
    let load = Load { clients, rows, warm_up: duration / 10, duration };
    let seen = {
        let _step = context.step("simulating");
        let scheduler = Scheduler::new(config).map_err(Failure::internal)?;
        simulate(scheduler, SimDevice::new(timing, kernel.clone()), &load)
    };
    if seen.requests == 0 {
        return Err(Failure::usage(format!("no request was answered within {} s", duration.as_secs_f64()))
            .help("simulate longer with --duration, or fewer --rows or --clients"));
    }
    let json = json!({
        "status": format!("simulated; cycles {UNPROVEN}"),
        "model": model.name,
        "fingerprint": model.program.fingerprint().to_string(),
        "card": preset.name,
        "sources": preset.sources().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "compute_units": config.units,
        "slots": config.slots,
        "launch_rows": config.rows,
        "clients": clients,
        "rows": rows,
        "duration_s": duration.as_secs_f64(),
        "kernel": {
            "clock_mhz": kernel.clock_mhz,
            "interval_cycles": kernel.interval,
            "latency_cycles": kernel.latency,
            "weights_cycles": kernel.weights,
            "input_bytes": kernel.input_bytes,
            "output_bytes": kernel.output_bytes,
        },
        "result": seen,
    });
    Ok(Report::new(text(preset, &config, &load, &kernel, &seen), json).warnings(model.warnings))
}

/// What of the card is simulated; more than fit are refused as `compile` refuses them.
fn compute_units(args: &Args, model: &Model, estimate: &Estimate) -> Result<u32, Failure> {
    let name = &args.card.name;
    let card = Card::all().iter().find(|c| c.name == *name);
    let card =
        card.ok_or_else(|| Failure::internal(format!("the card {name} is simulated, but not known")))?;
    let linked = match (&model.package, &model.target.platform) {
        (Some(dir), Some(platform)) if card.platforms.contains(platform) => {
            Package::open(dir)?.manifest().kernel.as_ref().map(|k| k.compute_units)
        }
        _ => None,
    };
    let usual = || (args.card.units as u32).min(fit(card, estimate).compute_units).max(1);
    let units = args.cus.or(linked).unwrap_or_else(usual);
    let options = PlaceOptions { compute_units: Some(units), clock_mhz: Some(model.target.clock_mhz) };
    Ok(place(card, estimate, options)?.compute_units())
}

fn kernel(program: &Program, estimate: &Estimate, clock_mhz: u32) -> Kernel {
    let bytes =
        |ids: Vec<ValueId>| ids.into_iter().map(|id| RowLayout::of(program.node(id)).stride as u64).sum();
    Kernel {
        clock_mhz,
        interval: estimate.interval,
        latency: estimate.latency,
        weights: estimate.weights_cycles,
        input_bytes: bytes(program.inputs()),
        output_bytes: bytes(program.outputs()),
        outputs: program.outputs().len() as u64,
    }
}

/// What would help.
fn advice(binds: Binds) -> &'static str {
    match binds {
        Binds::HostToDevice => "the link to the card: fewer bits an input make it faster",
        Binds::DeviceToHost => "the link back: fewer bits an output make it faster",
        Binds::ComputeUnits => {
            "the compute units: more of them, more rows a launch or a shorter interval make it faster"
        }
        Binds::Host => "the host's packing threads",
        Binds::Slots => "the slots: more of them keep link and compute units busier",
        Binds::Clients => "the clients: more of them, or more rows a request, keep the card busier",
    }
}

fn text(preset: &Preset, config: &Config, load: &Load, kernel: &Kernel, seen: &Seen) -> String {
    let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
    let per_second = |x: f64| count(x.round() as u64);
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let (latency, used) = (&seen.latency_ns, &seen.utilisation);
    let units = used.units.iter().sum::<f64>() / used.units.len().max(1) as f64;
    let host = used.host.map_or_else(String::new, |h| format!(", host threads {}", percent(h)));
    let lines = pairs(&[
        ("card", format!("{}, {} compute units of {} slots", preset.name, config.units, config.slots)),
        (
            "kernel",
            format!(
                "a row each {} cycles at {} MHz, {} bytes in and {} out a row",
                count(kernel.interval),
                kernel.clock_mhz,
                count(kernel.input_bytes),
                count(kernel.output_bytes)
            ),
        ),
        (
            "load",
            format!(
                "{} clients, {} rows a request, {} a launch at most, {} s",
                count(load.clients as u64),
                count(load.rows as u64),
                count(config.rows as u64),
                load.duration.as_secs_f64()
            ),
        ),
        (
            "throughput",
            format!(
                "{} rows/s, {} requests/s, {} launches/s",
                per_second(seen.rows_per_second),
                per_second(seen.requests_per_second),
                per_second(seen.launches_per_second)
            ),
        ),
        (
            "latency",
            format!(
                "mean {} ms, p50 {}, p90 {}, p99 {}, max {}",
                ms(latency.mean),
                ms(latency.p50),
                ms(latency.p90),
                ms(latency.p99),
                ms(latency.max)
            ),
        ),
        (
            "in use",
            format!(
                "link to the card {}, back {}, compute units {}, slots {}{host}",
                percent(used.h2d),
                percent(used.d2h),
                percent(units),
                percent(used.slots)
            ),
        ),
        ("binds", advice(seen.binds).to_owned()),
    ]);
    let sources = preset.sources().map(|(group, source)| format!("  {group}: {source}")).join("\n");
    format!("Simulated, no card was used. Cycles: {UNPROVEN}.\nThe card's figures:\n{sources}\n\n{lines}")
}
