//! Float execution by ONNX Runtime.
//!
//! Its shared library is opened at run time: the file that `ORT_DYLIB_PATH` names, else the system's
//! `libonnxruntime`. Without one the backend says that it is not available, and why.

mod session;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use hs_runtime::{Availability, Backend, Executable, LoadError, Model};
use ort::environment::Environment;

/// The backend `onnxruntime`.
///
/// The library is opened once a process: the first one that is found stays.
#[derive(Debug, Clone, Default)]
pub struct OnnxRuntime {
    library: Option<PathBuf>,
}

impl OnnxRuntime {
    /// A backend of the library at `library`, instead of the one that the environment names.
    pub fn with_library(library: impl Into<PathBuf>) -> Self {
        Self { library: Some(library.into()) }
    }

    fn open(&self) -> Result<&'static Opened, String> {
        static OPENED: OnceLock<Opened> = OnceLock::new();
        if let Some(opened) = OPENED.get() {
            return Ok(opened);
        }
        let from_variable =
            || std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()).map(PathBuf::from);
        let default =
            || format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let library = self.library.clone().or_else(from_variable).unwrap_or_else(|| default().into());
        let advice = "install the Python package onnxruntime and set ORT_DYLIB_PATH to its libonnxruntime";
        let builder = ort::init_from(&library).map_err(|e| format!("{e}; {advice}"))?;
        let environment = builder.with_name("hypersonic").build().map_err(|e| e.to_string())?;
        Ok(OPENED.get_or_init(|| Opened { environment, library }))
    }
}

struct Opened {
    environment: Environment,
    library: PathBuf,
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn availability(&self) -> Availability {
        match self.open() {
            Ok(opened) => Availability::Available(format!("ONNX Runtime{}", version(&opened.library))),
            Err(why) => Availability::NotAvailable(why),
        }
    }

    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError> {
        let opened = self.open().map_err(|why| LoadError::NotAvailable { backend: self.name(), why })?;
        let Some(path) = &model.onnx else {
            return Err(LoadError::Form {
                backend: self.name(),
                needs: "an ONNX file",
                model: model.name.clone(),
            });
        };
        let session = session::Session::load(&opened.environment, path, &model.name)
            .map_err(|message| LoadError::Model { model: model.name.clone(), message })?;
        Ok(Arc::new(session))
    }
}

/// ` 1.23.2` for `libonnxruntime.so.1.23.2`, of which `library` may be a link; else nothing.
fn version(library: &Path) -> String {
    let file = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(".dylib");
    if digits.is_empty() { String::new() } else { format!(" {digits}") }
}
