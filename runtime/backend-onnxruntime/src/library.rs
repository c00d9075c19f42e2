//! The library, opened once a process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use ort::environment::Environment;

/// An opened library with its environment.
pub(crate) struct Library {
    path: PathBuf,
    pub(crate) environment: Environment,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

impl Library {
    /// What it is, for a person to read.
    pub(crate) fn describe(&self) -> String {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        match file.strip_prefix("libonnxruntime.so.") {
            Some(version) => format!("ONNX Runtime {version}"),
            None => format!("ONNX Runtime ({})", self.path.display()),
        }
    }
}

/// Opens the library at `path`; when one is open already, that one is the answer.
pub(crate) fn open(path: &Path) -> Result<&'static Library, String> {
    let _opening = OPENING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    // The loader would look for a relative path beside the executable first.
    let path = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let builder = ort::init_from(&path).map_err(|e| format!("cannot use ONNX Runtime: {e}"))?;
    // Its messages go nowhere: what matters comes back as an error.
    let silent = Arc::new(|_: ort::logging::LogLevel, _: &str, _: &str, _: &str, _: &str| {});
    let environment = builder
        .with_name("hypersonic")
        .with_telemetry(false)
        .with_logger(silent)
        .build()
        .map_err(|e| format!("ONNX Runtime at {} does not start: {e}", path.display()))?;
    Ok(LIBRARY.get_or_init(|| Library { path, environment }))
}
