//! A model's generated C++ as something that runs: tensors in and out, codes in between.

use std::path::PathBuf;

use hs_compiler::hls::csim::{self, Bench, CsimError, CsimOptions, Progress};
use hs_hw::Program;
use hs_runtime::{Datatype, Executable, RunError, Tensor, TensorInfo, codes::Layout};
use tempfile::TempDir;

use super::{Step, exit::Failure, model::Model};

/// C++ compiled with g++, one model.
pub(crate) struct Simulation {
    name: String,
    project: PathBuf,
    inputs: Ports,
    outputs: Ports,
    /// Holds the project of a model that is in no package.
    _scratch: Option<TempDir>,
}

struct Ports {
    layouts: Vec<Layout>,
    infos: Vec<TensorInfo>,
}

impl Simulation {
    /// Compiles the C++ of a model, in its package if it has one; a package remembers the result.
    pub(crate) fn new(model: &Model, step: &Step) -> Result<Self, Failure> {
        let (project, scratch) = match &model.package {
            Some(package) => (Model::project(package), None),
            None => {
                let dir = tempfile::tempdir()
                    .map_err(|e| Failure::environment(format!("no temporary directory: {e}")))?;
                csim::write(&model.hls_project()?.files, dir.path())?;
                (dir.path().to_owned(), Some(dir))
            }
        };
        let tell = |p: Progress| match p {
            Progress::Compiling => step.say("compiling the C++"),
            Progress::Rows(_) => {}
        };
        Bench::build(&project, &CsimOptions { progress: Some(&tell), ..CsimOptions::default() })?;
        Ok(Self {
            name: model.name.clone(),
            project,
            inputs: Ports::new(&model.program, model.program.inputs()),
            outputs: Ports::new(&model.program, model.program.outputs()),
            _scratch: scratch,
        })
    }

    fn simulate(
        &self,
        inputs: &[Tensor],
        encode: impl Fn(&Layout, &Tensor, usize, &mut [i64]) -> Result<(), RunError>,
    ) -> Result<(usize, Vec<Vec<i64>>), RunError> {
        let layouts = &self.inputs.layouts;
        if inputs.len() != layouts.len() {
            let expected = layouts.iter().map(|l| l.tensor().to_owned()).collect();
            return Err(RunError::Inputs { expected, found: inputs.len() });
        }
        let mut rows = None;
        let mut codes = Vec::new();
        for (layout, tensor) in layouts.iter().zip(inputs) {
            let found = layout.rows(tensor)?;
            let expected = *rows.get_or_insert(found);
            if found != expected {
                return Err(RunError::Rows { input: layout.tensor().to_owned(), found, expected });
            }
            let mut row_codes = vec![0; found * layout.row_len()];
            encode(layout, tensor, found, &mut row_codes)?;
            codes.push(row_codes);
        }
        let rows = rows.unwrap_or(0);
        // The bench is found compiled.
        let outputs =
            csim::build_and_run(&self.project, &codes, rows, &CsimOptions::default()).map_err(wrong)?;
        Ok((rows, outputs))
    }

    fn collect(
        &self,
        rows: usize,
        codes: &[Vec<i64>],
        decode: impl Fn(&Layout, &[i64], Vec<usize>) -> Result<Tensor, RunError>,
    ) -> Result<Vec<Tensor>, RunError> {
        let shape = |l: &Layout| std::iter::once(rows).chain(l.onnx_shape().iter().copied()).collect();
        self.outputs.layouts.iter().zip(codes).map(|(l, c)| decode(l, c, shape(l))).collect()
    }
}

fn wrong(e: impl std::fmt::Display) -> RunError {
    RunError::Backend { backend: "csim", message: e.to_string() }
}

impl Executable for Simulation {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs.infos
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs.infos
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let (rows, codes) = self.simulate(inputs, |l, t, rows, out| l.encode(t, 0..rows, out))?;
        self.collect(rows, &codes, |layout, codes, shape| {
            let mut values = vec![0f32; codes.len()];
            layout.decode_f32(codes, &mut values);
            Tensor::of(shape, values).map_err(wrong)
        })
    }

    fn run_raw(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let (rows, codes) = self.simulate(inputs, |l, t, rows, out| l.encode_raw(t, 0..rows, out))?;
        self.collect(rows, &codes, |layout, codes, shape| {
            let mut values = vec![0i64; codes.len()];
            layout.decode_raw(codes, &mut values);
            Tensor::of(shape, values).map_err(wrong)
        })
    }
}

impl Ports {
    fn new(program: &Program, ids: Vec<hs_hw::ValueId>) -> Self {
        let layouts: Vec<Layout> = ids.into_iter().filter_map(|id| Layout::of(program.node(id))).collect();
        let info = |l: &Layout| TensorInfo {
            name: l.tensor().to_owned(),
            datatype: Datatype::Fp32,
            shape: l.onnx_shape().iter().copied().map(Some).collect(),
        };
        let infos = layouts.iter().map(info).collect();
        Self { layouts, infos }
    }
}

impl From<CsimError> for Failure {
    fn from(error: CsimError) -> Self {
        match error {
            CsimError::NoCompiler(_) | CsimError::NoHeaders(_) => Self::environment(error),
            CsimError::NoProject { .. } | CsimError::Inputs(_) | CsimError::Io { .. } => Self::input(error),
            CsimError::Compile(_)
            | CsimError::Deadlock(_)
            | CsimError::Run { .. }
            | CsimError::Output { .. } => Self::internal(error),
        }
    }
}
