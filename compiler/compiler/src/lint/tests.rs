//! Each rule catches text that is broken on purpose.

use hs_fixed::{Format, Type};
use hs_hw::{Accum, Act, BinaryOp, Codes, Dot, Io, Node, Op, Program, ValueId, Window};

use super::lint;
use crate::hls::{EmittedFile, emit};
use crate::platform::Target;
use crate::schedule::{ScheduleOptions, schedule};

fn ty(width: u32, int: i32) -> Type {
    Type::rnd_sat(true, width, int).unwrap()
}

/// A convolution, a bypass around it, their sum.
fn program() -> Program {
    let node = |name: &str, op, inputs: &[u32], ty| Node {
        name: name.to_owned(),
        op,
        inputs: inputs.iter().map(|i| ValueId(*i)).collect(),
        shape: vec![4, 4, 2],
        ty,
    };
    let window = Window { kernel: 3, stride: 1, dilation: 1, pad_begin: 1, pad_end: 1 };
    let dot = Dot {
        window: vec![window; 2],
        groups: 1,
        weight: Codes::new(
            Format::new(true, 4, 2).unwrap(),
            (0..36).map(|i| i % 7 - 3).collect::<Vec<i64>>(),
        ),
        bias: None,
        accum: Accum::Exact(Format::new(true, 20, 10).unwrap()),
        act: Act::RELU,
    };
    let io = |index, tensor: &str| (index, tensor.to_owned(), vec![4, 4, 2], vec![0, 1, 2]);
    let (index, tensor, onnx_shape, perm) = io(0, "x");
    let input = Op::Input { index, tensor, onnx_shape, perm };
    let (index, tensor, onnx_shape, perm) = io(0, "y");
    let output = Op::Output { index, tensor, onnx_shape, perm };
    let add = Op::Binary { op: BinaryOp::Add, act: Act::None };
    Program {
        name: "bypass".to_owned(),
        nodes: vec![
            node("x", input, &[], ty(8, 4)),
            node("conv", Op::Dot(dot), &[0], ty(8, 4)),
            node("add", add, &[1, 0], ty(8, 4)),
            node("y", output, &[2], ty(8, 4)),
        ],
    }
}

fn project(io: Io) -> Vec<EmittedFile> {
    project_of(&program(), io)
}

fn project_of(program: &Program, io: Io) -> Vec<EmittedFile> {
    let (schedule, _) =
        schedule(program, &ScheduleOptions { io: Some(io), ..ScheduleOptions::default() }).unwrap();
    emit(program, &schedule, "net", &Target::default()).unwrap().files
}

/// Rules that the project breaks after `from` is replaced by `to` in `path`.
fn broken(io: Io, path: &str, from: &str, to: &str) -> Vec<&'static str> {
    broken_in(project(io), path, from, to)
}

fn broken_in(mut files: Vec<EmittedFile>, path: &str, from: &str, to: &str) -> Vec<&'static str> {
    let file = files.iter_mut().find(|f| f.path == path).expect(path);
    let text = String::from_utf8(file.bytes.clone()).unwrap();
    assert!(text.contains(from), "{path} does not hold {from:?}:\n{text}");
    file.bytes = text.replacen(from, to, 1).into_bytes();
    let mut rules: Vec<&'static str> = lint(&files).into_iter().map(|f| f.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn emitted_projects_are_clean() {
    for io in [Io::Parallel, Io::Stream] {
        assert_eq!(lint(&project(io)), []);
    }
}

#[test]
fn the_language_rules_catch_mutations() {
    let kernel = "firmware/hypersonic/types.h";
    let cases = [
        ("T value = 0;", "T value = 0; float f;", "no-float"),
        ("T value = 0;", "T value = 0; double f;", "no-float"),
        ("T value = 0;", "T value = std::move(0);", "no-std"),
        ("T value = 0;", "T value = 0; int *p = new int;", "no-dynamic-memory"),
        ("T value = 0;", "T value = 0; malloc(4);", "no-dynamic-memory"),
        ("T value = 0;", "volatile T value = 0;", "no-volatile"),
        ("T value = 0;", "goto end; T value = 0;", "no-goto"),
        ("T value = 0;", "asm(); T value = 0;", "no-asm"),
        ("T value = 0;", "T value = from_code<T>(0);", "no-recursion"),
        ("T value = 0;", "T __value = 0;", "reserved-name"),
        ("T value = 0;", "ap_fixed<8, 4> value = 0;", "explicit-modes"),
        ("#include \"ap_int.h\"", "#include <cmath>", "no-system-header"),
        ("#pragma HLS INLINE", "#pragma HLS STABLE variable=x", "pragma-whitelist"),
        ("#pragma HLS INLINE", "#pragma HLS RESOURCE variable=x core=RAM", "pragma-whitelist"),
        ("#pragma HLS INLINE", "#pragma HLS PIPELINE II=1 enable_flush", "pragma-whitelist"),
        ("#pragma HLS INLINE", "#pragma HLS PIPELINE II=1 style=frp", "pragma-whitelist"),
        ("#pragma HLS INLINE", "#pragma GCC optimize", "pragma-whitelist"),
    ];
    for (from, to, rule) in cases {
        assert_eq!(broken(Io::Stream, kernel, from, to), [rule], "{to}");
    }
}

