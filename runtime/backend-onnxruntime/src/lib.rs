//! Float reference runs of ONNX models by ONNX Runtime.
//!
//! Nothing is linked: the backend opens `libonnxruntime` when it is first asked, and reports why where there is
//! none. See [`find`] for the places looked at. One library serves the whole process: the first one opened.

mod find;
mod library;
mod session;
mod values;

use std::{path::PathBuf, sync::Arc};

use hs_runtime::{Availability, Backend, Executable, LoadError, Model};

pub use find::find;

/// Name of the backend.
const NAME: &str = "onnxruntime";

/// The backend `onnxruntime`.
#[derive(Debug, Clone, Default)]
pub struct OnnxRuntime {
    /// The library to open; `None`: the one that [`find`] finds.
    pub library: Option<PathBuf>,
}

impl OnnxRuntime {
    fn open(&self) -> Result<&'static library::Library, String> {
        let found = match &self.library {
            Some(path) => path.clone(),
            None => find()?,
        };
        library::open(&found)
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn availability(&self) -> Availability {
        match self.open() {
            Ok(library) => Availability::Available(library.describe()),
            Err(why) => Availability::NotAvailable(why),
        }
    }

    fn load(&self, model: &Model) -> Result<Arc<dyn Executable>, LoadError> {
        let library = self.open().map_err(|why| LoadError::NotAvailable { backend: NAME, why })?;
        let Some(path) = &model.onnx else {
            return Err(LoadError::Form { backend: NAME, needs: "an ONNX file", model: model.name.clone() });
        };
        let session = session::Session::load(library, &model.name, path)
            .map_err(|message| LoadError::Model { model: model.name.clone(), message })?;
        Ok(Arc::new(session))
    }
}
