//! The trace that a call belongs to.

use axum::http::{HeaderMap, Method};
use tracing::{Span, field};

/// A `traceparent` header as W3C's Trace Context has it: trace, span and flags of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    trace: String,
    span: String,
    flags: u8,
}

impl TraceParent {
    /// The header's, where it is there and valid; by the standard, an invalid one is as none.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get("traceparent")?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut hex = |length: usize| {
            let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
            fields.next().filter(|f| f.len() == length && f.bytes().all(lower))
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // Later versions may say more; this one must not.
        if version == "ff" || version == "00" && fields.next().is_some() {
            return None;
        }
        let zero = |id: &str| id.bytes().all(|c| c == b'0');
        if zero(trace) || zero(span) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace: trace.to_owned(), span: span.to_owned(), flags })
    }

    /// Name of the trace, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.trace
    }

    /// Name of the caller's span, 16 hexadecimal digits.
    pub fn parent_id(&self) -> &str {
        &self.span
    }

    /// Whether the caller records its trace.
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// The span of a call.
pub(super) fn span(method: &Method, path: &str, parent: Option<&TraceParent>) -> Span {
    let span = tracing::info_span!(
        "request",
        %method,
        path,
        trace_id = field::Empty,
        parent_id = field::Empty,
        sampled = field::Empty,
    );
    if let Some(parent) = parent {
        span.record("trace_id", parent.trace_id());
        span.record("parent_id", parent.parent_id());
        span.record("sampled", parent.sampled());
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_form() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let parent = TraceParent::parse(&format!("00-{trace}-{span}-01")).unwrap();
        assert_eq!((parent.trace_id(), parent.parent_id(), parent.sampled()), (trace, span, true));
        assert!(!TraceParent::parse(&format!("00-{trace}-{span}-02")).unwrap().sampled());
        assert!(TraceParent::parse(&format!("01-{trace}-{span}-01-more")).is_some());
        let (no_trace, no_span) = ("0".repeat(32), "0".repeat(16));
        for wrong in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{no_span}-01"),
            format!("00-{no_trace}-{span}-01"),
            format!("00-{trace}0-{span}-01"),
        ] {
            assert_eq!(TraceParent::parse(&wrong), None, "{wrong}");
        }
    }
}
