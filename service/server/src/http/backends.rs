//! Which backends there are, and how they are.

use std::sync::Arc;

use hs_serve::{Server, scheduler::Health};
use serde::Serialize;

use super::{answer::Answer, error::HttpError, offload::offload};

#[derive(Serialize)]
struct Wire {
    /// Of this build.
    backends: Vec<Backend>,
    /// By name and version.
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Backend {
    name: String,
    available: bool,
    /// On what it runs, or why it cannot.
    detail: String,
}

#[derive(Serialize)]
struct Model {
    name: String,
    version: String,
    /// In order of preference.
    backends: Vec<Runner>,
}

#[derive(Serialize)]
struct Runner {
    name: String,
    device: String,
    exact: bool,
    healthy: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
}

impl From<Health> for Runner {
    fn from(h: Health) -> Self {
        Self {
            name: h.backend.to_string(),
            device: h.device,
            exact: h.exact,
            healthy: h.healthy,
            problem: h.problem,
        }
    }
}

/// The backends of this build, and those of each version that is ready.
pub(super) async fn all(server: &Arc<Server>) -> Result<Answer, HttpError> {
    let server = Arc::clone(server);
    // A backend may have to open its library to know whether it can run.
    let wire = offload(true, move || Wire {
        backends: server
            .backends()
            .into_iter()
            .map(|(name, available, detail)| Backend { name, available, detail })
            .collect(),
        models: server
            .models()
            .iter()
            .map(|m| Model {
                name: m.spec().name.to_string(),
                version: m.version().to_string(),
                backends: m.scheduler().health().into_iter().map(Runner::from).collect(),
            })
            .collect(),
    });
    Answer::json(&wire.await)
}
