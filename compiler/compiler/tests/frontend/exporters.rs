//! Forms in which exporters write models (`scripts/exporter-models`): what is computed, and what is refused.

use hs_compiler::lower::{LowerOptions, lower};
use hs_compiler::onnx;
use hs_compiler::passes::normalise;

use crate::lowering::run;
use crate::support::{fixture, import, npy_rows};

#[test]
fn forms_of_exporters() {
    let options =
        LowerOptions { precision: Some("fixed<40,16>".parse().unwrap()), ..LowerOptions::default() };
    let mut seen = 0;
    for entry in std::fs::read_dir(fixture("exporters")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".onnx") else { continue };
        let graph = normalise(import(&format!("exporters/{file}"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let program = lower(&graph, &options).unwrap_or_else(|e| panic!("{name}: {e}")).program;
        let rows = |what: &str| npy_rows(&format!("exporters/{name}.{what}.npy"));
        let shape = graph.shape(graph.graph().inputs[0]).to_vec();
        // Half precision is computed in full.
        let tolerance = if name.contains("half") { 4e-3 } else { 1e-5 };
        for (x, y) in rows("x").into_iter().zip(rows("y")) {
            let found = run(&program, &[x.reshaped(shape.clone()).unwrap()]).remove(0);
            assert_eq!(found.len(), y.len(), "{name}");
            for (found, wanted) in found.iter().zip(y.to_f64()) {
                assert!((found - wanted).abs() < tolerance, "{name}: {found}, not {wanted}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 19);
}

#[test]
fn forms_that_are_refused() {
    for (name, expected) in [
        ("dynamic_quantisation", "quantize_static"),
        ("external_absolute", "outside the model's own folder"),
        ("external_parent", "outside the model's own folder"),
        ("norm_of_training", "statistics of the batch"),
    ] {
        let imported = onnx::import(&fixture(&format!("exporters/refused/{name}.onnx")));
        let errors = imported.and_then(|(graph, _)| normalise(graph)).unwrap_err();
        let first = &errors.0[0];
        let said = format!("{first} {}", first.help.clone().unwrap_or_default());
        assert!(said.contains(expected), "{name}: {said}");
    }
}
