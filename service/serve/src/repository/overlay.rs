//! What a client sends along with a request to load, in place of what lies in the repository.

use std::{fs, path::Component, path::Path};

use hs_model_config::ModelConfig;
use tempfile::TempDir;

use crate::{ServeError, server::LoadOverride};

/// Files of one request at most.
const MAX_FILES: usize = 1024;
/// Bytes of all files at most.
const MAX_BYTES: usize = 2 << 30;

/// A configuration, and files where the client sent some.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) config: ModelConfig,
    /// The model's directory for as long as it is loaded from there.
    pub(super) directory: Option<TempDir>,
}

impl Overlay {
    /// Reads the configuration and writes the files; `None` when the client sent neither. Blocks.
    pub(super) fn new(name: &str, with: &LoadOverride) -> Result<Option<Self>, ServeError> {
        let Some(json) = &with.config else {
            if with.files.is_empty() {
                return Ok(None);
            }
            return Err(ServeError::invalid(format!(
                "failed to load '{name}': files override the model's only along with a configuration; send 'config' too"
            )));
        };
        let config = hs_model_config::from_json(json)
            .map_err(|e| ServeError::invalid(format!("failed to load '{name}': config: {e}")))?;
        let directory = if with.files.is_empty() { None } else { Some(write(name, with)?) };
        Ok(Some(Self { config, directory }))
    }
}

fn write(name: &str, with: &LoadOverride) -> Result<TempDir, ServeError> {
    let invalid = |why: String| ServeError::invalid(format!("failed to load '{name}': {why}"));
    let (count, bytes) = (with.files.len(), with.files.iter().map(|(_, c)| c.len()).sum::<usize>());
    if count > MAX_FILES || bytes > MAX_BYTES {
        return Err(invalid(format!(
            "{count} files of {bytes} bytes; at most {MAX_FILES} files of {MAX_BYTES} bytes can be sent"
        )));
    }
    for (path, _) in &with.files {
        let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        if path.is_empty() || path.ends_with('/') || path.contains(['\0', '\\']) || !plain {
            return Err(invalid(format!(
                "file '{}' is no path within the model's directory, such as 1/model.onnx",
                path.escape_debug()
            )));
        }
    }
    let failed = |e: std::io::Error| ServeError::internal(format!("failed to load '{name}': {e}"));
    let directory = tempfile::Builder::new().prefix("hypersonic-model-").tempdir().map_err(failed)?;
    for (path, content) in &with.files {
        let path = directory.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = fs::File::options();
        let mut file = options.write(true).create_new(true).open(&path).map_err(failed)?;
        std::io::Write::write_all(&mut file, content).map_err(failed)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Code;

    fn with(files: &[&str]) -> LoadOverride {
        let files = files.iter().map(|f| ((*f).to_owned(), Bytes::from_static(b"content"))).collect();
        LoadOverride { config: Some("{}".to_owned()), files }
    }

    #[test]
    fn files_stay_in_the_directory() {
        for bad in ["../x", "/etc/x", "1/../../x", "", "1/", ".", "1/..", "a\0b", "..\\x"] {
            let e = Overlay::new("m", &with(&["1/model.onnx", bad])).unwrap_err();
            assert_eq!(e.code, Code::InvalidArgument, "{bad:?}");
            assert!(e.message.starts_with("failed to load 'm': file '"), "{e}");
        }
        let overlay = Overlay::new("m", &with(&["1/model.onnx", "labels.txt"])).unwrap().unwrap();
        let directory = overlay.directory.unwrap();
        assert_eq!(fs::read(directory.path().join("1/model.onnx")).unwrap(), b"content");
        let path = directory.path().to_owned();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_configuration_must_be_one_and_files_need_one() {
        assert!(Overlay::new("m", &LoadOverride::default()).unwrap().is_none());
        for config in [None, Some("{".to_owned()), Some(r#"{"no_such_field": 1}"#.to_owned())] {
            let e = Overlay::new("m", &LoadOverride { config, ..with(&["1/x"]) }).unwrap_err();
            assert_eq!(e.code, Code::InvalidArgument);
        }
        // The same file twice, or a file where a directory must be.
        assert!(Overlay::new("m", &with(&["1/x", "1/x"])).is_err());
        assert!(Overlay::new("m", &with(&["1", "1/x"])).is_err());
    }
}
