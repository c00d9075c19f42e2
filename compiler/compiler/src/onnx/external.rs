//! Tensor data beside the model. A model is untrusted: it may name only files in its own folder.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::proto::StringStringEntryProto;

/// The folder of a model, links resolved.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::canonicalize(path)
            .map(Self)
            .map_err(|e| format!("cannot open the folder {}: {e}", path.display()))
    }

    /// Exactly `expected` bytes from the file and offset that `entries` give.
    pub(super) fn read(
        &self,
        entries: &[StringStringEntryProto],
        expected: usize,
    ) -> Result<Vec<u8>, String> {
        let entry = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| {
            entry(key)
                .map(|v| {
                    v.parse::<u64>()
                        .map_err(|_| format!("its external data has the {key} '{v}', which is no size"))
                })
                .transpose()
        };
        let location = entry("location").ok_or("its data is in another file, but no location is given")?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if length.is_some_and(|l| l != expected as u64) {
            let length = length.unwrap_or_default();
            return Err(format!(
                "its shape needs {expected} bytes, but {length} bytes are declared in '{location}'"
            ));
        }
        let path = self.resolve(location)?;
        let fail = |e: std::io::Error| format!("cannot read its data from '{location}': {e}");
        let mut file = File::open(&path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        if offset.checked_add(expected as u64).is_none_or(|end| end > size) {
            return Err(format!(
                "needs {expected} bytes at offset {offset} of '{location}', which has only {size} bytes"
            ));
        }
        file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        let mut bytes = vec![0; expected];
        file.read_exact(&mut bytes).map_err(fail)?;
        Ok(bytes)
    }

    /// The regular file `location` inside the folder, links followed.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let relative = Path::new(location);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || location.is_empty() {
            return Err(format!("its data is in '{location}', which is outside the model's own folder"));
        }
        let path = fs::canonicalize(self.0.join(relative))
            .map_err(|e| format!("cannot open its data file '{location}' beside the model: {e}"))?;
        if !path.starts_with(&self.0) {
            return Err(format!(
                "its data is in '{location}', which links to outside the model's own folder"
            ));
        }
        if !path.is_file() {
            return Err(format!("its data is in '{location}', which is not a regular file"));
        }
        Ok(path)
    }
}
