//! The backends of this binary, and which verb uses which.

use std::{path::Path, sync::Arc};

use hs_compiler::{onnx, passes, reference};
use hs_emulator::{Emulator, EmulatorBackend, Options, Plan};
use hs_runtime::{Availability, Executable, Registry, Tensor};

use super::{
    exit::Failure,
    model::{Model, to_float},
};

fn registry() -> Registry {
    let mut all = Registry::new();
    all.add(EmulatorBackend::default());
    all
}

fn load(name: &str, model: &hs_runtime::Model) -> Result<Arc<dyn Executable>, Failure> {
    let all = registry();
    let backend = all.get(name).ok_or_else(|| Failure::internal(format!("no backend '{name}'")))?;
    Ok(backend.load(model)?)
}

/// The emulator, ready to run.
pub(crate) fn emulator(model: &Model) -> Result<Arc<dyn Executable>, Failure> {
    let form = hs_runtime::Model {
        name: model.name.clone(),
        program: Some(Arc::clone(&model.program)),
        ..hs_runtime::Model::default()
    };
    load("emulator", &form)
}

/// Outputs of the float model and who computed them.
pub(crate) struct Float {
    /// Name of what computed them.
    pub(crate) by: String,
    /// Values, one vector an output.
    pub(crate) outputs: Vec<Vec<f64>>,
}

/// Runs the float model on the inputs: by ONNX Runtime where it is installed, else by our own reference; `None`
/// when the ONNX file is not known.
pub(crate) fn float(model: &Model, inputs: &[Tensor]) -> Result<Option<Float>, Failure> {
    let Some(path) = &model.onnx else { return Ok(None) };
    let all = registry();
    if let Some(backend) = all.get("onnxruntime")
        && let Availability::Available(on) = backend.availability()
    {
        let form = hs_runtime::Model {
            name: model.name.clone(),
            onnx: Some(path.clone()),
            ..hs_runtime::Model::default()
        };
        let outputs = backend.load(&form)?.run(inputs)?;
        return Ok(Some(Float { by: on, outputs: outputs.iter().map(Tensor::to_f64).collect() }));
    }
    let outputs = by_reference(path, inputs)?;
    Ok(Some(Float { by: "hypersonic's float reference (ONNX Runtime is not installed)".to_owned(), outputs }))
}

fn by_reference(path: &Path, inputs: &[Tensor]) -> Result<Vec<Vec<f64>>, Failure> {
    let (graph, _) = onnx::import(path)?;
    let graph = passes::normalise(graph)?;
    let rows = inputs.first().map_or(0, Tensor::rows);
    let mut outputs = vec![Vec::new(); graph.graph().outputs.len()];
    for row in 0..rows {
        let one = inputs.iter().map(|t| to_float(&t.slice_rows(row..row + 1)));
        let one = one.collect::<Result<Vec<_>, _>>()?;
        for (all, tensor) in outputs.iter_mut().zip(reference::eval(graph.graph(), &one)?) {
            all.extend(tensor.to_f64());
        }
    }
    Ok(outputs)
}

/// How the emulator would run a model.
pub(crate) fn plan(model: &Model) -> Result<Plan, Failure> {
    let emulator = Emulator::new(Arc::clone(&model.program), &Options::default())
        .map_err(|e| Failure::input(format!("{}: {e}", model.name)))?;
    Ok(emulator.plan())
}
