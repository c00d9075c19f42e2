//! From a model's directory to versions that can answer. Everything here blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use hs_model_config::ModelConfig;

use super::scan::{self, CONFIG};
use crate::{
    LoadRequest, LoadedModel, ModelLoader, Spec,
    spec::{SpecError, Versions, check_supported, complete, flag, note_ignored},
};

/// What is to be loaded of a model.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    /// The model's directory.
    pub(super) directory: PathBuf,
    /// The configuration as far as its owner wrote it.
    pub(super) config: ModelConfig,
    /// The versions to serve; those that are not there with the reason.
    pub(super) versions: BTreeMap<u64, Result<(), String>>,
    /// Whether its codes are served too.
    pub(super) raw: bool,
}

/// A version and its twin of codes.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) model: (Spec, LoadedModel),
    pub(super) raw: Option<(Spec, LoadedModel)>,
}

/// The name under which a model's codes are served.
pub(super) fn raw_name(name: &str) -> String {
    format!("{name}_raw")
}

impl Plan {
    /// Reads the configuration, unless one is given, and picks the versions.
    pub(super) fn new(name: &str, directory: &Path, config: Option<&ModelConfig>) -> Result<Self, String> {
        let config = match config {
            Some(config) => config.clone(),
            None => read_config(directory)?,
        };
        let text = |e: SpecError| e.to_string();
        check_supported(name, &config).map_err(text)?;
        note_ignored(name, &config);
        let raw = flag(name, &config, "raw").map_err(text)?;
        let lie = scan::versions(directory).map_err(|e| format!("cannot read the model's directory: {e}"))?;
        let policy = Versions::of(name, config.version_policy.as_ref()).map_err(text)?;
        let chosen = policy.choose(&lie);
        if chosen.is_empty() {
            return Err(format!(
                "model '{name}' has no version: put it into a directory named by a number, such as {name}/1"
            ));
        }
        let there = |v: &u64, lie: &BTreeSet<u64>| {
            if lie.contains(v) {
                Ok(())
            } else {
                Err(format!(
                    "model '{name}': version_policy names version {v}, but there is no directory {name}/{v}"
                ))
            }
        };
        let versions = chosen.iter().map(|v| (*v, there(v, &lie))).collect();
        Ok(Self { name: name.to_owned(), directory: directory.to_owned(), config, versions, raw })
    }

    /// Loads one version.
    pub(super) fn load(&self, version: u64, loader: &dyn ModelLoader, strict: bool) -> Result<Ready, String> {
        let directory = self.directory.join(version.to_string());
        let request = LoadRequest { name: &self.name, version, directory: &directory, config: &self.config };
        let mut model = loader.load(&request)?;
        let raw = model.raw.take();
        let spec = |name: &str, config: ModelConfig, model: &mut LoadedModel, strict: bool| {
            let config = complete(name, config, model, strict)?;
            Spec::new(name, config, &self.directory)
        };
        let text = |e: SpecError| e.to_string();
        let first = spec(&self.name, self.config.clone(), &mut model, strict).map_err(text)?;
        let raw = match raw {
            _ if !self.raw => None,
            None => {
                return Err(format!(
                    "model '{}': parameters: raw is set, but what runs it has no codes; leave it out",
                    self.name
                ));
            }
            Some(mut raw) => {
                let name = raw_name(&self.name);
                let config = raw_config(&name, &first.config);
                Some((spec(&name, config, &mut raw, false).map_err(text)?, *raw))
            }
        };
        Ok(Ready { model: (first, model), raw })
    }
}

/// The configuration of a model's codes: as the model's, with the element types of the codes.
fn raw_config(name: &str, of: &ModelConfig) -> ModelConfig {
    let mut config = of.clone();
    name.clone_into(&mut config.name);
    config.parameters.remove("raw");
    config.input.iter_mut().for_each(|i| i.data_type = 0);
    config.output.iter_mut().for_each(|o| o.data_type = 0);
    config
}

/// The configuration of a directory; without a file, one that says nothing.
fn read_config(directory: &Path) -> Result<ModelConfig, String> {
    let path = directory.join(CONFIG);
    let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let size = match fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(ModelConfig::default()),
        Err(e) => return Err(fail(&e)),
    };
    if size > hs_model_config::MAX_BYTES as u64 {
        return Err(fail(&format!("it has {size} bytes, at most {} are read", hs_model_config::MAX_BYTES)));
    }
    let text = fs::read_to_string(&path).map_err(|e| fail(&e))?;
    hs_model_config::parse_pbtxt(&text).map_err(|e| fail(&e))
}
