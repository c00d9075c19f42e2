//! Protobuf code generation, without protoc: protox parses, prost-build writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One `.proto` file and the Rust file generated from it, relative to the workspace's root.
struct Target {
    proto: &'static str,
    rust: &'static str,
    /// The protobuf package, which names prost-build's output file.
    package: &'static str,
}

const TARGETS: &[Target] = &[Target {
    proto: "compiler/compiler/proto/onnx.proto",
    rust: "compiler/compiler/src/onnx/generated/onnx.rs",
    package: "onnx",
}];

/// Why generation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodegenError {
    /// The `.proto` file does not parse.
    #[error("{0}")]
    Proto(#[from] protox::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Generates and writes every target; returns the files written.
pub(crate) fn write_all() -> Result<Vec<PathBuf>, CodegenError> {
    let mut written = Vec::new();
    for target in TARGETS {
        let path = root().join(target.rust);
        let text = generate(target)?;
        fs::write(&path, text).map_err(|source| CodegenError::Io { path: path.clone(), source })?;
        written.push(path);
    }
    Ok(written)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn generate(target: &Target) -> Result<String, CodegenError> {
    let proto = root().join(target.proto);
    let include = proto.parent().map_or_else(root, Path::to_path_buf);
    let descriptors = protox::compile([&proto], [&include])?;
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| CodegenError::Io { path, source }
    };
    let out = tempfile::tempdir().map_err(io(Path::new("temporary directory")))?;
    prost_build::Config::new().out_dir(out.path()).compile_fds(descriptors).map_err(io(&proto))?;
    let file = out.path().join(format!("{}.rs", target.package));
    let text = fs::read_to_string(&file).map_err(io(&file))?;
    let source = target.proto;
    Ok(format!("// Generated from {source} by `cargo xtask codegen`; do not edit.\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_code_is_current() {
        for target in TARGETS {
            let path = root().join(target.rust);
            let checked_in = fs::read_to_string(&path).unwrap();
            let fresh = generate(target).unwrap();
            assert!(checked_in == fresh, "{} is stale: run `cargo xtask codegen`", target.rust);
        }
    }
}
