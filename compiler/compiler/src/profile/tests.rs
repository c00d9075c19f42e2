//! A small model, run by the interpreter.

use hs_hw::{Op, Program, interp};
use hs_ir::Tensor;

use super::{Cause, Profile, Profiler, html};
use crate::{
    lower::{self, LowerOptions, Lowered},
    onnx::{self, builder::ModelBuilder},
    passes::{self, NormalGraph},
};

/// x [4] → 'first' → Relu → 'second <b>' → y [2]: rows whose second layer reaches ±40.
fn model(precision: &str) -> (NormalGraph, Lowered) {
    model_with(precision, precision)
}

/// The same with another type for the input.
fn model_with(precision: &str, input: &str) -> (NormalGraph, Lowered) {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[1, 4]).output("y", &[1, 2]);
    m.floats("w1", &[4, 3], &[1.0, 0.5, -0.25, 0.3, -0.7, 0.1, 0.9, 0.2, -0.4, -0.6, 0.8, 0.33]);
    m.floats("b1", &[3], &[0.1, -0.2, 0.3]);
    m.floats("w2", &[3, 2], &[10.0, -10.0, 4.0, 1.0, -2.0, 3.0]);
    m.floats("b2", &[2], &[0.0, 0.0]);
    m.node("Gemm", &["x", "w1", "b1"], &["h"]).name("first");
    m.node("Relu", &["h"], &["r"]).name("relu");
    m.node("Gemm", &["r", "w2", "b2"], &["y"]).name("second <b>");
    let graph = passes::normalise(onnx::import_bytes(&m.to_bytes(), None).unwrap().0).unwrap();
    let options = LowerOptions {
        precision: Some(precision.parse().unwrap()),
        input: Some(input.parse().unwrap()),
        ..LowerOptions::default()
    };
    let lowered = lower::lower(&graph, &options).unwrap();
    (graph, lowered)
}

fn rows(n: usize) -> Vec<Vec<Tensor>> {
    let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 25.0;
    let row = |r: usize| Tensor::from_f32(vec![1, 4], (0..4).map(|i| value(r * 4 + i)).collect()).unwrap();
    (0..n).map(|r| vec![row(r)]).collect()
}

/// Values of every output, in hardware order.
fn fixed(program: &Program, rows: &[Vec<Tensor>]) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new(); program.outputs().len()];
    for row in rows {
        let encode = |(id, t): (hs_hw::ValueId, &Tensor)| {
            let ty = program.node(id).ty;
            t.to_f64().iter().map(|v| ty.quantize(*v).unwrap()).collect()
        };
        let codes: Vec<Vec<i128>> = program.inputs().into_iter().zip(row).map(encode).collect();
        for ((all, id), codes) in all.iter_mut().zip(program.outputs()).zip(interp::run(program, &codes)) {
            all.extend(codes.iter().map(|c| program.node(id).format().value(*c)));
        }
    }
    all
}

fn profiled(precision: &str, n: usize, threads: usize, target: f64) -> Profile {
    profiled_with(model(precision), n, threads, target)
}

fn profiled_with((graph, lowered): (NormalGraph, Lowered), n: usize, threads: usize, target: f64) -> Profile {
    let mut profiler = Profiler::new(&graph, &lowered.program, &lowered.placed, &lowered.notes);
    profiler.program().verify().unwrap();
    let rows = rows(n);
    // In two parts, as a caller would.
    for part in rows.chunks(30) {
        let fixed = fixed(profiler.program(), part);
        profiler.add(part, &fixed, threads).unwrap();
    }
    profiler.finish(target)
}

#[test]
fn every_tensor_with_a_place_is_watched() {
    let (graph, lowered) = model("fixed<16,6>");
    let profiler = Profiler::new(&graph, &lowered.program, &lowered.placed, &lowered.notes);
    let names: Vec<&str> = profiler.taps.iter().map(|t| t.tensor.as_str()).collect();
    // Relu is fused into 'first'.
    assert_eq!(names, ["x", "r", "y"]);
    let outputs = profiler.program().outputs();
    assert_eq!(outputs.len(), 3);
    for (tap, id) in profiler.taps.iter().zip(outputs) {
        let node = profiler.program().node(id);
        assert!(matches!(node.op, Op::Output { .. }));
        assert_eq!(profiler.program().node(node.inputs[0]).name, tap.node);
    }
}

