//! How the repository gets something that runs: the binary injects it, so that this crate knows neither compiler nor
//! backend.

use std::{fmt, path::Path, sync::Arc};

use hs_model_config::ModelConfig;
use hs_runtime::Executable;

/// Loads what lies in a version's directory.
pub trait ModelLoader: Send + Sync {
    /// Loads one version. May take minutes, is called on a thread of its own, several at a time.
    ///
    /// # Errors
    /// What is wrong with the model and what to do, for a person to read.
    fn load(&self, request: &LoadRequest<'_>) -> Result<LoadedModel, String>;

    /// The backends of this build, and whether each can run here: name, whether it can, on what or why not.
    fn backends(&self) -> Vec<(String, bool, String)>;
}

/// What to load.
#[derive(Debug)]
pub struct LoadRequest<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// Version.
    pub version: u64,
    /// The version's directory, `…/name/version`.
    pub directory: &'a Path,
    /// The model's configuration as far as its owner wrote it.
    pub config: &'a ModelConfig,
}

/// One backend's executable.
#[derive(Clone)]
pub struct Runner {
    /// Name of the backend.
    pub backend: Arc<str>,
    /// What it runs on: `cpu`, `gpu 0`, the serial number of a card.
    pub device: String,
    /// The model, ready to run.
    pub executable: Arc<dyn Executable>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.backend, self.device)
    }
}

/// A version, ready to run.
#[derive(Debug, Default)]
pub struct LoadedModel {
    /// Who runs it, in order of preference. At least one; all have the same inputs and outputs.
    pub runners: Vec<Runner>,
    /// Triton's platform string for the configuration, when its owner did not write one.
    pub platform: String,
    /// Triton's backend string, likewise.
    pub backend: String,
    /// Whether the first axis of all inputs and outputs is a batch of any size.
    pub batched: bool,
    /// What the metadata says besides names and shapes, such as the exact fixed-point type of each tensor.
    pub parameters: Vec<(String, String)>,
    /// The same model with the codes of its inputs and outputs in place of values, served as `<name>_raw`.
    pub raw: Option<Box<LoadedModel>>,
}
