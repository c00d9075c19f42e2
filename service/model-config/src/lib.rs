//! Triton's model configuration: the `ModelConfig` message, its text form (`config.pbtxt`) and its JSON form (the
//! body of the v2 `config` call).
//!
//! The types are those of `proto/model_config.proto`, generated; prost's rules give their Rust names, such as
//! [`model_instance_group::Kind::Cpu`] for `KIND_CPU`. An enum field is an `i32`, read with the getter of the same
//! name: both readers accept only values that the enum has.

mod error;
mod generated;
mod json;
mod nearest;
mod schema;
#[cfg(test)]
mod tests;
mod text;

pub use error::{ConfigError, Problem};
pub use generated::inference::*;

/// The longest configuration that is read, in bytes of its text or JSON form.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads the protobuf text form.
///
/// # Errors
/// [`ConfigError::At`] with the place of the first thing that is not a configuration, and [`ConfigError::TooLong`].
pub fn parse_pbtxt(text: &str) -> Result<ModelConfig, ConfigError> {
    within_limit(text)?;
    text::parse(text, schema::config()).map(|m| schema::to_config(&m))
}

/// Writes the protobuf text form: fields in the schema's order, maps ordered by key, defaults left out.
/// [`parse_pbtxt`] reads it back to an equal configuration, unless an enum field holds a number that its enum lacks.
#[must_use]
pub fn to_pbtxt(config: &ModelConfig) -> String {
    text::print(&schema::from_config(config))
}

/// Reads the JSON form: field names in snake case or camel case, enums by name or number, 64-bit integers as
/// numbers or strings; `null` is the default.
///
/// # Errors
/// [`ConfigError::At`] when `json` is not JSON, [`ConfigError::In`] with the path of the first value that does not
/// fit, and [`ConfigError::TooLong`].
pub fn from_json(json: &str) -> Result<ModelConfig, ConfigError> {
    within_limit(json)?;
    json::read(json, schema::config()).map(|m| schema::to_config(&m))
}

/// The JSON form that Triton answers to the `config` call: snake case, enums by name, 64-bit integers as numbers.
/// Fields with their default value are there too; messages and members of a `oneof` only when they are set.
#[must_use]
pub fn to_json(config: &ModelConfig) -> serde_json::Value {
    json::write(&schema::from_config(config))
}

fn within_limit(text: &str) -> Result<(), ConfigError> {
    if text.len() > MAX_BYTES { Err(ConfigError::TooLong { bytes: text.len() }) } else { Ok(()) }
}
