//! What a run costs the host beside the kernel: XRT's `noop` emulation, in which kernels take no time. Prints a table.
//!
//! Run by `cargo xtask bench xrt`, which sets XRT's environment.

use std::time::{Duration, Instant};

use hs_xclbin::{ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol};
use hs_xrt::{Error, Xclbin, Xrt};

const KERNEL: &str = "twice";
/// Bytes each way of a launch.
const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Rounds, of which the fastest counts, and runs in each.
const ROUNDS: usize = 9;
const RUNS: u32 = 2000;

fn xclbin() -> Result<Xclbin, Box<dyn std::error::Error>> {
    let pointer = |name: &str| ArgumentSpec::Pointer { name: name.to_owned() };
    let memory =
        Memory { kind: MemoryKind(1), used: true, size_kib: 1 << 20, base: 0, tag: "bank0".to_owned() };
    let builder = Builder {
        platform: "bench".to_owned(),
        mode: Mode::SW_EMU,
        memories: vec![memory],
        kernels: vec![KernelSpec {
            name: KERNEL.to_owned(),
            arguments: vec![pointer("x"), pointer("y"), ArgumentSpec::Uint { name: "rows".to_owned() }],
            compute_units: vec![ComputeUnitSpec { name: "twice_1".to_owned(), banks: vec![0, 0] }],
        }],
        protocol: Protocol::Hs,
        clock_mhz: 300,
        bitstream: b"bits".to_vec(),
        user: None,
        interface: None,
    };
    Ok(Xclbin::new(&builder.build()?.to_bytes())?)
}

/// Microseconds of one call, the best of some rounds.
fn time(mut call: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for _ in 0..RUNS {
            call()?;
        }
        best = best.min(begin.elapsed());
    }
    Ok(best.as_secs_f64() * 1e6 / f64::from(RUNS))
}

#[expect(clippy::print_stdout, reason = "prints its table")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut device = Xrt::open()?.device(0)?;
    device.load(&xclbin()?)?;
    let kernel = device.kernel(KERNEL)?;
    println!("bytes each way  to card us  set, start, wait us  from card us  all us");
    for bytes in SIZES {
        let (mut x, mut y) = (device.buffer(bytes, 0)?, device.buffer(bytes, 0)?);
        let mut run = kernel.run()?;
        run.set_buffer(0, &x)?;
        run.set_buffer(1, &y)?;
        let to = time(|| x.copy_to_card(0..bytes))?;
        let start = time(|| {
            run.set_scalar(2, 64_u32)?;
            run.start()?;
            run.wait(Duration::from_secs(10))
        })?;
        let from = time(|| y.copy_from_card(0..bytes))?;
        x.bytes_mut().fill(1);
        println!("{bytes:14}  {to:10.2}  {start:19.2}  {from:12.2}  {:6.2}", to + start + from);
    }
    // XRT's destructors at a normal end may use what is closed.
    hs_xrt::leave(0)
}
