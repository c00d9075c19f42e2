//! Files that a configuration names.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Component, Path, PathBuf},
};

/// Bytes of a label file at most.
const MAX_LABELS: u64 = 16 << 20;

/// The file `relative` of `directory`, wherever links lead, as long as it stays in there.
///
/// # Errors
/// Why the path is refused, or that there is no such file.
pub fn inside(directory: &Path, relative: &str) -> Result<PathBuf, String> {
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    if relative.is_empty() || relative.contains('\0') || !Path::new(relative).components().all(plain) {
        return Err(format!("'{}' is no path within the model's directory", relative.escape_debug()));
    }
    let resolve = |path: &Path| {
        fs::canonicalize(path).map_err(|e| format!("cannot read '{}': {e}", relative.escape_debug()))
    };
    let (root, path) = (resolve(directory)?, resolve(&directory.join(relative))?);
    if !path.starts_with(&root) {
        return Err(format!("'{relative}' leads out of the model's directory"));
    }
    if !path.is_file() {
        return Err(format!("'{relative}' is no file"));
    }
    Ok(path)
}

/// The lines of a label file.
pub(super) fn labels(directory: &Path, relative: &str) -> Result<Vec<String>, String> {
    let path = inside(directory, relative)?;
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_LABELS + 1).read_to_string(&mut text))
        .map_err(|e| format!("cannot read '{relative}': {e}"))?;
    if text.len() as u64 > MAX_LABELS {
        return Err(format!("'{relative}' has more than {MAX_LABELS} bytes"));
    }
    Ok(text.lines().map(|l| l.trim_end().to_owned()).collect())
}
