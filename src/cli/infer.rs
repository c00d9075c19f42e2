//! `infer`: run rows through a served model.

use std::time::Instant;

use clap::Args as ClapArgs;
use hs_client::{TensorMetadata, Url};
use hs_runtime::{
    Buffer, Datatype,
    convert::{self, Conversion, ConvertError},
};
use serde_json::json;

use super::{
    Context, Report,
    exit::Failure,
    remote::{Remote, ServerArgs, block_on},
    tensors::{self, Destination},
};

/// Run rows through a served model, over HTTP or gRPC
#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Names, shapes and types are compared with the model's before anything is sent. Any server of the Triton / KServe v2
protocol will do.

Examples:
  hypersonic infer http://localhost:8000 --model jets --input X.npy --output Y.npy
  hypersonic infer grpc://gpu7 --model two --version 3 --input left=L.npy --input right=R.npy --output Y.npz
  hypersonic infer https://triton.example.org --ca ca.pem --token-file token --model jets --input X.npy --output Y.npy")]
pub(crate) struct Args {
    /// http://HOST:PORT or grpc://HOST:PORT; https and grpcs in TLS; port 8000 and 8001 need not be said
    #[arg(value_name = "URL", value_parser = Url::parse, required_unless_present = "url")]
    at: Option<Url>,
    /// The same
    #[arg(long, value_name = "URL", value_parser = Url::parse, conflicts_with = "at")]
    url: Option<Url>,
    /// Rows: X.npy for a model with one input, NAME=X.npy for each of several, or X.npz with all
    ///
    /// The first axis counts rows, where the model has batches.
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    input: Vec<String>,
    /// Where results go: Y.npy for one output, NAME=Y.npy for each that is wanted, or Y.npz for all
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    output: Vec<String>,
    /// Rows of a request [default: as many as the model takes, 16 MiB at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Round numbers that the input's type has not; without this they are an error
    #[arg(long)]
    cast: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<Report, Failure> {
    block_on(infer(&args, context))
}

async fn infer(args: &Args, context: &Context) -> Result<Report, Failure> {
    let Some(url) = args.at.as_ref().or(args.url.as_ref()) else {
        return Err(Failure::usage("no URL"));
    };
    let remote = Remote::open(url, &args.server).await?;
    let model = args.server.model.as_str();
    let wanted = wanted(&args.output, &remote.metadata.outputs)?;
    let destination = Destination::new(&args.output, &wanted)?;
    let inputs = inputs(args, &remote)?;
    let chunks = remote.chunks(&inputs, args.batch.map(|n| n as usize))?;

    let begin = Instant::now();
    let outputs = {
        let _step = context.step(format!("{} requests to {url}", chunks.len()));
        remote.infer(&chunks, &wanted).await?
    };
    let seconds = begin.elapsed().as_secs_f64();
    destination.save(&wanted, &outputs)?;

    let files: Vec<String> = destination.paths().iter().map(|p| p.display().to_string()).collect();
    let rows = remote.max_batch.map(|_| inputs.first().map_or(0, |(_, b)| b.rows()));
    let what = rows.map_or("the tensors".to_owned(), |n| format!("{n} rows"));
    let requests = chunks.len();
    let text = format!("{what} in {seconds:.3} s by {url}, {requests} requests: {}", files.join(", "));
    Ok(Report::new(
        text,
        json!({
            "url": url.to_string(), "model": model, "rows": rows, "requests": requests, "seconds": seconds,
            "outputs": files,
        }),
    ))
}

/// The outputs to ask for: those that `--output` names, or all.
fn wanted<'a>(args: &[String], outputs: &'a [TensorMetadata]) -> Result<Vec<&'a str>, Failure> {
    let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
    let named: Option<Vec<&str>> = args.iter().map(|arg| tensors::named(arg, &known)).collect();
    let wanted = |o: &&TensorMetadata| named.as_ref().is_none_or(|n| n.contains(&o.name.as_str()));
    let all: Vec<&TensorMetadata> = outputs.iter().filter(wanted).collect();
    match all.iter().find(|o| o.datatype == Datatype::Bytes) {
        Some(o) => Err(Failure::input(format!("output '{}' has {}, which no .npy of numbers holds", o.name, o.datatype))
            .help("name the outputs that are wanted: --output NAME=FILE")),
        None => Ok(all.iter().map(|o| o.name.as_str()).collect()),
    }
}

/// The inputs in the model's order, checked and of its types.
fn inputs<'a>(args: &Args, remote: &'a Remote) -> Result<Vec<(&'a str, Buffer)>, Failure> {
    let infos = &remote.metadata.inputs;
    let names: Vec<&str> = infos.iter().map(|i| i.name.as_str()).collect();
    let tensors = tensors::load("--input", &args.input, &names)?;
    for (info, tensor) in infos.iter().zip(&tensors) {
        remote.check_shape(info, tensor.shape())?;
    }
    if let (Some(_), [first, rest @ ..]) = (remote.max_batch, tensors.as_slice())
        && let Some(at) = rest.iter().position(|t| t.rows() != first.rows())
    {
        let (a, b) = (first.rows(), rest[at].rows());
        return Err(Failure::input(format!("input '{}' has {a} rows, but '{}' has {b}", names[0], names[at + 1])));
    }
    let conversion = if args.cast { Conversion::Rounding } else { Conversion::Exact };
    infos
        .iter()
        .zip(tensors)
        .map(|(info, tensor)| {
            let (name, from) = (info.name.as_str(), tensor.dtype());
            let buffer = convert::to_buffer(tensor, info.datatype, conversion).map_err(|error| {
                let rounds = matches!(error, ConvertError::Value { rounds: true, .. });
                let failure = Failure::input(format!("input '{name}' ({from}): {error}"));
                if rounds { failure.help("--cast rounds such numbers") } else { failure }
            })?;
            Ok((name, buffer))
        })
        .collect()
}
