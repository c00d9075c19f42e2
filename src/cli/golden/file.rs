//! The file that golden vectors are kept in.

use std::path::Path;

use hs_hw::{KERNEL_ABI, Program};
use hs_package::Port;
use hs_runtime::{Tensor, npz};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::exit::Failure;

/// Member of the archive that says what the others are.
pub(super) const ABOUT: &str = "golden.json";
const FORMAT: &str = "hypersonic-golden";
const FORMAT_VERSION: u32 = 1;

/// What a file of golden vectors says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    format: String,
    format_version: u32,
    producer: String,
    model: String,
    pub(super) fingerprint: String,
    kernel_abi: u32,
    pub(super) rows: usize,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
}

impl About {
    pub(super) fn of(program: &Program, rows: usize) -> Self {
        let (inputs, outputs) = Port::of(program);
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            producer: concat!("hypersonic ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: program.name.clone(),
            fingerprint: program.fingerprint().to_string(),
            kernel_abi: KERNEL_ABI,
            rows,
            inputs,
            outputs,
        }
    }
}

/// Golden vectors; each tensor has `[rows, the port's shape…]`.
pub(super) struct Golden {
    pub(super) about: About,
    /// Inputs before they were quantised; empty where the inputs were made as codes.
    pub(super) values: Vec<Tensor>,
    /// Codes, as 64-bit integers.
    pub(super) inputs: Vec<Tensor>,
    /// Codes, as 64-bit integers.
    pub(super) outputs: Vec<Tensor>,
}

impl Golden {
    /// Reads what `golden write` wrote.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let members = npz::load(path).map_err(Failure::input)?;
        let find = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, t)| t);
        let foreign = |what: String| {
            Failure::file(path, what).help("golden vectors are what `hypersonic golden write` wrote")
        };
        let about = find(ABOUT).and_then(|t| t.as_slice::<u8>());
        let about = about.ok_or_else(|| foreign(format!("no golden vectors: '{ABOUT}' is missing")))?;
        let about: Value = serde_json::from_slice(about).map_err(|e| foreign(format!("'{ABOUT}': {e}")))?;
        if about["format"] != json!(FORMAT) {
            return Err(foreign(format!("'{ABOUT}' is not of the format {FORMAT}")));
        }
        if about["format_version"] != json!(FORMAT_VERSION) {
            return Err(Failure::file(
                path,
                format!(
                    "format version {}, but this program reads version {FORMAT_VERSION}",
                    about["format_version"]
                ),
            )
            .help("write the vectors anew with this version, or verify with the one that wrote them"));
        }
        let about: About = serde_json::from_value(about).map_err(|e| foreign(format!("'{ABOUT}': {e}")))?;
        let all = |kind: &str, ports: &[Port]| -> Result<Vec<Tensor>, Failure> {
            let one = |p: &Port| {
                let name = format!("{kind}/{}", p.name);
                let tensor = find(&name).ok_or_else(|| foreign(format!("'{name}' is missing")))?;
                if tensor.rows() != about.rows {
                    return Err(foreign(format!("'{name}' has {} rows, not {}", tensor.rows(), about.rows)));
                }
                if tensor.shape().get(1..) != Some(&p.onnx_shape) {
                    let (found, row) = (tensor.shape(), &p.onnx_shape);
                    return Err(foreign(format!("'{name}' has shape {found:?}, but a row has {row:?}")));
                }
                if kind != "value" && tensor.as_slice::<i64>().is_none() {
                    return Err(foreign(format!("'{name}' holds no 64-bit codes")));
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

    /// Vectors of other bits say nothing about these.
    pub(super) fn belongs(&self, path: &Path, program: &Program) -> Result<(), Failure> {
        let about = &self.about;
        let ours = About::of(program, about.rows);
        if about.fingerprint == ours.fingerprint {
            return Ok(());
        }
        let types = |ports: &[Port]| -> Vec<String> {
            ports.iter().map(|p| format!("{}: {}", p.name, p.ty)).collect()
        };
        let mut message = format!(
            "the vectors are of fingerprint {}, the model '{}' has {}",
            about.fingerprint, ours.model, ours.fingerprint
        );
        for (what, theirs, ours) in
            [("inputs", &about.inputs, &ours.inputs), ("outputs", &about.outputs, &ours.outputs)]
        {
            let (theirs, ours) = (types(theirs).join(", "), types(ours).join(", "));
            if theirs != ours {
                message.push_str(&format!("; {what} were {theirs} and are {ours}"));
            }
        }
        Err(Failure::file(path, message).help(
            "model, types or arithmetic have changed since; if that was meant, look at the accuracy (`hypersonic check`) \
             and write the vectors anew: `hypersonic golden write`",
        ))
    }
}
