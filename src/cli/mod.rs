//! Verbs of the command line, one file each.

/// Runs the command line.
pub(crate) fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
