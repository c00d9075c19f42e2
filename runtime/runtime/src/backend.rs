//! Backends, executables and the registry that lists them.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use hs_hw::Program;

use crate::{Buffer, CardStatus, Datatype, Input, LoadError, RunError, Tensor};

/// Name, element type and shape of a model's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// ONNX name.
    pub name: String,
    /// Element type that the executable takes or gives.
    pub datatype: Datatype,
    /// ONNX shape without the batch axis; `None`: any size.
    pub shape: Vec<Option<usize>>,
}

/// Refuses tensors whose number or types are not those of `infos`. Shapes are not looked at.
pub fn check_inputs(infos: &[TensorInfo], found: &[Buffer]) -> Result<(), RunError> {
    if found.len() != infos.len() {
        let expected = infos.iter().map(|i| i.name.clone()).collect();
        return Err(RunError::Inputs { expected, found: found.len() });
    }
    match infos.iter().zip(found).find(|(i, b)| i.datatype != b.datatype()) {
        Some((info, buffer)) => Err(RunError::Datatype {
            input: info.name.clone(),
            found: buffer.datatype(),
            expected: info.datatype.name(),
        }),
        None => Ok(()),
    }
}

/// A loaded model.
pub trait Executable: Send + Sync {
    /// Name of the model.
    fn name(&self) -> &str;

    /// The inputs, in model order.
    fn inputs(&self) -> &[TensorInfo];

    /// The outputs, in model order.
    fn outputs(&self) -> &[TensorInfo];

    /// Runs any number of rows, none included. `inputs`: one tensor a model input, `[rows, shape…]`, in model
    /// order; the result likewise, a tensor a model output. The same inputs give the same bits, however rows
    /// are split over calls.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError>;

    /// As [`run`](Self::run), but both sides are raw codes: integer tensors in ONNX order, the result of 64-bit
    /// integers.
    fn run_raw(&self, _inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        Err(RunError::NoCodes(self.name().to_owned()))
    }

    /// As [`run`](Self::run), on tensors as they travel, each of the type that [`inputs`](Self::inputs) names.
    /// Executables that can work in place do so; the others copy.
    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        check_inputs(self.inputs(), inputs)?;
        let tensor = |(info, buffer): (&TensorInfo, &Buffer)| {
            buffer.to_tensor().ok_or_else(|| RunError::Datatype {
                input: info.name.clone(),
                found: buffer.datatype(),
                expected: "a type of numbers",
            })
        };
        let tensors = self.inputs().iter().zip(inputs).map(tensor).collect::<Result<Vec<_>, _>>()?;
        Ok(self.run(&tensors)?.into_iter().map(Buffer::from).collect())
    }

    /// As [`run_buffers`](Self::run_buffers), on inputs that may lie elsewhere: where the executable has no better way,
    /// they are fetched first.
    fn run_inputs(&self, inputs: &[Input]) -> Result<Vec<Buffer>, RunError> {
        let name = |i: usize| self.inputs().get(i).map_or("", |info| info.name.as_str());
        let fetch = |(i, input): (usize, &Input)| input.fetch(name(i));
        let buffers = inputs.iter().enumerate().map(fetch).collect::<Result<Vec<_>, _>>()?;
        self.run_buffers(&buffers)
    }

    /// Whether the first axis of all inputs and outputs is a batch of any size, which [`inputs`](Self::inputs) and
    /// [`outputs`](Self::outputs) leave out; otherwise their shapes are whole, and "rows" mean nothing.
    fn has_batch(&self) -> bool {
        true
    }

    /// Rows that one call may take; `None`: any number. More is an error, not a crash.
    fn max_rows(&self) -> Option<usize> {
        None
    }

    /// Whether so many rows take so little time, some 50 µs at most, that handing them to another thread would
    /// cost more than it gives.
    fn is_quick(&self, _rows: usize) -> bool {
        false
    }

    /// Calls that run at the same time without waiting for each other.
    fn concurrency(&self) -> usize {
        1
    }

    /// Whether its results are the Program's codes, the same on every machine.
    fn is_exact(&self) -> bool {
        false
    }

    /// The cards that it runs on, where it runs on cards.
    fn cards(&self) -> Vec<CardStatus> {
        Vec::new()
    }
}

/// What kind of device a model shall run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Device {
    /// What the backend prefers here.
    #[default]
    Auto,
    /// The host's processor.
    Cpu,
    /// The accelerator of this index.
    Accelerator(u32),
}

/// The forms in which a model is at hand; a backend takes the one it runs.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Name of the model.
    pub name: String,
    /// Its bits.
    pub program: Option<Arc<Program>>,
    /// The ONNX file.
    pub onnx: Option<PathBuf>,
    /// The package directory that `compile` wrote.
    pub package: Option<PathBuf>,
    /// Inputs as a configuration declares them, for backends that cannot read them off the model.
    pub inputs: Vec<TensorInfo>,
    /// Outputs, likewise.
    pub outputs: Vec<TensorInfo>,
    /// Where to run.
    pub device: Device,
    /// Settings of the backend, by name; it ignores those of others.
    pub options: BTreeMap<String, String>,
}

/// Whether a backend can run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// Yes; what it runs on, for a person to read.
    Available(String),
    /// No: why, and what to do about it.
    NotAvailable(String),
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available(on) => write!(f, "available: {on}"),
            Self::NotAvailable(why) => write!(f, "not available: {why}"),
        }
    }
}

/// A way to run models.
pub trait Backend: Send + Sync {
    /// The name that users choose it by.
    fn name(&self) -> &'static str;

    /// Whether it can run here. Never fails and never panics.
    fn availability(&self) -> Availability;

    /// Makes `model` ready to run.
    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError>;
}

/// The backends of this build, in the order of preference in which they were added.
#[derive(Default)]
pub struct Registry {
    backends: Vec<Box<dyn Backend>>,
}

impl Registry {
    /// A registry of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend after the others.
    ///
    /// # Panics
    /// When one of the same name is there: names are fixed in the code.
    pub fn add(&mut self, backend: impl Backend + 'static) {
        assert!(self.get(backend.name()).is_none(), "two backends are called '{}'", backend.name());
        self.backends.push(Box::new(backend));
    }

    /// The backend called `name`.
    pub fn get(&self, name: &str) -> Option<&dyn Backend> {
        self.iter().find(|b| b.name() == name)
    }

    /// All backends, in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Backend> {
        self.backends.iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|b| b.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Absent;

    impl Backend for Absent {
        fn name(&self) -> &'static str {
            "absent"
        }
        fn availability(&self) -> Availability {
            Availability::NotAvailable("there is no card; plug one in".to_owned())
        }
        fn load(&self, _: &Model) -> Result<Arc<dyn Executable>, LoadError> {
            Err(LoadError::NotAvailable { backend: self.name(), why: "there is no card".to_owned() })
        }
    }

    #[test]
    fn registry_lists_what_is_missing_and_why() {
        let mut r = Registry::new();
        r.add(Absent);
        let listed: Vec<String> = r.iter().map(|b| format!("{}: {}", b.name(), b.availability())).collect();
        assert_eq!(listed, ["absent: not available: there is no card; plug one in"]);
        let error = r.get("absent").unwrap().load(&Model::default()).err().unwrap();
        assert_eq!(error.to_string(), "backend 'absent' is not available: there is no card");
        assert!(r.get("emulator").is_none());
    }
}
