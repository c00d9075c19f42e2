//! Tensors in and out of files.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use hs_runtime::{Executable, Tensor, TensorInfo, npy, npz};
use tempfile::NamedTempFile;

use super::exit::Failure;

/// `NAME=FILE` or `FILE`. A name is taken only where it is one of the model's: file names may hold `=`.
fn split<'a>(text: &'a str, names: &[&str]) -> (Option<&'a str>, PathBuf) {
    match text.split_once('=') {
        Some((name, file)) if names.contains(&name) => (Some(name), file.into()),
        _ => (None, text.into()),
    }
}

/// The name in front of a file, where it is one of `names`.
pub(crate) fn named<'a>(arg: &str, names: &[&'a str]) -> Option<&'a str> {
    let (name, _) = split(arg, names);
    names.iter().copied().find(|n| Some(*n) == name)
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

/// The names of a model's inputs or outputs.
pub(crate) fn names(infos: &[TensorInfo]) -> Vec<&str> {
    infos.iter().map(|i| i.name.as_str()).collect()
}

/// The model's inputs, in its order, from the files that `option` (`--input`, say) names. `known`: their names.
pub(crate) fn load(option: &str, args: &[String], known: &[&str]) -> Result<Vec<Tensor>, Failure> {
    let mut found: Vec<Option<Tensor>> = vec![None; known.len()];
    let mut put = |index: usize, tensor: Tensor| match found[index].replace(tensor) {
        None => Ok(()),
        Some(_) => Err(Failure::usage(format!("input '{}' is given twice", known[index]))),
    };
    for arg in args {
        let (name, path) = split(arg, known);
        if is(&path, "npz") && name.is_none() {
            let members = npz::load(&path).map_err(Failure::input)?;
            for (member, tensor) in members {
                // NumPy names the members of an unnamed archive arr_0, arr_1, …
                let at = known.iter().position(|n| *n == member);
                let nth = || member.strip_prefix("arr_")?.parse().ok().filter(|i: &usize| *i < known.len());
                let Some(at) = at.or_else(nth) else {
                    return Err(Failure::input(format!(
                        "{}: '{member}' is no input of the model",
                        path.display()
                    ))
                    .help(format!("its inputs are {}", known.join(", "))));
                };
                put(at, tensor)?;
            }
            continue;
        }
        let at = match name {
            Some(name) => known.iter().position(|n| *n == name),
            None => (known.len() == 1).then_some(0),
        };
        let Some(at) = at else {
            return Err(Failure::usage(format!("'{arg}' does not say which input it is for")).help(format!(
                "write {option} NAME=FILE for each of {}, or give one .npz",
                known.join(", ")
            )));
        };
        put(at, npy::load(&path).map_err(Failure::input)?)?;
    }
    let missing: Vec<_> = found.iter().zip(known).filter(|(t, _)| t.is_none()).map(|(_, n)| *n).collect();
    if !missing.is_empty() {
        return Err(Failure::usage(format!("no input for {}", missing.join(", ")))
            .help(format!("give {option} NAME=FILE for each input of the model")));
    }
    Ok(found.into_iter().flatten().collect())
}

/// Where the outputs of a model go.
pub(crate) enum Destination {
    /// One `.npy` an output, in model order.
    Each(Vec<PathBuf>),
    /// All in one `.npz`.
    Archive(PathBuf),
}

impl Destination {
    /// Reads `--output`; fails before anything is computed. `known`: the outputs' names.
    pub(crate) fn new(args: &[String], known: &[&str]) -> Result<Self, Failure> {
        if let [arg] = args {
            let (name, path) = split(arg, known);
            if is(&path, "npz") && name.is_none() {
                return Self::Archive(path).checked();
            }
        }
        let mut found: Vec<Option<PathBuf>> = vec![None; known.len()];
        for arg in args {
            let (name, path) = split(arg, known);
            let at = match name {
                Some(name) => known.iter().position(|n| *n == name),
                None => (known.len() == 1).then_some(0),
            };
            let Some(at) = at else {
                return Err(Failure::usage(format!("'{arg}' does not say which output it is for")).help(
                    format!("write --output NAME=FILE for each of {}, or give one .npz", known.join(", ")),
                ));
            };
            if found[at].replace(path).is_some() {
                return Err(Failure::usage(format!("output '{}' is given twice", known[at])));
            }
        }
        let paths: Vec<PathBuf> = found.iter().flatten().cloned().collect();
        if paths.len() != known.len() {
            let missing: Vec<_> =
                found.iter().zip(known).filter(|(p, _)| p.is_none()).map(|(_, n)| *n).collect();
            return Err(Failure::usage(format!("no file for output {}", missing.join(", ")))
                .help("give --output NAME=FILE for each output of the model, or one .npz"));
        }
        Self::Each(paths).checked()
    }

    fn checked(self) -> Result<Self, Failure> {
        for path in self.paths() {
            if !folder(path).is_dir() {
                return Err(Failure::file(
                    path,
                    format!("the folder {} does not exist", folder(path).display()),
                ));
            }
        }
        Ok(self)
    }

    /// The files.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Each(paths) => paths.iter().map(PathBuf::as_path).collect(),
            Self::Archive(path) => vec![path],
        }
    }

    /// Writes all outputs, in model order; `names`: as for [`new`](Self::new). Every file is written whole under another name before the first one
    /// gets its own.
    pub(crate) fn save(&self, names: &[&str], tensors: &[Tensor]) -> Result<(), Failure> {
        let mut written = Vec::new();
        match self {
            Self::Archive(path) => {
                let mut file = temporary(path)?;
                let members = names.iter().copied().zip(tensors);
                npz::write(BufWriter::new(&mut file), members).map_err(|e| Failure::file(path, e))?;
                written.push((path, file));
            }
            Self::Each(paths) => {
                for (path, tensor) in paths.iter().zip(tensors) {
                    let mut file = temporary(path)?;
                    let mut w = BufWriter::new(&mut file);
                    npy::write(&mut w, tensor)
                        .and_then(|()| w.flush())
                        .map_err(|e| Failure::file(path, e))?;
                    drop(w);
                    written.push((path, file));
                }
            }
        }
        for (path, file) in written {
            file.persist(path).map_err(|e| Failure::file(path, e.error))?;
        }
        Ok(())
    }
}

/// A file beside `path` that disappears unless it is renamed.
pub(crate) fn temporary(path: &Path) -> Result<NamedTempFile, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hypersonic-");
    // The default is private to the user; a result is as readable as any file they write.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path)).map_err(|e| Failure::file(path, e))
}

/// The folder of `path`.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Runs a model on tensors: numbers, or codes when `raw`.
pub(crate) fn run(model: &dyn Executable, inputs: &[Tensor], raw: bool) -> Result<Vec<Tensor>, Failure> {
    Ok(if raw { model.run_raw(inputs)? } else { model.run(inputs)? })
}
