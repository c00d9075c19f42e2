//! Trace and log settings.

use std::collections::BTreeMap;

use hs_serve::Server;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{answer::Answer, error::HttpError, object};

/// An object with its fields in this order.
struct Fields<T>(Vec<(&'static str, T)>);

impl<T: Serialize> Serialize for Fields<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

pub(super) fn logging(server: &Server, change: bool, body: &[u8]) -> Result<Answer, HttpError> {
    let settings = server.settings();
    let now = if change {
        let changes: BTreeMap<String, Value> = object::parse(body)?;
        settings.update_log(changes.iter().map(|(key, value)| (key.as_str(), value.clone())))?
    } else {
        settings.log()
    };
    Answer::json(&Fields(now.values()))
}

/// The one setting that is a list.
const LIST: &str = "trace_level";

pub(super) fn trace(server: &Server, model: &str, change: bool, body: &[u8]) -> Result<Answer, HttpError> {
    if !model.is_empty() && !server.is_model_ready(model, "") {
        return Err(HttpError::bad(format_args!("Request for unknown model : {model}")));
    }
    let settings = server.settings();
    let now = if change { settings.update_trace(model, changes(body)?)? } else { settings.trace(model) };
    let wire = now.into_iter().map(|(key, mut values)| {
        (key, if key == LIST { Value::from(values) } else { Value::from(values.pop().unwrap_or_default()) })
    });
    Answer::json(&Fields(wire.collect()))
}

/// New values by name; none: back to the default.
fn changes(body: &[u8]) -> Result<Vec<(String, Vec<String>)>, HttpError> {
    let asked: BTreeMap<String, Value> = object::parse(body)?;
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let mut changes = Vec::new();
    for (key, value) in asked {
        let values = match &value {
            Value::Null => Some(Vec::new()),
            Value::Array(values) if key == LIST => values.iter().map(one).collect(),
            // Clients wrap it into a list where they treat all settings alike.
            Value::Array(values) if values.len() == 1 => values.iter().map(one).collect(),
            value => one(value).map(|v| vec![v]),
        };
        let Some(values) = values else {
            let expected = if key == LIST { "a list of strings" } else { "a string" };
            let message = format_args!("trace setting '{key}' is {value}, expected {expected} or null");
            return Err(HttpError::bad(message));
        };
        changes.push((key, values));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_settings_as_clients_write_them() {
        let set = |key: &str, values: &[&str]| {
            (key.to_owned(), values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>())
        };
        for (body, expected) in [
            ("", vec![]),
            ("{}", vec![]),
            (r#"{"trace_rate":"5"}"#, vec![set("trace_rate", &["5"])]),
            (r#"{"trace_rate":5}"#, vec![set("trace_rate", &["5"])]),
            (r#"{"trace_rate":["5"]}"#, vec![set("trace_rate", &["5"])]),
            (r#"{"trace_rate":null}"#, vec![set("trace_rate", &[])]),
            (r#"{"trace_level":[]}"#, vec![set("trace_level", &[])]),
            (
                r#"{"trace_level":["TIMESTAMPS","TENSORS"]}"#,
                vec![set("trace_level", &["TIMESTAMPS", "TENSORS"])],
            ),
            (r#"{"trace_level":"OFF"}"#, vec![set("trace_level", &["OFF"])]),
        ] {
            assert_eq!(changes(body.as_bytes()).unwrap(), expected, "{body}");
        }
        for bad in
            [r#"{"trace_rate":true}"#, r#"{"trace_rate":["1","2"]}"#, r#"{"trace_level":[[]]}"#, "[]", "x"]
        {
            assert_eq!(changes(bad.as_bytes()).unwrap_err().status, 400, "{bad}");
        }
    }
}
