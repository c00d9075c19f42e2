//! What lies in the repositories' directories.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The configuration's file in a model's directory.
pub(super) const CONFIG: &str = "config.pbtxt";
/// Directories below a model's that are looked at for changes.
const DEPTH: usize = 8;

/// A repository.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// What clients call it: its directory's name.
    pub(super) name: String,
}

impl Root {
    pub(super) fn new(path: &Path) -> Self {
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        Self { path: path.to_owned(), name }
    }
}

/// Where a model lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) repository: String,
    pub(super) directory: PathBuf,
}

/// All models by name, each in every repository that has it. A repository that cannot be read is an error.
pub(super) fn models(roots: &[Root]) -> io::Result<BTreeMap<String, Vec<Place>>> {
    let mut all: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for root in roots {
        let wrong = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", root.path.display()));
        for name in directories(&root.path).map_err(wrong)? {
            let directory = root.path.join(&name);
            all.entry(name).or_default().push(Place { repository: root.name.clone(), directory });
        }
    }
    Ok(all)
}

/// Names of the directories in `directory`, hidden ones aside.
fn directories(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_name().into_string() {
            Ok(name) if name.starts_with('.') => {}
            // Followed, so that a model may be a link; one that leads nowhere is no model.
            Ok(name) if fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) => drop(names.insert(name)),
            Ok(_) => {}
            Err(name) => tracing::warn!(?name, "ignored: the name is not UTF-8"),
        }
    }
    Ok(names)
}

/// The version that a directory's name, or a client, means: decimal, above 0, without leading zeros.
fn version(name: &str) -> Option<u64> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0');
    if digits { name.parse().ok().filter(|v| i64::try_from(*v).is_ok()) } else { None }
}

/// Versions in a model's directory.
pub(super) fn versions(directory: &Path) -> io::Result<BTreeSet<u64>> {
    Ok(directories(directory)?.iter().filter_map(|name| version(name)).collect())
}

/// Whether a directory is a model rather than a repository of models.
pub(super) fn is_model(directory: &Path) -> bool {
    directory.join(CONFIG).is_file() || versions(directory).is_ok_and(|v| !v.is_empty())
}

/// What changes when a file of a model does: paths, sizes, times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signature(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// The signature of a model's directory.
pub(super) fn signature(directory: &Path) -> io::Result<Signature> {
    fn walk(directory: &Path, depth: usize, all: &mut Signature) -> io::Result<()> {
        let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Ok(meta) = fs::metadata(&path) else { continue };
            if meta.is_dir() {
                all.0.push((path.clone(), 0, None));
                if depth > 0 {
                    walk(&path, depth - 1, all)?;
                }
            } else {
                all.0.push((path, meta.len(), meta.modified().ok()));
            }
        }
        Ok(())
    }
    let mut all = Signature::default();
    walk(directory, DEPTH, &mut all)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_decimal_and_above_zero() {
        for (name, expected) in
            [("1", Some(1)), ("20", Some(20)), ("9223372036854775807", Some(i64::MAX as u64))]
        {
            assert_eq!(version(name), expected);
        }
        for name in ["", "0", "01", "-1", "+1", "1a", "９", "9223372036854775808"] {
            assert_eq!(version(name), None, "{name}");
        }
    }

    #[test]
    fn hidden_and_stray_files_are_no_models() {
        let dir = tempfile::tempdir().unwrap();
        for model in ["b/1", "a/2", "a/10", "a/x", ".git/1"] {
            fs::create_dir_all(dir.path().join(model)).unwrap();
        }
        fs::write(dir.path().join("README.md"), "").unwrap();
        fs::write(dir.path().join("a/3"), "").unwrap();
        let found = models(&[Root::new(dir.path())]).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(versions(&found["a"][0].directory).unwrap(), BTreeSet::from([2, 10]));
        assert!(models(&[Root::new(&dir.path().join("absent"))]).unwrap_err().to_string().contains("absent"));
    }

    #[test]
    fn a_signature_sees_new_longer_and_newer_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("1/model.onnx");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut last = signature(dir.path()).unwrap();
        assert_eq!(signature(dir.path()).unwrap(), last);
        let mut changed = |what: &dyn Fn()| {
            what();
            let now = signature(dir.path()).unwrap();
            assert_ne!(now, last);
            last = now;
        };
        changed(&|| fs::write(&file, "a").unwrap());
        changed(&|| fs::write(&file, "ab").unwrap());
        changed(&|| {
            let file = fs::File::options().write(true).open(&file).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        });
        changed(&|| fs::create_dir(dir.path().join("2")).unwrap());
        changed(&|| fs::remove_dir(dir.path().join("2")).unwrap());
    }
}
