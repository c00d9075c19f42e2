//! A registry in a folder.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::Path,
};

use tempfile::NamedTempFile;

use super::{Listing, RegistryError, Unreadable, verify};
use crate::{File, Manifest, ManifestError, manifest::MOST_BYTES};

/// Of what follows the name of a manifest.
const EXTENSION: &str = "toml";

pub(super) fn list(folder: &Path) -> Result<Listing, RegistryError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        Err(e) => return Err(RegistryError::io(folder)(e)),
    };
    let names: Result<Vec<_>, _> = entries.map(|e| e.map(|e| e.file_name())).collect();
    let mut names = names.map_err(RegistryError::io(folder))?;
    names.sort();
    let mut listing = Listing::default();
    for name in names {
        let path = folder.join(&name);
        // What is being written has a name that starts with a dot.
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if hidden || path.extension().is_none_or(|e| e != EXTENSION) {
            continue;
        }
        let file = name.to_string_lossy().into_owned();
        match read(&path) {
            Ok(manifest) if manifest.file_name() == file => listing.manifests.push(manifest),
            Ok(manifest) => {
                let error = format!(
                    "its `name` is \"{}\", so that its file must be {}",
                    manifest.name,
                    manifest.file_name()
                );
                listing.unreadable.push(Unreadable { file, error });
            }
            Err(error) => listing.unreadable.push(Unreadable { file, error }),
        }
    }
    Ok(listing)
}

fn read(path: &Path) -> Result<Manifest, String> {
    let about = path.metadata().map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| ManifestError::Text.to_string())?;
    Manifest::parse(&text).map_err(|e| match e {
        ManifestError::Size(_) => ManifestError::Size(about.len()).to_string(),
        other => other.to_string(),
    })
}

pub(super) fn add(
    folder: &Path,
    manifest: &Manifest,
    text: &str,
    files: &[(&File, &Path)],
    replace: bool,
) -> Result<(), RegistryError> {
    fs::create_dir_all(folder).map_err(RegistryError::io(folder))?;
    let taken =
        || RegistryError::Taken { name: manifest.name.clone(), registry: folder.display().to_string() };
    let at = folder.join(manifest.file_name());
    if !replace && at.symlink_metadata().is_ok() {
        return Err(taken());
    }
    for (file, from) in files {
        let to = folder.join(file.name.as_str());
        // A name holds a digest: what is there is the same, unless it was damaged.
        if verify(file, &to).is_ok() {
            continue;
        }
        let mut copy = temporary(folder)?;
        let mut source = fs::File::open(from).map_err(RegistryError::io(*from))?;
        io::copy(&mut source, &mut copy).map_err(RegistryError::io(&to))?;
        verify(file, copy.path())?;
        copy.as_file().sync_all().map_err(RegistryError::io(&to))?;
        copy.persist(&to).map_err(|e| RegistryError::io(&to)(e.error))?;
    }
    let mut new = temporary(folder)?;
    new.write_all(text.as_bytes()).map_err(RegistryError::io(&at))?;
    new.as_file().sync_all().map_err(RegistryError::io(&at))?;
    let kept = if replace { new.persist(&at) } else { new.persist_noclobber(&at) };
    kept.map(drop).map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => taken(),
        _ => RegistryError::io(&at)(e.error),
    })
}

/// A file that others may read, and that goes away unless it is kept.
fn temporary(folder: &Path) -> Result<NamedTempFile, RegistryError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-").permissions(fs::Permissions::from_mode(0o644));
    builder.tempfile_in(folder).map_err(RegistryError::io(folder))
}
