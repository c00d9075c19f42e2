//! A model on this machine's CPU: the emulator, called as a server calls it.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use hs_client::load::Random;
use hs_emulator::{Emulator, Options, Plan};
use hs_runtime::{
    Buffer, Datatype, Executable, Tensor,
    codes::Layout,
    convert::{self, Conversion},
};
use serde_json::{Value, json};

use super::Args;
use crate::cli::{
    Context, Report, backends,
    exit::Failure,
    model::Model,
    table::{count, pairs, table},
    tensors,
};

/// Parts of a level's time; the median of their rates counts.
const ROUNDS: u32 = 10;
/// Different rows that a level has at least, where the model's rows are small, so that no branch is learnt by heart.
const DIFFERENT: usize = 4096;
/// Elements of all inputs, at most: 2 GiB as FP32.
const ELEMENTS: usize = 1 << 29;
/// Elements beyond which no rows are added for variety.
const ENOUGH: usize = 1 << 20;
/// Batches, where nothing is said: the latency of a row, and the throughput of many.
const BATCHES: [u32; 2] = [1, 1024];

/// What a batch size showed.
struct Level {
    batch: usize,
    /// Inferences a second, of each round, ascending.
    rates: Vec<f64>,
    /// Of each call, ascending.
    times: Vec<Duration>,
}

impl Level {
    fn rate(&self) -> f64 {
        middle(&self.rates)
    }

    /// Microseconds within which that share of the calls was done.
    fn micros(&self, share: f64) -> f64 {
        let rank = (share * self.times.len() as f64).ceil() as usize;
        let time = self.times.get(rank.saturating_sub(1)).or(self.times.last());
        time.map_or(f64::NAN, |t| t.as_secs_f64() * 1e6)
    }
}

/// The median of ascending numbers.
fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

pub(super) fn measure(args: &Args, context: &Context) -> Result<Report, Failure> {
    let Some(path) = &args.model_path else { return Err(Failure::internal("bench without a model")) };
    let model = Model::open(path, &args.compile, context)?;
    let options = Options {
        threads: args.load.threads.map(|n| n as usize),
        isa: args.isa.map(Into::into),
        ..Options::default()
    };
    let emulator = backends::emulator_with(&model, &options)?;
    let plan = emulator.plan();
    let given = match args.data.input.as_slice() {
        [] => None,
        files => Some(tensors::load("--input", files, &tensors::names(emulator.inputs()))?),
    };
    let batches: &[u32] = if args.data.batch.is_empty() { &BATCHES } else { &args.data.batch };
    let mut levels = Vec::new();
    for batch in batches {
        let batch = *batch as usize;
        let calls = match &given {
            Some(tensors) => from_rows(&emulator, tensors, batch)?,
            None => random(&emulator, args.data.seed, batch)?,
        };
        let _step = context.step(format!("batch {batch}"));
        levels.push(level(&emulator, batch, &calls, args)?);
    }
    Ok(report(&model, &plan, &levels, args).warnings(model.warnings))
}

/// Calls `emulator` for as long as it shall be, in rounds.
fn level(emulator: &Emulator, batch: usize, calls: &[Vec<Buffer>], args: &Args) -> Result<Level, Failure> {
    let mut next = calls.iter().cycle();
    let mut call = || -> Result<Duration, Failure> {
        let inputs = next.next().map_or(&[][..], Vec::as_slice);
        let begin = Instant::now();
        black_box(emulator.run_buffers(black_box(inputs))?);
        Ok(begin.elapsed())
    };
    let begin = Instant::now();
    // Once at least: memory is reserved and threads are started by the first call.
    loop {
        call()?;
        if begin.elapsed().as_secs_f64() >= args.load.warmup {
            break;
        }
    }
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for round in 1..=ROUNDS {
        let end = args.load.duration * f64::from(round) / f64::from(ROUNDS);
        let (start, first) = (Instant::now(), times.len());
        // Where a call takes longer than a round there are fewer of them.
        while begin.elapsed().as_secs_f64() < end {
            times.push(call()?);
        }
        let rows = (times.len() - first) * batch;
        if rows > 0 {
            rates.push(rows as f64 / start.elapsed().as_secs_f64());
        }
    }
    rates.sort_by(f64::total_cmp);
    times.sort();
    Ok(Level { batch, rates, times })
}

/// Batches of the rows of `--input`, from the start again where they end.
fn from_rows(emulator: &Emulator, tensors: &[Tensor], batch: usize) -> Result<Vec<Vec<Buffer>>, Failure> {
    let mut inputs = Vec::new();
    for (info, tensor) in emulator.inputs().iter().zip(tensors) {
        let expected: Option<Vec<usize>> = info.shape.iter().copied().collect();
        if tensor.shape().split_first().map(|(_, row)| row.to_vec()) != expected || tensor.rows() == 0 {
            return Err(Failure::input(format!(
                "--input: '{}' has shape {:?}, expected one row at least of {:?}, as [rows, …]",
                info.name,
                tensor.shape(),
                expected.unwrap_or_default()
            )));
        }
        inputs.push(
            convert::to_buffer(tensor.clone(), Datatype::Fp32, Conversion::Rounding)
                .map_err(|e| Failure::input(format!("input '{}': {e}", info.name)))?,
        );
    }
    let rows = inputs.iter().map(Buffer::rows).min().unwrap_or(0);
    let whole = (rows / batch).max(1);
    let take = |input: &Buffer, i: usize| {
        if batch <= rows {
            return Ok(input.slice_rows(i * batch..(i + 1) * batch));
        }
        let parts: Vec<Buffer> = (0..batch.div_ceil(rows))
            .map(|part| input.slice_rows(0..rows.min(batch - part * rows)))
            .collect();
        Buffer::concat_rows(&parts).ok_or_else(|| Failure::internal("rows of one tensor do not join"))
    };
    (0..whole).map(|i| inputs.iter().map(|input| take(input, i)).collect()).collect()
}

