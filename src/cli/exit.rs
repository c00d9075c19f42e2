//! Exit codes and the errors behind them: the one place that turns a failure into text or JSON.

use std::{fmt, path::Path, process::ExitCode};

use hs_bitstream::{AwsError, Refusal, RegistryError};
use hs_client::ClientError;
use hs_compiler::diagnostic::{Diagnostic, Diagnostics};
use hs_package::PackageError;
use hs_runtime::{LoadError, RunError};
use serde_json::{Value, json};

/// How a run ends. The numbers are part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// Done, and the answer is no: results differ, or the accuracy asked for is not reached.
    Mismatch,
    /// The command line is wrong.
    Usage,
    /// A model or data file is refused.
    Input,
    /// Something this machine lacks, or a server that does not answer.
    Environment,
    /// A bug of ours.
    Internal,
    /// As a program that was run.
    Program(u8),
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Mismatch => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::Environment => 4,
            Self::Internal => 5,
            Self::Program(code) => code,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Mismatch => "mismatch",
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Environment => "environment",
            Self::Internal => "internal",
            Self::Program(_) => "program",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Shown below each `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  results differ, or the accuracy asked for is not reached
  2  wrong use of the command line
  3  a model or data file is refused
  4  something is missing on this machine (a compiler, headers, a library, Vitis, a card), or a server or AWS does not answer
  5  internal error";

/// Why a verb stopped: how it ends, and one or more messages.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    diagnostics: Diagnostics,
}

impl Failure {
    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, diagnostics: Diagnostic::error(message.to_string()).into() }
    }

    /// What `diagnostic` says, ending the run as `exit`.
    pub(crate) fn of(exit: Exit, diagnostic: Diagnostic) -> Self {
        Self { exit, diagnostics: diagnostic.into() }
    }

    /// The command line asks for something that does not go together.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file is refused.
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self::new(Exit::Input, message)
    }

    /// A file cannot be read or written.
    pub(crate) fn file(path: &Path, error: impl fmt::Display) -> Self {
        Self::input(format!("{}: {error}", path.display()))
    }

    /// The machine lacks something.
    pub(crate) fn environment(message: impl fmt::Display) -> Self {
        Self::new(Exit::Environment, message)
    }

    /// A bug.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(Exit::Internal, message)
            .help("this is a bug in hypersonic: please report it, with the command and the model")
    }

    /// The same with advice.
    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        if let Some(last) = self.diagnostics.0.last_mut() {
            last.help = Some(help.to_string());
        }
        self
    }

    /// How the run ends.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "ok": false,
            "exit_code": self.exit.code(),
            "error": { "kind": self.exit.kind(), "diagnostics": self.diagnostics },
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render("error", &self.diagnostics.0))
    }
}

/// Diagnostics for a person: each named `what`, those that differ in the node only as one.
pub(crate) fn render(what: &str, diagnostics: &[Diagnostic]) -> String {
    /// Nodes beyond the first that are named.
    const NAMED: usize = 5;
    let mut groups: Vec<(&Diagnostic, Vec<&str>)> = Vec::new();
    for d in diagnostics {
        let same = |o: &&mut (&Diagnostic, Vec<&str>)| {
            d.node.is_some() && o.0.op == d.op && o.0.message == d.message && o.0.help == d.help
        };
        match groups.iter_mut().find(same) {
            Some((_, more)) => more.extend(d.node.as_deref()),
            None => groups.push((d, Vec::new())),
        }
    }
    let text = |(first, more): &(&Diagnostic, Vec<&str>)| {
        let mut text = format!("{what}: {first}");
        if !more.is_empty() {
            let named =
                more.iter().take(NAMED).map(|n| format!("'{}'", n.escape_debug())).collect::<Vec<_>>();
            text.push_str(&format!("\n  the same for {}", named.join(", ")));
            if let Some(rest @ 1..) = more.len().checked_sub(NAMED) {
                text.push_str(&format!(" and {rest} more"));
            }
        }
        text
    };
    groups.iter().map(text).collect::<Vec<_>>().join("\n")
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self { exit: Exit::Input, diagnostics }
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics::from(diagnostic).into()
    }
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        Self::input(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Inputs { .. }
            | RunError::Shape { .. }
            | RunError::Dtype { .. }
            | RunError::Datatype { .. }
            | RunError::TooManyRows { .. }
            | RunError::Rows { .. }
            | RunError::Nan { .. }
            | RunError::Code { .. }
            | RunError::Source { .. }
            | RunError::NoCodes(_) => Self::input(error),
            RunError::Backend { .. } => Self::internal(error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Options(_) => Self::usage(error),
            ClientError::Certificate { .. } | ClientError::Request(_) => Self::input(error),
            ClientError::Refused { status, .. } if status.is_clients_fault() => Self::input(error),
            ClientError::Refused { .. } | ClientError::Broken { .. } => Self::environment(error),
            ClientError::Connect { .. } => {
                Self::environment(error).help("is the server running, and is the port the right one?")
            }
            ClientError::Timeout { .. } => Self::environment(error).help("--timeout sets another limit"),
            ClientError::Answer(_) => {
                Self::environment(error).help("is it a server of the v2 inference protocol?")
            }
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NotAvailable { .. } => Self::environment(error),
            LoadError::Form { .. } | LoadError::Model { .. } => Self::input(error),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(error: Refusal) -> Self {
        Self::input(error)
    }
}

impl From<AwsError> for Failure {
    fn from(error: AwsError) -> Self {
        Self::environment(error)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Location(_) => Self::usage(error),
            RegistryError::Nowhere => Self::environment(error),
            RegistryError::Aws(error) => error.into(),
            RegistryError::Refused(refusal) => (*refusal).into(),
            RegistryError::Taken { .. } => Self::input(error)
                .help("--name NAME gives it another name, --replace puts it in the other's place"),
            RegistryError::Io { .. } | RegistryError::Manifest { .. } => Self::input(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_the_node_only_is_said_once() {
        let no = |node: &str| Diagnostic::error("not supported").at(node, "Foo").help("use Bar");
        let nodes: Vec<_> = ["a", "b", "c\n", "d", "e", "f", "g"].map(no).into();
        let other = Diagnostic::error("the model has no outputs");
        let text = render("error", &[vec![other.clone()], nodes, vec![other]].concat());
        assert_eq!(
            text,
            "error: the model has no outputs\n\
             error: node 'a' (Foo): not supported\n  help: use Bar\n  \
             the same for 'b', 'c\\n', 'd', 'e', 'f' and 1 more\n\
             error: the model has no outputs"
        );
    }
}
