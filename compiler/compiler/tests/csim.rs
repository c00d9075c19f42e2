//! Whole projects: what is emitted, and that it runs.

mod support;

use std::path::Path;

use hs_compiler::hls::csim::{CsimError, CsimOptions, Progress, build_and_run, write};
use hs_compiler::hls::{EmittedFile, emit};
use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx;
use hs_compiler::passes::normalise;
use hs_compiler::platform::Target;
use hs_compiler::schedule::{LayerOptions, ScheduleOptions, schedule, simulate as simulate_fifos};
use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::testing::random_inputs;
use hs_hw::{Accum, Act, Codes, Dot, Io, Node, Op, Program, Schedule, Strategy, ValueId, text};

use support::{Case, QUICK, can_simulate, columns, differences, expected, simulate};

fn program(name: &str) -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{name}.hw"));
    let program = text::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    program.verify().unwrap();
    program
}

fn lay_out(program: &Program, io: Io) -> Schedule {
    schedule(program, &ScheduleOptions { io: Some(io), ..ScheduleOptions::default() }).unwrap().0
}

fn emit_project(program: &Program, schedule: &Schedule, name: &str) -> Vec<EmittedFile> {
    emit(program, schedule, name, &Target::default()).unwrap().files
}

/// The files that are not the same in every project, as one text.
fn own_files(files: &[EmittedFile]) -> String {
    let mut all = String::new();
    for file in files {
        let shared = file.path.starts_with("firmware/hypersonic/") || file.path.starts_with("tb/sim/");
        all.push_str(&format!("==== {}\n", file.path));
        if file.path.ends_with(".bin") {
            all.push_str(&format!("{} bytes\n", file.bytes.len()));
        } else if !shared {
            all.push_str(std::str::from_utf8(&file.bytes).unwrap());
        }
    }
    all
}

#[test]
fn the_project_of_a_parallel_mlp() {
    let p = program("mlp");
    insta::assert_snapshot!(own_files(&emit_project(&p, &lay_out(&p, Io::Parallel), "tiny_mlp")));
}

#[test]
fn the_project_of_a_streamed_cnn() {
    let p = program("cnn");
    insta::assert_snapshot!(own_files(&emit_project(&p, &lay_out(&p, Io::Stream), "tiny_cnn")));
}

#[test]
fn emission_is_reproducible() {
    let p = program("cnn");
    for io in [Io::Parallel, Io::Stream] {
        let once = emit_project(&p, &lay_out(&p, io), "net");
        assert_eq!(once, emit_project(&p, &lay_out(&p, io), "net"));
        assert!(once.is_sorted_by(|a, b| a.path < b.path));
    }
}

/// Cases of `tests/fixtures/ops` whose lowerings are compiled and run: selections, several nodes for one operator.
const OPERATORS: &[&str] = &[
    "abs",
    "add_outer",
    "argmax_last",
    "argmax_middle",
    "cast_truncates",
    "ceil",
    "conv_3d_pool",
    "conv_transpose",
    "conv_transpose_batch_norm_2",
    "conv_transpose_cut",
    "conv_transpose_groups",
    "depth_to_space",
    "div_constant_first",
    "div_two",
    "embedding",
    "embedding_columns",
    "equal",
    "exp",
    "expand_vector",
    "film",
    "gather_matrix",
    "gelu",
    "gemm_matrix_bias",
    "gemm_trans_a",
    "greater",
    "hardmax_middle",
    "instance_norm_conv",
    "layer_norm",
    "layer_norm_dense",
    "less_elements",
    "log",
    "log_softmax_middle",
    "matmul_batched_relu",
    "matmul_batched_wider",
    "matmul_constant_first",
    "matmul_two",
    "pad_value",
    "pow_cube",
    "pow_elements",
    "pow_inverse_root",
    "reciprocal",
    "reduce_l2",
    "reduce_log_sum_exp",
    "reduce_min",
    "reduce_prod",
    "reduce_sum_all",
    "reduce_sum_relu",
    "resize_linear_conv",
    "resize_nearest",
    "resize_sizes",
    "round",
    "sign",
    "slice_image",
    "slice_long",
    "slice_space",
    "slice_strided",
    "split_parts",
    "tile_image",
    "upsample_conv",
    "where_computed",
    "where_mask",
    "where_mask_two",
    "where_two",
];

