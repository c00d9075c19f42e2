//! Speed of packing tensors into rows and back, beside a copy of the tensor's bytes, on one core:
//! `cargo xtask bench rows`. An argument leaves the cases whose name contains it.
//!
//! Each figure is the fastest of many passes, and passes of all cases take turns: what disturbs the machine disturbs
//! all of them.

use std::{hint::black_box, time::Instant};

use hs_hw::{Node, Op};
use hs_runtime::{
    Datatype, Values,
    codes::Layout,
    isa::{Checked, Isa},
};

/// Bytes of single-precision values: within the second-level cache with what they become, the third's, beyond.
const SIZES: [usize; 3] = [256 << 10, 4 << 20, 256 << 20];
/// Bytes that are read in a pass at least.
const PASS: usize = 16 << 20;
const PASSES: usize = 15;

struct Case {
    name: &'static str,
    shape: &'static [usize],
    perm: &'static [usize],
    ty: &'static str,
    back: bool,
}

const fn case(name: &'static str, shape: &'static [usize], perm: &'static [usize], ty: &'static str) -> Case {
    Case { name, shape, perm, ty, back: false }
}

const CASES: [Case; 7] = [
    case("16 bits", &[1024], &[0], "fixed<16,6>"),
    case("8 bits", &[1024], &[0], "fixed<8,3>"),
    case("32 bits", &[1024], &[0], "fixed<32,16>"),
    case("16 bits, rows of 5", &[5], &[0], "fixed<16,6>"),
    case("16 bits, 3 channels last", &[3, 64, 64], &[1, 2, 0], "fixed<16,6>"),
    case("16 bits, 64 channels last", &[64, 16, 16], &[1, 2, 0], "fixed<16,6>"),
    Case { back: true, ..case("16 bits to f32", &[1024], &[0], "fixed<16,6>") },
];

fn layout(case: &Case) -> Layout {
    let op = Op::Input {
        index: 0,
        tensor: "x".to_owned(),
        onnx_shape: case.shape.to_vec(),
        perm: case.perm.to_vec(),
    };
    let shape = case.perm.iter().map(|p| case.shape[*p]).collect();
    let ty = case.ty.parse().expect("a type");
    Layout::of(&Node { name: "in".to_owned(), op, inputs: vec![], shape, ty }).expect("an input")
}

/// Seconds of one run, of as many as fill a pass.
fn seconds(bytes: usize, mut run: impl FnMut()) -> f64 {
    let runs = (PASS / bytes).max(1);
    let start = Instant::now();
    (0..runs).for_each(|_| run());
    start.elapsed().as_secs_f64() / runs as f64
}

#[allow(clippy::print_stdout)]
fn main() {
    let only: Option<String> = std::env::args().nth(1);
    let isas: Vec<Checked> = Isa::ALL.into_iter().filter_map(Checked::new).collect();
    println!(
        "| source | case | instruction set | GB/s of f32 | of memcpy |\n| --- | --- | --- | --- | --- |"
    );
    for size in SIZES {
        let values: Vec<f32> = (0..size as u32 / 4).map(|i| (i % 4099) as f32 / 61.0 - 33.0).collect();
        let source: &[u8] = bytemuck::cast_slice(&values);
        let mut copy = vec![1u8; size];
        let mut results = vec![1f32; values.len()];
        let mut runs = Vec::new();
        for case in CASES.iter().filter(|c| only.as_ref().is_none_or(|o| c.name.contains(o.as_str()))) {
            for isa in &isas {
                let layout = layout(case).with_isa(*isa);
                let rows = values.len() / layout.row_len();
                let mut packed = vec![1u8; layout.packed().bytes(rows)];
                layout.pack(Values::new(Datatype::Fp32, source), 0..rows, &mut packed).expect("no NaN");
                runs.push((case, layout, rows, packed, f64::INFINITY));
            }
        }
        let mut memcpy = f64::INFINITY;
        for _ in 0..PASSES {
            memcpy = memcpy.min(seconds(size, || {
                copy.copy_from_slice(black_box(source));
                black_box(&mut copy);
            }));
            for (case, layout, rows, packed, fastest) in &mut runs {
                let took = seconds(size, || {
                    if case.back {
                        layout.unpack_f32(black_box(packed), &mut results[..*rows * layout.row_len()]);
                        black_box(&mut results);
                    } else {
                        let values = Values::new(Datatype::Fp32, black_box(source));
                        layout.pack(values, 0..*rows, packed).expect("no NaN");
                        black_box(&mut *packed);
                    }
                });
                *fastest = fastest.min(took);
            }
        }
        let rate = |seconds: f64| size as f64 / 1e9 / seconds;
        let kib = size >> 10;
        println!("| {kib} KiB | memcpy | | {:.1} | |", rate(memcpy));
        for (case, layout, _, _, fastest) in &runs {
            let share = 100.0 * memcpy / fastest;
            println!(
                "| {kib} KiB | {} | {:?} | {:.1} | {share:.0} % |",
                case.name,
                layout.isa(),
                rate(*fastest)
            );
        }
    }
}
