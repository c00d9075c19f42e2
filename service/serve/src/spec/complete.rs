//! What an owner left out of a configuration, read off the loaded model; and what he wrote, compared with it.

use std::sync::Arc;

use hs_model_config::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
    ModelTensorReshape, ModelVersionPolicy, model_config::SchedulingChoice, model_instance_group::Kind,
    model_version_policy,
};
use hs_runtime::{Buffer, Executable, Input, RunError, Tensor, TensorInfo};

use super::{DEFAULT_MAX_BATCH, SpecError, ports};
use crate::LoadedModel;

/// The whole configuration of `model`, from what its owner wrote. Inputs and outputs are put into the model's order.
/// Where only some outputs are listed, the model's runners give only those from now on. `strict`: nothing is added.
///
/// # Errors
/// Tensors that the model has not, and what contradicts it.
pub(crate) fn complete(
    name: &str,
    mut config: ModelConfig,
    model: &mut LoadedModel,
    strict: bool,
) -> Result<ModelConfig, SpecError> {
    let Some(first) = model.runners.first() else {
        return Err(SpecError::new(name, "", "the loader gave nothing that runs it"));
    };
    let executable = Arc::clone(&first.executable);
    let (inputs, outputs) = (executable.inputs(), executable.outputs());
    let names = |infos: &[TensorInfo]| infos.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    for other in &model.runners[1..] {
        let same = |a: &[TensorInfo], b: &[TensorInfo]| names(a) == names(b);
        if !same(inputs, other.executable.inputs()) || !same(outputs, other.executable.outputs()) {
            let problem = format!("{first:?} and {other:?} have different inputs or outputs");
            return Err(SpecError::new(name, "", problem));
        }
    }
    super::max_batch(name, &config)?;
    let defaulted = default_batch(name, &mut config, model.batched, inputs, outputs, strict)?;
    if !strict {
        name.clone_into(&mut config.name);
        for (field, value) in [(&mut config.platform, &model.platform), (&mut config.backend, &model.backend)]
        {
            if field.is_empty() {
                field.clone_from(value);
            }
        }
        let latest = model_version_policy::Latest { num_versions: 1 };
        config.version_policy.get_or_insert(ModelVersionPolicy {
            policy_choice: Some(model_version_policy::PolicyChoice::Latest(latest)),
        });
        if let (true, Some(first)) = (config.instance_group.is_empty(), model.runners.first()) {
            let kind = if first.device == "cpu" { Kind::Cpu } else { Kind::Gpu };
            config.instance_group.push(ModelInstanceGroup {
                name: format!("{name}_0"),
                kind: kind.into(),
                count: i32::try_from(first.executable.concurrency()).unwrap_or(i32::MAX),
                ..ModelInstanceGroup::default()
            });
        }
        if defaulted && config.scheduling_choice.is_none() {
            config.scheduling_choice =
                Some(SchedulingChoice::DynamicBatching(ModelDynamicBatching::default()));
        }
    }
    let as_row = config.max_batch_size > 0 || !model.batched;
    let merge = Merge { name, as_row, strict };
    config.input = merge.inputs(config.input, inputs)?;
    let (listed, picked) = merge.outputs(config.output, outputs)?;
    config.output = listed;
    if picked.len() < outputs.len() {
        for runner in &mut model.runners {
            runner.executable = Arc::new(Subset::new(Arc::clone(&runner.executable), picked.clone()));
        }
    }
    Ok(config)
}

