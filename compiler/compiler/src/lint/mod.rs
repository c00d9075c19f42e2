//! Rules that the emitted text must keep for synthesis, each checked on the text itself.
//!
//! A finding is a bug of the generator, never of the user's model: what a model cannot have is refused before
//! anything is emitted.

mod kernel;
mod limits;
mod link;
mod network;
mod project;
mod source;
mod text;

#[cfg(test)]
mod tests;

use crate::hls::EmittedFile;

use source::Source;

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

/// Every broken rule of a project's files, in order. Kernel code is what lies in `firmware/`.
pub fn lint(files: &[EmittedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kernel: Vec<Source> = files
        .iter()
        .filter(|f| f.path.starts_with("firmware/"))
        .map(|f| Source::new(&f.path, &String::from_utf8_lossy(&f.bytes)))
        .collect();
    for source in &kernel {
        text::check(source, &mut findings);
        limits::constant_arrays(source, &mut findings);
    }
    limits::total(&kernel, &mut findings);
    limits::layers(&kernel, &mut findings);
    for source in &kernel {
        network::check(source, &mut findings);
        kernel::check(source, &mut findings);
    }
    project::check(files, &mut findings);
    link::check(files, &mut findings);
    findings
}
