//! The model repository: what is there, what is loaded, what is ready.

use std::sync::Arc;

use crate::{
    ModelLoader, ServeError, Served,
    server::{IndexEntry, LoadOverride, ServerOptions},
};

/// The models of all repositories.
pub(crate) struct Repository {
    loader: Arc<dyn ModelLoader>,
}

impl Repository {
    pub(crate) fn new(_options: &ServerOptions, loader: Arc<dyn ModelLoader>) -> Arc<Self> {
        Arc::new(Self { loader })
    }

    pub(crate) async fn start(self: &Arc<Self>) {}

    pub(crate) fn is_ready(&self) -> bool {
        true
    }

    pub(crate) fn backends(&self) -> Vec<(String, bool, String)> {
        self.loader.backends()
    }

    pub(crate) fn get(&self, name: &str, _version: &str) -> Result<Arc<Served>, ServeError> {
        Err(ServeError::not_found(format!("Request for unknown model: '{name}' is not found")))
    }

    pub(crate) fn served(&self) -> Vec<Arc<Served>> {
        Vec::new()
    }

    pub(crate) fn index(&self, _repository: &str, _ready: bool) -> Result<Vec<IndexEntry>, ServeError> {
        Ok(Vec::new())
    }

    pub(crate) async fn load(
        self: &Arc<Self>,
        _repository: &str,
        _name: &str,
        _with: LoadOverride,
    ) -> Result<(), ServeError> {
        Err(ServeError::unavailable("not yet"))
    }

    pub(crate) async fn unload(&self, _repository: &str, _name: &str) -> Result<(), ServeError> {
        Err(ServeError::unavailable("not yet"))
    }
}
