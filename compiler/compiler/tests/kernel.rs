//! The whole kernel in C simulation: packed rows in, packed rows and trailer out, byte for byte.

mod support;

use hs_compiler::hls::csim::{Bench, CsimOptions, write};
use hs_compiler::hls::emit;
use hs_compiler::platform::Target;
use hs_compiler::schedule::{ScheduleOptions, schedule};
use hs_fixed::Type;
use hs_hw::abi::{RowLayout, Trailer};
use hs_hw::testing::random_inputs;
use hs_hw::{Accum, Act, Codes, Dot, Io, Node, Op, Program, ValueId, interp, text};

use support::{QUICK, can_simulate};

fn ty(signed: bool, width: u32, int: i32) -> Type {
    Type::rnd_sat(signed, width, int).unwrap()
}

/// Passes each tensor through: input, one cast to `ty` of the next tensor, output.
fn casts(tensors: &[(&[usize], Type)]) -> Program {
    let mut nodes = Vec::new();
    let perm = |shape: &[usize]| (0..shape.len()).collect::<Vec<usize>>();
    for (k, (shape, ty)) in tensors.iter().enumerate() {
        let op =
            Op::Input { index: k, tensor: format!("in{k}"), onnx_shape: shape.to_vec(), perm: perm(shape) };
        nodes.push(Node { name: format!("x{k}"), op, inputs: vec![], shape: shape.to_vec(), ty: *ty });
    }
    for (k, (shape, _)) in tensors.iter().enumerate() {
        let to = tensors[(k + 1) % tensors.len()].1;
        let cast = ValueId(nodes.len() as u32);
        let inputs = vec![ValueId(k as u32)];
        nodes.push(Node {
            name: format!("cast{k}"),
            op: Op::Requant(Act::None),
            inputs,
            shape: shape.to_vec(),
            ty: to,
        });
        let op =
            Op::Output { index: k, tensor: format!("out{k}"), onnx_shape: shape.to_vec(), perm: perm(shape) };
        nodes.push(Node { name: format!("y{k}"), op, inputs: vec![cast], shape: shape.to_vec(), ty: to });
    }
    let program = Program { name: "casts".to_owned(), nodes };
    program.verify().unwrap();
    program
}

/// Compiles the kernel of a program and compares every byte that it writes with the interpreter's packed rows, in one
/// call for each of `calls`.
fn check(program: &Program, io: Io, calls: &[usize]) {
    let options = ScheduleOptions { io: Some(io), ..ScheduleOptions::default() };
    let (schedule, _) = schedule(program, &options).unwrap();
    let project = emit(program, &schedule, "net", &Target::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write(&project.files, dir.path()).unwrap();
    let bench = Bench::build(dir.path(), &QUICK).unwrap();
    for &rows in calls {
        let inputs = random_inputs(program, 11, rows);
        let pack = |ids: Vec<ValueId>, rows: &[Vec<Vec<i128>>]| -> Vec<Vec<u8>> {
            ids.into_iter()
                .enumerate()
                .map(|(k, id)| {
                    let codes: Vec<i64> = rows.iter().flat_map(|r| r[k].iter().map(|c| *c as i64)).collect();
                    RowLayout::of(program.node(id)).pack(&codes)
                })
                .collect()
        };
        let results: Vec<Vec<Vec<i128>>> = inputs.iter().map(|row| interp::run(program, row)).collect();
        let mut expected = pack(program.outputs(), &results);
        for buffer in &mut expected {
            buffer.extend(Trailer::new(rows as u32, &program.fingerprint()).to_bytes());
        }
        let found = bench.run_packed("net", &pack(program.inputs(), &inputs), rows).unwrap();
        for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let differs = found.iter().zip(expected).position(|(f, e)| f != e);
            assert_eq!((differs, found.len()), (None, expected.len()), "{io:?}, {rows} rows, output {k}");
        }
    }
}

const BOTH: [Io; 2] = [Io::Parallel, Io::Stream];

#[test]
fn any_number_of_rows_in_one_call() {
    if !can_simulate() {
        return;
    }
    for name in ["cnn", "mlp"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/programs/{name}.hw"));
        let program = text::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        for io in BOTH {
            check(&program, io, &[0, 1, 17, 4097]);
        }
    }
}

