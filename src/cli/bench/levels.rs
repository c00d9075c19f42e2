//! What was measured, for a person and for machines.

use std::time::Duration;

use hs_client::load::{Measured, Times};
use hs_compiler::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use crate::cli::table::{count, table};

/// Quantiles that are reported.
pub(super) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// What was varied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Varied {
    /// Clients of a closed loop.
    Clients(u32),
    /// Requests a second of an open loop.
    Rate(f64),
}

impl Varied {
    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clients(_) => "clients",
            Self::Rate(_) => "rate",
        }
    }

    pub(super) fn value(self) -> f64 {
        match self {
            Self::Clients(n) => n.into(),
            Self::Rate(r) => r,
        }
    }
}

/// A level of load and what it showed.
pub(super) struct Level {
    pub(super) varied: Varied,
    pub(super) measured: Measured,
}

/// All levels of a run.
pub(super) struct Bench {
    /// What was measured, in a line.
    pub(super) what: String,
    /// The same for machines.
    pub(super) about: Value,
    /// Rows of a request; `None`: the model has no batches.
    pub(super) batch: Option<usize>,
    pub(super) levels: Vec<Level>,
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn times_json(times: &Times) -> Value {
    let mut all = Map::new();
    all.insert("mean".into(), times.mean().as_secs_f64().into());
    all.extend(QUANTILES.map(|(name, q)| (name.to_owned(), times.quantile(q).as_secs_f64().into())));
    all.insert("max".into(), times.max().as_secs_f64().into());
    all.into()
}

impl Bench {
    pub(super) fn text(&self) -> String {
        let Some(first) = self.levels.first() else { return self.what.clone() };
        let mut heading = vec![first.varied.name(), "requests/s"];
        heading.extend(self.batch.map(|_| "rows/s"));
        heading.push("mean ms");
        let names: Vec<String> = QUANTILES.iter().map(|(name, _)| format!("{name} ms")).collect();
        heading.extend(names.iter().map(String::as_str));
        heading.extend(["max ms", "failed"]);
        let row = |l: &Level| {
            let (m, rate) = (&l.measured, l.measured.throughput());
            let number = |x: f64| if x < 100.0 { format!("{x:.1}") } else { count(x.round() as u64) };
            let mut row = vec![l.varied.value().to_string(), number(rate)];
            row.extend(self.batch.map(|b| number(rate * b as f64)));
            let quantiles = QUANTILES.map(|(_, q)| m.latency.quantile(q));
            let times = std::iter::once(m.latency.mean()).chain(quantiles).chain([m.latency.max()]);
            row.extend(times.map(|t| format!("{:.3}", millis(t))));
            row.push(count(m.failed()));
            row
        };
        let rows: Vec<_> = self.levels.iter().map(row).collect();
        format!("{}\n\n{}", self.what, table(&heading, &rows))
    }

    pub(super) fn json(&self) -> Value {
        let level = |l: &Level| {
            let m = &l.measured;
            let mut json = json!({
                "requests": m.latency.count(), "failed": m.failed(), "sent": m.sent, "seconds": m.seconds,
                "requests_per_second": m.throughput(), "latency_seconds": times_json(&m.latency), "errors": m.errors,
            });
            match l.varied {
                Varied::Clients(n) => json["clients"] = n.into(),
                Varied::Rate(r) => {
                    json["rate"] = r.into();
                    json["lateness_seconds"] = times_json(&m.lateness);
                }
            }
            if let Some(batch) = self.batch {
                json["rows_per_second"] = (m.throughput() * batch as f64).into();
            }
            json
        };
        let mut json = self.about.clone();
        json["batch"] = json!(self.batch);
        json["levels"] = self.levels.iter().map(level).collect();
        json
    }

    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let mut all = Vec::new();
        for l in &self.levels {
            let at = format!("{} {}", l.varied.name(), l.varied.value());
            for (error, count) in &l.measured.errors {
                all.push(Diagnostic::warning(format!("{at}: {count} requests failed: {error}")));
            }
            let late = l.measured.lateness.quantile(0.99);
            if late > Duration::from_millis(1) && late > l.measured.latency.quantile(0.5) / 10 {
                let text = format!("{at}: requests were sent up to {:.3} ms late (99 %)", millis(late));
                let help = "latency holds that as well: this machine, or --max-clients, is the limit";
                all.push(Diagnostic::warning(text).help(help));
            }
        }
        all
    }
}
