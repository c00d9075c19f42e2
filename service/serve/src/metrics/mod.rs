//! Metrics, under Triton's names where it has them.

mod cards;
mod host;
mod text;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hs_runtime::CardStatus;

pub(crate) use self::host::Meters;
use self::text::{Kind, Text};
use crate::{Histogram, ModelStatistics, Served, StatisticDuration};

/// What is written of one version.
struct Version {
    version: String,
    statistics: ModelStatistics,
    /// By backend and device.
    well: BTreeMap<(Arc<str>, String), bool>,
    cards: Vec<CardStatus>,
}

/// All metrics: of the versions that are loaded, of `inside` requests in the server, which runs since `start`, and of
/// the machine.
pub(crate) fn exposition(served: &[Arc<Served>], inside: usize, meters: &Meters, start: Instant) -> String {
    let versions: Vec<Version> = served.iter().map(|s| Version::of(s)).collect();
    let mut text = Text::default();
    counters(&mut text, &versions);
    durations(&mut text, &versions);
    gauges(&mut text, &versions);
    latency(&mut text, &versions);
    cards::write(&mut text, &versions);
    text.family("hypersonic_requests_inside", Kind::Gauge, "Requests accepted and not answered yet");
    text.sample("hypersonic_requests_inside", &[], inside);
    devices(&mut text, served, meters, start);
    machine(&mut text, meters);
    text.finish()
}

impl Version {
    fn of(served: &Served) -> Self {
        let mut well = BTreeMap::new();
        for h in served.scheduler().health() {
            *well.entry((h.backend, h.device)).or_default() |= h.healthy;
        }
        let cards = served.scheduler().cards();
        Self { version: served.version().to_string(), statistics: served.statistics(), well, cards }
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [("model", &self.statistics.name), ("version", &self.version)]
    }
}

fn counters(text: &mut Text, versions: &[Version]) {
    type Read = fn(&ModelStatistics) -> u64;
    let all: [(&str, &str, Read); 3] = [
        ("nv_inference_request_success", "Requests that were answered", |s| s.success.count),
        ("nv_inference_count", "Rows that were answered", |s| s.inference_count),
        ("nv_inference_exec_count", "Calls of backends, each of one batch", |s| s.execution_count),
    ];
    for (name, help, read) in all {
        text.family(name, Kind::Counter, help);
        versions.iter().for_each(|v| text.sample(name, &v.labels(), read(&v.statistics)));
    }
    let name = "nv_inference_request_failure";
    text.family(name, Kind::Counter, "Requests that failed, by the reason");
    for v in versions {
        let s = &v.statistics;
        let reasons = [
            ("REJECTED", s.rejected),
            ("CANCELED", s.cancelled),
            ("BACKEND", s.backend_failures),
            ("OTHER", s.other_failures),
        ];
        for (reason, count) in reasons {
            let [model, version] = v.labels();
            text.sample(name, &[model, version, ("reason", reason)], count);
        }
    }
}

fn durations(text: &mut Text, versions: &[Version]) {
    type Read = fn(&ModelStatistics) -> StatisticDuration;
    let all: [(&str, &str, Read); 5] = [
        ("request", "from arrival to answer, of requests that were answered", |s| s.success),
        ("queue", "in the queue", |s| s.queue),
        ("compute_input", "preparing inputs", |s| s.compute_input),
        ("compute_infer", "running", |s| s.compute_infer),
        ("compute_output", "taking outputs apart", |s| s.compute_output),
    ];
    for (what, help, read) in all {
        let name = format!("nv_inference_{what}_duration_us");
        text.family(&name, Kind::Counter, &format!("Microseconds of requests in all, {help}"));
        versions.iter().for_each(|v| text.sample(&name, &v.labels(), read(&v.statistics).ns / 1_000));
    }
}

fn gauges(text: &mut Text, versions: &[Version]) {
    let name = "nv_inference_pending_request_count";
    text.family(name, Kind::Gauge, "Requests in the queue");
    versions.iter().for_each(|v| text.sample(name, &v.labels(), v.statistics.pending));
    let name = "nv_model_load_duration_secs";
    text.family(name, Kind::Gauge, "Seconds that loading took");
    for v in versions {
        if let Some(time) = v.statistics.load {
            text.sample(name, &v.labels(), time.as_secs_f64());
        }
    }
    let name = "hypersonic_backend_healthy";
    text.family(name, Kind::Gauge, "Whether a backend of a model is in use: 0 while it is passed over");
    for v in versions {
        for ((backend, device), well) in &v.well {
            let [model, version] = v.labels();
            let labels = [model, version, ("backend", backend), ("device", device)];
            text.sample(name, &labels, u8::from(*well));
        }
    }
}

fn latency(text: &mut Text, versions: &[Version]) {
    let name = "hypersonic_request_duration_seconds";
    text.family(name, Kind::Histogram, "Time from arrival to answer of requests that were answered");
    for v in versions {
        let [model, version] = v.labels();
        let bounds = Histogram::BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
        let mut sum = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&v.statistics.latency.counts) {
            sum += count;
            text.sample(&format!("{name}_bucket"), &[model, version, ("le", &bound)], sum);
        }
        text.sample(&format!("{name}_sum"), &v.labels(), v.statistics.success.ns as f64 / 1e9);
        text.sample(&format!("{name}_count"), &v.labels(), sum);
    }
}

/// One sample for each accelerator, or else one for the processor: dashboards count servers with it.
fn devices(text: &mut Text, served: &[Arc<Served>], meters: &Meters, start: Instant) {
    let name = "nv_gpu_utilization";
    text.family(name, Kind::Gauge, "Share of the time that the device was in calls, 0 to 1");
    let mut busy: BTreeMap<&str, u64> = BTreeMap::new();
    for (device, time) in served.iter().flat_map(|s| s.scheduler().busy()) {
        *busy.entry(device).or_default() += time;
    }
    for (device, time) in &busy {
        let share = meters.device(device, *time, start, Instant::now());
        text.sample(name, &[("gpu_uuid", device)], share);
    }
    if busy.is_empty() {
        text.sample(name, &[("gpu_uuid", &host::cpu_name())], meters.cpu().unwrap_or(0.0));
    }
}

fn machine(text: &mut Text, meters: &Meters) {
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, Kind::Gauge, help);
            text.sample(name, &[], value);
        }
    };
    gauge("nv_cpu_utilization", "Share of the machine's processors in use, 0 to 1", meters.cpu());
    let memory = host::memory();
    gauge("nv_cpu_memory_total_bytes", "The machine's memory", memory.map(|(total, _)| total as f64));
    gauge("nv_cpu_memory_used_bytes", "The machine's memory in use", memory.map(|(_, used)| used as f64));
    gauge("nv_pinned_memory_pool_total_bytes", "Pinned memory set apart: none is", Some(0.0));
    gauge("nv_pinned_memory_pool_used_bytes", "Pinned memory in use", Some(0.0));
}

#[cfg(test)]
mod tests;
