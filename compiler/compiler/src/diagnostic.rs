//! What the compiler says to its user: each message names the node, what was found, what was expected and what to do.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is produced.
    Error,
    /// The result may not be what the user wants.
    Warning,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The ONNX node, input or initialiser concerned.
    pub node: Option<String>,
    /// The node's operator.
    pub op: Option<String>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error about the model as a whole.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, node: None, op: None, message: message.into(), help: None }
    }

    /// A warning about the model as a whole.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// The same message about a node and its operator.
    pub fn at(mut self, node: impl Into<String>, op: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self.op = Some(op.into());
        self
    }

    /// The same message about a node of the graph.
    pub fn at_node(self, node: &hs_ir::Node) -> Self {
        self.at(node.name.clone(), crate::ops::model_op(node))
    }

    /// The same message with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.node, &self.op) {
            (Some(node), Some(op)) => write!(f, "node '{}' ({}): ", Visible(node), Visible(op))?,
            (Some(node), None) => write!(f, "'{}': ", Visible(node))?,
            (None, _) => {}
        }
        write!(f, "{}", Visible(&self.message))?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Text with control characters escaped: names come from the model and may hold anything.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// One or more errors, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// How many `Display` writes out.
    const SHOWN: usize = 25;

    /// `Ok` when there is nothing to report.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().take(Self::SHOWN).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        match self.0.len().checked_sub(Self::SHOWN) {
            Some(more @ 1..) => write!(f, "\n... and {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostics {}
