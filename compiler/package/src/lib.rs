//! The package: the directory that `compile` writes and that everything else starts from.
//!
//! ```text
//! DIR/manifest.json   names, shapes, types, rows, Schedule, digests: [`Manifest`]
//! DIR/program.hw      the Program as text
//! DIR/weights.bin     its larger constants, which the text refers to
//! DIR/hls/…           the HLS project
//! DIR/host/…          host bindings
//! DIR/report/…        what a person reads
//! DIR/evidence.json   what the vendor's tools said, once they ran: [`Evidence`]
//! DIR/build/…         where they ran
//! ```
//!
//! This crate is the format's only reader and writer. [`PackageWriter`] makes a package appear whole or not at
//! all; [`Package::open`] believes nothing that it can check: the Program is verified, its fingerprint
//! recomputed, and what the manifest says of the interface compared with it.

mod error;
mod evidence;
mod manifest;
mod open;
mod path;
#[cfg(test)]
mod tests;
mod write;

pub use error::PackageError;
pub use evidence::{
    Cycles, EVIDENCE_VERSION, Evidence, Figures, Module, Resources, Step, StepEvidence, Tool,
};
pub use manifest::{Arithmetic, FileEntry, Kernel, KernelWeights, Manifest, Port, card_library};
pub use open::Package;
pub use write::{Overwrite, PackageWriter};

/// Version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 2;
/// Folder of the HLS project.
pub const HLS: &str = "hls";
/// Folder of the host bindings.
pub const HOST: &str = "host";
/// Folder of the report.
pub const REPORT: &str = "report";
/// Folder that the vendor's tools run in; no file of the manifest lies there.
pub const BUILD: &str = "build";

const FORMAT: &str = "hypersonic-package";
const MANIFEST: &str = "manifest.json";
const PROGRAM: &str = "program.hw";
const WEIGHTS: &str = "weights.bin";

/// SHA-256 as 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hs_hw::Fingerprint(sha2::Sha256::digest(bytes).into()).to_string()
}
