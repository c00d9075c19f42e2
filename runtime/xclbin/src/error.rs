//! What can be wrong with an xclbin.

use std::fmt;

use crate::SectionKind;

/// What an offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// The start of the file.
    File,
    /// The start of a section's data.
    Section(SectionKind),
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file"),
            Self::Section(kind) => kind.fmt(f),
        }
    }
}

/// Why bytes are no xclbin, or one that must not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XclbinError {
    /// Something reaches beyond the end.
    #[error(
        "{within}, byte {offset}: {what} takes {expected} bytes, and {found} are left; it is cut off or damaged: get it again"
    )]
    Truncated {
        /// What `offset` counts from.
        within: Within,
        /// Where it starts.
        offset: u64,
        /// What does not fit.
        what: String,
        /// Bytes that it takes.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A value that must not be there.
    #[error("{within}, byte {offset}: {what} is {found}, expected {expected}")]
    Value {
        /// What `offset` counts from.
        within: Within,
        /// Where the value is.
        offset: u64,
        /// Which value.
        what: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A section that is needed.
    #[error("the file has no section {0}: it cannot be loaded; link it again")]
    Missing(SectionKind),
    /// Sections that say different things, or what no kernel can be.
    #[error("{subject}: found {found}, expected {expected}")]
    Design {
        /// What it is about.
        subject: String,
        /// What is said of it.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// A name that the format has no room for.
    #[error("the {what} '{}' has {} bytes, and the format takes {most} without a zero byte", name.escape_debug(), name.len())]
    Name {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
        /// Bytes that there is room for.
        most: usize,
    },
}

impl XclbinError {
    pub(crate) fn design(
        subject: impl fmt::Display,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        let text = |t: &dyn fmt::Display| t.to_string();
        Self::Design { subject: text(&subject), found: text(&found), expected: text(&expected) }
    }
}

/// A name of the file as it can be shown: quoted, nothing in it that moves a cursor.
pub(crate) fn quoted(name: &str) -> String {
    format!("'{}'", name.escape_debug())
}