/// Decides whether requests have a batch axis; whether a limit had to be made up.
fn default_batch(
    name: &str,
    config: &mut ModelConfig,
    batched: bool,
    inputs: &[TensorInfo],
    outputs: &[TensorInfo],
    strict: bool,
) -> Result<bool, SpecError> {
    if !batched && config.max_batch_size > 0 {
        let found = config.max_batch_size;
        let problem = format!(
            "is {found}, but the model has no batch axis; set it to 0, or export the model with a first axis of any size"
        );
        return Err(SpecError::new(name, "max_batch_size", problem));
    }
    if !batched || config.max_batch_size != 0 || strict {
        return Ok(false);
    }
    // A size of 0 cannot be told from none. Whoever lists shapes with the batch axis means 0.
    let whole = |tensor: &str, dims: &[i64], infos: &[TensorInfo]| {
        infos.iter().any(|i| i.name == tensor && dims.len() == i.shape.len() + 1)
    };
    let explicit = config.input.iter().any(|p| p.reshape.is_none() && whole(&p.name, &p.dims, inputs))
        || config.output.iter().any(|p| p.reshape.is_none() && whole(&p.name, &p.dims, outputs));
    if !explicit {
        config.max_batch_size = DEFAULT_MAX_BATCH;
    }
    Ok(!explicit)
}

/// A configured tensor and the model's.
struct Merge<'a> {
    name: &'a str,
    /// Whether configured shapes are without the batch axis.
    as_row: bool,
    strict: bool,
}

/// The fields that inputs and outputs have in common.
struct Fields<'a> {
    data_type: &'a mut i32,
    dims: &'a mut Vec<i64>,
    reshape: Option<&'a ModelTensorReshape>,
}

impl Merge<'_> {
    fn inputs(
        &self,
        mut listed: Vec<ModelInput>,
        model: &[TensorInfo],
    ) -> Result<Vec<ModelInput>, SpecError> {
        self.known("input", listed.iter().map(|i| i.name.as_str()), model)?;
        let mut all = Vec::with_capacity(model.len());
        for info in model {
            let mut input = match listed.iter().position(|i| i.name == info.name) {
                Some(at) => listed.swap_remove(at),
                None if self.strict => {
                    let problem = format!("of the model is not listed; list it as {}", self.text(info));
                    return Err(SpecError::new(self.name, format!("input '{}'", info.name), problem));
                }
                None => ModelInput { name: info.name.clone(), ..ModelInput::default() },
            };
            let ModelInput { data_type, dims, reshape, .. } = &mut input;
            self.fields("input", info, Fields { data_type, dims, reshape: reshape.as_ref() })?;
            all.push(input);
        }
        self.twice("input", listed.first().map(|i| i.name.as_str()))?;
        Ok(all)
    }

    /// The outputs that are served, and where the model has them.
    fn outputs(
        &self,
        mut listed: Vec<ModelOutput>,
        model: &[TensorInfo],
    ) -> Result<(Vec<ModelOutput>, Vec<usize>), SpecError> {
        self.known("output", listed.iter().map(|o| o.name.as_str()), model)?;
        let every = listed.is_empty() && !self.strict;
        let (mut all, mut picked) = (Vec::with_capacity(model.len()), Vec::with_capacity(model.len()));
        for (i, info) in model.iter().enumerate() {
            let mut output = match listed.iter().position(|o| o.name == info.name) {
                Some(at) => listed.swap_remove(at),
                None if every => ModelOutput { name: info.name.clone(), ..ModelOutput::default() },
                None => continue,
            };
            let ModelOutput { data_type, dims, reshape, .. } = &mut output;
            self.fields("output", info, Fields { data_type, dims, reshape: reshape.as_ref() })?;
            all.push(output);
            picked.push(i);
        }
        self.twice("output", listed.first().map(|o| o.name.as_str()))?;
        Ok((all, picked))
    }

    fn known<'n>(
        &self,
        what: &str,
        mut listed: impl Iterator<Item = &'n str>,
        model: &[TensorInfo],
    ) -> Result<(), SpecError> {
        let Some(odd) = listed.find(|n| model.iter().all(|i| i.name != *n)) else { return Ok(()) };
        let known: Vec<String> = model.iter().map(|i| format!("'{}'", i.name)).collect();
        let problem = format!("is none of the model's, which are {}", known.join(", "));
        Err(SpecError::new(self.name, format!("{what} '{odd}'"), problem))
    }

    /// What is left of a list after each tensor was taken once.
    fn twice(&self, what: &str, left: Option<&str>) -> Result<(), SpecError> {
        left.map_or(Ok(()), |name| {
            Err(SpecError::new(self.name, format!("{what} '{name}'"), "is listed twice; remove one"))
        })
    }

    fn fields(&self, what: &str, info: &TensorInfo, fields: Fields<'_>) -> Result<(), SpecError> {
        let fail = |field: &str, problem: String| {
            Err(SpecError::new(self.name, format!("{what} '{}': {field}", info.name), problem))
        };
        let (ours, shape) = (ports::data_type(info.datatype) as i32, self.shape(info));
        let blank = *fields.data_type == DataType::TypeInvalid as i32;
        if blank && !self.strict {
            *fields.data_type = ours;
        } else if !blank && *fields.data_type != ours {
            let (found, expected) = (ports::type_name(*fields.data_type), ports::type_name(ours));
            return fail(
                "data_type",
                format!("is {found}, but the model's is {expected}; write that or leave it out"),
            );
        }
        if fields.dims.is_empty() && fields.reshape.is_none() && !self.strict {
            *fields.dims = shape;
            return Ok(());
        }
        let (field, dims) = match fields.reshape {
            Some(reshape) => ("reshape", &reshape.shape),
            None => ("dims", &*fields.dims),
        };
        let fits = |(found, model): (&i64, &i64)| *model == -1 || found == model;
        if dims.len() != shape.len() || !dims.iter().zip(&shape).all(fits) {
            let axis = if self.as_row { "" } else { " with the batch axis, as max_batch_size is 0" };
            return fail(
                field,
                format!("is {dims:?}, but the model's is {shape:?}{axis}; write that or leave it out"),
            );
        }
        Ok(())
    }

    /// The tensor's shape as a configuration has it.
    fn shape(&self, info: &TensorInfo) -> Vec<i64> {
        let batch = (!self.as_row).then_some(-1);
        let row = info.shape.iter().map(|d| d.and_then(|d| i64::try_from(d).ok()).unwrap_or(-1));
        batch.into_iter().chain(row).collect()
    }

    fn text(&self, info: &TensorInfo) -> String {
        let ty = ports::type_name(ports::data_type(info.datatype) as i32);
        format!("{{ name: \"{}\" data_type: {ty} dims: {:?} }}", info.name, self.shape(info))
    }
}

