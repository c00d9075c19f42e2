//! `bench`: how fast a model is.
//!
//! What is measured is a module that gives [`Level`](levels::Level)s, here [`served`]; what is printed and drawn of
//! them is the same for all.

mod data;
mod levels;
mod plot;
mod served;

use std::{io::Write, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use hs_client::Url;
use serde_json::json;

use super::{
    Context, Report,
    exit::Failure,
    remote::{ServerArgs, seconds},
    tensors,
};

/// Measure throughput and latency of a served model
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Closed loop (--concurrency): each client sends its next request when it has the answer to the one before.
Open loop (--rate): requests have times of their own, and latency counts from then, whether or not the server kept up.
Clients have a connection each. A server on the same machine shares its cores with this program.

Examples:
  hypersonic bench --url grpc://localhost --model jets --concurrency 1,4,16
  hypersonic bench --url http://localhost --model jets --batch 64 --rate 500,1000,2000 --svg latency.svg
  hypersonic bench --url grpc://localhost --model particle_net --shape points:2,100 --shape features:20,100
  hypersonic bench --url grpc://localhost --model jets --input X.npy --batch 16 --duration 30 --json")]
pub(crate) struct Args {
    /// The server: http://HOST:PORT or grpc://HOST:PORT; https and grpcs in TLS
    #[arg(long, value_name = "URL", value_parser = Url::parse)]
    url: Url,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Draw latency against clients or rate
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is sent.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// Rows of a request, of a model that has batches [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Sizes of an input that the model leaves open, without the batch axis; may be given several times
    #[arg(long, value_name = "NAME:D1,D2")]
    shape: Vec<String>,
    /// Real rows instead of random numbers: X.npy, NAME=X.npy for each of several inputs, or X.npz
    ///
    /// Without this floats are uniform between 0 and 1, integers 0 or 1, strings of eight letters.
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

/// When it is sent.
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
    /// Seconds that each level is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    duration: f64,
    /// Seconds of the same load before
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    warmup: f64,
    /// Threads that send
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if (0.001..=1e7).contains(&rate) { Ok(rate) } else { Err("expected 0.001 to 10000000".to_owned()) }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    let bench = served::measure(&args, context)?;
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