#[test]
fn an_overflow_is_counted_and_cured() {
    let profile = profiled("fixed<16,5>", 100, 2, 40.0);
    let (graph, _) = model("fixed<16,5>");
    let mut expected = (0u64, 0u64);
    let (mut lo, mut hi) = (f64::MAX, f64::MIN);
    for row in rows(100) {
        let run = crate::reference::eval(graph.graph(), &row).unwrap();
        let values = run[0].to_f64();
        let over =
            values.iter().filter(|v| !(-16.0 - 1.0 / 4096.0..16.0 - 1.0 / 4096.0).contains(*v)).count();
        expected = (expected.0 + over as u64, expected.1 + u64::from(over > 0));
        lo = values.iter().fold(lo, |a, b| a.min(*b));
        hi = values.iter().fold(hi, |a, b| a.max(*b));
    }
    assert!(expected.0 > 0, "the model overflows");
    let worst = profile.worst_layer().unwrap();
    assert_eq!((worst.tensor.as_str(), worst.cause), ("y", Cause::Range));
    assert_eq!((worst.outside.elements, worst.outside.rows), expected);
    assert_eq!((worst.range.min, worst.range.max), (lo, hi));
    assert!(worst.at_bounds.elements >= expected.0, "all of them saturate");
    assert_eq!(worst.wrapped.elements, 0);
    let cure = worst.proposal.unwrap();
    assert!(cure.format.value(cure.format.max()) > hi && cure.format.value(cure.format.min()) <= lo);
    assert!(profile.verdict().contains("'second <b>' (Dense)"), "{}", profile.verdict());
    let toml = profile.configuration.as_deref().unwrap();
    assert!(toml.contains(&format!("[node.\"second <b>\"]\nresult = \"{cure}\"")), "{toml}");
    // Nothing before overflows.
    assert!(profile.layers[..2].iter().all(|l| l.outside.elements == 0 && l.cause != Cause::Range));
    assert_eq!(profile.layers[2].channels.len(), 2);
    let all =
        profile.layers[2].channels.iter().fold((f64::MAX, f64::MIN), |a, c| (a.0.min(c.min), a.1.max(c.max)));
    assert_eq!(all, (lo, hi));
}

#[test]
fn the_proposed_type_reaches_the_target() {
    let coarse = profiled("fixed<12,8>", 100, 1, 45.0);
    let layer = &coarse.layers[0];
    assert_eq!(layer.cause, Cause::Resolution, "{layer:?}");
    let cure = layer.proposal.unwrap();
    let cured = profiled_with(model_with("fixed<12,8>", &cure.to_string()), 100, 1, 45.0);
    assert_eq!(cured.layers[0].cause, Cause::Fine);
    assert!(cured.layers[0].own.sqnr_db.unwrap() >= 45.0);
}

#[test]
fn threads_change_nothing() {
    let one = profiled("fixed<10,5>", 75, 1, 40.0);
    assert_eq!(one.rows, 75);
    assert_eq!(one.layers[0].values, 300);
    assert_eq!(profiled("fixed<10,5>", 75, 4, 40.0), one);
}

#[test]
fn what_a_layer_inherits_is_not_its_own() {
    // The input is far too coarse, everything behind exact enough.
    let (graph, lowered) = model("fixed<24,8>");
    let mut program = lowered.program.clone();
    let input = program.inputs()[0];
    program.nodes[input.index()].ty = "fixed<24,8,TRN,SAT>".parse().unwrap();
    let mut profiler = Profiler::new(&graph, &program, &lowered.placed, &lowered.notes);
    let rows = rows(40);
    // Values rounded to halves before they enter.
    let halves = |t: &Tensor| {
        let v = t.to_f64().iter().map(|v| ((v * 2.0).round() / 2.0) as f32).collect();
        Tensor::from_f32(t.shape().to_vec(), v).unwrap()
    };
    let coarse: Vec<Vec<Tensor>> = rows.iter().map(|r| r.iter().map(halves).collect()).collect();
    let found = fixed(profiler.program(), &coarse);
    profiler.add(&rows, &found, 1).unwrap();
    let profile = profiler.finish(40.0);
    assert_eq!(profile.worst_layer().unwrap().tensor, "x");
    let last = &profile.layers[2];
    assert!(last.error.sqnr_db.unwrap() < 30.0, "{:?}", last.error);
    assert!(last.own.sqnr_db.is_none_or(|db| db > 60.0), "{:?}", last.own);
    assert_eq!(last.cause, Cause::Fine);
}

#[test]
fn the_page_stands_alone() {
    let mut profile = profiled("fixed<8,5>", 50, 1, 40.0);
    profile.layers[1].tensor = "</svg><script>alert(\"1\")</script>&\u{1}".to_owned();
    profile.model = "a<b>".to_owned();
    let page = html::page(&profile);
    assert_eq!(html::page(&profile), page);
    for bad in
        ["<script", "http:", "https:", "<b>\"", "url(", "@import", "<img", "<link", "\u{1}", "NaN", "inf"]
    {
        assert!(!page.contains(bad), "{bad}");
    }
    assert!(page.contains("Profile of a&lt;b&gt;") && page.contains("&lt;script&gt;alert(&quot;1&quot;)"));
    for tag in ["svg", "table", "figure", "tr", "td", "p", "text", "div"] {
        let (open, close) =
            (page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count());
        // `<p` also begins `<pre`.
        let others = if tag == "p" { page.matches("<pre").count() } else { 0 };
        assert_eq!(open - others, close, "{tag}");
    }
    // Two plots of all layers and a histogram each.
    assert_eq!(page.matches("<svg").count(), 2 + profile.layers.len());
}

#[test]
fn foreign_results_are_refused() {
    let (graph, lowered) = model("fixed<16,6>");
    let mut profiler = Profiler::new(&graph, &lowered.program, &lowered.placed, &lowered.notes);
    let rows = rows(2);
    let mut found = fixed(profiler.program(), &rows);
    found[0].pop();
    assert!(profiler.add(&rows, &found, 1).is_err());
}