/// An executable of which only some outputs are wanted.
struct Subset {
    inner: Arc<dyn Executable>,
    outputs: Vec<TensorInfo>,
    picked: Vec<usize>,
}

impl Subset {
    fn new(inner: Arc<dyn Executable>, picked: Vec<usize>) -> Self {
        let outputs = picked.iter().map(|i| inner.outputs()[*i].clone()).collect();
        Self { inner, outputs, picked }
    }

    fn pick<T: Clone>(&self, all: Vec<T>) -> Vec<T> {
        self.picked.iter().filter_map(|i| all.get(*i).cloned()).collect()
    }
}

impl Executable for Subset {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn inputs(&self) -> &[TensorInfo] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.inner.run(inputs).map(|all| self.pick(all))
    }

    fn run_raw(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.inner.run_raw(inputs).map(|all| self.pick(all))
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        self.inner.run_buffers(inputs).map(|all| self.pick(all))
    }

    fn run_inputs(&self, inputs: &[Input]) -> Result<Vec<Buffer>, RunError> {
        self.inner.run_inputs(inputs).map(|all| self.pick(all))
    }

    fn has_batch(&self) -> bool {
        self.inner.has_batch()
    }

    fn max_rows(&self) -> Option<usize> {
        self.inner.max_rows()
    }

    fn is_quick(&self, rows: usize) -> bool {
        self.inner.is_quick(rows)
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }
}
