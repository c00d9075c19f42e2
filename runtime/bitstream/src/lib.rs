//! Bitstreams of packages: which one belongs to a model and fits a card.
//!
//! A [`Registry`] is a folder, or a prefix of an S3 bucket, with bitstreams and a [`Manifest`] for each: a TOML file
//! that says for which model, platform and shell a bitstream is, and its SHA-256. [`Registry::find`] looks for those of a
//! model, [`Registry::fetch`] gives a checked local file, and [`Bitstream`] reads it:
//!
//! ```no_run
//! use hs_bitstream::{Bitstream, Location, Registry, Shell, Target, Wanted};
//!
//! # fn load(package: &hs_package::Manifest, shell: &Shell) -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new(Location::of_environment()?)?;
//! let wanted = Wanted { fingerprint: package.fingerprint, target: Target::Hw, shell: Some(shell) };
//! for manifest in registry.find(&wanted)?.manifests {
//!     let files = registry.fetch(&manifest)?;
//!     let bitstream = Bitstream::read(&files.bitstream)?;
//!     manifest.check(&bitstream)?;
//!     bitstream.check_package(package)?;
//!     bitstream.check_shell(shell)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Three parties say which bits a bitstream computes: its manifest, the file itself (USER_METADATA) and, behind every
//! output, the kernel. The first two are compared with the package here ([`Refusal`]); what they say may still be a lie,
//! the kernel's trailer is not.
//!
//! S3 is reached through the `aws` program, whose credentials, region and endpoint (`AWS_ENDPOINT_URL`) are its own.

mod aws;
mod check;
mod digest;
mod manifest;
mod registry;
#[cfg(test)]
mod tests;
mod timestamp;

pub use aws::{Aws, AwsError, typed};
pub use check::{Bitstream, Refusal, Shell, Target, differences};
pub use digest::{Digest, ParseDigestError};
pub use manifest::{
    AwsImage, File, FileName, KernelEntry, Manifest, ManifestError, Origin, ParseFileNameError, is_afi,
};
pub use registry::{Fetched, Files, Listing, Location, Registry, RegistryError, Unreadable, Wanted};
pub use timestamp::{ParseTimestampError, Timestamp};
