//! A registry in an S3 bucket.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Listing, RegistryError, Unreadable, folder, verify};
use crate::{Aws, File, FileName, Manifest, ManifestError, aws::words, manifest::MOST_BYTES};

/// Objects of a bucket below a prefix.
#[derive(Debug)]
pub(super) struct Bucket {
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    cache: PathBuf,
    aws: Aws,
}

/// An object, as `list-objects-v2` gives it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
    size: u64,
}

impl Bucket {
    pub(super) fn new(bucket: &str, prefix: &str, cache: PathBuf, aws: Aws) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { bucket: bucket.to_owned(), prefix, cache, aws }
    }

    fn url(&self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.bucket, self.prefix)
    }

    /// Names below the prefix, those in folders left out, with their sizes; by name.
    fn names(&self) -> Result<Vec<(String, u64)>, RegistryError> {
        let mut command = words(&["aws", "s3api", "list-objects-v2", "--bucket", &self.bucket]);
        command.extend(words(&["--delimiter", "/", "--query", "Contents[].{Key: Key, Size: Size}"]));
        command.extend(words(&["--output", "json"]));
        if !self.prefix.is_empty() {
            command.extend(words(&["--prefix", &self.prefix]));
        }
        let objects: Option<Vec<Object>> = self.aws.json(&command, "a list of objects")?;
        let name = |o: Object| Some((o.key.strip_prefix(&self.prefix)?.to_owned(), o.size));
        let mut names: Vec<_> = objects.unwrap_or_default().into_iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn list(&self) -> Result<Listing, RegistryError> {
        let mut unreadable = Vec::new();
        let mut wanted = Vec::new();
        for (name, size) in self.names()?.into_iter().filter(|(n, _)| n.ends_with(".toml")) {
            let parsed: Result<FileName, _> = name.parse();
            match parsed {
                Ok(_) if size > MOST_BYTES => {
                    unreadable.push(Unreadable { file: name, error: ManifestError::Size(size).to_string() });
                }
                Ok(name) => wanted.push(name),
                Err(e) => unreadable.push(Unreadable { file: name, error: e.to_string() }),
            }
        }
        let mut listing = Listing::default();
        if !wanted.is_empty() {
            let dir = tempfile::tempdir().map_err(RegistryError::io(std::env::temp_dir()))?;
            let mut command = words(&["aws", "s3", "cp", &self.url(""), &text(dir.path())]);
            command.extend(words(&["--recursive", "--only-show-errors", "--exclude", "*"]));
            for name in &wanted {
                command.extend(words(&["--include", name.as_str()]));
            }
            self.aws.run(&command)?;
            listing = folder::list(dir.path())?;
        }
        listing.unreadable.extend(unreadable);
        listing.unreadable.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(listing)
    }

    pub(super) fn add(
        &self,
        manifest: &Manifest,
        toml: &str,
        files: &[(&File, &Path)],
        replace: bool,
    ) -> Result<(), RegistryError> {
        let there = self.names()?;
        if !replace && there.iter().any(|(name, _)| *name == manifest.file_name()) {
            let registry = self.url("").trim_end_matches('/').to_owned();
            return Err(RegistryError::Taken { name: manifest.name.clone(), registry });
        }
        for (file, from) in files {
            self.copy(&text(from), &self.url(file.name.as_str()))?;
        }
        // An object appears whole, or not at all.
        let mut new = tempfile::NamedTempFile::new().map_err(RegistryError::io(std::env::temp_dir()))?;
        new.write_all(toml.as_bytes()).map_err(RegistryError::io(new.path().to_owned()))?;
        self.copy(&text(new.path()), &self.url(&manifest.file_name()))
    }

    /// A local copy, made unless there is one.
    pub(super) fn fetch(&self, file: &File) -> Result<PathBuf, RegistryError> {
        let folder = self.cache.join(file.sha256.to_string());
        let at = folder.join(file.name.as_str());
        if verify(file, &at).is_ok() {
            return Ok(at);
        }
        fs::create_dir_all(&folder).map_err(RegistryError::io(&folder))?;
        let new = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder);
        let new = new.map_err(RegistryError::io(&folder))?.into_temp_path();
        self.copy(&self.url(file.name.as_str()), &text(&new))?;
        verify(file, &new)?;
        new.persist(&at).map_err(|e| RegistryError::io(&at)(e.error))?;
        Ok(at)
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), RegistryError> {
        self.aws.run(&words(&["aws", "s3", "cp", "--only-show-errors", from, to]))?;
        Ok(())
    }
}

/// A path as an argument that is no option and no URL: absolute.
fn text(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}
