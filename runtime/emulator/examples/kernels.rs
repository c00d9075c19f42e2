//! Multiplications a second of single layers, one thread, codes in and codes out:
//!
//! `cargo run --release -p hs-emulator --example kernels`

use std::time::Instant;

use hs_emulator::{Emulator, Layout, Options};
use hs_fixed::{Format, Type};
use hs_hw::{Accum, Act, Codes, Dot, Node, Op, Program, ValueId, Window, testing::Rng};

/// A layer of `[out, kernel…, in]` weights over `[size, size, in]`, or over a vector.
fn program(size: usize, kernel: usize, channels: (usize, usize), groups: usize, bits: u32) -> Program {
    let mut rng = Rng::new(1);
    let axes = if size == 0 { 0 } else { 2 };
    let pad = kernel / 2;
    let window = Window { kernel, stride: 1, dilation: 1, pad_begin: pad, pad_end: pad };
    let terms = kernel.pow(axes as u32) * channels.0 / groups;
    let ty = |signed: bool, bits: u32, int: i32, modes: &str| -> Type {
        let sign = if signed { "" } else { "u" };
        format!("{sign}fixed<{bits},{int},{modes}>").parse().expect("a type")
    };
    let x = ty(false, bits, 4, "RND,SAT");
    let weight = ty(true, bits, 2, "RND,SAT");
    let weights: Vec<i64> =
        (0..channels.1 * terms).map(|_| rng.int(-(1 << (bits - 3))..=1 << (bits - 3))).collect();
    let width = 2 * bits + 1 + usize::BITS - terms.leading_zeros();
    let accum = Format::new(true, width, width as i32 - 2 * bits as i32 + 6).expect("a format");
    let shape = |channels: usize| [vec![size; axes], vec![channels]].concat();
    let (from, to) = (shape(channels.0), shape(channels.1));
    let node = |name: &str, op, inputs: Vec<u32>, shape: &Vec<usize>| Node {
        name: name.to_owned(),
        op,
        inputs: inputs.into_iter().map(ValueId).collect(),
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
    let input = Op::Input { index: 0, tensor: "x".into(), onnx_shape: from.clone(), perm: perm.clone() };
    let output = Op::Output { index: 0, tensor: "y".into(), onnx_shape: to.clone(), perm };
    Program {
        name: "layer".to_owned(),
        nodes: vec![
            node("x", input, vec![], &from),
            node("layer", Op::Dot(dot), vec![0], &to),
            node("y", output, vec![1], &to),
        ],
    }
}

/// Seconds that this thread has had a core, where the system tells.
fn busy() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse::<f64>().ok().map(|ns| ns / 1e9)
}

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layers = [
        ("conv 3x3x64 -> 64, 32x32", 32, 3, (64, 64), 1, 1),
        ("conv 3x3x16 -> 16, 32x32", 32, 3, (16, 16), 1, 4),
        ("conv 1x1x64 -> 64, 32x32", 32, 1, (64, 64), 1, 1),
        ("depthwise 3x3x64, 32x32", 32, 3, (64, 64), 64, 1),
        ("dense 1024 -> 1024", 0, 1, (1024, 1024), 1, 1),
        ("dense 1024 -> 1024", 0, 1, (1024, 1024), 1, 16),
    ];
    for (name, size, kernel, channels, groups, rows) in layers {
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
                while start.elapsed().as_secs_f64() < 0.02 {
                    emulator.run_codes(&[&x], rows)?;
                    runs += 1;
                }
                let wall = start.elapsed().as_secs_f64();
                let seconds = busy().zip(before).map_or(wall, |(now, then)| now - then);
                best = best.min(seconds / f64::from(runs));
            }
            let macs = plan.macs as f64 * rows as f64;
            println!(
                "{name}, {rows} rows, {bits} bits: {:.1} GMAC/s, {:.1} us; {}",
                macs / best / 1e9,
                best * 1e6,
                plan.nodes[1].kernel
            );
        }
    }
    Ok(())
}
