//! Lowered Programs, run by the reference interpreter, against recorded results and against the float reference.

use std::fs;

use hs_compiler::lower::{Arithmetic, LayerOptions, LowerOptions, Lowered, Observed, ObservedRanges, lower};
use hs_compiler::onnx::{self, builder::ModelBuilder};
use hs_compiler::passes::{NormalGraph, PassOptions, normalise, normalise_with};
use hs_compiler::reference::eval_all;
use hs_hw::{Io, Op, Program, Strategy, interp};
use hs_ir::{Tensor, ValueId};

use crate::support::{build, fixture, import, normal, npy_rows};

/// Elements of an ONNX tensor of `shape`, in the order of a hardware tensor whose axis i is ONNX axis `perm[i]`.
fn order(shape: &[usize], perm: &[usize]) -> Vec<usize> {
    let steps: Vec<usize> = (0..shape.len()).map(|a| shape[a + 1..].iter().product()).collect();
    perm.iter().fold(vec![0], |places, axis| {
        let (len, step) = (shape[*axis], steps[*axis]);
        places.iter().flat_map(|p| (0..len).map(move |i| p + i * step)).collect()
    })
}

/// The outputs of `program` for float `inputs`, in ONNX's order of elements.
pub(crate) fn run(program: &Program, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let mut codes = Vec::new();
    for (id, tensor) in program.inputs().into_iter().zip(inputs) {
        let node = program.node(id);
        let Op::Input { onnx_shape, perm, .. } = &node.op else { panic!("{} is no input", node.name) };
        let values = tensor.to_f64();
        codes.push(order(onnx_shape, perm).iter().map(|i| node.ty.quantize(values[*i]).unwrap()).collect());
    }
    let results = interp::run(program, &codes);
    let outputs = program.outputs().into_iter().zip(results).map(|(id, codes)| {
        let node = program.node(id);
        let Op::Output { onnx_shape, perm, .. } = &node.op else { panic!("{} is no output", node.name) };
        let places = order(onnx_shape, perm);
        assert_eq!(places.len(), codes.len(), "{}", node.name);
        let mut values = vec![f64::NAN; codes.len()];
        for (place, code) in places.into_iter().zip(codes) {
            values[place] = node.format().value(code);
        }
        values
    });
    outputs.collect()
}

/// What one run makes of every tensor.
pub(crate) fn ranges(graph: &NormalGraph, inputs: &[Tensor]) -> ObservedRanges {
    let graph = graph.graph();
    let run = eval_all(graph, inputs).unwrap();
    let values = graph.values.iter().enumerate();
    let range = |(i, value): (usize, &hs_ir::Value)| {
        let mut seen = Observed::default();
        seen.extend(run.get(ValueId::new(i))?.to_f64());
        Some((value.name.clone(), seen))
    };
    values.filter_map(range).collect()
}

/// What all of `rows` make of every tensor.
pub(crate) fn ranges_of(graph: &NormalGraph, rows: &[[Tensor; 1]]) -> ObservedRanges {
    let mut all = ObservedRanges::new();
    for row in rows {
        for (name, seen) in ranges(graph, row) {
            all.entry(name).or_default().merge(&seen);
        }
    }
    all
}

/// Lowers with `width` bits everywhere, integer bits fitted to one run.
pub(crate) fn calibrated(graph: &NormalGraph, inputs: &[Tensor], width: u32) -> Result<Lowered, String> {
    let precision = Some(format!("fixed<{width},8>").parse().unwrap());
    let options = LowerOptions { precision, ranges: Some(ranges(graph, inputs)), ..LowerOptions::default() };
    lower(graph, &options).map_err(|e| e.to_string())
}

/// Cases of `tests/fixtures/ops` that do not lower, and what is said about them.
const REFUSED: &[(&str, &str)] = &[(
    "average_pool_counted_ceil",
    "count_include_pad over windows that ceil_mode lets reach beyond the padding",
)];