#[test]
fn words_in_comments_and_strings_are_no_findings() {
    let rules = broken(
        Io::Stream,
        "firmware/hypersonic/types.h",
        "T value = 0;",
        "T value = 0; // float, new\n/* std:: */",
    );
    assert_eq!(rules, Vec::<&str>::new());
}

#[test]
fn the_limits_catch_mutations() {
    let lanes = "lanes = 2;\n    static const unsigned depth = 18;";
    let cases = [
        (lanes, "lanes = 2000;\n    static const unsigned depth = 1;", "partition-limit"),
        (lanes, "lanes = 2;\n    static const unsigned depth = 1025;", "partition-limit"),
        (lanes, "lanes = 5;\n    static const unsigned depth = 1024;", "unroll-limit"),
        ("x_banks = 18;", "x_banks = 1025;", "partition-limit"),
        ("n_lines = 2;", "n_lines = 600;", "partition-limit"),
    ];
    for (from, to, rule) in cases {
        assert_eq!(broken(Io::Stream, "firmware/parameters.h", from, to), [rule], "{to}");
    }
    let big = "static const wt_conv w_conv[70000]";
    assert_eq!(
        broken(Io::Stream, "firmware/weights/w_conv.h", "static const wt_conv w_conv[36]", big),
        ["constant-size"]
    );
    let many: String = (0..5).map(|i| format!("static const int a{i}[60000];\n")).collect();
    assert_eq!(
        broken(Io::Stream, "firmware/weights/w_conv.h", "#endif\n", &format!("#endif\n{many}")),
        ["constant-size"]
    );
    let cpp = "firmware/net_kernel.cpp";
    let factor = "#pragma HLS ARRAY_PARTITION variable=x_x type=cyclic factor=32";
    assert_eq!(broken(Io::Parallel, cpp, factor, &factor.replace("32", "2048")), ["partition-limit"]);
}

#[test]
fn a_legacy_softmax_unrolls_every_pair() {
    let program = hs_hw::text::parse(include_str!("../../tests/programs/softmaxes.hw")).unwrap();
    let kind = |kind: &str| {
        format!("channels = 3;\n    static const hypersonic::softmax_kind kind = hypersonic::softmax_{kind};")
    };
    let found = |kind: &str, n: &str| {
        let files = project_of(&program, Io::Parallel);
        assert_eq!(lint(&files), []);
        broken_in(files, "firmware/parameters.h", kind, &kind.replacen("= 3", n, 1))
    };
    assert_eq!(found(&kind("legacy"), "= 64"), Vec::<&str>::new());
    assert_eq!(found(&kind("legacy"), "= 65"), ["unroll-limit"]);
    assert_eq!(found(&kind("argmax"), "= 65"), Vec::<&str>::new());
}

