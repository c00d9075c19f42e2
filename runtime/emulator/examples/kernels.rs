//! Multiplications a second of chains of equal layers, one thread:
//!
//! `cargo run --release -p hs-emulator --example kernels -- [PART OF A NAME]`

use std::time::Instant;

use hs_emulator::{Emulator, Layout, Options};
use hs_fixed::{Format, Type};
use hs_hw::{Accum, Act, Codes, Dot, Node, Op, Program, ValueId, Window, testing::Rng};

/// Layers one after the other: more than one, so that little of the time goes into codes of inputs and outputs.
const DEPTH: usize = 32;

/// Layers of `[channels, kernel…, channels]` weights over `[size, size, channels]`, or over a vector.
fn program(size: usize, kernel: usize, channels: usize, groups: usize, bits: u32) -> Program {
    let mut rng = Rng::new(1);
    let axes = if size == 0 { 0 } else { 2 };
    let pad = kernel / 2;
    let window = Window { kernel, stride: 1, dilation: 1, pad_begin: pad, pad_end: pad };
    let terms = kernel.pow(axes as u32) * channels / groups;
    let ty = |signed: bool, bits: u32, int: i32, modes: &str| -> Type {
        let sign = if signed { "" } else { "u" };
        format!("{sign}fixed<{bits},{int},{modes}>").parse().expect("a type")
    };
    let x = ty(false, bits, 4, "RND,SAT");
    let weight = ty(true, bits, 2, "RND,SAT");
    let weights: Vec<i64> =
        (0..channels * terms).map(|_| rng.int(-(1 << (bits - 3))..=1 << (bits - 3))).collect();
    let width = 2 * bits + 1 + usize::BITS - terms.leading_zeros();
    let accum = Format::new(true, width, width as i32 - 2 * bits as i32 + 6).expect("a format");
    let shape = [vec![size; axes], vec![channels]].concat();
    let node = |op, input: Option<usize>| Node {
        name: input.map_or_else(|| "x".to_owned(), |i| format!("layer{i}")),
        op,
        inputs: input.into_iter().map(|i| ValueId(i as u32)).collect(),
        shape: shape.clone(),
        ty: x,
    };
    let perm: Vec<usize> = (0..=axes).collect();
    let dot = Dot {
        window: vec![window; axes],
        groups,
        weight: Codes::new(weight.format, weights),
        bias: None,
        accum: Accum::Exact(accum),
        act: Act::RELU,
    };
    let (onnx_shape, p) = (shape.clone(), perm.clone());
    let mut nodes = vec![node(Op::Input { index: 0, tensor: "x".into(), onnx_shape, perm: p }, None)];
    nodes.extend((0..DEPTH).map(|i| node(Op::Dot(dot.clone()), Some(i))));
    let output = Op::Output { index: 0, tensor: "y".into(), onnx_shape: shape.clone(), perm };
    nodes.push(node(output, Some(DEPTH)));
    Program { name: "layers".to_owned(), nodes }
}

/// Seconds that this thread has had a core, where the system tells.
fn busy() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse::<f64>().ok().map(|ns| ns / 1e9)
}

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layers = [
        ("conv 3x3x64, 32x32", 32, 3, 64, 1, 1),
        ("conv 3x3x16, 32x32", 32, 3, 16, 1, 4),
        ("conv 3x3x32, 16x16", 16, 3, 32, 1, 8),
        ("conv 1x1x64, 32x32", 32, 1, 64, 1, 1),
        ("depthwise 3x3x64, 32x32", 32, 3, 64, 64, 1),
        ("dense 1024", 0, 1, 1024, 1, 1),
        ("dense 1024", 0, 1, 1024, 1, 16),
        ("dense 64", 0, 1, 64, 1, 1),
        ("dense 64", 0, 1, 64, 1, 64),
    ];
    let part = std::env::args().nth(1).unwrap_or_default();
    for (name, size, kernel, channels, groups, rows) in layers.into_iter().filter(|l| l.0.contains(&part)) {
        for bits in [8, 16] {
            let options = Options { threads: Some(1), layout: Some(Layout::Rows), ..Options::default() };
            let emulator = Emulator::new(program(size, kernel, channels, groups, bits), &options)?;
            let plan = emulator.plan();
            let mut rng = Rng::new(2);
            let n = emulator.program().nodes[0].len() * rows;
            let x: Vec<i64> = (0..n).map(|_| rng.int(0..=(1 << bits) - 1)).collect();
            let mut best = f64::MAX;
            for _ in 0..20 {
                let (start, before) = (Instant::now(), busy());
                let mut runs = 0u32;
                while start.elapsed().as_secs_f64() < 0.01 {
                    emulator.run_codes(&[&x], rows)?;
                    runs += 1;
                }
                let wall = start.elapsed().as_secs_f64();
                let seconds = busy().zip(before).map_or(wall, |(now, then)| now - then);
                best = best.min(seconds / f64::from(runs));
            }
            let macs = plan.macs as f64 * rows as f64;
            println!(
                "{name}, {rows} rows, {bits} bits: {:.1} GMAC/s, {:.2} us a layer; {}",
                macs / best / 1e9,
                best * 1e6 / DEPTH as f64,
                plan.nodes[1].kernel
            );
        }
    }
    Ok(())
}
