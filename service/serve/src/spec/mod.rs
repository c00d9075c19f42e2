//! A model's configuration, checked and typed: what the rest of the crate reads.

mod complete;
mod files;
mod policy;
mod ports;
mod support;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt::Display, path::Path, sync::Arc};

use hs_model_config::{ModelConfig, ModelVersionPolicy, model_version_policy::PolicyChoice};
use hs_runtime::Datatype;

use crate::scheduler::Policy;

pub(crate) use complete::complete;
pub use files::inside;
pub(crate) use support::{check_supported, note_ignored};

/// Rows of a request at most, where a model has a batch axis and its owner set no limit.
pub const DEFAULT_MAX_BATCH: i32 = 65_536;

/// An input or output as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// ONNX name.
    pub name: Arc<str>,
    /// Element type.
    pub datatype: Datatype,
    /// Shape without the batch axis; -1: any size.
    pub dims: Vec<i64>,
    /// Shape that the executable takes or gives instead, without the batch axis, where the configuration reshapes.
    pub reshape: Option<Vec<i64>>,
    /// Whether a request may leave it out.
    pub optional: bool,
    /// Names of the classes along the output's elements, from its `label_filename`; empty: none.
    pub labels: Vec<String>,
}

/// A model's configuration: complete and consistent.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name it is served under.
    pub name: Arc<str>,
    /// The whole configuration, as clients may read it.
    pub config: ModelConfig,
    /// Rows of a request at most; 0: there is no batch axis.
    pub max_batch: usize,
    /// Inputs in the model's order.
    pub inputs: Vec<Port>,
    /// Outputs in the model's order.
    pub outputs: Vec<Port>,
    /// How requests wait and are put together.
    pub policy: Policy,
}

/// A configuration that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model '{model}': {field}{}{problem}", if field.is_empty() { "" } else { " " })]
pub struct SpecError {
    /// Name of the model.
    pub model: String,
    /// Path of the field, `input 'x': dims`; empty: the whole.
    pub field: String,
    /// What it is, what was expected, what to do.
    pub problem: String,
}

impl SpecError {
    pub(crate) fn new(model: &str, field: impl Display, problem: impl Display) -> Self {
        Self { model: model.to_owned(), field: field.to_string(), problem: problem.to_string() }
    }
}

impl Spec {
    /// Checks a complete configuration. `directory`: the model's; label files are read there and nowhere else.
    ///
    /// # Errors
    /// The first field that cannot be served, its value and what to do about it.
    pub fn new(name: &str, config: ModelConfig, directory: &Path) -> Result<Self, SpecError> {
        let fail = |field: &str, problem: String| Err(SpecError::new(name, field, problem));
        check_supported(name, &config)?;
        if !config.name.is_empty() && config.name != name {
            return fail(
                "name",
                format!(
                    "is '{}'; a model has the name of its directory: leave the field out or rename one of them",
                    config.name
                ),
            );
        }
        let Ok(max_batch) = usize::try_from(config.max_batch_size) else {
            let found = config.max_batch_size;
            return fail(
                "max_batch_size",
                format!(
                    "is {found}; expected the most rows of a request, or 0 for a model without a batch axis"
                ),
            );
        };
        if config.input.is_empty() && config.output.is_empty() {
            return fail("input", "and output name nothing; list the model's tensors, or start the server without --disable-auto-complete-config".to_owned());
        }
        let inputs = config.input.iter().map(|i| ports::input(name, i)).collect::<Result<Vec<_>, _>>()?;
        let outputs =
            config.output.iter().map(|o| ports::output(name, o, directory)).collect::<Result<Vec<_>, _>>()?;
        for (what, ports) in [("input", &inputs), ("output", &outputs)] {
            let mut seen = BTreeSet::new();
            if let Some(twice) = ports.iter().find(|p| !seen.insert(&p.name)) {
                return fail(what, format!("'{}' is there twice; remove one", twice.name));
            }
        }
        let policy = policy::policy(name, &config, max_batch)?;
        Ok(Self { name: name.into(), config, max_batch, inputs, outputs, policy })
    }
}

/// Which of the versions that lie there are to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Versions {
    /// So many with the highest numbers.
    Latest(usize),
    /// Every one.
    All,
    /// These.
    Specific(BTreeSet<u64>),
}

impl Versions {
    /// The configuration's version policy; without one, the latest version is served.
    pub(crate) fn of(name: &str, policy: Option<&ModelVersionPolicy>) -> Result<Self, SpecError> {
        let fail = |problem: String| Err(SpecError::new(name, "version_policy", problem));
        match policy.and_then(|p| p.policy_choice.as_ref()) {
            None => Ok(Self::Latest(1)),
            Some(PolicyChoice::All(_)) => Ok(Self::All),
            Some(PolicyChoice::Latest(latest)) => match latest.num_versions {
                0 => fail("latest: num_versions is 0; expected 1 or more".to_owned()),
                n => Ok(Self::Latest(n as usize)),
            },
            Some(PolicyChoice::Specific(specific)) => {
                let versions = specific.versions.iter().map(|v| match u64::try_from(*v) {
                    Ok(v) if v > 0 => Ok(v),
                    _ => Err(SpecError::new(
                        name,
                        "version_policy",
                        format!("specific: versions has {v}; versions are numbers above 0"),
                    )),
                });
                let versions = versions.collect::<Result<BTreeSet<_>, _>>()?;
                if versions.is_empty() {
                    return fail("specific: versions is empty; list at least one".to_owned());
                }
                Ok(Self::Specific(versions))
            }
        }
    }

    /// The versions to serve, of those that `lie` there. May name versions that do not.
    pub(crate) fn choose(&self, lie: &BTreeSet<u64>) -> BTreeSet<u64> {
        match self {
            Self::Latest(n) => lie.iter().rev().take(*n).copied().collect(),
            Self::All => lie.clone(),
            Self::Specific(versions) => versions.clone(),
        }
    }
}

/// The value of a parameter.
pub(crate) fn parameter<'a>(config: &'a ModelConfig, key: &str) -> Option<&'a str> {
    config.parameters.get(key).map(|p| p.string_value.as_str())
}

/// A parameter that is on or off; off when it is not there.
pub(crate) fn flag(name: &str, config: &ModelConfig, key: &str) -> Result<bool, SpecError> {
    match parameter(config, key) {
        None => Ok(false),
        Some(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" | "" => Ok(false),
            _ => Err(SpecError::new(
                name,
                format!("parameters: {key}"),
                format!("is '{text}'; expected \"true\" or \"false\""),
            )),
        },
    }
}