#[test]
fn the_network_rules_catch_mutations() {
    let cpp = "firmware/net_kernel.cpp";
    let files = project(Io::Stream);
    let text = String::from_utf8(files.iter().find(|f| f.path == cpp).unwrap().bytes.clone()).unwrap();
    let stream =
        text.lines().find(|l| l.contains("c0_x(\"c0_x\")") || l.contains("c_conv(\"c_conv\")")).unwrap();
    let task = text.lines().find(|l| l.contains("zip_stream")).unwrap();
    let run = "    HS_RUN();";
    let cases = [
        (run.to_owned(), format!("    if (rows) {{ }}\n{run}"), "dataflow-body"),
        (run.to_owned(), format!("    int k = 1;\n{run}"), "dataflow-body"),
        (run.to_owned(), format!("    for (;;) {{ }}\n{run}"), "dataflow-body"),
        (run.to_owned(), format!("    return;\n{run}"), "dataflow-body"),
        (task.to_owned(), format!("{task}\n{task}"), "one-writer-one-reader"),
        (task.to_owned(), task.replace(", rows)", ", 1)"), "rows-inside"),
        (stream.to_owned(), stream.replace(", 2>", ">"), "fifo-depth"),
        (
            "#pragma HLS STREAM variable=c_conv".to_owned(),
            "#pragma HLS STREAM variable=c_other".to_owned(),
            "fifo-depth",
        ),
    ];
    for (from, to, rule) in cases {
        let rules = broken(Io::Stream, cpp, &from, &to);
        assert!(rules.contains(&rule), "{to}: {rules:?}");
    }
    let kernel = "firmware/hypersonic/map.h";
    assert_eq!(
        broken(Io::Stream, kernel, "for (unsigned r = 0; r < rows; r++)", "if (rows)"),
        ["rows-inside"]
    );
}

/// A layer whose weights are read from memory.
fn loaded() -> Vec<EmittedFile> {
    let node = |name: &str, op, inputs: &[u32], n: usize| Node {
        name: name.to_owned(),
        op,
        inputs: inputs.iter().map(|i| ValueId(*i)).collect(),
        shape: vec![n],
        ty: ty(8, 4),
    };
    let dot = Dot {
        window: vec![],
        groups: 1,
        weight: Codes::new(Format::new(true, 2, 1).unwrap(), vec![1i64; 300 * 300]),
        bias: None,
        accum: Accum::Exact(Format::new(true, 30, 16).unwrap()),
        act: Act::None,
    };
    let (onnx_shape, perm) = (vec![300], vec![0]);
    let input =
        Op::Input { index: 0, tensor: "x".into(), onnx_shape: onnx_shape.clone(), perm: perm.clone() };
    let output = Op::Output { index: 0, tensor: "y".into(), onnx_shape, perm };
    let nodes =
        vec![node("x", input, &[], 300), node("fc", Op::Dot(dot), &[0], 300), node("y", output, &[1], 300)];
    project_of(&Program { name: "loaded".to_owned(), nodes }, Io::Stream)
}

#[test]
fn the_kernel_rules_catch_mutations() {
    let cpp = "firmware/net_kernel.cpp";
    let port = "m_axi port=x_x bundle=gmem_x_x";
    let cases = [
        ("extern \"C\" void net_kernel", "void net_kernel", "extern-c"),
        ("const ap_uint<512> *x_x", "const ap_uint<64> *x_x", "wide-pointer"),
        (port, "m_axi port=x_z bundle=gmem_x_x", "memory-port"),
        ("offset=slave", "offset=direct", "memory-port"),
        ("bundle=gmem_y_y", "bundle=gmem_x_x", "own-bundle"),
        ("offset=slave depth=", "offset=slave depth=rows", "memory-depth"),
        ("max_read_burst_length=64", "max_read_burst_length=256", "burst-length"),
        ("num_read_outstanding=16", "num_read_outstanding=0", "outstanding"),
        ("s_axilite port=rows bundle=control", "s_axilite port=rows bundle=other", "control-port"),
        ("s_axilite port=return bundle=control", "s_axilite port=x_x bundle=control", "control-port"),
        ("ap_ctrl_chain port=return", "ap_ctrl_chain port=rows", "block-control"),
        ("store_rows<cfg_trailer_net, 32>", "store_rows<cfg_other, 32>", "trailer"),
        ("(my_y, y_y, rows)", "(my_y, y_z, rows)", "trailer"),
        ("cut_rows<2, 16, 0, 2, 2>", "cut_rows<2, 16, 0, 4, 2>", "gearbox"),
        ("cut_rows<2, 16, 0, 2, 2>", "cut_rows<2, 15, 0, 2, 2>", "gearbox"),
        ("cut_rows<2, 16, 0, 2, 2>", "cut_rows<34, 1, 2, 2, 34>", "gearbox"),
        ("cut_rows<2, 16, 0, 2, 2>", "cut_rows<2, N, 0, 2, 2>", "gearbox"),
        (
            "hypersonic::load_rows<32>(x_x, mx_x, rows)",
            "hypersonic::load_rows<32>(x_x, mx_x, 7)",
            "rows-inside",
        ),
    ];
    for (from, to, rule) in cases {
        let rules = broken(Io::Stream, cpp, from, to);
        assert!(rules.contains(&rule), "{to}: {rules:?}");
    }
    let rows = "firmware/hypersonic/rows.h";
    let cases = [
        ("for (unsigned long long i = 0; i < beats; i++)", "if (beats)", "rows-inside"),
        (
            "    ap_uint<8 * WORD> word = low.range(8 * WORD - 1, 0);",
            "    ap_uint<8 * WORD> word = low >> at;",
            "constant-slices",
        ),
        (
            "    ap_uint<8 * WORD> word = low.range(8 * WORD - 1, 0);",
            "    ap_uint<8 * WORD> word = low << (8 * at);",
            "constant-slices",
        ),
    ];
    for (from, to, rule) in cases {
        assert_eq!(broken(Io::Stream, rows, from, to), [rule], "{to}");
    }
    assert_eq!(lint(&loaded()), []);
    let array = "    HS_ON_CHIP wt_fc w_fc[90000];";
    let rules = broken_in(loaded(), cpp, array, "    static wt_fc w_fc[90000] = {0};");
    assert_eq!(rules, ["empty-storage"]);
}

