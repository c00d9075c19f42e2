//! ONNX in: from the bytes of a model to a [`Graph`](hs_ir::Graph) with the batch fixed to 1.

mod attribute;
pub mod builder;
pub(crate) mod canonical;
mod external;
mod generated;
mod import;
mod labels;
mod quantised;
mod sort;
mod tensor;

use std::fs;
use std::path::Path;

use hs_ir::Graph;
use prost::Message;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    limits::{Limit, Limits},
};

/// The protobuf messages of ONNX that are read.
pub use generated::onnx as proto;
pub(crate) use tensor::dtype;

/// Reads the model at `path`. External data is read from its folder only. Returns the graph, batch fixed to 1 and
/// every opset's form made one, with warnings.
pub fn import(path: &Path) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    import_within(path, &Limits::default())
}

/// As [`import`], with limits of one's own.
pub fn import_within(path: &Path, limits: &Limits) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    let fail = |e: std::io::Error| Diagnostic::error(format!("cannot read {}: {e}", path.display()));
    let meta = fs::metadata(path).map_err(fail)?;
    if !meta.is_file() {
        return Err(Diagnostic::error(format!("{} is not a file", path.display())).into());
    }
    limits.check(Limit::File, meta.len())?;
    let bytes = fs::read(path).map_err(fail)?;
    import_bytes_within(&bytes, path.parent(), limits)
}

/// Reads a model from memory. External data is read from `folder`, and is an error without one.
pub fn import_bytes(bytes: &[u8], folder: Option<&Path>) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    import_bytes_within(bytes, folder, &Limits::default())
}

/// As [`import_bytes`], with limits of one's own.
pub fn import_bytes_within(
    bytes: &[u8],
    folder: Option<&Path>,
    limits: &Limits,
) -> Result<(Graph, Vec<Diagnostic>), Diagnostics> {
    let model = proto::ModelProto::decode(bytes).map_err(|e| {
        Diagnostic::error(format!("not a readable ONNX model: {e}"))
            .help("the file may be truncated or of another format; check it with onnx.checker.check_model")
    })?;
    let folder = folder
        .map(external::Folder::open)
        .transpose()
        .map_err(|message| Diagnostics::from(Diagnostic::error(message)))?;
    import::import(model, folder.as_ref(), limits)
}
