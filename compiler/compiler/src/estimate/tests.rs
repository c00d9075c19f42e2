//! Numbers that can be worked out by hand.

use hs_fixed::{Format, Type};
use hs_hw::{Accum, Act, Codes, Dot, Io, Node, Op, Program, Strategy, ValueId, Window};

use super::layer::{Style, window};
use super::{Estimate, Resources, estimate};
use crate::hls::layout::Geometry;
use crate::schedule::{ScheduleOptions, schedule};

fn node(name: &str, op: Op, inputs: &[u32], shape: &[usize], width: u32) -> Node {
    Node {
        name: name.to_owned(),
        op,
        inputs: inputs.iter().map(|i| ValueId(*i)).collect(),
        shape: shape.to_vec(),
        ty: Type::rnd_sat(true, width, 4).unwrap(),
    }
}

fn io(output: bool, shape: &[usize]) -> Op {
    let (index, tensor, onnx_shape, perm) = (0, "t".to_owned(), shape.to_vec(), (0..shape.len()).collect());
    if output {
        Op::Output { index, tensor, onnx_shape, perm }
    } else {
        Op::Input { index, tensor, onnx_shape, perm }
    }
}

fn dot(window: Vec<Window>, width: u32, weight: Vec<i64>) -> Op {
    Op::Dot(Dot {
        window,
        groups: 1,
        weight: Codes::new(Format::new(true, width, 4).unwrap(), weight),
        bias: None,
        accum: Accum::Exact(Format::new(true, 32, 16).unwrap()),
        act: Act::RELU,
    })
}

/// 8 → 4: of 32 weights 3 are zero, 5 powers of two, 24 neither.
fn mlp(width: u32) -> Program {
    let mut weight = vec![3; 32];
    weight[..3].fill(0);
    weight[3..8].copy_from_slice(&[1, -1, 2, 4, -64]);
    Program {
        name: "mlp".to_owned(),
        nodes: vec![
            node("x", io(false, &[8]), &[], &[8], 8),
            node("fc", dot(Vec::new(), width, weight), &[0], &[4], 8),
            node("y", io(true, &[4]), &[1], &[4], 8),
        ],
    }
}

fn same(n: usize) -> Window {
    Window { kernel: n, stride: 1, dilation: 1, pad_begin: n / 2, pad_end: n / 2 }
}

/// 3 × 3 over 4 × 4 × 2, to 2 channels.
fn cnn() -> Program {
    let shape = [4, 4, 2];
    Program {
        name: "cnn".to_owned(),
        nodes: vec![
            node("x", io(false, &shape), &[], &shape, 8),
            node("conv", dot(vec![same(3); 2], 8, vec![3; 36]), &[0], &shape, 8),
            node("y", io(true, &shape), &[1], &shape, 8),
        ],
    }
}

fn estimated(program: &Program, io: Io, strategy: Option<Strategy>, reuse: Option<usize>) -> Estimate {
    let options = ScheduleOptions { io: Some(io), strategy, reuse, ..ScheduleOptions::default() };
    let (schedule, notes) = schedule(program, &options).unwrap();
    // Nothing was decided differently than asked.
    assert!(notes.iter().all(|n| n.node.is_none()), "{notes:?}");
    estimate(program, &schedule).unwrap()
}

#[test]
fn a_dense_layer_has_lanes_times_depth_multipliers() {
    let program = mlp(8);
    // Reuse 4 over 8 terms: 4 lanes of 2 terms. Its pipeline: 3 to multiply, 2 to add, 1 for ReLU, 2 to store.
    let e = estimated(&program, Io::Stream, None, Some(4));
    assert_eq!(e.layers.len(), 1);
    assert_eq!(e.layers[0].resources.dsp, 8);
    assert_eq!(e.layers[0].interval, 4 + 8);
    assert_eq!((e.interval, e.bottleneck.as_str()), (12, "fc"));
    // Reuse 16: two turns of 8 steps on 2 lanes of 1 term; nothing to add but the sum itself.
    let e = estimated(&program, Io::Stream, None, Some(16));
    assert_eq!((e.layers[0].resources.dsp, e.layers[0].interval), (2, 16 + 7));
    // The same on arrays: a word in, the layer, a word out.
    let e = estimated(&program, Io::Parallel, None, Some(4));
    assert_eq!((e.layers[0].resources.dsp, e.interval), (8, 1 + 12 + 1));
    assert_eq!(e.bottleneck, "one layer after the other, most of all fc");
}

