//! Golden vectors: inputs and the outputs that they must give, code by code, in an `.npz`.
//!
//! Members are `golden.json` ([`About`]), `input/NAME` and `output/NAME` with codes as 64-bit integers, and, where the
//! inputs came from floats, `value/NAME` with these. Tensors have the shape `[rows, the port's ONNX shape…]`.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, Write},
    path::Path,
};

use hs_hw::{Fingerprint, KERNEL_ABI, Program};
use hs_package::Port;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Tensor, TensorError,
    npy::FileError,
    npz::{self, NpzError},
};

/// Member of the archive that says what the others are.
const ABOUT: &str = "golden.json";
const FORMAT: &str = "hypersonic-golden";
const FORMAT_VERSION: u32 = 1;

/// What golden vectors say of themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    format: String,
    format_version: u32,
    producer: String,
    model: String,
    /// The bits that they are of.
    pub fingerprint: Fingerprint,
    kernel_abi: u32,
    /// Rows of each tensor.
    pub rows: usize,
    /// Inputs of the model.
    pub inputs: Vec<Port>,
    /// Outputs of the model.
    pub outputs: Vec<Port>,
}

impl About {
    /// Of `rows` rows of a verified Program.
    pub fn of(program: &Program, rows: usize) -> Self {
        let (inputs, outputs) = Port::of(program);
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            producer: concat!("hypersonic ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: program.name.clone(),
            fingerprint: program.fingerprint(),
            kernel_abi: KERNEL_ABI,
            rows,
            inputs,
            outputs,
        }
    }
}

/// Golden vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// What they are of.
    pub about: About,
    /// Inputs before they were quantised; empty where the inputs were made as codes.
    pub values: Vec<Tensor>,
    /// Codes, as 64-bit integers, in the order of the model's inputs.
    pub inputs: Vec<Tensor>,
    /// Codes, as 64-bit integers, in the order of the model's outputs.
    pub outputs: Vec<Tensor>,
}

/// Why a file is not used as golden vectors.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// It cannot be read or written.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// It is no file of golden vectors, or a damaged one.
    #[error("{0}")]
    Foreign(String),
    /// It is of another version of the format.
    #[error("format version {0}, but this program reads version {FORMAT_VERSION}")]
    Version(String),
    /// It is of other bits.
    #[error(transparent)]
    Bits(#[from] Box<OtherBits>),
}

/// Golden vectors of another model, or of the same in other types.
#[derive(Debug, thiserror::Error)]
#[error(
    "the vectors are of fingerprint {found}, the model '{model}' has {expected}{}",
    differences.iter().map(|d| format!("; {d}")).collect::<String>()
)]
pub struct OtherBits {
    /// The vectors'.
    pub found: Fingerprint,
    /// The model.
    pub model: String,
    /// The model's.
    pub expected: Fingerprint,
    /// Types that differ, for a person.
    pub differences: Vec<String>,
}

impl Golden {
    /// Reads a file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, FileError<GoldenError>> {
        let path = path.as_ref();
        let read = || Self::read(BufReader::new(File::open(path).map_err(NpzError::from)?));
        read().map_err(|source| FileError { path: path.to_owned(), source })
    }

    /// Reads what [`Golden::write`] wrote.
    pub fn read(r: impl Read + Seek) -> Result<Self, GoldenError> {
        let members = npz::read(r)?;
        let find = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, t)| t);
        let foreign = |e: &dyn std::fmt::Display| GoldenError::Foreign(format!("'{ABOUT}': {e}"));
        let about = find(ABOUT).and_then(|t| t.as_slice::<u8>());
        let about =
            about.ok_or_else(|| GoldenError::Foreign(format!("no golden vectors: '{ABOUT}' is missing")))?;
        let about: Value = serde_json::from_slice(about).map_err(|e| foreign(&e))?;
        if about["format"] != json!(FORMAT) {
            return Err(GoldenError::Foreign(format!("'{ABOUT}' is not of the format {FORMAT}")));
        }
        if about["format_version"] != json!(FORMAT_VERSION) {
            return Err(GoldenError::Version(about["format_version"].to_string()));
        }
        let about: About = serde_json::from_value(about).map_err(|e| foreign(&e))?;
        let all = |kind: &str, ports: &[Port]| -> Result<Vec<Tensor>, GoldenError> {
            let one = |p: &Port| {
                let name = format!("{kind}/{}", p.name);
                let wrong = |what: String| GoldenError::Foreign(format!("'{name}' {what}"));
                let tensor = find(&name).ok_or_else(|| wrong("is missing".to_owned()))?;
                if tensor.rows() != about.rows {
                    return Err(wrong(format!("has {} rows, not {}", tensor.rows(), about.rows)));
                }
                if tensor.shape().get(1..) != Some(&p.onnx_shape) {
                    let (found, row) = (tensor.shape(), &p.onnx_shape);
                    return Err(wrong(format!("has shape {found:?}, but a row has {row:?}")));
                }
                if kind != "value" && tensor.as_slice::<i64>().is_none() {
                    return Err(wrong("holds no 64-bit codes".to_owned()));
                }
                Ok(tensor.clone())
            };
            ports.iter().map(one).collect()
        };
        let has_values = members.iter().any(|(n, _)| n.starts_with("value/"));
        Ok(Self {
            values: if has_values { all("value", &about.inputs)? } else { Vec::new() },
            inputs: all("input", &about.inputs)?,
            outputs: all("output", &about.outputs)?,
            about,
        })
    }

    /// Writes the file. The same vectors give the same bytes.
    pub fn write(&self, w: impl Write + Seek) -> Result<(), GoldenError> {
        let foreign = |e: &dyn std::fmt::Display| GoldenError::Foreign(format!("'{ABOUT}': {e}"));
        let text = serde_json::to_vec_pretty(&self.about).map_err(|e| foreign(&e))?;
        let about = Tensor::of([text.len()], text).map_err(|e: TensorError| foreign(&e))?;
        let named = |kind: &str, ports: &[Port]| -> Vec<String> {
            ports.iter().map(|p| format!("{kind}/{}", p.name)).collect()
        };
        let kinds = [
            (named("value", &self.about.inputs), &self.values),
            (named("input", &self.about.inputs), &self.inputs),
            (named("output", &self.about.outputs), &self.outputs),
        ];
        let tensors = kinds.iter().flat_map(|(names, all)| names.iter().map(String::as_str).zip(all.iter()));
        Ok(npz::write(w, std::iter::once((ABOUT, &about)).chain(tensors))?)
    }

    /// Vectors of other bits say nothing about these.
    pub fn check_program(&self, program: &Program) -> Result<(), GoldenError> {
        let about = &self.about;
        let ours = About::of(program, about.rows);
        if about.fingerprint == ours.fingerprint {
            return Ok(());
        }
        let types = |ports: &[Port]| -> String {
            ports.iter().map(|p| format!("{}: {}", p.name, p.ty)).collect::<Vec<_>>().join(", ")
        };
        let mut differences = Vec::new();
        for (what, theirs, ours) in
            [("inputs", &about.inputs, &ours.inputs), ("outputs", &about.outputs, &ours.outputs)]
        {
            let (theirs, ours) = (types(theirs), types(ours));
            if theirs != ours {
                differences.push(format!("{what} were {theirs} and are {ours}"));
            }
        }
        let (found, expected) = (about.fingerprint, ours.fingerprint);
        Err(Box::new(OtherBits { found, model: ours.model, expected, differences }).into())
    }
}
