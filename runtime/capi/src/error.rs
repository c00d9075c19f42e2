//! What can go wrong, by the classes of `hypersonic_status`.

use hs_hw::abi::TrailerError;
use hs_package::PackageError;
use hs_runtime::RunError;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument that the caller should not have passed.
    #[error("{0}")]
    Argument(String),
    /// A package that cannot be opened.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A device that cannot be opened: why, and what to do.
    #[error("{0}")]
    Device(String),
    /// Values that the model cannot take, or a device that failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A card that failed, in its library's words.
    #[error("{0}")]
    Card(String),
    /// Results that are not this model's.
    #[error("output '{output}': {source}")]
    Trailer {
        /// Name of the output.
        output: String,
        /// What is wrong with its trailer.
        source: TrailerError,
    },
    /// A bug.
    #[error("a bug of Hypersonic: {0}")]
    Internal(String),
}

impl Error {
    /// Its `hypersonic_status`.
    pub fn status(&self) -> u32 {
        match self {
            Self::Argument(_) => 1,
            Self::Run(e) if !e.is_backends() => 1,
            Self::Package(_) => 2,
            Self::Device(_) => 3,
            Self::Run(_) | Self::Card(_) | Self::Trailer { .. } => 4,
            Self::Internal(_) => 5,
        }
    }
}
