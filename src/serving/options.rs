//! A configuration's parameters as options of the compiler.

use std::path::Path;

use hs_compiler::{
    driver::{CompileOptions, ConfigText},
    lower::Arithmetic,
    onnx,
};
use hs_fixed::{Modes, parse_type};
use hs_runtime::{Tensor, npy, npz};
use hs_serve::{LoadRequest, inside};

/// Parameters that say how to compile.
pub(super) const COMPILING: &[&str] =
    &["precision", "arithmetic", "hypersonic_config", "hls4ml_config", "calibration"];

/// The options for the ONNX file at `path`. Files that they name lie in the model's directory.
pub(super) fn compile(request: &LoadRequest<'_>, path: &Path) -> Result<CompileOptions, String> {
    let get = |key: &str| request.config.parameters.get(key).map(|p| p.string_value.as_str());
    let model = request.directory.parent().unwrap_or(request.directory);
    let file = |key: &str| {
        get(key)
            .map(|name| inside(model, name).map_err(|why| format!("parameters: {key}: {why}")))
            .transpose()
    };
    let text = |key: &str| {
        file(key)?
            .map(|p| {
                std::fs::read_to_string(&p).map_err(|e| format!("parameters: {key}: {}: {e}", p.display()))
            })
            .transpose()
    };
    let config = match (text("hypersonic_config")?, text("hls4ml_config")?) {
        (Some(_), Some(_)) => {
            return Err(
                "parameters: hypersonic_config and hls4ml_config exclude each other; remove one".to_owned()
            );
        }
        (Some(toml), None) => ConfigText::Toml(toml),
        (None, Some(text)) => ConfigText::Hls4ml(text),
        (None, None) => ConfigText::None,
    };
    let arithmetic = match get("arithmetic") {
        None => None,
        Some("native") => Some(Arithmetic::Native),
        Some("hls4ml") => Some(Arithmetic::Hls4ml),
        Some(other) => return Err(format!("parameters: arithmetic is '{other}'; expected native or hls4ml")),
    };
    let precision = get("precision").map(|text| {
        parse_type(text, Modes::RND_SAT)
            .map(|_| text.to_owned())
            .map_err(|e| format!("parameters: precision is '{text}': {e}"))
    });
    let calibration = file("calibration")?.map(|at| {
        calibration(path, &at).map_err(|why| format!("parameters: calibration: {}: {why}", at.display()))
    });
    Ok(CompileOptions {
        config,
        arithmetic,
        precision: precision.transpose()?,
        calibration: calibration.transpose()?,
        ..CompileOptions::default()
    })
}

/// A tensor for each input of the model at `onnx`: the `.npy` of a model with one input, else members of an `.npz`.
fn calibration(onnx: &Path, path: &Path) -> Result<Vec<hs_ir::Tensor>, String> {
    let (graph, _) = onnx::import(onnx).map_err(|e| e.to_string())?;
    let names: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
    let tensors: Vec<Tensor> = if path.extension().is_some_and(|e| e == "npz") {
        let mut members = npz::load(path).map_err(|e| e.to_string())?;
        let mut take = |name: &&str| {
            let at = members.iter().position(|(n, _)| n == name);
            at.map(|at| members.swap_remove(at).1).ok_or_else(|| format!("it has no member '{name}'"))
        };
        names.iter().map(&mut take).collect::<Result<_, _>>()?
    } else if names.len() == 1 {
        vec![npy::load(path).map_err(|e| e.to_string())?]
    } else {
        return Err(format!(
            "the model has the inputs {}; give an .npz with one member each",
            names.join(", ")
        ));
    };
    let float = |t: Tensor| {
        let values = t.to_f64().into_iter().map(|v| v as f32).collect();
        hs_ir::Tensor::from_f32(t.shape().to_vec(), values).map_err(|e| e.to_string())
    };
    tensors.into_iter().map(float).collect()
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |other: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (name.chars().collect(), other.chars().collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut corner = std::mem::replace(&mut row[0], i + 1);
            for (j, y) in b.iter().enumerate() {
                let best = (corner + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
                corner = std::mem::replace(&mut row[j + 1], best);
            }
        }
        row[b.len()]
    };
    let best = known.iter().map(|k| (distance(k), *k)).min()?;
    (best.0 <= best.1.len() / 3 + 1).then_some(best.1)
}
