//! The configurations that were handed to hls4ml, imported as they are: the same Program as from the types that hls4ml
//! resolved them to, up to types that are inferred wider than they need be, and the same bits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hs_compiler::{config, lower, onnx, passes};
use hs_runtime::{codes::Layout, npy};
use serde_json::{Value, json};

#[test]
fn hls4ml_configurations() {
    let dir = std::env::var_os("HLS4ML_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hls4ml"), PathBuf::from);
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|d| d.is_dir())
        .collect();
    dirs.sort();
    let mut failed = 0;
    for dir in &dirs {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match case(dir) {
            Ok(warnings) => {
                println!("{name}: configuration imported, exact; {warnings} entries ignored by hls4ml")
            }
            Err(e) => {
                failed += 1;
                println!("{name}: FAILED: {e}");
            }
        }
    }
    println!("{} configurations passed, {failed} failed", dirs.len() - failed);
    assert_eq!(failed, 0);
}

fn case(dir: &Path) -> Result<usize, String> {
    let text = std::fs::read(dir.join("config.json")).map_err(|e| e.to_string())?;
    let case: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let project = json!({ "Backend": "Vitis", "IOType": case["io_type"], "HLSConfig": case["hls_config"] });
    let (graph, _) = onnx::import(&dir.join("model.onnx")).map_err(|e| e.to_string())?;
    let (config, warnings) = config::from_hls4ml(&project.to_string(), &graph).map_err(|e| e.to_string())?;
    let graph = passes::normalise_with(graph, &config.pass_options()).map_err(|e| e.to_string())?;
    let program = lower::lower(&graph, &config.lower_options()).map_err(|e| e.to_string())?.program;
    let (x, y) = (npy::load(dir.join("x.npy")), npy::load(dir.join("y.npy")));
    let (x, y) = (x.map_err(|e| e.to_string())?, y.map_err(|e| e.to_string())?);
    let layout = |id: hs_hw::ValueId| Layout::of(program.node(id)).ok_or("no layout");
    let (input, output) = (layout(program.inputs()[0])?, layout(program.outputs()[0])?);
    let width = case["output"]["type"]["width"].as_u64();
    if Some(u64::from(output.ty().format.width())) != width {
        return Err(format!("the output is {}, hls4ml's has {width:?} bits", output.ty()));
    }
    let mut codes = vec![0; x.rows() * input.row_len()];
    input.encode(&x, 0..x.rows(), &mut codes).map_err(|e| e.to_string())?;
    let mut expected = vec![0; x.rows() * output.row_len()];
    output.encode(&y, 0..x.rows(), &mut expected).map_err(|e| e.to_string())?;
    super::emulated(&Arc::new(program), (&codes, x.rows()), &expected).map(|()| warnings.len())
}
