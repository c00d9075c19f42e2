//! What can be wrong with a package.

use std::path::PathBuf;

use hs_hw::{Fingerprint, VerifyError, text};

use crate::FORMAT_VERSION;

/// A package that cannot be written or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The operating system said no.
    #[error("cannot {action} '{}': {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The directory has no manifest of ours.
    #[error("'{}' is not a package: {why}; 'hypersonic compile MODEL -o DIR' writes one", path.display())]
    NotAPackage {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// Written by a version that we do not know.
    #[error(
        "'{}' has package format {found}, this hypersonic reads {FORMAT_VERSION}; compile the model again with \
         this version, or use the one that wrote it ({producer})",
        path.display()
    )]
    Version {
        /// The directory.
        path: PathBuf,
        /// Its format version.
        found: u64,
        /// The program that wrote it.
        producer: String,
    },
    /// Made for another kernel ABI.
    #[error(
        "'{}' is for kernel ABI {found}, this hypersonic has {}; compile the model again",
        path.display(), hs_hw::KERNEL_ABI
    )]
    Abi {
        /// The directory.
        path: PathBuf,
        /// Its kernel ABI version.
        found: u32,
    },
    /// The manifest is no manifest.
    #[error("'{}': {message}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file is not what was written.
    #[error("'{}' was changed since it was compiled: {why}; compile the model again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// The Program's text does not parse.
    #[error("'{}': {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: text::ParseError,
    },
    /// The Program breaks a rule.
    #[error("the Program is not valid: {}", list(.0))]
    Invalid(Vec<VerifyError>),
    /// The Program is not the one that the manifest names.
    #[error("'{}' has fingerprint {found}, its manifest says {expected}; compile the model again", path.display())]
    Fingerprint {
        /// The directory.
        path: PathBuf,
        /// Of the Program.
        found: Fingerprint,
        /// Of the manifest.
        expected: Fingerprint,
    },
    /// A Schedule for another Program.
    #[error("the Schedule does not fit the Program: {0}")]
    Schedule(String),
    /// A kernel that is not this model's.
    #[error("the kernel '{}' does not fit the model: {message}", kernel.escape_debug())]
    Kernel {
        /// Its name.
        kernel: String,
        /// What differs.
        message: String,
    },
    /// A file name that a package cannot have.
    #[error("a package cannot hold the file '{}': {why}", path.escape_debug())]
    BadPath {
        /// The name.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// The record of what was built cannot be used.
    #[error("'{}' cannot be used: {message}; remove it and build again", path.display())]
    Evidence {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The output is there already.
    #[error("'{}' exists; {advice}", path.display())]
    Exists {
        /// The output directory.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
}

fn list(errors: &[VerifyError]) -> String {
    const SHOWN: usize = 5;
    let mut lines: Vec<String> = errors.iter().take(SHOWN).map(ToString::to_string).collect();
    if errors.len() > SHOWN {
        lines.push(format!("and {} more", errors.len() - SHOWN));
    }
    lines.join("; ")
}

/// Attaches what was tried, and where, to an error of the operating system.
pub(crate) fn io(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> PackageError {
    let path = path.into();
    move |source| PackageError::Io { action, path, source }
}
