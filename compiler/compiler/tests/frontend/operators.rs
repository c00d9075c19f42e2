//! Single operators and short chains against ONNX Runtime's recorded results (`tests/fixtures/ops`).

use std::fs;

use hs_compiler::onnx;
use hs_compiler::passes::normalise;
use hs_compiler::reference::eval;

use crate::support::{difference, fixture};

#[test]
fn every_case_agrees_before_and_after_normalisation() {
    let mut cases: Vec<_> = fs::read_dir(fixture("ops")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    cases.sort();
    assert!(cases.len() > 80);
    let mut failures = Vec::new();
    for path in cases {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (imported, _) = onnx::import(&path).unwrap();
        let recorded = |name: &str| imported.constant(imported.find(name).unwrap()).unwrap().as_ref().clone();
        let (x, y) = (recorded("test/x"), recorded("test/y"));
        let mut check = |graph: &hs_ir::Graph, what: &str| match eval(graph, std::slice::from_ref(&x)) {
            Err(error) => failures.push(format!("{name} ({what}): {error}")),
            Ok(found) if found[0].shape() != y.shape() => {
                failures.push(format!("{name} ({what}): {:?} instead of {:?}", found[0].shape(), y.shape()));
            }
            Ok(found) => {
                let difference = difference(&found[0], &y);
                if difference > 1e-5 {
                    failures.push(format!("{name} ({what}): off by {difference}"));
                }
            }
        };
        check(&imported, "imported");
        match normalise(imported.clone()) {
            Ok(normal) => check(normal.graph(), "normalised"),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
