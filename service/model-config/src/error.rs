//! What can be wrong with a configuration, and where.

use crate::MAX_BYTES;

/// Why a configuration could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Something in the text.
    #[error("line {line}, column {column}: {problem}")]
    At {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// Something in a JSON value.
    #[error("{path}: {problem}")]
    In {
        /// Where it is, such as `config.input[0].dims`.
        path: String,
        /// What is wrong there.
        problem: Problem,
    },
    /// More bytes than [`MAX_BYTES`].
    #[error("the configuration has {bytes} bytes, at most {MAX_BYTES} are read: is it another file?")]
    TooLong {
        /// The length found.
        bytes: usize,
    },
}

/// What is wrong at one place of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field that the message does not have.
    #[error("{message} has no field '{name}': {advice}")]
    UnknownField {
        /// The name found.
        name: String,
        /// The message that it was found in.
        message: String,
        /// The nearest field, or all there are.
        advice: String,
    },
    /// A value that the enum does not have.
    #[error("'{value}' is not a {of}: {advice}")]
    UnknownValue {
        /// The name or number found.
        value: String,
        /// The enum.
        of: String,
        /// The nearest value, or all there are.
        advice: String,
    },
    /// Anything else than what may stand there.
    #[error("found {found}, expected {expected}")]
    Unexpected {
        /// What was found.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// A field that is not repeated, given again.
    #[error("'{name}' is set a second time, but is not a list: keep one of them")]
    Twice {
        /// The field.
        name: String,
    },
    /// Two fields of which one may be set.
    #[error("'{name}' and '{other}' exclude each other: keep one of them")]
    Exclusive {
        /// The field that was set second.
        name: String,
        /// The field that was set before.
        other: String,
    },
    /// Not JSON at all.
    #[error("not valid JSON: {0}")]
    Json(String),
}

impl Problem {
    pub(crate) fn unexpected(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Unexpected { found: found.into(), expected: expected.into() }
    }
}