#[test]
fn the_project_rules_catch_mutations() {
    let (config, make) = ("hls_config.cfg", "Makefile");
    let cases = [
        // Scripts run under both launchers.
        ("project.tcl", "set_top", "puts $argv\nset_top", "options-in-a-file"),
        ("project.tcl", "options.tcl]", "settings.tcl]", "options-in-a-file"),
        ("csynth.tcl", "project.tcl]", "options.tcl]", "options-in-a-file"),
        ("cosim.tcl", "exit\n", "", "launcher"),
        (make, "vitis_hls -f", "vivado_hls -f", "launcher"),
        (make, "vitis-run --mode hls --tcl", "vitis-run", "launcher"),
        // Options are given, and where the tool reads them.
        (config, "[hls]", "[hls]\npart=x", "part-outside-section"),
        (config, "[hls]", "[hls]\nplatform=x", "part-outside-section"),
        (config, "\npart=", "\nprat=", "explicit-options"),
        (config, "flow_target=vitis", "flow_target=vivado", "explicit-options"),
        (config, "clock_uncertainty=", "uncertainty=", "explicit-options"),
        (config, "package.output.format=xo", "package.output.format=ip_catalog", "explicit-options"),
        (config, "package.output.format", "output.format", "explicit-options"),
        (config, "syn.top=", "top=", "explicit-options"),
        (config, "syn.file=firmware/", "syn.file=", "named-files"),
        (config, "tb.file=tb/", "tb.file=", "named-files"),
        ("options.tcl", "set part", "set device", "explicit-options"),
        ("options.tcl", "set clock_uncertainty", "set uncertainty", "explicit-options"),
        ("project.tcl", "set_top $kernel", "set_top $part", "explicit-options"),
        ("project.tcl", "-flow_target vitis", "-flow_target vivado", "explicit-options"),
        ("project.tcl", "set_clock_uncertainty", "# set_clock_uncertainty", "explicit-options"),
        ("xo.tcl", "-format xo", "-format ip_catalog", "explicit-options"),
        // One clock for all.
        ("options.tcl", "clock_period 4", "clock_period 3.333", "one-clock"),
        ("link.cfg", "kernel_frequency=250", "kernel_frequency=300", "one-clock"),
        ("link.cfg", "kernel_frequency", "frequency", "one-clock"),
        ("compile.cfg", "clock=250", "clock=200", "one-clock"),
        (config, "clock=250MHz", "clock=250", "one-clock"),
        // Software emulation is of the past.
        (make, "-le 20242", "-le 20251", "sw-emu-until-2024.2"),
        (make, "hw: $(OUT).hw.xclbin\n", "hw: x\n\tv++ --link -t sw_emu\n", "sw-emu-until-2024.2"),
        ("link.cfg", "kernel_", "target=sw_emu\nkernel_", "sw-emu-until-2024.2"),
        ("README.md", "# HLS", "# @TOP@", "template"),
        ("firmware/net_kernel.cpp", "#include", "// @CLOCK_MHZ@\n#include", "template"),
    ];
    for (path, from, to, rule) in cases {
        assert_eq!(broken(Io::Stream, path, from, to), [rule], "{to}");
    }
}
