//! What lies in a version's directory, and what its configuration wants done with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hs_model_config::ModelConfig;
use hs_serve::{LoadRequest, inside};

use super::failed;

/// The package's manifest.
const MANIFEST: &str = "manifest.json";
/// The ONNX file of a version unless its configuration says otherwise.
const MODEL: &str = "model.onnx";

/// What a configuration wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing in particular.
    Any,
    /// Fixed point: a package, or an ONNX file to be compiled.
    Compiled,
    /// An ONNX file in float.
    Float,
    /// Inputs given back.
    Identity,
}

/// The backends that a configuration may name, and what each means.
const BACKENDS: &[(&str, Wanted)] = &[
    ("hypersonic", Wanted::Compiled),
    ("onnxruntime", Wanted::Float),
    ("onnxruntime_onnx", Wanted::Float),
    ("identity", Wanted::Identity),
];

/// Reads `backend` and `platform`.
pub(super) fn wanted(config: &ModelConfig) -> Result<Wanted, String> {
    let of = |field: &str, value: &str| match BACKENDS.iter().find(|(name, _)| *name == value) {
        Some((_, wanted)) => Ok(*wanted),
        None if value.is_empty() => Ok(Wanted::Any),
        None => Err(format!(
            "{field} is '{value}', which this server has not; there are hypersonic (compiled), onnxruntime (float) \
             and identity"
        )),
    };
    // A backend says more than a platform, which may be a string that only metadata show.
    match of("backend", &config.backend)? {
        Wanted::Any => of("platform", &config.platform),
        wanted => Ok(wanted),
    }
}

/// What a version's directory holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Package(PathBuf),
    Onnx(PathBuf),
    /// Neither; the name of the ONNX file that was looked for.
    Nothing {
        file: String,
    },
}

impl Content {
    /// Looks for a package, in the directory itself or in the only one below that has one, then for an ONNX file.
    pub(super) fn of(request: &LoadRequest<'_>) -> Result<Self, String> {
        let directory = request.directory;
        if directory.join(MANIFEST).is_file() {
            return Ok(Self::Package(directory.to_owned()));
        }
        let below = packages_below(directory)
            .map_err(|e| failed(request, format!("cannot read {}: {e}", directory.display())))?;
        let named = !request.config.default_model_filename.is_empty();
        let file = if named { request.config.default_model_filename.as_str() } else { MODEL };
        match below.as_slice() {
            [] => {}
            [package] if !named => return Ok(Self::Package(package.clone())),
            [_] => {}
            [first, second, ..] => {
                return Err(failed(
                    request,
                    format!(
                        "{} and {} are both packages; put each into a version of its own",
                        first.display(),
                        second.display()
                    ),
                ));
            }
        }
        match inside(directory, file) {
            Ok(path) => Ok(Self::Onnx(path)),
            Err(why) if named => Err(failed(request, format!("default_model_filename: {why}"))),
            Err(_) => Ok(Self::Nothing { file: file.to_owned() }),
        }
    }

    /// The error of a version that holds this where something else was wanted.
    pub(super) fn instead_of(&self, wanted: &str, request: &LoadRequest<'_>) -> String {
        let found = match self {
            Self::Package(path) => format!("a package, {}", path.display()),
            Self::Onnx(path) => format!("an ONNX file, {}", path.display()),
            Self::Nothing { file } => {
                format!("neither a package ({MANIFEST}) nor {file} in {}", request.directory.display())
            }
        };
        failed(request, format!("there is {found}; expected {wanted}"))
    }
}

fn packages_below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.join(MANIFEST).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
