//! Rows a second of a Program on one emulator, floats in and floats out, beside its plan:
//!
//! `cargo run --release -p hs-emulator --example speed -- PROGRAM.hw WEIGHTS.bin ROWS [THREADS [ISA]]`

use std::{sync::Arc, time::Instant};

use hs_emulator::{Emulator, Isa, Options};
use hs_runtime::{Buffer, Executable, Tensor};

/// Seconds that this thread has had a core, where the system tells.
fn busy() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse::<f64>().ok().map(|ns| ns / 1e9)
}

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, weights, rows, rest @ ..] = args.as_slice() else {
        return Err("usage: speed PROGRAM.hw WEIGHTS.bin ROWS [THREADS [ISA]]".into());
    };
    let rows: usize = rows.parse()?;
    let threads = rest.first().map_or(Ok(1), |t| t.parse())?;
    let isa = match rest.get(1) {
        Some(name) => {
            let found = Isa::ALL.into_iter().find(|isa| format!("{isa:?}").eq_ignore_ascii_case(name));
            Some(found.ok_or("no such instruction set")?)
        }
        None => None,
    };
    let program = hs_hw::text::parse_with_side(&std::fs::read_to_string(program)?, &std::fs::read(weights)?)?;
    let options = Options { threads: Some(threads), isa, ..Options::default() };
    let emulator = Emulator::new(Arc::new(program), &options)?;
    print!("{}", emulator.plan());
    let mut seed = 1u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    let inputs: Result<Vec<Buffer>, _> = emulator
        .inputs()
        .iter()
        .map(|info| {
            let row: Vec<usize> = info.shape.iter().map(|d| d.unwrap_or(1)).collect();
            let data = (0..rows * row.iter().product::<usize>()).map(|_| random()).collect();
            let shape: Vec<usize> = [rows].into_iter().chain(row).collect();
            Tensor::of::<f32>(shape, data).map(Buffer::from)
        })
        .collect();
    let inputs = inputs?;
    let mut rates = Vec::new();
    let started = Instant::now();
    while rates.len() < 5 || started.elapsed().as_secs_f64() < 2.0 {
        let (start, before) = (Instant::now(), busy());
        let mut runs = 0u32;
        while start.elapsed().as_secs_f64() < 0.05 {
            emulator.run_buffers(&inputs)?;
            runs += 1;
        }
        // Where one thread works, other programs' share of the core does not count.
        let wall = start.elapsed().as_secs_f64();
        let seconds =
            if threads == 1 { busy().zip(before).map_or(wall, |(now, then)| now - then) } else { wall };
        rates.push(f64::from(runs) * rows as f64 / seconds);
    }
    rates.sort_by(f64::total_cmp);
    let (median, best) = (rates[rates.len() / 2], rates[rates.len() - 1]);
    let gmacs = |rate: f64| rate * emulator.plan().macs as f64 / 1e9;
    println!(
        "{median:.0} rows/s ({:.1} GMAC/s), at best {best:.0} ({:.1} GMAC/s), {:.2} us a run",
        gmacs(median),
        gmacs(best),
        rows as f64 / median * 1e6
    );
    Ok(())
}
