//! Where the library is looked for.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What to do where there is no library.
const REMEDY: &str = "install the Python package onnxruntime and set HYPERSONIC_ONNXRUNTIME (or ORT_DYLIB_PATH) \
                      to its capi/libonnxruntime.so.*";

/// The ONNX Runtime library of this machine: the file that `HYPERSONIC_ONNXRUNTIME` or `ORT_DYLIB_PATH` names;
/// else one in `onnxruntime-*` of Hypersonic's cache directory (`HYPERSONIC_CACHE`, else `hypersonic` in
/// `XDG_CACHE_HOME` or `~/.cache`); else the one that the Python package has brought into `.venv` of the current
/// directory or a directory above it.
///
/// # Errors
/// Why there is none and what to do.
pub fn find() -> Result<PathBuf, String> {
    for name in ["HYPERSONIC_ONNXRUNTIME", "ORT_DYLIB_PATH"] {
        let Some(value) = env::var_os(name).filter(|v| !v.is_empty()) else { continue };
        let path = PathBuf::from(value);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{name} names {}, where there is no file; {REMEDY}", path.display()))
        };
    }
    let cached = cache().and_then(|cache| in_cache(&cache));
    let found = cached.or_else(|| env::current_dir().ok()?.ancestors().find_map(in_venv));
    found.ok_or_else(|| format!("no libonnxruntime found; {REMEDY}"))
}

fn cache() -> Option<PathBuf> {
    let dir = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    dir("HYPERSONIC_CACHE").or_else(|| {
        let base = dir("XDG_CACHE_HOME").or_else(|| Some(dir("HOME")?.join(".cache")))?;
        Some(base.join("hypersonic"))
    })
}

/// The entries of a directory by name; none when it cannot be read.
fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    entries
}

fn named(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix))
}

/// The library in one of the folders where releases and wheels put it.
fn in_folder(dir: &Path) -> Option<PathBuf> {
    let is_library = |p: &PathBuf| {
        let exact = p.file_name().is_some_and(|n| n == "libonnxruntime.so" || n == "libonnxruntime.dylib");
        let versioned = named(p, "libonnxruntime.so.")
            || named(p, "libonnxruntime.") && p.extension().is_some_and(|e| e == "dylib");
        (exact || versioned) && p.is_file()
    };
    let folders = [dir.to_owned(), dir.join("lib"), dir.join("capi"), dir.join("onnxruntime/capi")];
    folders.iter().find_map(|folder| sorted(folder).into_iter().find(is_library))
}

fn in_cache(cache: &Path) -> Option<PathBuf> {
    sorted(cache).iter().rev().filter(|p| named(p, "onnxruntime-")).find_map(|p| in_folder(p))
}

fn in_venv(root: &Path) -> Option<PathBuf> {
    let pythons = sorted(&root.join(".venv/lib"));
    pythons.iter().rev().filter(|p| named(p, "python3")).find_map(|p| in_folder(&p.join("site-packages")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_and_releases_are_found_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(in_cache(dir.path()), None);
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let old = put("onnxruntime-1.19.0/onnxruntime/capi/libonnxruntime.so.1.19.0");
        put("onnxruntime-1.19.0/onnxruntime/capi/libonnxruntime_providers_shared.so");
        assert_eq!(in_cache(dir.path()), Some(old));
        let new = put("onnxruntime-1.23.2/lib/libonnxruntime.so");
        assert_eq!(in_cache(dir.path()), Some(new));
        let venv = put(".venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.23.2");
        assert_eq!(in_venv(dir.path()), Some(venv));
    }
}
