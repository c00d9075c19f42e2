//! Metrics in Prometheus's text format, under Triton's names.
//!
//! Written by hand: Triton's counters do not end in `_total`, which client libraries insist on, and dashboards know
//! them by name.

use std::fmt::Write as _;

use crate::Server;

/// A metric being written.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (i, (key, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{key}=\"", if i == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

/// All metrics of a server.
pub(crate) fn exposition(server: &Server) -> String {
    let mut text = Text(String::new());
    text.family("nv_inference_request_success", "counter", "Requests that were answered");
    for s in server.models().iter().map(|m| m.statistics()) {
        let version = s.version.to_string();
        let labels = [("model", &*s.name), ("version", &*version)];
        text.sample("nv_inference_request_success", &labels, s.success.count);
    }
    text.0
}
