//! Traces on their way to an OpenTelemetry collector: OTLP over HTTP, in its JSON form.

use std::time::Duration;

use hs_client::{Options, Poster, Url};
use hs_serve::Settings;
use hs_server::net::{Span, SpanValue, Traces};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cli::exit::Failure;

/// Where collectors listen, and for what.
const PORT: u16 = 4318;
const PATH: &str = "/v1/traces";

/// How long a span waits for others, and spans beyond which none waits.
const LINGER: Duration = Duration::from_secs(1);
const BATCH: usize = 512;

/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends traces, in the background: nothing waits for it.
#[derive(Debug)]
pub(super) struct Exporter {
    poster: Poster,
    endpoint: String,
    /// What is said of all spans.
    resource: Value,
    traces: Traces,
    /// Spans that were lost since the last success, and whether that was said.
    lost: u64,
    said: bool,
    /// Whether it was said that traces come faster than they are sent.
    slow: bool,
}

/// Records everything, until clients change the settings.
pub(super) fn switch_on(settings: &Settings) -> Result<(), Failure> {
    let on = [("trace_level", "TIMESTAMPS"), ("trace_rate", "1"), ("trace_mode", "opentelemetry")];
    let on = on.map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
    settings.update_trace("", on).map_err(Failure::internal)?;
    Ok(())
}

impl Exporter {
    pub(super) fn new(endpoint: &str, service: &str, traces: Traces) -> Result<Self, Failure> {
        let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("--otlp-endpoint: {e}"));
        let url = Url::with_usual_port(endpoint, Some(PORT)).map_err(|e| wrong(&e))?;
        let options = Options { timeout: Some(TIMEOUT), ..Options::default() };
        let poster = Poster::new(&url, PATH, &options).map_err(|e| wrong(&e))?;
        let resource = [
            ("service.name", service),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("process.executable.name", "hypersonic"),
        ];
        let resource = resource.map(|(key, text)| attribute(key, &SpanValue::from(text)));
        let endpoint = url.to_string();
        Ok(Self { poster, endpoint, resource: json!(resource), traces, lost: 0, said: false, slow: false })
    }

    /// Sends what comes, until nothing more can come.
    pub(super) async fn run(mut self) {
        let mut spans = Vec::new();
        let mut open = true;
        while open {
            open = self.traces.next(&mut spans).await;
            let linger = sleep(LINGER);
            tokio::pin!(linger);
            while open && spans.len() < BATCH {
                tokio::select! {
                    more = self.traces.next(&mut spans) => open = more,
                    () = &mut linger => break,
                }
            }
            if !spans.is_empty() {
                self.send(&spans).await;
                spans.clear();
            }
        }
        if self.lost > 0 {
            tracing::warn!(endpoint = self.endpoint, "{} spans were not exported", self.lost);
        }
    }

    async fn send(&mut self, spans: &[Span]) {
        let document = document(&self.resource, spans).to_string().into_bytes();
        let dropped = self.traces.dropped();
        if dropped > 0 && !self.slow {
            self.slow = true;
            tracing::warn!(endpoint = self.endpoint, dropped, "traces come faster than they can be exported; some are lost");
        }
        let result = self.poster.post(document).await;
        match result {
            Ok(()) if self.said => {
                tracing::info!(endpoint = self.endpoint, lost = self.lost, "traces are exported again");
                (self.lost, self.said) = (0, false);
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += spans.len() as u64;
                if !self.said {
                    self.said = true;
                    tracing::warn!(endpoint = self.endpoint, %error, "traces cannot be exported and are lost");
                }
            }
        }
    }
}

/// The request of OTLP.
fn document(resource: &Value, spans: &[Span]) -> Value {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scope = json!({ "name": "hypersonic", "version": env!("CARGO_PKG_VERSION") });
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": scope, "spans": spans }],
        }],
    })
}

/// Numbers of 64 bits are text in protobuf's JSON; identifiers are hexadecimal in OTLP's.
fn span(span: &Span) -> Value {
    let attributes: Vec<Value> = span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut json = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": if span.is_server { 2 } else { 1 },
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    if span.failed {
        json["status"] = json!({ "code": 2 });
    }
    json
}

fn attribute(key: &str, value: &SpanValue) -> Value {
    let value = match value {
        SpanValue::Text(text) => json!({ "stringValue": text }),
        SpanValue::Number(number) => json!({ "intValue": number.to_string() }),
        SpanValue::Switch(on) => json!({ "boolValue": on }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_form() {
        let mut one = Span {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            id: 1,
            parent: Some(0xb7ad_6b71_6920_3331),
            name: "n".to_owned(),
            is_server: true,
            start: 1_700_000_000_000_000_001,
            end: 2,
            attributes: vec![("a", SpanValue::Number(-1)), ("b", SpanValue::Switch(true)), ("c", "x".into())],
            failed: true,
        };
        let wire = json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": "0000000000000001",
            "parentSpanId": "b7ad6b7169203331",
            "name": "n",
            "kind": 2,
            "startTimeUnixNano": "1700000000000000001",
            "endTimeUnixNano": "2",
            "attributes": [
                { "key": "a", "value": { "intValue": "-1" } },
                { "key": "b", "value": { "boolValue": true } },
                { "key": "c", "value": { "stringValue": "x" } },
            ],
            "status": { "code": 2 },
        });
        assert_eq!(document(&json!([]), &[one.clone()])["resourceSpans"][0]["scopeSpans"][0]["spans"], json!([wire]));
        (one.parent, one.failed, one.is_server) = (None, false, false);
        let wire = span(&one);
        assert_eq!((wire.get("parentSpanId"), wire.get("status"), &wire["kind"]), (None, None, &json!(1)));
    }
}