/// Compiles and runs fixtures of `folder` in both io types.
fn simulated(folder: &str, names: &[&str], options: &LowerOptions) {
    if !can_simulate() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for name in names {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let path = fixtures.join(folder).join(format!("{name}.onnx"));
        let graph = normalise(onnx::import(&path).unwrap().0).unwrap();
        let p = lower(&graph, options).unwrap_or_else(|e| panic!("{name}: {e}")).program;
        cases.extend([Io::Parallel, Io::Stream].map(|io| (p.clone(), lay_out(&p, io))));
    }
    let dir = tempfile::tempdir().unwrap();
    let found = differences(&cases, &dir.path().join("many"), 7).unwrap();
    for (k, difference) in found.into_iter().enumerate() {
        assert_eq!(difference, None, "{}", names[k / 2]);
    }
}

#[test]
fn lowered_operators() {
    let precision = Some("fixed<12,5>".parse().unwrap());
    simulated("ops", OPERATORS, &LowerOptions { precision, ..LowerOptions::default() });
}

#[test]
fn quantised_models() {
    let names = ["functions_qdq_u8s8", "gates_qoperator_u8s8", "residual_qdq_u8s8_channel"];
    simulated("quantised", &names, &LowerOptions::default());
}

#[test]
fn layouts_never_change_a_bit() {
    if !can_simulate() {
        return;
    }
    let asked = [
        (Some(Strategy::Latency), None),
        (Some(Strategy::Resource), None),
        (None, Some(9)),
        (None, Some(36)),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for name in ["mlp", "cnn"] {
        let p = program(name);
        for io in [Io::Parallel, Io::Stream] {
            for (strategy, reuse) in asked {
                let options = ScheduleOptions { io: Some(io), strategy, reuse, ..ScheduleOptions::default() };
                cases.push((p.clone(), schedule(&p, &options).unwrap().0));
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let found = differences(&cases, &dir.path().join("many"), 7).unwrap();
    assert_eq!(found, vec![None; cases.len()]);
}

#[test]
fn rows_beyond_one_call_and_no_rows_at_all() {
    if !can_simulate() {
        return;
    }
    let p = program("cnn");
    let dir = tempfile::tempdir().unwrap();
    for rows in [0, 1, 130] {
        let input = random_inputs(&p, 7, rows);
        let inputs = columns(&input, p.inputs().len());
        let found = simulate(&p, &lay_out(&p, Io::Stream), dir.path(), &inputs, rows).unwrap();
        assert_eq!(found, expected(&p, &input), "{rows} rows");
    }
}

#[test]
fn a_fifo_one_too_short_deadlocks() {
    if !can_simulate() {
        return;
    }
    let p = program("cnn");
    let schedule = lay_out(&p, Io::Stream);
    assert_eq!(simulate_fifos(&p, &schedule), Ok(()));
    let bypass = schedule.fifos.iter().position(|f| f.from == 1 && f.to == Some((3, 1))).unwrap();
    assert!(schedule.fifos[bypass].depth > 2, "{:?}", schedule.fifos);
    let mut short = schedule.clone();
    short.fifos[bypass].depth -= 1;
    let stuck = simulate_fifos(&p, &short).unwrap_err();
    assert!(stuck.blocked.iter().any(|b| b.full && b.from == 1 && b.to == Some((3, 1))), "{stuck}");

    let dir = tempfile::tempdir().unwrap();
    let rows = random_inputs(&p, 3, 2);
    let inputs = columns(&rows, 1);
    match simulate(&p, &short, dir.path(), &inputs, 2) {
        Err(CsimError::Deadlock(report)) => {
            let depth = short.fifos[bypass].depth;
            assert!(report.contains(&format!("full FIFO c1_features_conv_Conv (depth {depth})")), "{report}");
        }
        other => panic!("{other:?}"),
    }
}

/// Dense layers of the given widths.
fn dense(widths: &[usize]) -> Program {
    let ty = Type::rnd_sat(true, 8, 3).unwrap();
    let io = |n: usize| (vec![n], vec![0]);
    let mut nodes = Vec::new();
    let (onnx_shape, perm) = io(widths[0]);
    let input = Op::Input { index: 0, tensor: "x".into(), onnx_shape, perm };
    nodes.push(Node { name: "x".into(), op: input, inputs: vec![], shape: vec![widths[0]], ty });
    for (k, pair) in widths.windows(2).enumerate() {
        let weight: Vec<i64> = (0..pair[0] * pair[1]).map(|i| (i * 7 % 13) as i64 - 6).collect();
        let dot = Dot {
            window: vec![],
            groups: 1,
            weight: Codes::new(Format::new(true, 4, -2).unwrap(), weight),
            bias: None,
            accum: Accum::Exact(Format::new(true, 30, 19).unwrap()),
            act: Act::None,
        };
        let inputs = vec![ValueId(k as u32)];
        nodes.push(Node { name: format!("fc{k}"), op: Op::Dot(dot), inputs, shape: vec![pair[1]], ty });
    }
    let n = *widths.last().unwrap();
    let (onnx_shape, perm) = io(n);
    let output = Op::Output { index: 0, tensor: "y".into(), onnx_shape, perm };
    let inputs = vec![ValueId(nodes.len() as u32 - 1)];
    nodes.push(Node { name: "y".into(), op: output, inputs, shape: vec![n], ty });
    Program { name: "dense".into(), nodes }
}

#[test]
fn softmaxes_of_pairs_and_of_the_largest() {
    if !can_simulate() {
        return;
    }
    let p = program("softmaxes");
    let mut input = random_inputs(&p, 5, 60);
    // Ties, differences beyond the table, sums that wrap.
    input.push(vec![vec![4, 10, -3, 31, -32, 31]]);
    input.push(vec![vec![-32, 31, 0, -7, -7, -7]]);
    let inputs = columns(&input, 1);
    let wanted = expected(&p, &input);
    assert_eq!(wanted[0][60 * 6..], [3, -8, 0, 4, 3, 4, 3, -8, 0, 3, 3, 3]);
    assert_eq!(wanted[1][60 * 6..], [0, -16, 0, -16, 0, 0, 0, -16, 0, -16, 0, 0]);
    let dir = tempfile::tempdir().unwrap();
    for io in [Io::Parallel, Io::Stream] {
        let found = simulate(&p, &lay_out(&p, io), dir.path(), &inputs, input.len()).unwrap();
        assert_eq!(found, wanted, "{io:?}");
    }
}

#[test]
fn a_legacy_softmax_beyond_the_limits_is_refused_with_advice() {
    let wide = |n: usize| {
        let p =
            text::parse(&text::print(&program("softmaxes")).replace("[2, 3]", &format!("[2, {n}]"))).unwrap();
        p.verify().unwrap();
        emit(&p, &lay_out(&p, Io::Parallel), "net", &Target::default())
    };
    wide(64).unwrap();
    let errors: Vec<String> = wide(65).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("'legacy'") && errors[0].contains("4225 exponentials"), "{errors:?}");
}

/// Bytes of loaded one-byte weights: a word a cycle, each padded to whole beats.
fn loaded_bytes(weights: usize, reuse: usize) -> usize {
    reuse * (weights / reuse).next_multiple_of(64)
}

#[test]
fn large_weights_are_loaded() {
    if !can_simulate() {
        return;
    }
    let p = dense(&[300, 300, 10]);
    let schedule = lay_out(&p, Io::Stream);
    let files = emit_project(&p, &schedule, "net");
    let loaded = files.iter().find(|f| f.path == "weights/kernel.bin").unwrap();
    assert_eq!(loaded.bytes.len(), loaded_bytes(300 * 300, schedule.layers[1].reuse));
    for io in [Io::Parallel, Io::Stream] {
        let dir = tempfile::tempdir().unwrap();
        let input = random_inputs(&p, 7, 3);
        let inputs = columns(&input, 1);
        let found = simulate(&p, &lay_out(&p, io), dir.path(), &inputs, 3).unwrap();
        assert_eq!(found, expected(&p, &input), "{io:?}");
    }
}

#[test]
fn five_million_parameters_are_no_constants() {
    let p = dense(&[1000, 2000, 1500, 10]);
    let schedule = lay_out(&p, Io::Stream);
    let files = emit_project(&p, &schedule, "net");
    let text: usize = files.iter().filter(|f| !f.path.ends_with(".bin")).map(|f| f.bytes.len()).sum();
    let binary: usize = files.iter().filter(|f| f.path.starts_with("weights/")).map(|f| f.bytes.len()).sum();
    let large = |node: usize, weights: usize| loaded_bytes(weights, schedule.layers[node].reuse);
    assert_eq!(binary, large(1, 1000 * 2000) + large(2, 2000 * 1500));
    assert!(text < 400_000, "{text} bytes of text");
}

#[test]
fn a_compiled_bench_is_used_again_until_a_file_changes() {
    if !can_simulate() {
        return;
    }
    let p = program("mlp");
    let dir = tempfile::tempdir().unwrap();
    let compilations = std::cell::Cell::new(0);
    let count = |progress: Progress| {
        if progress == Progress::Compiling {
            compilations.set(compilations.get() + 1);
        }
    };
    let options = CsimOptions { progress: Some(&count), ..QUICK };
    let rows = random_inputs(&p, 1, 2);
    let inputs = columns(&rows, 1);
    for (io, expected_compilations) in [(Io::Parallel, 1), (Io::Parallel, 1), (Io::Stream, 2)] {
        write(&emit_project(&p, &lay_out(&p, io), "net"), dir.path()).unwrap();
        build_and_run(dir.path(), &inputs, 2, &options).unwrap();
        assert_eq!(compilations.get(), expected_compilations);
    }
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let options = CsimOptions { ap_types: Some(&none), ..CsimOptions::default() };
    assert!(matches!(build_and_run(&none, &[], 0, &options), Err(CsimError::NoProject { .. })));
    assert!(matches!(build_and_run(dir.path(), &[], 0, &options), Err(CsimError::NoProject { .. })));
    let p = program("mlp");
    write(&emit_project(&p, &lay_out(&p, Io::Parallel), "net"), dir.path()).unwrap();
    let error = build_and_run(dir.path(), &[], 0, &options).unwrap_err();
    assert!(error.to_string().contains("scripts/fetch-ap-types"), "{error}");
}

#[test]
fn inputs_of_the_wrong_size_are_refused() {
    if !can_simulate() {
        return;
    }
    let p = program("mlp");
    let dir = tempfile::tempdir().unwrap();
    let s = lay_out(&p, Io::Parallel);
    assert!(matches!(simulate(&p, &s, dir.path(), &[], 1), Err(CsimError::Inputs(_))));
    assert!(matches!(simulate(&p, &s, dir.path(), &[vec![0; 7]], 2), Err(CsimError::Inputs(_))));
    assert!(matches!(simulate(&p, &s, dir.path(), &[vec![0; 6]], 2), Err(CsimError::Inputs(_))));
}

#[test]
fn a_layer_beyond_the_limits_is_refused_with_advice() {
    let p = dense(&[100, 100]);
    let ask = |strategy, reuse| {
        let own = LayerOptions { strategy, reuse };
        let layers = [("fc0".to_owned(), own)].into();
        schedule(&p, &ScheduleOptions { layers, ..ScheduleOptions::default() })
    };
    let refused = ask(Some(Strategy::Latency), None).unwrap_err();
    assert!(refused[0].to_string().contains("reuse 4 or more"), "{}", refused[0]);
    assert!(ask(Some(Strategy::Latency), Some(4)).is_err());
    let (snapped, notes) = ask(None, Some(7)).unwrap();
    assert_eq!(snapped.layers[1].reuse, 5);
    assert_eq!(notes[0].message, "reuse 7 is not legal for 100 terms × 100 outputs: 5 is used");
    let unknown = ScheduleOptions {
        layers: [("fc9".to_owned(), LayerOptions::default())].into(),
        ..Default::default()
    };
    assert!(schedule(&p, &unknown).unwrap_err()[0].to_string().contains("the layers are fc0"));
}

#[test]
fn types_that_the_headers_compute_otherwise_are_refused() {
    let mut p = dense(&[2, 2]);
    let modes = [
        Type::new(Format::new(false, 8, 3).unwrap(), Rounding::Rnd, Overflow::WrapSm { n: 0 }),
        // Found by a random Program: they give -1 where the range is 0..=0.
        Type::new(Format::new(true, 1, 9).unwrap(), Rounding::RndConv, Overflow::SatSym),
    ];
    for ty in modes {
        p.nodes[1].ty = ty;
        p.nodes[2].ty = ty;
        let errors = p.verify().unwrap_err();
        assert!(
            errors[0].to_string().contains("node 'fc0'") && errors[0].message.contains("HLS has no"),
            "{}",
            errors[0]
        );
    }
}
