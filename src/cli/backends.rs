//! The backends of this binary, and which verb uses which.

use std::{path::Path, sync::Arc};

use hs_backend_onnxruntime::OnnxRuntime;
use hs_backend_xrt::XrtBackend;
use hs_compiler::{
    limits::Limits,
    onnx,
    passes::{self, PassOptions},
    reference,
};
use hs_emulator::{Emulator, EmulatorBackend, Options, PlanError};
use hs_runtime::{Availability, Executable, Registry, Tensor, TensorInfo, codes::Layout};

use super::{
    exit::Failure,
    model::{Model, to_float},
};

pub(crate) fn registry() -> Registry {
    let mut all = Registry::new();
    all.add(EmulatorBackend::default());
    all.add(XrtBackend::default());
    all.add(OnnxRuntime::default());
    all
}

pub(crate) fn load(name: &str, model: &hs_runtime::Model) -> Result<Arc<dyn Executable>, Failure> {
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
        // It may not know the model's operators, QONNX's for one.
        if let Ok(executable) = backend.load(&form)
            && let Some(outputs) = by_name(executable.as_ref(), model, inputs)?
        {
            return Ok(Some(Float { by: on, outputs }));
        }
    }
    let outputs = by_reference(path, inputs)?;
    Ok(Some(Float { by: "hypersonic's float reference".to_owned(), outputs }))
}

/// Runs a float model on the inputs of a Program and picks the Program's outputs; `None` when the file's inputs are
/// not the Program's (parts of a model may have been dropped).
fn by_name(
    executable: &dyn Executable,
    model: &Model,
    inputs: &[Tensor],
) -> Result<Option<Vec<Vec<f64>>>, Failure> {
    let names = |ports: Vec<hs_hw::ValueId>| -> Vec<String> {
        let layouts = ports.iter().filter_map(|id| Layout::of(model.program.node(*id)));
        layouts.map(|l| l.tensor().to_owned()).collect()
    };
    let (ours, wanted) = (names(model.program.inputs()), names(model.program.outputs()));
    let find = |info: &TensorInfo| Some(inputs[ours.iter().position(|n| *n == info.name)?].clone());
    let Some(tensors) = executable.inputs().iter().map(find).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let found = executable.run(&tensors)?;
    let pick = |name: &String| executable.outputs().iter().position(|o| o.name == *name);
    let picked = wanted.iter().map(pick).collect::<Option<Vec<_>>>();
    Ok(picked.map(|all| all.into_iter().map(|at| found[at].to_f64()).collect()))
}

fn by_reference(path: &Path, inputs: &[Tensor]) -> Result<Vec<Vec<f64>>, Failure> {
    // The model was compiled: it is not too large.
    let limits = Limits::NONE;
    let (graph, _) = onnx::import_within(path, &limits)?;
    let graph = passes::normalise_with(graph, &PassOptions { limits, ..PassOptions::default() })?;
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

/// The emulator with options of its own.
pub(crate) fn emulator_with(model: &Model, options: &Options) -> Result<Emulator, Failure> {
    Emulator::new(Arc::clone(&model.program), options).map_err(|e| match e {
        PlanError::Isa(_) => Failure::environment(e).help("leave --isa away for the best that there is"),
        PlanError::Verify(_) | PlanError::TooWide { .. } | PlanError::Zero(_) => {
            Failure::input(format!("{}: {e}", model.name))
        }
    })
}
