//! What must hold for any bytes. Each function returns, or panics where a promise is broken.

pub mod mutate;

use std::sync::LazyLock;

use hs_compiler::{
    config,
    hls::{self, EmitError},
    limits::{Limit, Limits},
    lower::{self, LowerOptions},
    onnx::{self, builder::ModelBuilder},
    passes::{self, PassOptions},
    platform::Target,
    schedule::{self, ScheduleOptions},
};
use hs_hw::{Program, interp, text};
use hs_ir::Graph;
use hs_xclbin::{Design, Xclbin};

/// Elements and products up to which a Program is run.
const SMALL: usize = 1 << 16;

/// Bounds with which a case takes milliseconds.
fn limits() -> Limits {
    let mut limits = Limits::default();
    for (limit, bound) in [
        (Limit::File, 1 << 20),
        (Limit::Nodes, 300),
        (Limit::Depth, 300),
        (Limit::Elements, 1 << 14),
        (Limit::Constants, 1 << 17),
        (Limit::Folding, 1 << 22),
    ] {
        limits.set(limit, bound);
    }
    limits
}

/// The bytes of an ONNX file become an HLS project, or errors that say something.
pub fn onnx(bytes: &[u8]) {
    let limits = limits();
    if limits.check(Limit::File, bytes.len() as u64).is_err() {
        return;
    }
    let Ok((graph, _)) = onnx::import_bytes_within(bytes, None, &limits).map_err(say) else { return };
    let options = PassOptions { limits, ..PassOptions::default() };
    let Ok(normal) = passes::normalise_with(graph, &options).map_err(say) else { return };
    let Ok(lowered) = lower::lower(&normal, &LowerOptions::default()).map_err(say) else { return };
    holds(&lowered.program);
    let schedule = schedule::schedule(&lowered.program, &ScheduleOptions::default());
    let Ok((schedule, _)) = schedule.map_err(|errors| errors.into_iter().for_each(say)) else { return };
    if let Err(errors) = hls::emit(&lowered.program, &schedule, "fuzz", &Target::default()) {
        for error in errors {
            assert!(!matches!(error, EmitError::Lint(_)), "{error}");
            say(error);
        }
    }
}

/// An error says something.
fn say(error: impl std::fmt::Display) {
    assert!(!error.to_string().trim().is_empty());
}

/// A verified Program prints to a text of itself, and runs.
fn holds(program: &Program) {
    assert_eq!(text::parse(&text::print(program)).as_ref(), Ok(program));
    let products = |node: &hs_hw::Node| match &node.op {
        hs_hw::Op::Dot(dot) => node.len().saturating_mul(dot.weight.len()),
        _ => node.len(),
    };
    if program.nodes.iter().map(products).fold(0usize, usize::saturating_add) <= SMALL {
        let inputs: Vec<Vec<i128>> =
            program.inputs().iter().map(|id| vec![0; program.node(*id).len()]).collect();
        for (id, codes) in program.outputs().into_iter().zip(interp::run(program, &inputs)) {
            let node = program.node(id);
            assert_eq!(node.len(), codes.len());
            assert!(codes.iter().all(|c| node.format().contains(*c)));
        }
    }
}

/// A text of a Program is one, or what is expected is said with its place.
pub fn program(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(program) = text::parse(source).map_err(say) else { return };
    match program.verify() {
        Ok(()) => holds(&program),
        Err(errors) => assert!(!errors.is_empty()),
    }
}

/// Two layers, imported: what a configuration is read for.
fn model() -> Graph {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[-1, 3]).floats("w", &[3, 2], &[0.5, -1.0, 0.25, 2.0, 0.125, 1.0]);
        m.floats("b", &[2], &[0.5, -0.5]);
        m.node("Gemm", &["x", "w", "b"], &["a"]).name("fc1");
        m.node("Sigmoid", &["a"], &["s"]).name("act");
        m.node("Softmax", &["s"], &["y"]).name("soft");
        m.output("y", &[-1, 2]);
        m.to_bytes()
    });
    onnx::import_bytes(&BYTES, None).unwrap_or_else(|e| panic!("{e}")).0
}

/// A configuration is understood or its mistakes are named; what is understood lowers, or says why not.
pub fn configuration(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let graph = model();
    let ours = config::parse(source, &graph).map_err(say).ok();
    let hls4ml = config::from_hls4ml(source, &graph).map_err(say).ok().map(|(config, _)| config);
    for config in [ours, hls4ml].into_iter().flatten() {
        let Ok(normal) = passes::normalise_with(graph.clone(), &config.pass_options()).map_err(say) else {
            continue;
        };
        let Ok(lowered) = lower::lower(&normal, &config.lower_options()).map_err(say) else { continue };
        holds(&lowered.program);
        let schedule = schedule::schedule(&lowered.program, &config.schedule_options(&normal));
        let _ = schedule.map_err(|errors| errors.into_iter().for_each(say));
    }
}

/// A container is read as it is written back, or refused.
pub fn xclbin(bytes: &[u8]) {
    let Ok(file) = Xclbin::parse(bytes).map_err(say) else { return };
    let _ = Design::of(&file).map_err(say);
    let _ = (file.agfi(), file.header().platform().map_err(say));
    let written = file.to_bytes();
    let again = Xclbin::parse(&written).unwrap_or_else(|e| panic!("what was written is refused: {e}"));
    assert_eq!(again.to_bytes(), written);
}
