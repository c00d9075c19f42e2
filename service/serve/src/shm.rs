//! Memory that clients share with the server: POSIX shared memory, registered by name.

use bytes::Bytes;

use crate::{Code, ServeError};

/// A registered region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Name that requests use.
    pub name: String,
    /// POSIX key, `/name`.
    pub key: String,
    /// Offset of the region within the object, in bytes.
    pub offset: u64,
    /// Size of the region, in bytes.
    pub byte_size: u64,
}

/// The registered regions.
#[derive(Debug)]
pub struct SharedMemory {
    allowed: bool,
}

impl SharedMemory {
    /// No region. `allowed`: whether clients may register any.
    pub fn new(allowed: bool) -> Self {
        Self { allowed }
    }

    /// Registers `byte_size` bytes at `offset` of the object `key`.
    pub fn register(&self, _region: Region) -> Result<(), ServeError> {
        let why = if self.allowed { "not yet" } else { "start the server with --allow-client-shm true" };
        Err(ServeError::new(Code::Unsupported, why))
    }

    /// Forgets the region, or all when `name` is empty; an unknown one is no error.
    pub fn unregister(&self, _name: &str) -> Result<(), ServeError> {
        Ok(())
    }

    /// The region, or all by name when `name` is empty.
    pub fn status(&self, _name: &str) -> Result<Vec<Region>, ServeError> {
        Ok(Vec::new())
    }

    /// `byte_size` bytes at `offset` of a region, as they are now.
    pub fn read(&self, name: &str, _offset: u64, _byte_size: u64) -> Result<Bytes, ServeError> {
        Err(ServeError::not_found(format!("Unable to find shared memory region: '{name}'")))
    }

    /// Writes `data` at `offset` of a region, into the `byte_size` bytes that the request set apart.
    pub fn write(&self, name: &str, _offset: u64, _byte_size: u64, _data: &[u8]) -> Result<(), ServeError> {
        Err(ServeError::not_found(format!("Unable to find shared memory region: '{name}'")))
    }
}
