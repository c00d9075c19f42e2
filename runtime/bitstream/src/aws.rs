//! The `aws` program.

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Lines of a failed command's errors that are shown.
const SHOWN_LINES: usize = 6;

/// AWS, through its command line; no shell is involved.
#[derive(Debug, Clone)]
pub struct Aws {
    program: PathBuf,
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// There is no such program.
    #[error("the program '{}' is not installed: install the AWS CLI (pip install awscli, or AWS' installer)", .0.display())]
    Missing(PathBuf),
    /// It cannot be started.
    #[error("the program '{}' cannot be started: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` failed ({status}): {message}")]
    Failed {
        /// The command, as one types it.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines of its errors.
        message: String,
    },
    /// It said something else than expected.
    #[error("`{command}` answered {found}, expected {expected}")]
    Answer {
        /// The command, as one types it.
        command: String,
        /// What it said.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl Default for Aws {
    fn default() -> Self {
        Self { program: "aws".into() }
    }
}

impl Aws {
    /// Another program in its place.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Runs a command, whose first word is `aws`, and gives what it printed.
    pub fn run(&self, words: &[String]) -> Result<String, AwsError> {
        let output = Command::new(&self.program)
            .args(words.iter().skip(1))
            // A pager would wait for a person.
            .env("AWS_PAGER", "")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => AwsError::Missing(self.program.clone()),
                _ => AwsError::Start { program: self.program.clone(), source },
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        let message =
            if lines.is_empty() { "it said nothing".to_owned() } else { lines[from..].join("\n  ") };
        Err(AwsError::Failed { command: typed(words), status: output.status.to_string(), message })
    }

    /// Runs a command and reads the JSON that it printed; `expected` is for the error.
    pub fn json<T: serde::de::DeserializeOwned>(
        &self,
        words: &[String],
        expected: &str,
    ) -> Result<T, AwsError> {
        let said = self.run(words)?;
        serde_json::from_str(said.trim()).map_err(|e| AwsError::Answer {
            command: typed(words),
            found: format!("'{}' ({e})", said.trim().chars().take(200).collect::<String>().escape_debug()),
            expected: expected.to_owned(),
        })
    }
}

/// A command as one types it.
pub fn typed(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./+=:,@%".contains(c);
    let quote = |w: &String| {
        if !w.is_empty() && w.chars().all(plain) {
            w.clone()
        } else {
            format!("'{}'", w.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Words of a command.
pub(crate) fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|w| (*w).to_owned()).collect()
}
