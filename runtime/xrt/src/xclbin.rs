//! Files with what a card is to be loaded with, checked before XRT sees them: it believes the sizes, offsets and counts of
//! an xclbin, and a truncated one ends the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hs_xclbin::{Design, Memory, MemoryKind, Role, SectionKind};

/// An xclbin that XRT can be given.
#[derive(Debug, Clone)]
pub struct Xclbin {
    /// The file's bytes, zero-padded: XRT wants them aligned to 8.
    image: Box<[u64]>,
    banks: Vec<Bank>,
}

/// Where a memory bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bank {
    Card,
    /// Memory of the host that kernels read and write by themselves.
    Host,
}

/// Why XRT must not see an xclbin.
#[derive(Debug, thiserror::Error)]
pub enum XclbinError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is no xclbin, or one that says what cannot be.
    #[error("the xclbin is refused: {0}")]
    Refused(#[from] hs_xclbin::XclbinError),
    /// An argument that XRT would read from the host's memory.
    #[error(
        "the xclbin has a kernel with the scalar argument '{0}' that is passed by its address; that is not supported"
    )]
    ScalarByAddress(String),
}

impl Xclbin {
    /// Reads and checks a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, XclbinError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| XclbinError::Io { path: path.to_owned(), source })?;
        Self::new(&bytes)
    }

    /// Checks the bytes of an xclbin.
    pub fn new(bytes: &[u8]) -> Result<Self, XclbinError> {
        let xclbin = hs_xclbin::Xclbin::parse(bytes)?;
        let design = Design::of(&xclbin)?;
        // XRT knows scalars of types `int*` and `uint*`, and takes the value that it is given for an address.
        let by_address = |a: &&hs_xclbin::Argument| a.role == Role::Scalar && a.ctype.contains('*');
        if let Some(argument) = design.kernels.iter().flat_map(|k| &k.arguments).find(by_address) {
            return Err(XclbinError::ScalarByAddress(argument.name.clone()));
        }
        // XRT numbers banks by the groups where there are any.
        let grouped = xclbin.data(SectionKind::ASK_GROUP_TOPOLOGY).is_some();
        let banks = if grouped { &design.groups } else { &design.memories };
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Ok(Self { image: bytes.chunks(8).map(word).collect(), banks: banks.iter().map(bank).collect() })
    }

    pub(crate) fn image(&self) -> &[u64] {
        &self.image
    }

    pub(crate) fn banks(&self) -> &[Bank] {
        &self.banks
    }
}

fn bank(memory: &Memory) -> Bank {
    if memory.kind == MemoryKind::HOST || memory.tag.starts_with("HOST") { Bank::Host } else { Bank::Card }
}