#[test]
fn constants_that_are_wires_take_no_multiplier() {
    let e = estimated(&mlp(8), Io::Parallel, None, None);
    assert_eq!((e.layers[0].resources.dsp, e.interval), (24, 1));
    // Operands of 4 bits are multiplied in LUTs: 8 × 4 each.
    let mut small = mlp(8);
    let Op::Dot(d) = &mut small.nodes[1].op else { panic!() };
    let codes = d.weight.data.iter().map(|c| (*c).clamp(-8, 7)).collect::<Vec<_>>();
    d.weight = Codes::new(Format::new(true, 4, 4).unwrap(), codes);
    let e = estimated(&small, Io::Parallel, None, None);
    assert_eq!(e.layers[0].resources.dsp, 0);
    assert!(e.layers[0].resources.lut >= 24 * 32, "{e:?}");
}

#[test]
fn sharing_a_multiplier_between_two_can_cost_more_than_constants() {
    // Of 32 products, 10 with a real constant: 16 multipliers for two each are more.
    let mut program = mlp(8);
    let Op::Dot(d) = &mut program.nodes[1].op else { panic!() };
    let mut codes = d.weight.data.to_vec();
    codes[8..22].fill(0);
    d.weight = Codes::new(d.weight.format, codes);
    let e = estimated(&program, Io::Stream, None, Some(2));
    assert_eq!(e.layers[0].resources.dsp, 16);
    assert_eq!(e.layers[0].latency_strategy.map(|r| r.dsp), Some(10));
    let e = estimated(&program, Io::Stream, Some(Strategy::Latency), None);
    assert_eq!(e.layers[0].resources.dsp, 10);
    assert_eq!(e.layers[0].latency_strategy, None);
}

#[test]
fn wide_weights_take_two_slices_each() {
    let mut program = mlp(20);
    let Op::Dot(d) = &mut program.nodes[1].op else { panic!() };
    d.accum = Accum::Exact(Format::new(true, 60, 20).unwrap());
    program.nodes[0].ty = Type::rnd_sat(true, 20, 4).unwrap();
    let e = estimated(&program, Io::Stream, None, Some(4));
    assert_eq!(e.layers[0].resources.dsp, 2 * 8);
}

#[test]
fn a_streamed_convolution_takes_a_cycle_a_padded_position() {
    let program = cnn();
    // 18 terms in one cycle: 3 + (5 levels + 1) + 1 + 2 stages; 6 × 6 positions, and the pipeline empties each row.
    let e = estimated(&program, Io::Stream, Some(Strategy::Latency), None);
    assert_eq!(e.layers[0].interval, 36 + 12);
    assert_eq!(e.layers[0].resources.dsp, 36);
    // Reuse 18, one term at a time: 16 pixels of 18 + 7 cycles, and 2 cycles a position.
    let e = estimated(&program, Io::Stream, None, Some(18));
    assert_eq!(e.layers[0].interval, 2 * 36 + 16 * (18 + 7));
    assert_eq!(e.layers[0].resources.dsp, 2);
    assert!(e.latency > e.interval, "{e:?}");
}

#[test]
fn line_buffers_are_shift_registers_of_a_padded_line() {
    let g = |width: usize| Geometry::new(&[same(3); 2], &[width, width, 2], &[width, width, 2]);
    // 2 lines × 2 channels of 6 pixels: a LUT a bit. The window's 18 elements twice, and a register a line.
    let expected = Resources { lut: 4 * 8, ff: 18 * 8 + 4 * 8 + 18 * 8, ..Resources::default() };
    assert_eq!(window(&g(4), 8, Style::Stream), expected);
    // Lines of 226 pixels: 8 LUTs of 32 a bit.
    assert_eq!(window(&g(224), 8, Style::Stream).lut, 4 * 8 * 8);
    assert_eq!(window(&g(4), 8, Style::Unrolled), Resources::default());
}

