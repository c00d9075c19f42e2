//! What goes wrong between a request and its answer.

use crate::{Datatype, Dtype};

/// A model that a backend cannot load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The backend itself cannot run here.
    #[error("backend '{backend}' is not available: {why}")]
    NotAvailable {
        /// Name of the backend.
        backend: &'static str,
        /// Why, and what to do about it.
        why: String,
    },
    /// The model lacks a form that the backend runs.
    #[error("backend '{backend}' runs {needs}, which '{model}' has not")]
    Form {
        /// Name of the backend.
        backend: &'static str,
        /// What it needs.
        needs: &'static str,
        /// Name of the model.
        model: String,
    },
    /// The backend refuses the model.
    #[error("{model}: {message}")]
    Model {
        /// Name of the model.
        model: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A request that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Wrong number of tensors.
    #[error("{found} inputs, but the model has {}: {}", expected.len(), expected.join(", "))]
    Inputs {
        /// Names of the model's inputs.
        expected: Vec<String>,
        /// Number of tensors given.
        found: usize,
    },
    /// A tensor of the wrong shape.
    #[error("input '{input}' has shape {found:?}, expected [rows, {}]", expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Shape {
        /// Name of the input.
        input: String,
        /// Its shape, the batch axis included.
        found: Vec<usize>,
        /// The model's shape, without the batch axis.
        expected: Vec<usize>,
    },
    /// A tensor of a type that the model does not take.
    #[error("input '{input}' has elements of {found}, expected {expected}")]
    Dtype {
        /// Name of the input.
        input: String,
        /// Its element type.
        found: Dtype,
        /// What the model takes.
        expected: String,
    },
    /// A buffer of a type that the model does not take.
    #[error("input '{input}' has elements of {found}, expected {expected}")]
    Datatype {
        /// Name of the input.
        input: String,
        /// Its element type.
        found: Datatype,
        /// What the model takes.
        expected: &'static str,
    },
    /// More rows than one call may have.
    #[error("{found} rows, but at most {limit} in one call")]
    TooManyRows {
        /// Rows given.
        found: usize,
        /// What [`max_rows`](crate::Executable::max_rows) says.
        limit: usize,
    },
    /// Inputs of different numbers of rows.
    #[error("input '{input}' has {found} rows, the inputs before it {expected}")]
    Rows {
        /// Name of the input.
        input: String,
        /// Its rows.
        found: usize,
        /// Rows of the inputs before it.
        expected: usize,
    },
    /// Not a number among the inputs.
    #[error("input '{input}', row {row}, element {element} is NaN; fixed point has no such value")]
    Nan {
        /// Name of the input.
        input: String,
        /// Row, from 0.
        row: usize,
        /// Element of the row in ONNX order, from 0.
        element: usize,
    },
    /// A raw code that the input's type cannot hold.
    #[error("input '{input}', row {row}, element {element} is {code}, which is no code of {ty}")]
    Code {
        /// Name of the input.
        input: String,
        /// Row, from 0.
        row: usize,
        /// Element of the row in ONNX order, from 0.
        element: usize,
        /// The value found.
        code: i128,
        /// The input's type.
        ty: String,
    },
    /// An input that is not here and cannot be had.
    #[error("input '{input}' cannot be read: {message}")]
    Source {
        /// Name of the input.
        input: String,
        /// Why.
        message: String,
    },
    /// The executable has no codes to show.
    #[error("'{0}' computes in floating point: it has no raw codes")]
    NoCodes(String),
    /// The backend failed.
    #[error("{backend}: {message}")]
    Backend {
        /// Name of the backend.
        backend: &'static str,
        /// What it says.
        message: String,
    },
}

impl RunError {
    /// The same of rows that are numbered from `first` on, where it names one.
    #[must_use]
    pub fn of_rows_from(self, first: usize) -> Self {
        match self {
            Self::Nan { input, row, element } => Self::Nan { input, row: row + first, element },
            Self::Code { input, row, element, code, ty } => {
                Self::Code { input, row: row + first, element, code, ty }
            }
            other => other,
        }
    }

    /// Whether the backend failed, so that the same request may succeed elsewhere or later; otherwise it is the
    /// request that is wrong.
    pub fn is_backends(&self) -> bool {
        match self {
            Self::Backend { .. } => true,
            Self::Inputs { .. }
            | Self::Shape { .. }
            | Self::Dtype { .. }
            | Self::Datatype { .. }
            | Self::TooManyRows { .. }
            | Self::Rows { .. }
            | Self::Nan { .. }
            | Self::Code { .. }
            | Self::Source { .. }
            | Self::NoCodes(_) => false,
        }
    }
}