/// Batches of random rows, uniform over what each input's type can hold.
fn random(emulator: &Emulator, seed: u64, batch: usize) -> Result<Vec<Vec<Buffer>>, Failure> {
    let program = emulator.program();
    let layouts: Vec<Layout> =
        program.inputs().iter().filter_map(|id| Layout::of(program.node(*id))).collect();
    let row: usize = layouts.iter().map(Layout::row_len).sum();
    if row.checked_mul(batch).is_none_or(|n| n > ELEMENTS) {
        return Err(Failure::usage(format!(
            "--batch {batch}: rows of {row} elements are more than {ELEMENTS} together"
        ))
        .help("choose a smaller batch"));
    }
    let wanted = DIFFERENT.min(ENOUGH / row.max(1)).div_ceil(batch).max(1);
    let mut random = Random::new(seed);
    let mut one = |layout: &Layout| {
        let format = layout.ty().format;
        let (low, high) = (format.value(format.min()), format.value(format.max()));
        let values = (0..batch * layout.row_len()).map(|_| (low + random.unit() * (high - low)) as f32);
        let shape: Vec<usize> = [batch].into_iter().chain(layout.onnx_shape().iter().copied()).collect();
        Ok(Buffer::from(Tensor::of(shape, values.collect()).map_err(Failure::internal)?))
    };
    (0..wanted).map(|_| layouts.iter().map(&mut one).collect()).collect()
}

/// Most memory that this process has had, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn report(model: &Model, plan: &Plan, levels: &[Level], args: &Args) -> Report {
    let isa = format!("{:?}", plan.isa).to_lowercase();
    let gmacs = |rate: f64| rate * plan.macs as f64 * 1e-9;
    let peak = peak_memory();
    let (seconds, rows) = (args.load.duration, if args.data.input.is_empty() { "random" } else { "given" });
    let head = pairs(&[
        ("model", model.name.clone()),
        ("fingerprint", model.program.fingerprint().to_string()),
        ("MACs a row", count(plan.macs)),
        ("emulator", format!("{} threads, {isa}, blocks of {} rows", plan.threads, plan.block)),
        ("rows", format!("{rows}, FP32 in and out")),
        ("measured", format!("{seconds} s a batch size; medians of {ROUNDS} rounds at most")),
        ("peak memory", peak.map_or("unknown".to_owned(), |b| format!("{} MiB", b.div_ceil(1 << 20)))),
    ]);
    let heading =
        ["batch", "inferences/s", "least", "most", "ns each", "GMAC/s", "call p50 µs", "p99 µs", "max µs"];
    let cells = |l: &Level| {
        let rate = |r: f64| if r < 100.0 { format!("{r:.2}") } else { count(r.round() as u64) };
        let (least, most) = (l.rates.first().copied(), l.rates.last().copied());
        let mut row = vec![l.batch.to_string(), rate(l.rate())];
        row.extend([least, most].map(|r| rate(r.unwrap_or(f64::NAN))));
        row.push(format!("{:.1}", 1e9 / l.rate()));
        row.push(format!("{:.2}", gmacs(l.rate())));
        row.extend([0.5, 0.99, 1.0].map(|share| format!("{:.1}", l.micros(share))));
        row
    };
    let all: Vec<_> = levels.iter().map(cells).collect();
    let level = |l: &Level| -> Value {
        json!({
            "batch": l.batch,
            "inferences_per_s": l.rate(),
            "inferences_per_s_min": l.rates.first(),
            "inferences_per_s_max": l.rates.last(),
            "rounds": l.rates.len(),
            "ns_per_inference": 1e9 / l.rate(),
            "gmac_per_s": gmacs(l.rate()),
            "calls": l.times.len(),
            "latency_us": { "p50": l.micros(0.5), "p99": l.micros(0.99), "max": l.micros(1.0) },
        })
    };
    let json = json!({
        "model": model.name,
        "fingerprint": model.program.fingerprint().to_string(),
        "macs": plan.macs,
        "threads": plan.threads,
        "isa": plan.isa,
        "block": plan.block,
        "seconds": seconds,
        "levels": levels.iter().map(level).collect::<Vec<_>>(),
        "peak_rss_bytes": peak,
    });
    Report::new(format!("{head}\n\n{}", table(&heading, &all)), json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times = (1..=200).map(Duration::from_micros).collect();
        let level = Level { batch: 1, rates: vec![1.0, 2.0, 4.0, 100.0], times };
        assert_eq!((level.micros(0.5), level.micros(0.99), level.micros(1.0)), (100.0, 198.0, 200.0));
        assert_eq!(level.rate(), 3.0);
        assert_eq!(middle(&[1.0, 5.0, 6.0]), 5.0);
    }
}
