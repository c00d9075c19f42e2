//! Models as clients meet them, through the server without wire formats.

mod answers;
mod refusals;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hs_compiler::driver::{self, CompileOptions};
use hs_package::{Arithmetic, Overwrite, PackageWriter};
use hs_runtime::{Buffer, Tensor, npy};
use hs_serve::{InferRequest, InferResponse, InputTensor, ModelControl, ServeError, Server, ServerOptions};
use tempfile::TempDir;

use super::Loader;

/// A model repository that is removed with the value.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    /// Writes a file, directories first.
    fn file(&self, relative: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Writes a configuration.
    fn config(&self, model: &str, text: &str) -> &Self {
        self.file(&format!("{model}/config.pbtxt"), text)
    }

    /// Copies an ONNX file of the fixtures, its external data too.
    fn onnx(&self, version: &str, fixture: &str) -> &Self {
        self.file(&format!("{version}/model.onnx"), fs::read(fixture_path(fixture, "onnx")).unwrap());
        let data = fixture_path(fixture, "onnx.data");
        if data.exists() {
            fs::copy(&data, self.path(version).join(data.file_name().unwrap())).unwrap();
        }
        self
    }

    /// Compiles an ONNX file of the fixtures into a package at `path`.
    fn package(&self, path: &str, fixture: &str, precision: &str) -> &Self {
        let options = CompileOptions { precision: Some(precision.to_owned()), ..CompileOptions::default() };
        let compiled = driver::compile(&fixture_path(fixture, "onnx"), &options, &mut |_| {}).unwrap();
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let writer = PackageWriter::new(&compiled.program, &compiled.schedule, Arithmetic::Native).unwrap();
        writer.finish(&path, Overwrite::Never).unwrap();
        self
    }

    fn options(&self) -> ServerOptions {
        ServerOptions {
            name: "test".to_owned(),
            repositories: vec![self.0.path().to_owned()],
            control: ModelControl::None,
            load_models: Vec::new(),
            strict_readiness: false,
            strict_config: false,
            client_shm: false,
            max_requests: 1000,
        }
    }

    /// A server that has loaded everything.
    async fn serve(&self) -> Arc<Server> {
        start(self.options()).await
    }
}

async fn start(options: ServerOptions) -> Arc<Server> {
    let server = Server::new(options, Arc::new(Loader::default()));
    server.start().await;
    server
}

fn fixture_path(name: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports").join(format!("{name}.{extension}"))
}

/// Rows of a fixture.
fn rows(fixture: &str) -> Tensor {
    npy::load(fixture_path(fixture, "x.npy")).unwrap()
}

/// Asks a model, its inputs in its own order.
async fn ask(server: &Server, model: &str, inputs: &[Tensor]) -> Result<InferResponse, ServeError> {
    let names: Vec<String> =
        server.model(model, "")?.spec().inputs.iter().map(|p| p.name.to_string()).collect();
    let input = |(name, tensor): (&String, &Tensor)| {
        let buffer = Buffer::from(tensor.clone());
        InputTensor {
            name: name.clone(),
            datatype: buffer.datatype(),
            shape: buffer.shape().iter().map(|d| *d as i64).collect(),
            data: buffer.into_data().into(),
        }
    };
    let request = InferRequest {
        model: model.to_owned(),
        inputs: names.iter().zip(inputs).map(input).collect(),
        ..InferRequest::default()
    };
    server.infer(request).await
}

/// The only output of an answer.
fn output(response: &InferResponse) -> Tensor {
    let [output] = response.outputs.as_slice() else { panic!("{} outputs", response.outputs.len()) };
    output.buffer.to_tensor().unwrap()
}
