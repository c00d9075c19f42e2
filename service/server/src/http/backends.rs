//! Which backends there are, and how they are.

use std::{collections::BTreeMap, sync::Arc};

use hs_runtime::{CardStatus, UnitStatus};
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cards: Vec<Card>,
}

#[derive(Serialize)]
struct Card {
    card: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    compute_units: Vec<Unit>,
    /// Of each compute unit.
    slots: usize,
    restarts: u64,
    launches: u64,
    rows: u64,
    rows_back: u64,
    faults: u64,
    /// Seconds of launches in each stage.
    seconds: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power_w: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_c: Option<f64>,
}

#[derive(Serialize)]
struct Unit {
    name: String,
    /// In its slots.
    rows: usize,
    busy_seconds: f64,
}

impl From<CardStatus> for Card {
    fn from(c: CardStatus) -> Self {
        let unit = |u: UnitStatus| Unit { name: u.name, rows: u.rows, busy_seconds: u.busy.as_secs_f64() };
        Self {
            card: c.card,
            state: c.state.name(),
            why: c.why,
            compute_units: c.units.into_iter().map(unit).collect(),
            slots: c.slots,
            restarts: c.restarts,
            launches: c.launches,
            rows: c.rows,
            rows_back: c.rows_back,
            faults: c.faults,
            seconds: c.times.into_iter().map(|(stage, time)| (stage, time.as_secs_f64())).collect(),
            power_w: c.power_w,
            temperature_c: c.temperature_c,
        }
    }
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
                cards: m.scheduler().cards().into_iter().map(Card::from).collect(),
            })
            .collect(),
    });
    Answer::json(&wire.await)
}