#[test]
fn deep_words_of_weights_are_block_ram_and_loaded_ones_ultra_ram() {
    let layer = |terms: usize, outputs: usize, reuse: usize| {
        let program = Program {
            name: "wide".to_owned(),
            nodes: vec![
                node("x", io(false, &[terms]), &[], &[terms], 8),
                node("fc", dot(Vec::new(), 8, vec![3; terms * outputs]), &[0], &[outputs], 8),
                node("y", io(true, &[outputs]), &[1], &[outputs], 8),
            ],
        };
        let e = estimated(&program, Io::Stream, None, Some(reuse));
        (e.layers[0].resources, e.weights_cycles)
    };
    // 512 words of 16 weights of 8 bits: 128 bits, four block RAMs of 36.
    let (r, loading) = layer(512, 16, 512);
    assert_eq!((r.dsp, r.bram18, r.uram, loading), (16, 4, 0, 0));
    // 131,072 weights are loaded. 512 words of 256 × 8 bits: 57 block RAMs of 512 × 36; four beats a word.
    let (r, loading) = layer(1024, 128, 512);
    assert_eq!((r.dsp, r.bram18, r.uram, loading), (256, 57, 0, 2048));
    // 2048 words of 64 × 8 bits: 8 URAMs of 4096 × 72.
    let (r, loading) = layer(1024, 128, 2048);
    assert_eq!((r.dsp, r.bram18, r.uram, loading), (64, 0, 8, 2048));
    // 4096 words of 32 × 8 bits: four UltraRAMs of 72; two words a beat.
    let (r, loading) = layer(2048, 64, 4096);
    assert_eq!((r.dsp, r.bram18, r.uram, loading), (32, 0, 4, 2048));
}

#[test]
fn a_long_flattened_tensor_is_taken_pixel_by_pixel() {
    let shape = [8, 20, 16];
    let program = Program {
        name: "flat".to_owned(),
        nodes: vec![
            node("x", io(false, &shape), &[], &shape, 8),
            node("flatten", Op::Reshape, &[0], &[2560], 8),
            node("fc", dot(Vec::new(), 8, vec![3; 2560 * 8]), &[1], &[8], 8),
            node("y", io(true, &[8]), &[2], &[8], 8),
        ],
    };
    let mut program = program;
    program.nodes[1].ty = program.nodes[0].ty;
    // Reuse 320: 8 terms at once for each of 8 outputs, two steps a pixel. The pipeline has 3 + (3 + 1) + 1 + 2 stages,
    // which each of 160 pixels fills; then one cycle and 2 stages store the sums.
    let e = estimated(&program, Io::Stream, None, Some(320));
    assert_eq!(e.layers.iter().map(|l| l.op).collect::<Vec<_>>(), ["dot"]);
    assert_eq!(e.layers[0].resources.dsp, 64);
    assert_eq!(e.interval, 160 * (2 + 10) + 1 + 2);
}

#[test]
fn rows_pass_at_64_bytes_a_cycle() {
    let wide = |io_type| {
        let shape = [1000];
        let program = Program {
            name: "copy".to_owned(),
            nodes: vec![
                node("x", io(false, &shape), &[], &shape, 16),
                node("cast", Op::Requant(Act::None), &[0], &shape, 8),
                node("y", io(true, &shape), &[1], &shape, 8),
            ],
        };
        estimated(&program, io_type, None, None)
    };
    // 2000 bytes: 32 beats.
    let e = wide(Io::Parallel);
    assert_eq!((e.interval, e.bottleneck.as_str(), e.row_bytes), (32, "loading rows", 3000));
    let e = wide(Io::Stream);
    assert_eq!(e.interval, 32);
}

#[test]
fn the_total_is_the_sum_of_its_parts() {
    for io in [Io::Parallel, Io::Stream] {
        let e = estimated(&cnn(), io, None, Some(2));
        assert_eq!(e.layers.iter().map(|l| l.resources).sum::<Resources>() + e.channels + e.ports, e.total);
        assert_eq!(e.largest("DSP").map(|(l, n)| (l.name.as_str(), n)), Some(("conv", 18)));
        assert_eq!(e.largest("URAM"), None);
    }
}

#[test]
fn every_random_program_has_an_estimate() {
    for seed in 0..300 {
        let program = hs_hw::testing::random_program(seed, &hs_hw::testing::Config::default());
        for io in [Io::Parallel, Io::Stream] {
            let options = ScheduleOptions {
                io: Some(io),
                reuse: (seed % 2 == 1).then_some(1 << (seed % 7)),
                ..ScheduleOptions::default()
            };
            let (schedule, _) = schedule(&program, &options).unwrap();
            let e = estimate(&program, &schedule).unwrap();
            assert!(e.layers.iter().all(|l| l.interval <= e.interval), "{seed}: {e:?}");
            assert!(e.latency >= 1 && e.interval >= 1 && e.row_bytes >= 8, "{seed}: {e:?}");
            assert!(e.total.lut > 0 && e.total.ff > 0 && e.total.bram18 > 0, "{seed}: {e:?}");
        }
    }
}
