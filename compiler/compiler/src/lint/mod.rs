//! Rules that the emitted text must keep, each checked on the text itself.

use crate::hls::EmittedFile;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {rule}: {found}")]
pub struct Finding {
    /// File below the project's directory.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Name of the rule.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
}

/// Every broken rule of the files, in order.
pub fn lint(files: &[EmittedFile]) -> Vec<Finding> {
    let _ = files;
    Vec::new()
}
