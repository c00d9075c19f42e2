//! The model repository: its index, loading, unloading.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use hs_serve::{LoadOverride, Server};
use serde::{Deserialize, Serialize};

use super::{answer::Answer, error::HttpError, object, routes::Stored};

pub(super) fn index(server: &Server, repository: &str, body: &[u8]) -> Result<Answer, HttpError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Asked {
        ready: bool,
    }
    #[derive(Serialize)]
    struct Entry {
        name: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        version: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        state: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        reason: String,
    }
    let asked: Asked = object::parse(body)?;
    let entries = server.index(repository, asked.ready)?.into_iter().map(|e| Entry {
        name: e.name,
        version: e.version,
        state: e.state,
        reason: e.reason,
    });
    Answer::json(&entries.collect::<Vec<_>>())
}

pub(super) async fn load(server: &Server, model: &Stored<'_>, body: &[u8]) -> Result<Answer, HttpError> {
    server.load(&model.repository, &model.model, replaced(body)?).await?;
    Ok(Answer::done())
}

/// What a body gives in place of the model's own configuration and files.
fn replaced(body: &[u8]) -> Result<LoadOverride, HttpError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Asked {
        parameters: BTreeMap<String, String>,
    }
    let asked: Asked = object::parse(body)?;
    let mut with = LoadOverride::default();
    for (key, value) in asked.parameters {
        if key == "config" {
            with.config = Some(value);
        } else if let Some(path) = key.strip_prefix("file:") {
            let content = BASE64_STANDARD.decode(&value).map_err(|e| {
                HttpError::bad(format_args!("load parameter '{key}' is not base64, as files must be: {e}"))
            })?;
            with.files.push((path.to_owned(), content.into()));
        } else {
            return Err(HttpError::bad(format_args!(
                "unknown load parameter '{key}'; there are 'config' and 'file:<path>'"
            )));
        }
    }
    Ok(with)
}

pub(super) async fn unload(server: &Server, model: &Stored<'_>, body: &[u8]) -> Result<Answer, HttpError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Asked {
        parameters: Parameters,
    }
    // No model depends on another, so whether to unload those changes nothing.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Parameters {
        #[serde(rename = "unload_dependents")]
        _unload_dependents: bool,
    }
    let Asked { parameters: _ } = object::parse(body)?;
    server.unload(&model.repository, &model.model).await?;
    Ok(Answer::done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_configuration_of_a_load() {
        for nothing in [&b""[..], b"{}", b" {\"parameters\":{}} "] {
            let with = replaced(nothing).unwrap();
            assert!(with.config.is_none() && with.files.is_empty());
        }
        let with =
            replaced(br#"{"parameters":{"config":"{}","file:1/model.onnx":"AAH/","file:a":""},"other":[]}"#)
                .unwrap();
        assert_eq!(with.config.as_deref(), Some("{}"));
        let files: Vec<(&str, &[u8])> = with.files.iter().map(|(p, c)| (p.as_str(), &c[..])).collect();
        assert_eq!(files, [("1/model.onnx", &[0, 1, 255][..]), ("a", &[])]);
        for (bad, why) in [
            (r#"{"parameters":{"conf":"{}"}}"#, "unknown load parameter 'conf'"),
            (r#"{"parameters":{"config":{}}}"#, "expected a string"),
            (r#"{"parameters":{"file:a":"-"}}"#, "load parameter 'file:a' is not base64"),
            ("[]", "expected an object"),
            ("{", "EOF"),
        ] {
            let e = replaced(bad.as_bytes()).unwrap_err();
            assert_eq!(e.status, 400);
            assert!(e.message.contains(why), "{}", e.message);
        }
    }
}
