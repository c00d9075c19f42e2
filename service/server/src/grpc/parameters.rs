//! Parameters of requests and tensors.

use std::collections::BTreeMap;

use hs_proto::{InferParameter, infer_parameter::ParameterChoice};
use hs_serve::ServeError;

/// Parameters by name.
pub(super) type Parameters = BTreeMap<String, InferParameter>;

fn choice<'a>(parameters: &'a Parameters, key: &str) -> Option<&'a ParameterChoice> {
    parameters.get(key)?.parameter_choice.as_ref()
}

fn wrong(key: &str, found: &ParameterChoice, expected: &str) -> ServeError {
    let found = match found {
        ParameterChoice::BoolParam(v) => format!("bool_param {v}"),
        ParameterChoice::Int64Param(v) => format!("int64_param {v}"),
        ParameterChoice::StringParam(v) => format!("string_param '{v}'"),
        ParameterChoice::DoubleParam(v) => format!("double_param {v}"),
        ParameterChoice::Uint64Param(v) => format!("uint64_param {v}"),
    };
    ServeError::invalid(format!(
        "invalid value type for '{key}' parameter, expected {expected}, found {found}"
    ))
}

/// A whole number that is not negative.
pub(super) fn number(parameters: &Parameters, key: &str) -> Result<Option<u64>, ServeError> {
    match choice(parameters, key) {
        None => Ok(None),
        Some(ParameterChoice::Uint64Param(v)) => Ok(Some(*v)),
        Some(found @ ParameterChoice::Int64Param(v)) => match u64::try_from(*v) {
            Ok(v) => Ok(Some(v)),
            Err(_) => Err(wrong(key, found, "a number of 0 or more")),
        },
        Some(found) => Err(wrong(key, found, "int64_param")),
    }
}

/// Text.
pub(super) fn string<'a>(parameters: &'a Parameters, key: &str) -> Result<Option<&'a str>, ServeError> {
    match choice(parameters, key) {
        None => Ok(None),
        Some(ParameterChoice::StringParam(v)) => Ok(Some(v)),
        Some(found) => Err(wrong(key, found, "string_param")),
    }
}

/// A switch.
pub(super) fn switch(parameters: &Parameters, key: &str) -> Result<Option<bool>, ServeError> {
    match choice(parameters, key) {
        None => Ok(None),
        Some(ParameterChoice::BoolParam(v)) => Ok(Some(*v)),
        Some(found) => Err(wrong(key, found, "bool_param")),
    }
}

/// That a parameter is absent or a name or number of a sequence.
pub(super) fn sequence_id(parameters: &Parameters) -> Result<(), ServeError> {
    match choice(parameters, "sequence_id") {
        None | Some(ParameterChoice::StringParam(_) | ParameterChoice::Uint64Param(_)) => Ok(()),
        Some(ParameterChoice::Int64Param(v)) if *v >= 0 => Ok(()),
        Some(found) => Err(wrong("sequence_id", found, "int64_param or string_param")),
    }
}

/// A parameter of an answer.
pub(super) fn bool_param(value: bool) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(value)) }
}

/// A parameter of an answer.
pub(super) fn string_param(value: impl Into<String>) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.into())) }
}

/// A parameter of an answer.
pub(super) fn number_param(value: u64) -> InferParameter {
    let choice =
        i64::try_from(value).map_or(ParameterChoice::Uint64Param(value), ParameterChoice::Int64Param);
    InferParameter { parameter_choice: Some(choice) }
}
