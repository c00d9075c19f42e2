//! ONNX models in float, by ONNX Runtime: as the reference that fixed point is compared with, and for serving.
//!
//! Nothing is linked: the backend opens `libonnxruntime` when it is first asked, and reports why where there is
//! none. See [`find`] for the places looked at. One library serves the whole process: the first one opened.

mod find;
mod library;
mod reference;
mod serving;
mod values;

use std::{path::PathBuf, sync::Arc};

use hs_runtime::{Availability, Backend, Device, Executable, LoadError, Model};

pub use find::find;

/// Name of the backend.
const NAME: &str = "onnxruntime";

/// What models are run for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be compared with: on the CPU, without the rewrites of graphs that change their numbers. The first axis of
    /// every tensor is the batch, of which any number of rows can be run.
    #[default]
    Reference,
    /// To be fast: with all rewrites, on the model's device, whole tensors at a time, whatever their axes mean.
    ///
    /// Options of a model, by name:
    ///
    /// | option | meaning |
    /// | --- | --- |
    /// | `instances` | calls that run at the same time, each in a session of its own \[default: 1\] |
    /// | `intra_op_thread_count` | threads of one call \[default: the cores, shared among the instances\] |
    /// | `inter_op_thread_count` | operators that run at the same time \[default: 1\] |
    /// | `max_batch_size` | above 0: a first axis of any size is the batch, whatever its name |
    Serving,
}

/// The backend `onnxruntime`.
#[derive(Debug, Clone, Default)]
pub struct OnnxRuntime {
    /// The library to open; `None`: the one that [`find`] finds.
    pub library: Option<PathBuf>,
    /// What models are run for.
    pub purpose: Purpose,
}

impl OnnxRuntime {
    /// The backend for serving.
    pub fn serving() -> Self {
        Self { purpose: Purpose::Serving, ..Self::default() }
    }

    /// Whether models can run on a GPU; why not.
    ///
    /// # Errors
    /// Why the library cannot be used, or that it was built without CUDA. Whether there is a GPU shows only when a
    /// model is loaded.
    pub fn accelerator(&self) -> Result<(), String> {
        self.open()?;
        serving::accelerator()
    }

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
        if let (Purpose::Serving, Device::Accelerator(_)) = (self.purpose, model.device) {
            serving::accelerator().map_err(|why| LoadError::NotAvailable { backend: NAME, why })?;
        }
        let refuse = |message| LoadError::Model { model: model.name.clone(), message };
        Ok(match self.purpose {
            Purpose::Reference => {
                Arc::new(reference::Session::load(library, &model.name, path).map_err(refuse)?)
            }
            Purpose::Serving => Arc::new(serving::Pool::load(library, model, path).map_err(refuse)?),
        })
    }
}
