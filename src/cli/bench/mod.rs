//! `bench`: how fast a model is.
//!
//! [`local`] measures the emulator on this machine; [`served`] a server's model, as [`Level`](levels::Level)s that
//! [`levels`] prints and [`plot`] draws.

mod data;
mod levels;
mod local;
mod plot;
mod served;

use std::{io::Write, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use hs_client::Url;
use serde_json::json;

use super::{
    Context, Report,
    exit::Failure,
    options::{CompileArgs, Isa},
    remote::{Access, ServerArgs, seconds},
    tensors,
};

/// Measure throughput and latency: of a model on this machine's CPU, or of a served one
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
A MODEL or PACKAGE is run in this process by the emulator, FP32 in and out as a server does it: inferences a second are
the median of ten rounds, latency is that of a call with so many rows.

With --url, a server's model. Closed loop (--concurrency): each client sends its next request when it has the answer to the one before.
Open loop (--rate): requests have times of their own, and latency counts from then, whether or not the server kept up.
Clients have a connection each. A server on the same machine shares its cores with this program.

Examples:
  hypersonic bench jets/
  hypersonic bench jets/ --batch 1,64,1024,16384 --threads 1 --seconds 2 --json
  hypersonic bench model.onnx --precision 'fixed<16,6>' --isa avx2 --input X.npy
  hypersonic bench --url grpc://localhost --model jets --concurrency 1,4,16
  hypersonic bench --url http://localhost --model jets --batch 64 --rate 500,1000,2000 --svg latency.svg
  hypersonic bench --url grpc://localhost --model particle_net --shape points:2,100 --shape features:20,100
  hypersonic bench --url grpc://localhost --model jets --input X.npy --batch 16 --duration 30 --json")]
pub(crate) struct Args {
    /// A model.onnx, or a package that `compile` wrote, to be run on this machine
    #[arg(value_name = "MODEL|PACKAGE", required_unless_present = "url", conflicts_with_all = SERVED)]
    model_path: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Instructions that the emulator uses [default: the best that this machine has]
    #[arg(long, conflicts_with = "url")]
    isa: Option<Isa>,
    /// Draw a server's latency against clients or rate
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    served: ServedArgs,
    #[command(flatten)]
    compile: CompileArgs,
}

/// Arguments and groups of them that are about a server.
const SERVED: [&str; 9] =
    ["url", "model", "version", "Access", "svg", "shape", "concurrency", "rate", "arrival"];

/// A model behind a URL.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Server")]
struct ServedArgs {
    /// The server: http://HOST:PORT or grpc://HOST:PORT; https and grpcs in TLS
    #[arg(long, value_name = "URL", value_parser = Url::parse, requires = "model")]
    url: Option<Url>,
    /// Name of the model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Version of the model [default: the server's choice]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// What is run or sent.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// Rows of a call, several measured one after the other [default: 1,1024]; of a request to a model that has
    /// batches, one number [default: 1]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    batch: Vec<u32>,
    /// Sizes of an input that the model leaves open, without the batch axis; may be given several times
    #[arg(long, value_name = "NAME:D1,D2")]
    shape: Vec<String>,
    /// Real rows instead of random numbers: X.npy, NAME=X.npy for each of several inputs, or X.npz
    ///
    /// Without this an input of the emulator is uniform over what its type holds; to a server floats are uniform between
    /// 0 and 1, integers 0 or 1, strings of eight letters.
    #[arg(long, value_name = "[NAME=]FILE", conflicts_with = "shape")]
    input: Vec<String>,
    /// Where random numbers begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// How requests of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arrival {
    /// At random, as from many clients that know nothing of each other
    Poisson,
    /// At equal distances
    Constant,
}

/// When, and how long.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Load")]
struct LoadArgs {
    /// Clients of a closed loop; several are measured one after the other [default: 1]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: Vec<u32>,
    /// Requests a second of an open loop; several are measured one after the other
    #[arg(long, value_name = "R,…", value_delimiter = ',', value_parser = rate, conflicts_with = "concurrency")]
    rate: Vec<f64>,
    /// How the requests of an open loop are spread
    #[arg(long, value_enum, default_value_t = Arrival::Poisson, requires = "rate")]
    arrival: Arrival,
    /// Connections of an open loop at most; a request that finds none free waits
    #[arg(long, value_name = "N", default_value_t = 256, requires = "rate", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_clients: u32,
    /// Seconds that each batch size or level is measured
    #[arg(long, visible_alias = "seconds", value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    duration: f64,
    /// Seconds of the same before
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    warmup: f64,
    /// Threads of the emulator [default: as many as the machine runs at once]; those that send [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if (0.001..=1e7).contains(&rate) { Ok(rate) } else { Err("expected 0.001 to 10000000".to_owned()) }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let (Some(url), Some(model)) = (&args.served.url, &args.served.model) else {
        return local::measure(&args, context);
    };
    let given = args.compile.given();
    if !given.is_empty() {
        return Err(Failure::usage(format!(
            "the model at {url} is compiled already: {} cannot be given",
            given.join(", ")
        ))
        .help("give a model.onnx instead of --url to measure the emulator here"));
    }
    let ServedArgs { version, access, .. } = &args.served;
    let server = ServerArgs { model: model.clone(), version: version.clone(), access: access.clone() };
    let bench = served::measure(&args, url, &server, context)?;
    if let Some(path) = &args.svg {
        let mut file = tensors::temporary(path)?;
        file.write_all(plot::latency(&bench).as_bytes()).map_err(|e| Failure::file(path, e))?;
        file.persist(path).map_err(|e| Failure::file(path, e.error))?;
    }
    let mut json = bench.json();
    json["svg"] = json!(args.svg);
    let mut text = bench.text();
    if let Some(path) = &args.svg {
        text.push_str(&format!("\n\nplot: {}", path.display()));
    }
    Ok(Report::new(text, json).warnings(bench.warnings()))
}