#[test]
fn every_case_agrees_when_lowered() {
    let mut cases: Vec<_> = fs::read_dir(fixture("ops")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    cases.sort();
    let (mut failures, mut refused) = (Vec::new(), 0);
    for path in cases {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (imported, _) = onnx::import(&path).unwrap();
        let recorded = |name: &str| imported.constant(imported.find(name).unwrap()).unwrap().as_ref().clone();
        let (x, y) = (recorded("test/x"), recorded("test/y"));
        let graph = normalise(imported).unwrap();
        let expected = REFUSED.iter().find(|(case, _)| *case == name);
        let program = match (calibrated(&graph, std::slice::from_ref(&x), 24), expected) {
            (Ok(lowered), None) => lowered.program,
            (Err(error), Some((_, says))) if error.contains(says) => {
                refused += 1;
                continue;
            }
            (Ok(_), Some(_)) => {
                failures.push(format!("{name}: lowers, but stands on the list of refusals"));
                continue;
            }
            (Err(error), _) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found = run(&program, &[x]);
        let y = y.to_f64();
        if found[0].len() != y.len() {
            failures.push(format!("{name}: {} elements instead of {}", found[0].len(), y.len()));
            continue;
        }
        let worst = found[0].iter().zip(&y).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
        // 24 bits, of which at least 17 are fraction bits for these values; a few roundings in a row.
        if worst.is_nan() || worst > 3e-5 {
            failures.push(format!("{name}: off by {worst:e}"));
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(refused, REFUSED.len());
}

#[test]
fn inputs_of_integers_have_integer_types() {
    const INT64: i32 = 7;
    let mut m = ModelBuilder::new(17);
    let table: Vec<f32> = (0..600u16).map(|i| f32::from(i) / 32.0).collect();
    m.input("id", &[-1, 3]).input("n", &[-1, 3]).floats("table", &[300, 2], &table);
    for input in &mut m.graph().input {
        let Some(t) = input.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) else { panic!("no tensor") };
        t.elem_type = INT64;
    }
    m.node("Gather", &["table", "id"], &["row"]);
    m.node("Cast", &["n"], &["real"]).int("to", 1);
    m.output("row", &[-1, 3, 2]).output("real", &[-1, 3]);
    let graph = normal(&m);
    let options = LowerOptions { precision: Some("fixed<16,6>".parse().unwrap()), ..LowerOptions::default() };
    let program = lower(&graph, &options).unwrap().program;
    let ty = |i: usize| program.node(program.inputs()[i]).ty.to_string();
    assert_eq!(
        (ty(0), ty(1)),
        ("ufixed<9,9,RND_CONV,SAT>".to_owned(), "fixed<32,32,RND_CONV,SAT>".to_owned())
    );
    let inputs =
        [[0.0, 299.0, 7.0], [1.0, 2.0, -30.0]].map(|v| Tensor::from_f32(vec![1, 3], v.to_vec()).unwrap());
    let found = run(&program, &inputs);
    let wanted = eval_all(graph.graph(), &inputs).unwrap();
    for (found, id) in found.iter().zip(&graph.graph().outputs) {
        assert_eq!(*found, wanted.get(*id).unwrap().to_f64());
    }
}

#[test]
fn bends_are_kept_over_wide_ranges() {
    let xs = [-30000.0, -700.5, -3.0, -1.0, -0.25, 0.0, 0.125, 0.75, 2.5, 9.0, 700.5, 30000.0];
    let precision = Some("fixed<32,16>".parse().unwrap());
    let options = LowerOptions { precision, ..LowerOptions::default() };
    for op in ["Elu", "Selu", "Celu", "Softplus", "Softsign"] {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[-1, 12]);
        m.node(op, &["x"], &["y"]);
        m.output("y", &[-1, 12]);
        let graph = normal(&m);
        let x = [Tensor::from_f32(vec![1, 12], xs.to_vec()).unwrap()];
        let wanted = eval_all(graph.graph(), &x).unwrap();
        let wanted = wanted.get(graph.graph().outputs[0]).unwrap().to_f64();
        let program = lower(&graph, &options).unwrap().program;
        for (found, wanted) in run(&program, &x)[0].iter().zip(&wanted) {
            // Saturated where SELU's slope leaves the type.
            let wanted = wanted.clamp(-32768.0, 32768.0 - 2f64.powi(-16));
            assert!((found - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{op}: {found} for {wanted}");
        }
    }
}

/// Cases under hls4ml's arithmetic at its default precision, and how far they may be off: a table has 64 entries a unit,
/// 8 fraction bits hold a slope, 2 the shift of a HardSigmoid; each product loses up to 1/1024.
const HLS4ML: &[(&str, f64)] = &[
    ("relu", 1e-3),
    ("clip_both", 1e-3),
    ("leaky_relu", 1e-3),
    ("prelu_channels", 4e-3),
    ("prelu_elements", 4e-3),
    ("prelu_single", 8e-3),
    ("conv_prelu", 4e-2),
    ("elu_alpha", 0.02),
    ("selu", 0.03),
    ("softplus", 0.02),
    ("softsign", 0.02),
    ("sigmoid", 0.01),
    ("tanh", 0.02),
    ("hard_sigmoid", 2e-3),
    ("hard_sigmoid_steep", 0.2),
    ("thresholdedrelu_alpha", 1e-3),
    ("max_two", 0.02),
    ("min_two", 0.02),
    ("sum_three", 0.02),
    ("mean_two", 0.02),
    ("reduce_mean_space", 4e-3),
    ("global_average_pool", 4e-3),
    ("batch_norm_image", 0.02),
    ("matmul_mul_add", 0.03),
];

/// Cases that hls4ml's arithmetic refuses.
const HLS4ML_REFUSED: &[(&str, &str)] = &[
    ("hard_swish", "unknown to hls4ml"),
    ("selu_alpha", "which hls4ml ignores"),
    ("mean_three", "hls4ml averages two tensors"),
];

fn hls4ml(case: &str) -> (Result<Program, String>, Tensor, Tensor) {
    let imported = import(&format!("ops/{case}.onnx"));
    let recorded = |name: &str| imported.constant(imported.find(name).unwrap()).unwrap().as_ref().clone();
    let (x, y) = (recorded("test/x"), recorded("test/y"));
    let arithmetic = Arithmetic::Hls4ml;
    let graph = normalise_with(imported, &PassOptions { arithmetic, ..PassOptions::default() }).unwrap();
    let lowered = lower(&graph, &LowerOptions { arithmetic, ..LowerOptions::default() });
    (lowered.map(|l| l.program).map_err(|e| e.to_string()), x, y)
}

#[test]
fn hls4ml_arithmetic_is_near_the_float_result() {
    let mut failures = Vec::new();
    for (case, tolerance) in HLS4ML {
        let (program, x, y) = hls4ml(case);
        let found = run(&program.unwrap(), &[x]);
        let worst = found[0].iter().zip(y.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if worst.is_nan() || worst > *tolerance {
            failures.push(format!("{case}: off by {worst}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for (case, says) in HLS4ML_REFUSED {
        let error = hls4ml(case).0.unwrap_err();
        assert!(error.contains(says) && error.contains("help"), "{case}: {error}");
    }
}

#[test]
fn hls4ml_has_a_default_alpha_of_its_own() {
    for op in ["Elu", "ThresholdedRelu"] {
        let lowered = |alpha: Option<f32>| {
            let mut m = ModelBuilder::new(17);
            m.input("x", &[-1, 3]);
            let node = m.node(op, &["x"], &["y"]).name("act");
            if let Some(alpha) = alpha {
                node.float("alpha", alpha);
            }
            m.output("y", &[-1, 3]);
            let arithmetic = Arithmetic::Hls4ml;
            let precision = Some("fixed<16,6,TRN,WRAP>".parse().unwrap());
            let options = LowerOptions { arithmetic, precision, ..LowerOptions::default() };
            let lowered = lower(&normal(&m), &options).unwrap();
            (lowered.program, lowered.warnings.iter().map(ToString::to_string).collect::<String>())
        };
        let ((none, warned), (stated, silent)) = (lowered(None), lowered(Some(0.01)));
        assert_eq!(none.fingerprint(), stated.fingerprint());
        assert_ne!(none.fingerprint(), lowered(Some(1.0)).0.fingerprint());
        assert!(warned.contains(&format!("'act' ({op}): hls4ml takes 0.01")), "{warned}");
        assert!(!silent.contains("0.01"), "{silent}");
    }
}

#[test]
fn orders_and_types_that_are_not_hls4mls_are_refused() {
    let refused = |m: &ModelBuilder, node: &str, layer: LayerOptions, io: Io, part: &str| {
        let options = LowerOptions {
            arithmetic: Arithmetic::Hls4ml,
            io: Some(io),
            nodes: [(node.to_owned(), layer)].into(),
            ..LowerOptions::default()
        };
        let passes = PassOptions { arithmetic: Arithmetic::Hls4ml, ..PassOptions::default() };
        let error = lower(&normalise_with(build(m), &passes).unwrap(), &options).err().map(|e| e.to_string());
        match (error, part) {
            (None, "") => {}
            (Some(e), part) if !part.is_empty() && e.contains(part) && e.contains("help") => {}
            (found, _) => panic!("'{part}', but {found:?}"),
        }
    };
    let resource = |rf, accum: &str| LayerOptions {
        strategy: Some(Strategy::Resource),
        reuse: Some(rf),
        accum: Some(accum.parse().unwrap()),
        ..LayerOptions::default()
    };
    let conv = |group: i64| {
        let mut m = ModelBuilder::new(17);
        let each = 4 / group;
        m.input("x", &[-1, 4, 3]).floats("w", &[4, each, 2], &vec![0.75; 8 * each as usize]);
        m.node("Conv", &["x", "w"], &["y"]).name("conv").int("group", group);
        m.output("y", &[-1, 4, 2]);
        m
    };
    let (narrow, wrapping) = ("fixed<10,4,RND,SAT>", "fixed<10,4,TRN,WRAP>");
    let beyond = "more than the 8 products";
    refused(&conv(1), "conv", resource(16, narrow), Io::Parallel, beyond);
    refused(&conv(1), "conv", resource(16, narrow), Io::Stream, "");
    refused(&conv(1), "conv", resource(8, narrow), Io::Parallel, "");
    let order = "streamed depthwise convolution adds with reuse factor 2";
    refused(&conv(4), "conv", resource(2, narrow), Io::Stream, order);
    refused(&conv(4), "conv", resource(2, wrapping), Io::Stream, "");
    refused(&conv(4), "conv", resource(2, "fixed<40,20,RND,SAT>"), Io::Stream, "");
    refused(&conv(4), "conv", resource(1, narrow), Io::Stream, "");

    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4, 3]);
    m.node("Softmax", &["x"], &["y"]).name("softmax").int("axis", 2);
    m.output("y", &[-1, 4, 3]);
    let typed =
        LayerOptions { result: Some("fixed<12,4,RND,SAT>".parse().unwrap()), ..LayerOptions::default() };
    refused(
        &m,
        "softmax",
        typed.clone(),
        Io::Parallel,
        "takes the softmax of all 12 elements of [4, 3] together",
    );
    refused(&m, "softmax", typed.clone(), Io::Stream, "");

    // A quantiser and another read a result without a type of its own.
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("s", &[], &[0.25]).floats("z", &[], &[0.0]).floats("b", &[], &[5.0]);
    m.node("Tanh", &["x"], &["h"]).name("act");
    m.node("Quant", &["h", "s", "z", "b"], &["q"])
        .domain("qonnx.custom_op.general")
        .name("quant")
        .int("signed", 1);
    m.node("Relu", &["h"], &["r"]).name("relu");
    m.output("q", &[-1, 2]).output("r", &[-1, 2]);
    refused(&m, "none", LayerOptions::default(), Io::Parallel, "the type of the quantiser 'quant'");
    refused(&m, "act", typed, Io::Parallel, "");
}

/// Exporters' models, with the bits of the types and the error that they leave.
const EXPORTS: &[(&str, u32, f64)] = &[
    ("torch_legacy-digits_mlp", 24, 1e-3),
    ("torch_legacy-digits_cnn", 24, 1e-3),
    ("torch_dynamo-digits_resdw", 24, 1e-3),
    ("keras3_export-digits_cnn", 24, 1e-3),
    ("tf2onnx-digits_conv1d", 24, 1e-3),
];

#[test]
fn exported_models_agree_when_lowered() {
    for (name, width, tolerance) in EXPORTS {
        let graph = normalise(import(&format!("exports/{name}.onnx"))).unwrap();
        let (xs, ys) =
            (npy_rows(&format!("exports/{name}.x.npy")), npy_rows(&format!("exports/{name}.y.npy")));
        for (x, y) in xs.into_iter().zip(ys).take(3) {
            let shape = graph.shape(graph.graph().inputs[0]).to_vec();
            let x = [x.reshaped(shape).unwrap()];
            let found = run(&calibrated(&graph, &x, *width).unwrap().program, &x);
            let worst = found[0].iter().zip(y.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < *tolerance, "{name} is off by {worst}");
        }
    }
}

#[test]
fn diagnostics_name_the_models_own_operators() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 2], &[0.5, 40.25, 1.0, 1.0]).floats("far", &[2], &[99.0, 1.0]);
    m.floats("one", &[2], &[1.0, 1.0]).floats("zero", &[2], &[0.0, 0.0]);
    m.node("Gemm", &["x", "w"], &["a"]).name("fc");
    m.node("BatchNormalization", &["x", "far", "zero", "zero", "one"], &["b"]).name("norm");
    m.node("Mul", &["x", "far"], &["c"]).name("gain");
    m.node("MatMul", &["x", "w"], &["d"]).name("last");
    for y in ["a", "b", "c", "d"] {
        m.output(y, &[-1, 2]);
    }
    let options = LowerOptions { precision: Some("fixed<16,6>".parse().unwrap()), ..LowerOptions::default() };
    let errors = lower(&normal(&m), &options).unwrap_err().0;
    let named: Vec<_> =
        errors.iter().map(|e| (e.node.as_deref().unwrap(), e.op.as_deref().unwrap())).collect();
    assert_eq!(
        named,
        [("fc", "Gemm"), ("norm", "BatchNormalization"), ("gain", "Mul"), ("last", "MatMul")],
        "{errors:?}"
    );
}
