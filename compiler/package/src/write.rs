//! The writer.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use hs_hw::{Program, Schedule, text};

use crate::{
    Arithmetic, FileEntry, Kernel, MANIFEST, Manifest, PROGRAM, Package, PackageError, WEIGHTS,
    error::io,
    manifest::{check_kernel, check_schedule},
    path, sha256,
};

/// What to do with a package that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse.
    Never,
    /// Replace the directory as a whole, with whatever else was put into it. Anything but a package is
    /// refused all the same.
    Package,
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    File,
    Folder,
}

/// Collects a package, then writes it at once.
#[derive(Debug)]
pub struct PackageWriter {
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
    /// Names in lower case.
    taken: BTreeMap<String, Taken>,
    error: Option<PackageError>,
}

impl PackageWriter {
    /// A package of `program`, laid out by `schedule`. An error when the Program does not verify or the
    /// Schedule is not its.
    pub fn new(program: &Program, schedule: &Schedule, arithmetic: Arithmetic) -> Result<Self, PackageError> {
        program.verify().map_err(PackageError::Invalid)?;
        check_schedule(program, schedule)?;
        let manifest = Manifest::describe(program, schedule.clone(), arithmetic);
        let (text, weights) = text::print_with_side(program).map_err(|e| {
            let message = e.to_string();
            PackageError::Invalid(vec![hs_hw::VerifyError { node: None, message }])
        })?;
        let files = [(PROGRAM.to_owned(), text.into_bytes()), (WEIGHTS.to_owned(), weights)].into();
        Ok(Self { manifest, files, taken: BTreeMap::new(), error: None })
    }

    /// Records the digest of the model file that the Program was compiled from.
    #[must_use]
    pub fn source(mut self, model: &[u8]) -> Self {
        self.manifest.source_sha256 = Some(sha256(model));
        self
    }

    /// Describes the kernel of the HLS project. Its file of weights must be among those added
    /// ([`PackageWriter::finish`] reports it otherwise).
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.manifest.kernel = Some(kernel);
        self
    }

    /// Adds a file at a path inside the package, `/` between parts. What is wrong with the path (absolute,
    /// `..`, twice, …) is reported by [`PackageWriter::finish`].
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        if let Err(e) = self.add(path, bytes.into()) {
            self.error.get_or_insert(e);
        }
        self
    }

    fn add(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), PackageError> {
        path::check(path)?;
        let bad = |why| Err(PackageError::BadPath { path: path.to_owned(), why });
        // Names that differ in case only are one file on some systems.
        let lower = path.to_ascii_lowercase();
        let folders = lower.match_indices('/').map(|(i, _)| &lower[..i]);
        if folders.clone().any(|f| self.taken.get(f) == Some(&Taken::File)) {
            return bad("a part of its name is a file");
        }
        match self.taken.get(&lower) {
            Some(Taken::File) => return bad("it has a file of that name"),
            Some(Taken::Folder) => return bad("it has a directory of that name"),
            None => {}
        }
        let folders: Vec<String> = folders.map(str::to_owned).collect();
        self.taken.extend(folders.into_iter().map(|f| (f, Taken::Folder)));
        self.taken.insert(lower, Taken::File);
        self.files.insert(path.to_owned(), bytes);
        Ok(())
    }

    /// Writes the package to `out`, which appears whole or not at all: everything is written into a directory
    /// beside it, which is renamed at the end. `out` may be an empty directory; a package there is replaced
    /// if `overwrite` says so; anything else is left alone and an error. Parent directories are made.
    ///
    /// The same arguments give the same bytes.
    pub fn finish(self, out: impl AsRef<Path>, overwrite: Overwrite) -> Result<Manifest, PackageError> {
        let out = out.as_ref();
        let Self { mut manifest, files, taken: _, error } = self;
        if let Some(error) = error {
            return Err(error);
        }
        let Some(name) = out.file_name() else {
            return Err(PackageError::Exists { path: out.to_owned(), advice: "name a new directory" });
        };
        let replaces = occupied(out, overwrite)?;
        manifest.files = files
            .iter()
            .map(|(path, bytes)| FileEntry {
                path: path.clone(),
                bytes: bytes.len() as u64,
                sha256: sha256(bytes),
            })
            .collect();
        check_kernel(&manifest)?;
        let mut json = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| PackageError::Manifest { path: out.join(MANIFEST), message: e.to_string() })?;
        json.push(b'\n');

        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(io("create", parent))?;
        let new = Scratch::create(parent, name)?;
        for (path, bytes) in files.iter().map(|(p, b)| (p.as_str(), b)).chain([(MANIFEST, &json)]) {
            let at = new.0.join(path);
            if let Some(dir) = at.parent() {
                fs::create_dir_all(dir).map_err(io("create", dir))?;
            }
            fs::write(&at, bytes).map_err(io("write", &at))?;
        }
        if replaces {
            let old = Scratch::create(parent, name)?;
            fs::rename(out, &old.0).map_err(io("replace", out))?;
            if let Err(e) = fs::rename(&new.0, out) {
                // Back to what was there; if even that fails, the old package is kept beside.
                if fs::rename(&old.0, out).is_err() {
                    std::mem::forget(old);
                }
                return Err(io("write", out)(e));
            }
        } else {
            fs::rename(&new.0, out).map_err(io("write", out))?;
        }
        Ok(manifest)
    }
}

/// Whether a package stands at `out` and is to be replaced; an error when something is in the way.
fn occupied(out: &Path, overwrite: Overwrite) -> Result<bool, PackageError> {
    let exists = |advice| Err(PackageError::Exists { path: out.to_owned(), advice });
    let meta = match fs::symlink_metadata(out) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(io("read", out)(e)),
    };
    if !meta.is_dir() {
        return exists("it is not a directory; name a new one");
    }
    let mut entries = fs::read_dir(out).map_err(io("read", out))?;
    if entries.next().is_none() {
        return Ok(false);
    }
    match (Package::is_package(out), overwrite) {
        (false, _) => exists("it is not a package, so it will not be replaced; name a new directory"),
        (true, Overwrite::Never) => exists("allow overwriting, or name a new directory"),
        (true, Overwrite::Package) => Ok(true),
    }
}

/// A directory beside the output that goes away unless it is renamed.
struct Scratch(PathBuf);

impl Scratch {
    fn create(parent: &Path, name: &std::ffi::OsStr) -> Result<Self, PackageError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            hidden.push(format!(".{}-{n}", std::process::id()));
            let at = parent.join(hidden);
            match fs::create_dir(&at) {
                Ok(()) => return Ok(Self(at)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io("create", at)(e)),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Renamed: nothing is there any more. Otherwise nothing can be done about a failure here.
        let _ = fs::remove_dir_all(&self.0);
    }
}