/// Rows whose pieces do not divide a beat, whose padding reaches into the next beat, of every width of element.
#[test]
fn several_inputs_and_outputs_with_odd_strides() {
    if !can_simulate() {
        return;
    }
    let programs = [
        // 3 pieces of 3 bytes and 3 of padding; pieces of 26 bytes; pieces of 63 bytes with 3 of padding.
        casts(&[
            (&[3, 3], ty(true, 8, 4)),
            (&[5, 13], ty(false, 9, 4)),
            (&[3, 63], ty(true, 5, 2)),
            (&[1], ty(false, 1, 1)),
        ]),
        // Rows of more than a beat: vectors of 47 halves and of 67 bytes, pieces of 65 bytes and of 33 words.
        casts(&[
            (&[47], ty(true, 16, 6)),
            (&[67], ty(true, 7, 1)),
            (&[7, 65], ty(false, 8, 0)),
            (&[2, 3, 33], ty(true, 17, 5)),
        ]),
        // Elements of 8 bytes, a row of exactly one beat, pieces of 62 bytes with 2 of padding, an odd number of pieces.
        casts(&[
            (&[9], ty(true, 40, 12)),
            (&[64], ty(true, 8, 8)),
            (&[5, 31], ty(true, 11, 3)),
            (&[3, 3, 1], ty(false, 3, 3)),
        ]),
    ];
    for program in &programs {
        for io in BOTH {
            check(program, io, &[0, 1, 2, 17, 33]);
        }
    }
}

/// A model output that is a model input, and a model input that nothing reads.
#[test]
fn what_the_network_does_not_touch() {
    if !can_simulate() {
        return;
    }
    let mut program = casts(&[(&[5], ty(true, 6, 3)), (&[3, 2], ty(true, 9, 3))]);
    // Output 0 gives input 0 as it is; input 1 is left unread beside output 1, which casts input 0 no more.
    let output = program.nodes.iter().position(|n| n.name == "y0").unwrap();
    program.nodes[output].inputs = vec![ValueId(0)];
    program.nodes[output].ty = program.nodes[0].ty;
    program.verify().unwrap();
    for io in BOTH {
        check(&program, io, &[0, 1, 17]);
    }
}

/// Dense layers whose weights are read from memory: words of several beats, of one, and several words a beat.
#[test]
fn weights_come_from_memory() {
    if !can_simulate() {
        return;
    }
    let layer = |name: &str, from: usize, to: usize, width: u32| {
        let half = 1i64 << (width - 1);
        let weight: Vec<i64> = (0..from * to).map(|i| (i as i64 * 7919) % (2 * half) - half).collect();
        let dot = Dot {
            window: vec![],
            groups: 1,
            weight: Codes::new(hs_fixed::Format::new(true, width, 1).unwrap(), weight),
            bias: None,
            accum: Accum::Exact(hs_fixed::Format::new(true, 40, 20).unwrap()),
            act: Act::None,
        };
        (name.to_owned(), dot, to)
    };
    let layers = [layer("wide", 300, 256, 8), layer("narrow", 256, 260, 4), layer("words", 260, 255, 12)];
    let mut nodes = Vec::new();
    let t = ty(true, 8, 4);
    let op = Op::Input { index: 0, tensor: "in".into(), onnx_shape: vec![300], perm: vec![0] };
    nodes.push(Node { name: "x".into(), op, inputs: vec![], shape: vec![300], ty: t });
    for (name, dot, to) in layers {
        let inputs = vec![ValueId(nodes.len() as u32 - 1)];
        nodes.push(Node { name, op: Op::Dot(dot), inputs, shape: vec![to], ty: t });
    }
    let op = Op::Output { index: 0, tensor: "out".into(), onnx_shape: vec![255], perm: vec![0] };
    nodes.push(Node { name: "y".into(), op, inputs: vec![ValueId(3)], shape: vec![255], ty: t });
    let program = Program { name: "large".into(), nodes };
    program.verify().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let layer = |reuse| hs_compiler::schedule::LayerOptions { strategy: None, reuse: Some(reuse) };
    let options = ScheduleOptions {
        io: Some(Io::Stream),
        layers: [
            ("wide".into(), layer(300)),
            ("narrow".into(), layer(256 * 65)),
            ("words".into(), layer(260 * 17)),
        ]
        .into(),
        ..ScheduleOptions::default()
    };
    let (schedule, _) = schedule(&program, &options).unwrap();
    let project = emit(&program, &schedule, "net", &Target::default()).unwrap();
    assert_eq!(project.kernel.weights.as_deref(), Some("weights"));
    let cpp = project.files.iter().find(|f| f.path == "firmware/net_kernel.cpp").unwrap();
    let cpp = String::from_utf8(cpp.bytes.clone()).unwrap();
    for call in [
        "fill_wide<wt_wide, 300, 256, 1, 256>",
        "fill_narrow<wt_narrow, 16640, 4, 1, 4>",
        "fill_narrow<wt_words, 4420, 15, 2, 32>",
    ] {
        assert!(cpp.contains(call), "{call}\n{cpp}");
    }
    write(&project.files, dir.path()).unwrap();
    let bench = Bench::build(dir.path(), &QUICK).unwrap();
    let rows = random_inputs(&program, 3, 5);
    let inputs = support::columns(&rows, 1);
    // Weights are loaded again in every call.
    let options = CsimOptions { rows_a_call: Some(2), ..QUICK };
    assert_eq!(bench.run("net", &inputs, 5, &options).unwrap(), support::expected(&program, &rows));
}

