//! The reader.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use hs_hw::{KERNEL_ABI, Program, Schedule, text};
use serde::Deserialize;

use crate::{
    FORMAT, FORMAT_VERSION, FileEntry, MANIFEST, Manifest, PROGRAM, PackageError, Port, WEIGHTS,
    error::io,
    manifest::{check_kernel, check_schedule},
    path, sha256,
};

/// Largest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 64 << 20;
/// Largest Program text that is read, in bytes.
const MAX_PROGRAM: u64 = 256 << 20;
/// Largest file otherwise, in bytes.
const MAX_FILE: u64 = 4 << 30;

/// A package whose Program passed every check.
#[derive(Debug, Clone)]
pub struct Package {
    dir: PathBuf,
    manifest: Manifest,
    program: Program,
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Head {
    format: String,
    format_version: u64,
    #[serde(default)]
    producer: String,
}

impl Package {
    /// Reads and checks the package in `dir`: version, digests of Program and constants, the Program's
    /// validity and fingerprint, and that interface and Schedule of the manifest are this Program's. Other
    /// files are checked when they are read ([`Package::read`]) or all at once ([`Package::check_files`]).
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, PackageError> {
        let dir = dir.as_ref();
        let manifest = read_manifest(dir)?;
        let program = read_program(dir, &manifest)?;
        let at = dir.join(MANIFEST);
        if manifest.fingerprint != program.fingerprint() {
            let (found, expected) = (program.fingerprint(), manifest.fingerprint);
            return Err(PackageError::Fingerprint { path: dir.to_owned(), found, expected });
        }
        let (inputs, outputs) = Port::of(&program);
        for (what, ours, said) in
            [("inputs", &inputs, &manifest.inputs), ("outputs", &outputs, &manifest.outputs)]
        {
            if ours != said {
                let message = format!("its {what} are not those of {PROGRAM}; compile the model again");
                return Err(PackageError::Manifest { path: at, message });
            }
        }
        check_schedule(&program, &manifest.schedule)?;
        check_kernel(&manifest)?;
        Ok(Self { dir: dir.to_owned(), manifest, program })
    }

    /// Whether `dir` has a manifest of ours, of any version.
    pub fn is_package(dir: impl AsRef<Path>) -> bool {
        read_head(dir.as_ref()).is_ok()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The verified Program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its layout in hardware.
    pub fn schedule(&self) -> &Schedule {
        &self.manifest.schedule
    }

    /// The bytes of a listed file, as they were written.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, PackageError> {
        let entry = self.manifest.file(path).ok_or_else(|| PackageError::NotAPackage {
            path: self.dir.clone(),
            why: format!("it has no file '{}'", path.escape_debug()),
        })?;
        read_entry(&self.dir, entry, MAX_FILE)
    }

    /// Checks the digest of every listed file.
    pub fn check_files(&self) -> Result<(), PackageError> {
        self.manifest.files.iter().try_for_each(|f| read_entry(&self.dir, f, MAX_FILE).map(drop))
    }
}

/// The bytes of a regular file of at most `most` bytes.
pub(crate) fn read_file(at: &Path, most: u64) -> Result<Vec<u8>, PackageError> {
    let meta = fs::symlink_metadata(at).map_err(io("read", at))?;
    let changed = |why: String| Err(PackageError::Changed { path: at.to_owned(), why });
    if !meta.is_file() {
        return changed("it is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(at).map_err(io("read", at))?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(io("read", at))?;
    if bytes.len() as u64 > most {
        return changed(format!("it has more than {most} bytes"));
    }
    Ok(bytes)
}

fn read_entry(dir: &Path, entry: &FileEntry, most: u64) -> Result<Vec<u8>, PackageError> {
    if ![PROGRAM, WEIGHTS].contains(&entry.path.as_str()) {
        path::check(&entry.path)?;
    }
    let mut at = dir.to_owned();
    let mut parts = entry.path.split('/').peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let meta = fs::symlink_metadata(&at).map_err(io("read", &at))?;
        if parts.peek().is_some() && !meta.is_dir() {
            return Err(PackageError::Changed { path: at, why: "it is not a directory".to_owned() });
        }
    }
    let bytes = read_file(&at, entry.bytes.min(most))?;
    let changed = |why: String| Err(PackageError::Changed { path: at.clone(), why });
    if bytes.len() as u64 != entry.bytes {
        return changed(format!("it has {} bytes, the manifest says {}", bytes.len(), entry.bytes));
    }
    if sha256(&bytes) != entry.sha256 {
        return changed("its SHA-256 is not the manifest's".to_owned());
    }
    Ok(bytes)
}

fn read_head(dir: &Path) -> Result<(Head, Vec<u8>), PackageError> {
    let not = |why: String| PackageError::NotAPackage { path: dir.to_owned(), why };
    let meta = fs::metadata(dir).map_err(io("read", dir))?;
    if !meta.is_dir() {
        return Err(not("it is not a directory".to_owned()));
    }
    let at = dir.join(MANIFEST);
    if !at.exists() {
        return Err(not(format!("it has no {MANIFEST}")));
    }
    let bytes = read_file(&at, MAX_MANIFEST)?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| not(format!("{MANIFEST}: {e}")))?;
    if head.format != FORMAT {
        return Err(not(format!("{MANIFEST} is not of format {FORMAT}")));
    }
    Ok((head, bytes))
}

fn read_manifest(dir: &Path) -> Result<Manifest, PackageError> {
    let (head, bytes) = read_head(dir)?;
    if head.format_version != u64::from(FORMAT_VERSION) {
        let producer = if head.producer.is_empty() { "unknown".to_owned() } else { head.producer };
        return Err(PackageError::Version { path: dir.to_owned(), found: head.format_version, producer });
    }
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| PackageError::Manifest { path: dir.join(MANIFEST), message: e.to_string() })?;
    if manifest.kernel_abi != KERNEL_ABI {
        return Err(PackageError::Abi { path: dir.to_owned(), found: manifest.kernel_abi });
    }
    Ok(manifest)
}

fn read_program(dir: &Path, manifest: &Manifest) -> Result<Program, PackageError> {
    let read = |name: &str, most: u64| {
        let entry = manifest.file(name).ok_or_else(|| PackageError::Manifest {
            path: dir.join(MANIFEST),
            message: format!("it does not list {name}"),
        })?;
        read_entry(dir, entry, most)
    };
    let weights = read(WEIGHTS, MAX_FILE)?;
    let at = dir.join(PROGRAM);
    let program = String::from_utf8(read(PROGRAM, MAX_PROGRAM)?)
        .map_err(|_| PackageError::Changed { path: at.clone(), why: "it is not UTF-8".to_owned() })?;
    let program = text::parse_with_side(&program, &weights)
        .map_err(|source| PackageError::Text { path: at, source })?;
    program.verify().map_err(PackageError::Invalid)?;
    Ok(program)
}
