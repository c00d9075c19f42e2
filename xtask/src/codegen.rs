//! Protobuf code generation, without protoc: protox parses, prost-build and tonic-prost-build write.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protox::prost_reflect::prost_types::FileDescriptorSet;

/// One `.proto` file and a Rust file generated from it, relative to the workspace's root.
struct Target {
    proto: &'static str,
    rust: &'static str,
    content: Content,
}

/// What is generated.
enum Content {
    /// The message types. The package names prost-build's output file.
    Messages { package: &'static str },
    /// The file's descriptor, a `FileDescriptorSet` of one file without comments, as a constant.
    Descriptor,
    /// The messages, client and server of a service. The types of the imported file are taken from another crate.
    Service { package: &'static str, import: Import },
}

/// A `.proto` file that another one imports by its name, and the crate that has its types.
struct Import {
    proto: &'static str,
    types: &'static str,
}

const ONNX: &str = "compiler/compiler/proto/onnx.proto";
const MODEL_CONFIG: &str = "service/model-config/proto/model_config.proto";
const GRPC_SERVICE: &str = "service/proto/proto/grpc_service.proto";

const TARGETS: &[Target] = &[
    Target {
        proto: ONNX,
        rust: "compiler/compiler/src/onnx/generated/onnx.rs",
        content: Content::Messages { package: "onnx" },
    },
    Target {
        proto: MODEL_CONFIG,
        rust: "service/model-config/src/generated/inference.rs",
        content: Content::Messages { package: "inference" },
    },
    Target {
        proto: MODEL_CONFIG,
        rust: "service/model-config/src/generated/descriptor.rs",
        content: Content::Descriptor,
    },
    Target {
        proto: GRPC_SERVICE,
        rust: "service/proto/src/generated/inference.rs",
        content: Content::Service {
            package: "inference",
            import: Import { proto: MODEL_CONFIG, types: "::hs_model_config" },
        },
    },
];

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
        fs::write(&path, text).map_err(io_error(&path))?;
        written.push(path);
    }
    Ok(written)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CodegenError {
    let path = path.to_path_buf();
    move |source| CodegenError::Io { path, source }
}

fn generate(target: &Target) -> Result<String, CodegenError> {
    let source = target.proto;
    let text = match &target.content {
        Content::Messages { package } => messages(source, package)?,
        Content::Descriptor => descriptor(source)?,
        Content::Service { package, import } => service(source, package, import)?,
    };
    Ok(format!("// Generated from {source} by `cargo xtask codegen`; do not edit.\n{text}"))
}

/// Parses `proto`; what it imports lies in its own folder or beside one of `imports`.
fn compiler(proto: &str, imports: &[&str]) -> Result<protox::Compiler, CodegenError> {
    let folders = imports.iter().chain([&proto]).map(|p| root().join(p).with_file_name(""));
    let mut compiler = protox::Compiler::new(folders)?;
    compiler.open_file(root().join(proto))?;
    Ok(compiler)
}

/// All that is generated keeps its maps in order, so that what is printed from them is reproducible.
const ALL: &str = ".";

fn messages(proto: &str, package: &str) -> Result<String, CodegenError> {
    let descriptors = compiler(proto, &[])?.include_source_info(true).file_descriptor_set();
    in_temporary_folder(package, |out| {
        prost_build::Config::new().btree_map([ALL]).out_dir(out).compile_fds(descriptors)
    })
}

fn service(proto: &str, package: &str, import: &Import) -> Result<String, CodegenError> {
    let imported = compiler(import.proto, &[])?.file_descriptor_set();
    let descriptors = compiler(proto, &[import.proto])?
        .include_source_info(true)
        .include_imports(true)
        .file_descriptor_set();
    let mut builder = tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(ALL)
        .bytes(ALL)
        .emit_rerun_if_changed(false);
    for name in type_names(&imported) {
        builder = builder.extern_path(format!(".{package}.{name}"), format!("{}::{name}", import.types));
    }
    in_temporary_folder(package, |out| builder.out_dir(out).compile_fds(descriptors))
}

/// The types that stand outside of other types.
fn type_names(descriptors: &FileDescriptorSet) -> impl Iterator<Item = &str> {
    descriptors.file.iter().flat_map(|file| {
        let messages = file.message_type.iter().map(|m| m.name());
        messages.chain(file.enum_type.iter().map(|e| e.name()))
    })
}

fn in_temporary_folder(
    package: &str,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<String, CodegenError> {
    let out = tempfile::tempdir().map_err(io_error(Path::new("temporary directory")))?;
    write(out.path()).map_err(io_error(out.path()))?;
    let file = out.path().join(format!("{package}.rs"));
    fs::read_to_string(&file).map_err(io_error(&file))
}

fn descriptor(proto: &str) -> Result<String, CodegenError> {
    let bytes = compiler(proto, &[])?.include_source_info(false).encode_file_descriptor_set();
    let mut text = format!("pub(crate) const FILE_DESCRIPTOR_SET: [u8; {}] = [", bytes.len());
    for line in bytes.chunks(20) {
        text.push_str("\n   ");
        for byte in line {
            let _ = write!(text, " {byte},");
        }
    }
    text.push_str("\n];\n");
    Ok(text)
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