/// The project's own data, which synthesis tools compare with: it passes, and a byte changed on disk is found.
#[test]
fn the_bench_checks_its_own_data() {
    if !can_simulate() {
        return;
    }
    let program = casts(&[(&[5, 13], ty(false, 9, 4)), (&[7], ty(true, 12, 4))]);
    let (schedule, _) = schedule(&program, &ScheduleOptions::default()).unwrap();
    let project = emit(&program, &schedule, "net", &Target::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write(&project.files, dir.path()).unwrap();
    Bench::build(dir.path(), &QUICK).unwrap();
    let built = std::fs::read_dir(dir.path().join(".csim")).unwrap().next().unwrap().unwrap().path();
    let run = || {
        let output = std::process::Command::new(&built).arg(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = run();
    assert_eq!((code, said.as_str()), (Some(0), "PASS: 17 rows of net, every byte equal\n"));
    let data = dir.path().join("tb/data/y_y0.bin");
    let mut bytes = std::fs::read(&data).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let (code, said) = run();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("differs from {} at byte {last}", data.display())), "{said}");
}

/// A tensor, flattened where `flat`, and the layers that follow.
struct Chain(Program);

impl Chain {
    fn new(shape: &[usize]) -> Self {
        let op = Op::Input {
            index: 0,
            tensor: "in".into(),
            onnx_shape: shape.to_vec(),
            perm: (0..shape.len()).collect(),
        };
        let x = Node { name: "x".into(), op, inputs: vec![], shape: shape.to_vec(), ty: ty(true, 8, 4) };
        Self(Program { name: "chain".into(), nodes: vec![x] })
    }

    fn push(mut self, name: &str, op: Op, shape: &[usize]) -> Self {
        let inputs = vec![ValueId(self.0.nodes.len() as u32 - 1)];
        let shape = shape.to_vec();
        self.0.nodes.push(Node { name: name.into(), op, inputs, shape, ty: ty(true, 8, 4) });
        self
    }

    fn dot(self, name: &str, window: usize, shape: &[usize], accum: Accum) -> Self {
        let from = self.0.nodes.last().unwrap().shape.clone();
        let channels = from[from.len() - 1];
        let axes = if window == 0 { vec![] } else { from[..from.len() - 1].to_vec() };
        let pad = window.saturating_sub(1) / 2;
        let w = hs_hw::Window { kernel: window.max(1), stride: 1, dilation: 1, pad_begin: pad, pad_end: pad };
        let n = shape[shape.len() - 1] * channels * window.max(1).pow(axes.len() as u32);
        let weight: Vec<i64> = (0..n).map(|i| (i as i64 * 7919 + 13) % 16 - 8).collect();
        let dot = Dot {
            window: vec![w; axes.len()],
            groups: 1,
            weight: Codes::new(hs_fixed::Format::new(true, 4, 0).unwrap(), weight),
            bias: None,
            accum,
            act: Act::None,
        };
        self.push(name, Op::Dot(dot), shape)
    }

    fn output(self) -> Program {
        let shape = self.0.nodes.last().unwrap().shape.clone();
        let perm = (0..shape.len()).collect();
        let op = Op::Output { index: 0, tensor: "out".into(), onnx_shape: shape.clone(), perm };
        let program = self.push("y", op, &shape).0;
        program.verify().unwrap();
        program
    }
}

fn exact() -> Accum {
    Accum::Exact(hs_fixed::Format::new(true, 40, 24).unwrap())
}

/// Rows through a kernel with each reuse factor asked for in turn, against the interpreter.
fn check_reuse(program: &Program, io: Io, reuse: &[usize], rows: usize) {
    for reuse in reuse {
        let options = ScheduleOptions { io: Some(io), reuse: Some(*reuse), ..ScheduleOptions::default() };
        let (schedule, _) = schedule(program, &options).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let inputs = random_inputs(program, 5, rows);
        let found =
            support::simulate(program, &schedule, dir.path(), &support::columns(&inputs, 1), rows).unwrap();
        assert_eq!(found, support::expected(program, &inputs), "{io:?}, reuse {reuse}");
    }
}

/// A flattened tensor too long for one beat reaches a dense layer pixel by pixel.
#[test]
fn a_long_flattened_tensor_is_folded() {
    if !can_simulate() {
        return;
    }
    let saturating = Accum::Stepwise {
        ty: hs_fixed::parse_type("fixed<9,5,TRN,SAT>", hs_fixed::Modes::TRN_WRAP).unwrap(),
        product: None,
        order: hs_hw::Order::Sequential,
    };
    for accum in [exact(), saturating] {
        let program =
            Chain::new(&[6, 6, 32]).push("flat", Op::Reshape, &[1152]).dot("fc", 0, &[12], accum).output();
        let options = ScheduleOptions { io: Some(Io::Stream), ..ScheduleOptions::default() };
        let (schedule, _) = schedule(&program, &options).unwrap();
        let project = emit(&program, &schedule, "net", &Target::default()).unwrap();
        let cpp = project.files.iter().find(|f| f.path == "firmware/net_kernel.cpp").unwrap();
        let cpp = String::from_utf8(cpp.bytes.clone()).unwrap();
        assert!(cpp.contains("dense_stream_folded<cfg_fc>(nx_x, ny_y, w_fc, rows)"), "{cpp}");
        // Several terms a cycle, one, and outputs that share a lane.
        check_reuse(&program, Io::Stream, &[36, 1152, 1152 * 4], 6);
        check_reuse(&program, Io::Parallel, &[1152], 6);
    }
}

/// The largest layers of DeepCalo (256 channels of 3 x 3 windows) and of the ProtoDUNE classifier (92,928 flattened
/// elements) as they are, and reduced, in simulation.
#[test]
fn the_largest_layers_of_our_models() {
    let deepcalo = |n: usize| Chain::new(&[3, 3, n]).dot("conv", 3, &[3, 3, n], exact()).output();
    let protodune = |side: usize, channels: usize| {
        let n = side * side * channels;
        Chain::new(&[side + 4, side + 4, 1])
            .dot("conv", 5, &[side + 4, side + 4, channels], exact())
            .push("flat", Op::Reshape, &[(side + 4) * (side + 4) * channels])
            .dot("fc", 0, &[n.div_ceil(1000).max(96)], exact())
            .output()
    };
    for program in [deepcalo(256), protodune(40, 48)] {
        let (schedule, _) = schedule(&program, &ScheduleOptions::default()).unwrap();
        assert_eq!(schedule.io, Io::Stream);
        let project = emit(&program, &schedule, "net", &Target::default()).unwrap();
        assert_eq!(project.kernel.weights.as_deref(), Some("weights"));
        let codes: usize = program
            .nodes
            .iter()
            .filter_map(|n| if let Op::Dot(d) = &n.op { Some(d.weight.len()) } else { None })
            .max()
            .unwrap();
        let weights = project.files.iter().find(|f| f.path == "weights/kernel.bin").unwrap();
        assert!(
            (codes..codes * 2).contains(&weights.bytes.len()),
            "{} bytes for {codes} codes",
            weights.bytes.len()
        );
    }
    if !can_simulate() {
        return;
    }
    for (program, rows) in [(deepcalo(88), 2), (protodune(6, 12), 2)] {
        let (schedule, _) = schedule(&program, &ScheduleOptions::default()).unwrap();
        let project = emit(&program, &schedule, "net", &Target::default()).unwrap();
        assert_eq!(project.kernel.weights.as_deref(), Some("weights"));
        let dir = tempfile::tempdir().unwrap();
        let inputs = random_inputs(&program, 5, rows);
        let found =
            support::simulate(&program, &schedule, dir.path(), &support::columns(&inputs, 1), rows).unwrap();
        assert_eq!(found, support::expected(&program, &inputs));
    }
}
