//! A model behind a URL.

use std::time::Duration;

use hs_client::{
    Url,
    load::{self, Load, Pace},
};
use serde_json::json;

use super::{
    Args, Arrival, data,
    levels::{Bench, Level, Varied},
};
use crate::cli::{
    Context,
    exit::Failure,
    remote::{Remote, ServerArgs, block_on},
};

pub(super) fn measure(
    args: &Args,
    url: &Url,
    server: &ServerArgs,
    context: &Context,
) -> Result<Bench, Failure> {
    let version = server.version.as_deref();
    let rows = args.data.rows()?;
    let (remote, requests) = block_on(async {
        let remote = Remote::open(url, server).await?;
        let requests = data::requests(&args.data, rows, &remote)?;
        let prepare = |inputs: &Vec<_>| remote.client.prepare(&server.model, version, inputs, &[]);
        let requests: Vec<_> = requests.iter().map(prepare).collect::<Result<_, _>>()?;
        // What is wrong with all of them is said at once.
        if let Some(first) = requests.first() {
            remote.client.send(first).await?;
        }
        Ok((remote, requests))
    })?;
    let l = &args.load;
    let varied: Vec<Varied> = match (l.rate.as_slice(), l.concurrency.as_slice()) {
        ([], []) => vec![Varied::Clients(1)],
        ([], clients) => clients.iter().map(|n| Varied::Clients(*n)).collect(),
        (rates, _) => rates.iter().map(|r| Varied::Rate(*r)).collect(),
    };
    let mut levels = Vec::new();
    for varied in varied {
        let pace = match varied {
            Varied::Clients(n) => Pace::Closed { clients: n as usize },
            Varied::Rate(rate) => Pace::Open {
                rate,
                arrival: match l.arrival {
                    Arrival::Poisson => load::Arrival::Poisson,
                    Arrival::Constant => load::Arrival::Constant,
                },
                clients: l.max_clients as usize,
            },
        };
        let load = Load {
            pace,
            warmup: Duration::from_secs_f64(l.warmup),
            duration: Duration::from_secs_f64(l.duration),
            threads: l.threads.unwrap_or(1) as usize,
            seed: args.data.seed,
        };
        let _step = context.step(format!("{} {}", varied.name(), varied.value()));
        let measured = load::run(url, &remote.options, &requests, &load)?;
        levels.push(Level { varied, measured });
    }
    if levels.iter().all(|l| l.measured.latency.count() == 0) {
        let first = levels.iter().flat_map(|l| l.measured.errors.keys()).next();
        let why = first.map_or("no request took less than --duration".to_owned(), String::clone);
        return Err(Failure::environment(format!("no request was answered: {why}")));
    }
    let batch = remote.max_batch.map(|_| rows.unwrap_or(1));
    let bytes = requests.first().map_or(0, hs_client::Prepared::bytes);
    let of = batch.map_or(String::new(), |b| format!("batch {b}, "));
    let model = &server.model;
    Ok(Bench {
        what: format!("model '{model}' at {url}: {of}{bytes} bytes a request, {} s a level", l.duration),
        about: json!({ "url": url.to_string(), "model": model, "version": version, "request_bytes": bytes }),
        batch,
        levels,
    })
}
