//! Models compiled with calibration data.

use std::path::Path;

use hs_compiler::driver::{CompileOptions, Compiled, ConfigText, compile};
use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::passes::normalise;
use hs_compiler::reference::eval;
use hs_ir::Tensor;

use crate::lowering::run;
use crate::support::build;

const CHANNELS: usize = 12;
const SIDE: usize = 5;

/// Numbers from -1 to 1 that look random.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Three convolutions of images.
fn model() -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    let (c, side) = (CHANNELS as i64, SIDE as i64);
    m.input("x", &[-1, 1, side, side]);
    let mut from = "x".to_owned();
    for (layer, (inputs, outputs)) in [(1, c), (c, c), (c, 3)].into_iter().enumerate() {
        let (weight, bias, sum) = (format!("w{layer}"), format!("b{layer}"), format!("sum{layer}"));
        m.floats(&weight, &[outputs, inputs, 1, 1], &numbers(layer as u32, (inputs * outputs) as usize));
        m.floats(&bias, &[outputs], &numbers(10 + layer as u32, outputs as usize));
        let to = format!("y{layer}");
        m.node("Conv", &[&from, &weight, &bias], &[&sum]).name(&format!("conv{layer}"));
        m.node("Relu", &[&sum], &[&to]);
        from = to;
    }
    m.node("GlobalAveragePool", &["sum2"], &["y"]).name("pool");
    m.output("y", &[-1, 3, 1, 1]);
    m
}

/// Images of one grey but for a few pixels.
fn images(seed: u32, rows: usize) -> Vec<Tensor> {
    let image = |row: usize| {
        let mut pixels = vec![0.37; SIDE * SIDE];
        let values = numbers(seed + row as u32, 8);
        for pair in values.chunks(2) {
            pixels[((pair[0] + 1.0) / 2.0 * 24.9) as usize] = pair[1].abs();
        }
        Tensor::from_f32(vec![1, 1, SIDE, SIDE], pixels).unwrap()
    };
    (0..rows).map(image).collect()
}

fn stacked(rows: &[Tensor]) -> Tensor {
    let values = rows.iter().flat_map(Tensor::to_f64).map(|v| v as f32).collect();
    Tensor::from_f32(vec![rows.len(), 1, SIDE, SIDE], values).unwrap()
}

fn compiled(path: &Path, per_channel: bool, rows: &[Tensor]) -> Compiled {
    let options = CompileOptions {
        precision: Some("fixed<6,2>".into()),
        // Results without a rounding of their own that no bias can take back.
        config: ConfigText::Toml(
            "[node.conv2]\nresult = \"fixed<24,8>\"\n[node.pool]\nresult = \"fixed<24,8>\"\n".into(),
        ),
        per_channel,
        calibration: Some(vec![stacked(rows)]),
        ..CompileOptions::default()
    };
    compile(path, &options, &mut |_| {}).unwrap()
}

/// What the mean of each output is off float's by, over `rows`, added up.
fn shift(compiled: &Compiled, rows: &[Tensor]) -> f64 {
    let graph = normalise(build(&model())).unwrap();
    let mut sums = [0.0; 3];
    for row in rows {
        let row = std::slice::from_ref(row);
        let float = eval(graph.graph(), row).unwrap()[0].to_f64();
        for (sum, (ours, float)) in sums.iter_mut().zip(run(&compiled.program, row)[0].iter().zip(float)) {
            *sum += ours - float;
        }
    }
    sums.iter().map(|s| (s / rows.len() as f64).abs()).sum()
}

/// One calibration row tells the types and nothing of means: it leaves biases alone. The types are the same with more of them,
/// since each is as bright.
#[test]
fn biases_take_back_what_rounding_adds_to_means() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, model().to_bytes()).unwrap();
    let (seen, others) = (images(100, 16), images(200, 16));
    for per_channel in [false, true] {
        let (plain, corrected) =
            (compiled(&path, per_channel, &seen[..1]), compiled(&path, per_channel, &seen));
        let (plain, corrected) = (shift(&plain, &others), shift(&corrected, &others));
        assert!(corrected < plain / 4.0, "per channel {per_channel}: {plain} became {corrected}");
    }
}
