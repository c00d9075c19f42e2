//! The models that are served: each gives its input back.

use std::{fs, path::Path, process::Command};

use super::{BenchError, failed, output, root};

/// What is sent: `rows` of `width` floats, to model `name`.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl Shape {
    pub(crate) fn bytes(&self) -> usize {
        self.rows * self.width * 4
    }
}

/// A small request, and as many rows as a calorimeter has.
pub(crate) const TENSORS: [Shape; 2] = [
    Shape { name: "identity_16", rows: 1, width: 16 },
    Shape { name: "identity_47", rows: 16_000, width: 47 },
];

/// How a server wants its models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Not at all.
    Echo,
    /// Our backend 'identity'.
    Hypersonic,
    /// Triton's Python backend.
    Python,
    /// Triton's backend 'identity'.
    Identity,
}

/// Tensors travel by reference, as far as this backend can.
const MODEL_PY: &str = "\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, \"INPUT\")
            answer = pb_utils.Tensor.from_dlpack(\"OUTPUT\", tensor.to_dlpack())
            answers.append(pb_utils.InferenceResponse([answer]))
        return answers
";

/// Writes the repository of the models that are measured.
pub(crate) fn write(repository: &Path, dialect: Dialect) -> Result<(), BenchError> {
    let backend = match dialect {
        Dialect::Echo => return Ok(()),
        Dialect::Hypersonic | Dialect::Identity => "identity",
        Dialect::Python => "python",
    };
    for Shape { name, rows, width } in &TENSORS {
        let tensor = |kind: &str, name: &str| {
            format!("{kind} [ {{ name: \"{name}\" data_type: TYPE_FP32 dims: [ {width} ] }} ]\n")
        };
        let config = format!(
            "name: \"{name}\"\nbackend: \"{backend}\"\nmax_batch_size: {}\n{}{}",
            rows.next_power_of_two(),
            tensor("input", "INPUT"),
            tensor("output", "OUTPUT")
        );
        let folder = repository.join(name);
        fs::create_dir_all(folder.join("1")).map_err(failed("a model's folder"))?;
        fs::write(folder.join("config.pbtxt"), config).map_err(failed("config.pbtxt"))?;
        if dialect == Dialect::Python {
            fs::write(folder.join("1/model.py"), MODEL_PY).map_err(failed("model.py"))?;
        }
    }
    Ok(())
}

/// A repository of that many packages of a small network.
pub(crate) fn packages(hypersonic: &Path, repository: &Path, count: usize) -> Result<(), BenchError> {
    let model = root().join("tests/fixtures/exports/torch_legacy-digits_mlp.onnx");
    for i in 0..count {
        let folder = repository.join(format!("digits_{i}"));
        fs::create_dir_all(&folder).map_err(failed("a model's folder"))?;
        let mut compile = Command::new(hypersonic);
        compile.arg("compile").arg(&model).arg("--output").arg(folder.join("1"));
        output(compile.args(["--precision", "fixed<16,6>"]))?;
    }
    Ok(())
}
